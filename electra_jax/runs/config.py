"""The config of a pre-training run as frozen dataclasses.

The files in configs/ say what each key is for; here stand its type and the
values that it takes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.runs.sections import (
    choice,
    number,
    read_section,
    with_default,
)

POSITIVE = {"least": 1}
_LARGEST_SEED = 2**32 - 1  # What every generator of random numbers takes.


@dataclasses.dataclass(frozen=True)
class InitConfig:
  """How a run starts from `init_from`.

  Attributes:
    optimizer: whether its optimizer's state is restored.
    positions: whether its position table is cut or repeated to fit.
    vocabulary: whether rows are taken by the text of their token.
    fresh: parts that it lacks, joined by commas.
    unused: parts of it that are left out, joined by commas.
    layers: whether its layers are repeated, up to `model.num_layers`.
  """

  optimizer: str = choice("fresh", "restored")
  positions: str = choice("same", "resized")
  vocabulary: str = choice("same", "matched")
  fresh: str
  unused: str
  layers: str = with_default("same", choice("same", "stacked"))


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The rows of a pre-training run.

  Attributes:
    store: folder of the token store.
    length: tokens of a row.
    synthetic: whether synthetic text is trained on, whatever `store` says.
  """

  store: str
  length: int = number(least=8)
  synthetic: bool


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """The networks of a pre-training run; see configs/pretrain.py.

  A shape of 0, and an embedding_sharing of "", are taken from `init_from`.

  Attributes:
    num_layers: of the discriminator.
    hidden_size: of the discriminator, D.
    embedding_size: E.
    max_position_embeddings: rows of the position table.
    initializer_range: standard deviation of fresh weights.
    initialization: "released", or "local" for attention on neighbours.
    hidden_dropout: share of activations dropped.
    attention_dropout: share of attention weights dropped.
    generator_width_ratio: generator's width over the discriminator's.
    generator_depth_ratio: generator's layers over the discriminator's.
    embedding_sharing: what the networks have in common.
    dtype: of activations.
    remat: what the backward pass computes again.
    attention: "auto", "xla" or "fused".
    num_heads: of the discriminator, if not hidden_size / 64.
    intermediate_size: of the discriminator, if not 4 x hidden_size.
    quantization: how weights are rounded: "" for not at all.
    head_size: width of a head of the discriminator, if not hidden_size /
      num_heads.
  """

  num_layers: int = number(least=0)
  hidden_size: int = number(least=0)
  embedding_size: int = number(least=0)
  max_position_embeddings: int = number(least=0)
  initializer_range: float = number(above=0, most=10)
  initialization: str
  hidden_dropout: float = number(least=0, below=1)
  attention_dropout: float = number(least=0, below=1)
  generator_width_ratio: float = number(least=0)
  generator_depth_ratio: float = number(least=0)
  embedding_sharing: str
  dtype: str = choice("bfloat16", "float32")
  remat: str
  attention: str
  num_heads: int | None = with_default(None, number(**POSITIVE))
  intermediate_size: int | None = with_default(None, number(**POSITIVE))
  quantization: str = with_default("", choice("", "int8", "int4"))
  head_size: int | None = with_default(None, number(**POSITIVE))


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """What a pre-training run learns; see configs/pretrain.py.

  Attributes:
    name: of the objective.
    generator: where replacements come from.
    gen_weight: factor of the generator's loss.
    disc_weight: factor of the discriminator's loss.
    token_weight: factor of the loss of a head over the vocabulary.
    label_smoothing: of the discriminator's labels.
    mask_prob: share of tokens that are masked.
    masking_draw: how positions are drawn.
    masking_unit: "token" or "word".
    temperature: of the samples.
    disallow_correct: whether a sample may not be the original.
  """

  name: str
  generator: str
  gen_weight: float = number(least=0)
  disc_weight: float = number(least=0)
  token_weight: float = number(least=0)
  label_smoothing: float = number(least=0, below=1)
  mask_prob: float = number(above=0, below=1)
  masking_draw: str
  masking_unit: str
  temperature: float = number(above=0)
  disallow_correct: bool


@dataclasses.dataclass(frozen=True)
class DistillConfig:
  """What a run learns from a teacher; see configs/distill.py.

  Attributes:
    teacher: workdir of the run to learn from, or "" for none.
    teacher_layer: whose relations are learnt: 1 is the first one, -1 the last.
    relation_heads: parts that widths are split into, A.
    relation_weight: factor of the loss of the relations.
  """

  teacher: str = ""
  teacher_layer: int = -1
  relation_heads: int = with_default(1, number(**POSITIVE))
  relation_weight: float = with_default(1.0, number(least=0))


@dataclasses.dataclass(frozen=True)
class PretrainOptimizerConfig:
  """The optimizer of a pre-training run; see training/optimizer.py."""

  name: str
  frozen: str
  learning_rate: float = number(least=0)
  warmup_steps: int = number(least=0)
  decay_power: float = number(least=0)
  weight_decay: float = number(least=0)
  clip_norm: float = number(above=0)
  adam_b1: float = number(least=0, below=1)
  adam_b2: float = number(least=0, below=1)
  adam_epsilon: float = number(above=0)


@dataclasses.dataclass(frozen=True)
class PretrainLoopConfig:
  """Steps of a pre-training run, and when to do what.

  Attributes:
    num_steps: updates.
    batch_size: rows of a step over all devices.
    accumulation_steps: micro-batches of a step.
    overlap_reductions: whether TPUs with SparseCores reduce beside computing.
    log_every_steps: interval of training records; of this and the other
      intervals, 0 is for the end only.
    eval_every_steps: interval of evaluation.
    eval_batch_size: rows over all devices.
    eval_max_rows: rows of an evaluation.
    checkpoint_every_steps: interval of checkpoints.
    keep_checkpoints: how many stay.
  """

  num_steps: int = number(**POSITIVE)
  batch_size: int = number(**POSITIVE)
  accumulation_steps: int = number(**POSITIVE)
  overlap_reductions: bool
  log_every_steps: int = number(least=0)
  eval_every_steps: int = number(least=0)
  eval_batch_size: int = number(**POSITIVE)
  eval_max_rows: int = number(**POSITIVE)
  checkpoint_every_steps: int = number(least=0)
  keep_checkpoints: int = number(**POSITIVE)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How many devices each axis of the mesh has.

  Attributes:
    data: copies that see other rows; -1 for the devices that are left.
    fsdp: shards of a copy; 0, in pre-training, for as few as it fits into.
    tensor: shards of each layer.
  """

  data: int = number(least=1, or_else=(-1,))
  fsdp: int = number(least=0)
  tensor: int = number(**POSITIVE)


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """The config of a pre-training run.

  Attributes:
    seed: of every random number.
    init_from: workdir of the run whose weights this one starts from, or "".
    init: how it starts from them.
    data: the rows.
    model: the networks.
    objective: what they learn.
    optimizer: how.
    train: how long.
    phases: name -> own values of a phase; empty for a run of one.
    mesh: the devices.
    trackers: where figures are sent as well: "wandb", "mlflow", or both with a
      comma between.
    distill: the teacher, if there is one.
  """

  seed: int = number(least=0, most=_LARGEST_SEED)
  init_from: str
  init: InitConfig
  data: DataConfig
  model: NetworksConfig
  objective: ObjectiveConfig
  optimizer: PretrainOptimizerConfig
  train: PretrainLoopConfig
  phases: Mapping[str, Any]
  mesh: MeshConfig
  trackers: str = ""
  distill: DistillConfig = DistillConfig()


def read_pretrain_config(config: Any) -> PretrainConfig:
  """Reads a config as of configs/pretrain.py.

  Args:
    config: a ConfigDict, a nested mapping, or a PretrainConfig, which is
      returned as it is.

  Raises:
    UserError: it is one of fine-tuning, or a key or value is not right.
  """
  return read_kind(PretrainConfig, config, "objective", "configs/pretrain.py")


def check_no_teacher(config: PretrainConfig, verb: str) -> None:
  """Raises a UserError for a config with a teacher, which a verb leaves out."""
  if config.distill.teacher:
    raise UserError(
        f"config.distill.teacher is {config.distill.teacher}, and {verb} counts"
        " the student's own training alone; leave it out, by --config"
        " pretrain:SIZE or --config.distill.teacher="
    )


def read_kind(kind: type, config: Any, sign: str, file: str) -> Any:
  """Reads a config of a kind; its errors name the file that is right.

  Args:
    kind: the dataclass.
    config: as of `read_pretrain_config`.
    sign: a key that only this kind has.
    file: that makes such configs.
  """
  if isinstance(config, kind):
    return config
  if hasattr(config, "to_dict"):  # Of a ConfigDict.
    config = config.copy_and_resolve_references().to_dict()
  if isinstance(config, Mapping) and sign not in config:
    raise UserError(
        f"this config is not one of {file}: config.{sign} is missing; give one"
        f" that is, as in --config {_SHIPPED[sign]}"
    )
  return read_section(kind, config)


_SHIPPED = {"objective": "pretrain:small", "task": "finetune:task=rte"}

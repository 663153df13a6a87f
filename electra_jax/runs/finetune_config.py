"""The config of a fine-tuning run as frozen dataclasses; see config.py."""

import dataclasses
from typing import Any

from electra_jax.runs.config import (
    POSITIVE,
    DistillConfig,
    MeshConfig,
    read_kind,
)
from electra_jax.runs.sections import choice, number, with_default


@dataclasses.dataclass(frozen=True)
class TaskDataConfig:
  """The texts of a fine-tuning run; see configs/finetune.py.

  Attributes:
    folder: where the task's files lie.
    source: "files" or "tfds".
    synthetic: whether synthetic examples are learned, whatever `folder` says.
    tokenizer: vocab.txt, .model or folder, for a run without `init_from`.
    max_length: tokens of a text.
    max_query_length: pieces of a question.
    doc_stride: pieces from one window of a context or a text to the next.
    windows: what becomes of a text that is too long: its first window alone is
      read, as released, or the scores of all are pooled by "max" or "mean".
    released_answer_spans: whether answers are learnt where the release finds
      them, in place of where the data says they stand.
    double_unordered: whether pairs of mrpc and sts come both ways round.
    packing: whether several texts share a row.
  """

  folder: str
  source: str = choice("files", "tfds")
  synthetic: bool
  tokenizer: str
  max_length: int = number(least=3)
  max_query_length: int = number(**POSITIVE)
  doc_stride: int = number(**POSITIVE)
  windows: str = choice("first", "max", "mean")
  released_answer_spans: bool
  double_unordered: bool
  packing: bool


@dataclasses.dataclass(frozen=True)
class TableConfig:
  """The user's own data: columns and files.

  See tasks/table.py:table_task, tasks/text_pairs.py:embedding_task and
  tasks/text_to_text.py:generation_task.
  """

  kind: str
  text: str
  other_text: str
  label: str
  id: str
  train: str
  dev: str
  test: str
  dev_percent: float = number(least=0, below=100)
  separator: str
  labels: tuple[str, ...]
  label_range: tuple[float, ...]
  negative: str = ""
  target: str = ""
  source_language: str = ""
  target_language: str = ""
  dataset: str = ""


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
  """How task=embedding learns vectors of texts.

  Attributes:
    method: "simcse", "diffcse" or "pairs"; see finetuning/contrast.py.
    layer: whose states are pooled: 0 is what the first layer reads, -1 the
      last one.
    pooling: of the states of a text's tokens.
    temperature: that cosines are divided by.
    projection: whether a layer stands on the vector in training alone.
    dimensions: Matryoshka prefixes, each of which learns to be a vector by
      itself; none for the whole vector alone.
    detection_weight: diffcse: of the loss of detecting replaced tokens.
    detection_mask_prob: diffcse: share of tokens that the generator fills.
  """

  method: str = with_default("simcse", choice("simcse", "diffcse", "pairs"))
  layer: int = -1
  pooling: str = with_default("mean", choice("mean", "cls", "max"))
  temperature: float = with_default(0.05, number(above=0))
  projection: bool = False
  dimensions: tuple[int, ...] = ()
  detection_weight: float = with_default(0.005, number(least=0))
  detection_mask_prob: float = with_default(0.3, number(above=0, below=1))


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
  """How task=translate, summarise, answer and autoencode write text.

  Attributes:
    architecture: "unilm", one stack that reads the source and writes the
      target; "shared", the encoder's layers with cross-attention as decoder;
      "separate", a decoder with layers of its own; "recurrent", a recurrent
      decoder over the encoder's states. See models/seq2seq.py.
    decoder_from: which network the layers of "separate" start from.
    max_target_length: tokens of a written text at most, its end included.
    label_smoothing: share of each label that all other words share.
    method: how words are chosen: the likeliest, by beam search, or drawn.
    beam_size: texts that a beam search goes on with.
    length_penalty: power of the length that a text's score is divided by, as
      ((5 + tokens) / 6)^power; 0 prefers short texts.
    no_repeat_ngram: a text never has the same so many tokens twice; 0 for off.
    min_length: tokens before the end of a text at least.
    temperature: of "sample", that logits are divided by.
    top_k: of "sample": likeliest tokens that are drawn from; 0 for all.
    top_p: of "sample": likeliest tokens that have so much probability together.
  """

  architecture: str = with_default(
      "shared", choice("unilm", "shared", "separate", "recurrent")
  )
  decoder_from: str = with_default(
      "discriminator", choice("discriminator", "generator")
  )
  max_target_length: int = with_default(64, number(least=2))
  label_smoothing: float = with_default(0.1, number(least=0, below=1))
  method: str = with_default("beam", choice("greedy", "beam", "sample"))
  beam_size: int = with_default(4, number(**POSITIVE))
  length_penalty: float = with_default(0.6, number(least=0))
  no_repeat_ngram: int = with_default(0, number(least=0))
  min_length: int = with_default(0, number(least=0))
  temperature: float = with_default(1.0, number(above=0))
  top_k: int = with_default(0, number(least=0))
  top_p: float = with_default(1.0, number(above=0, most=1))


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
  """How task=autoencode learns z; see objectives/variational.py.

  Attributes:
    dimensions: of z.
    beta: of the divergence in the loss, that each cycle rises to; 1 is the
      evidence lower bound.
    cycles: rises of beta; 1 for one, 0 for the same beta throughout.
    rise_proportion: of a cycle, in which beta rises from 0.
    free_bits: nats of each dimension that cost nothing.
  """

  dimensions: int = with_default(32, number(**POSITIVE))
  beta: float = with_default(1.0, number(least=0))
  cycles: int = with_default(4, number(least=0))
  rise_proportion: float = with_default(0.5, number(least=0, most=1))
  free_bits: float = with_default(0.25, number(least=0))


@dataclasses.dataclass(frozen=True)
class EncoderModelConfig:
  """The encoder of a fine-tuning run.

  Its shapes must be those of `init_from`; a shape of 0 is taken from there.

  Attributes:
    head: whose heads are put on it, those of the release or of Hugging Face's
      transformers.
    quantization: how weights are rounded: "" for not at all.
  """

  num_layers: int = number(least=0)
  hidden_size: int = number(least=0)
  embedding_size: int = number(least=0)
  hidden_dropout: float = number(least=0, below=1)
  attention_dropout: float = number(least=0, below=1)
  dtype: str = choice("bfloat16", "float32")
  remat: str
  attention: str
  head: str = with_default("released", choice("released", "huggingface"))
  quantization: str = with_default("", choice("", "int8", "int4"))


@dataclasses.dataclass(frozen=True)
class QuestionsConfig:
  """How answers are searched for; see tasks/span_answers.py.

  Attributes:
    answerable_weight: of the loss of having an answer.
    beam_size: starts that are looked at.
    n_best_size: answers that are kept.
    max_answer_length: pieces.
    null_threshold: log-odds above which there is no answer; None for that of
      the head: -2.75 as released, 0 of Hugging Face's.
  """

  answerable_weight: float = number(least=0)
  beam_size: int = number(**POSITIVE)
  n_best_size: int = number(**POSITIVE)
  max_answer_length: int = number(**POSITIVE)
  null_threshold: float | None = number()


@dataclasses.dataclass(frozen=True)
class FinetuneOptimizerConfig:
  """The optimizer of a fine-tuning run; see training/optimizer.py.

  Attributes:
    warmup_proportion: of all steps; the others are OptimizerConfig's.
  """

  learning_rate: float = number(least=0)
  warmup_proportion: float = number(least=0, most=1)
  decay_power: float = number(least=0)
  weight_decay: float = number(least=0)
  clip_norm: float = number(above=0)
  adam_b1: float = number(least=0, below=1)
  adam_b2: float = number(least=0, below=1)
  adam_epsilon: float = number(above=0)
  layerwise_decay: float = number(
      above=0, most=1, hint="1.0 is for none, the release's -1"
  )
  released_layer_exponents: bool


@dataclasses.dataclass(frozen=True)
class FinetuneLoopConfig:
  """Epochs of a fine-tuning run, and when to do what.

  Attributes:
    num_epochs: passes over the training texts.
    batch_size: texts of a step over all devices.
    accumulation_steps: micro-batches of a step.
    loss_reduction: "mean", or "sum" as released.
    eval_batch_size: texts over all devices.
    log_every_steps: interval of training records; of this and the other
      intervals, 0 is for the end only.
    eval_every_steps: interval of evaluation.
    checkpoint_every_steps: interval of checkpoints.
    keep_all_models: whether the models of all seeds stay, or the best alone.
  """

  num_epochs: float = number(above=0)
  batch_size: int = number(**POSITIVE)
  accumulation_steps: int = number(**POSITIVE)
  loss_reduction: str = choice("mean", "sum")
  eval_batch_size: int = number(**POSITIVE)
  log_every_steps: int = number(least=0)
  eval_every_steps: int = number(least=0)
  checkpoint_every_steps: int = number(least=0)
  keep_all_models: bool


@dataclasses.dataclass(frozen=True)
class BottleneckConfig:
  """The information bottleneck before a class; see models/bottleneck.py.

  Attributes:
    dimensions: K of them; 0 for no bottleneck.
    beta: of the rate, in nats of a text, in the loss.
    warmup_proportion: of all steps, in which beta rises from 0.
    samples: drawn of each text in training.
    prior: what the rate is measured from: "standard" or "learned".
  """

  dimensions: int = number(least=0)
  beta: float = number(least=0)
  warmup_proportion: float = number(least=0, most=1)
  samples: int = number(**POSITIVE)
  prior: str = choice("standard", "learned")


@dataclasses.dataclass(frozen=True)
class TaskDistillConfig(DistillConfig):
  """What a run on a task learns from a teacher; see configs/distill.py.

  Attributes:
    temperature: of both networks' logits.
    logits_weight: factor of their divergence.
    label_weight: factor of the loss of the labels.
    unlabelled: file of texts that have the teacher's logits alone, or "".
  """

  temperature: float = with_default(1.0, number(above=0))
  logits_weight: float = with_default(1.0, number(least=0))
  label_weight: float = with_default(1.0, number(least=0))
  unlabelled: str = ""


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
  """The config of a fine-tuning run.

  Attributes:
    task: one, or several joined by "+".
    init_from: workdir of the run to start from, or "".
    random_init: whether its shapes and tokenizer are taken alone.
    seeds: runs, with seeds 0, 1, ….
    data: the texts.
    table: the columns of task=table.
    model: the encoder.
    questions: how answers are searched for.
    optimizer: how it learns.
    train: how long.
    mesh: the devices.
    trackers: where figures are sent as well: "wandb", "mlflow", or both with a
      comma between.
    bottleneck: between a text's vector and its class.
    distill: the teacher, if there is one.
    embedding: how task=embedding learns.
    generation: how tasks that write text do.
    autoencoder: how task=autoencode learns.
  """

  task: str
  init_from: str
  random_init: bool
  seeds: int = number(**POSITIVE)
  data: TaskDataConfig
  table: TableConfig
  model: EncoderModelConfig
  questions: QuestionsConfig
  optimizer: FinetuneOptimizerConfig
  train: FinetuneLoopConfig
  mesh: MeshConfig
  trackers: str = ""
  bottleneck: BottleneckConfig = BottleneckConfig(0, 1e-5, 1.0, 5, "learned")
  distill: TaskDistillConfig = TaskDistillConfig()
  embedding: EmbeddingConfig = EmbeddingConfig()
  generation: GenerationConfig = GenerationConfig()
  autoencoder: AutoencoderConfig = AutoencoderConfig()


def read_finetune_config(config: Any) -> FinetuneConfig:
  """Reads a config as of configs/finetune.py; see `read_pretrain_config`."""
  return read_kind(FinetuneConfig, config, "task", "configs/finetune.py")

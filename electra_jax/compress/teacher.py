"""The teacher of a distillation: which run it is, and what its tokens are like.

Its parameters are an argument of the training step beside the batch, and what
it says of the batch is computed before the step takes its gradient.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from electra_jax.compress.relations import relation_loss
from electra_jax.devices import sharding
from electra_jax.devices.attention import make_attend
from electra_jax.errors import UserError
from electra_jax.files import absolute
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import Electra
from electra_jax.models.encoder import Projections, projections_of
from electra_jax.models.flops import TRAINING_PASSES, encoder_flops
from electra_jax.models.layers import PROJECTIONS
from electra_jax.objectives.masking import Rows
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import DistillConfig
from electra_jax.runs.weights import find_weights, networks_of, read_encoder
from electra_jax.shapes import Params, RowSeeds, Scalar
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.training.checksums import examine


class Taught(NamedTuple):
  """What the step of a distillation gets in the place of a batch.

  Attributes:
    batch: of the feed.
    teacher: its parameters.
  """

  batch: Any
  teacher: Params


class Seen(NamedTuple):
  """A batch that the teacher has looked at, rows first.

  Attributes:
    batch: of the feed, prepared.
    projections: what the teacher's attention works on, or None without one.
  """

  batch: Any
  projections: Projections | None


class Student(NamedTuple):
  """What a teacher must fit.

  Attributes:
    encoder: its shapes.
    tokenizer: of its rows.
    length: tokens of a row.
    length_key: where that stands, as "config.data.length".
  """

  encoder: EncoderConfig
  tokenizer: Tokenizer
  length: int
  length_key: str


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
  """A run that a student learns relations from.

  Attributes:
    encoder: its shapes.
    layer: which one's relations are learnt, from 0.
    num_heads: relation heads, A.
    params: of what it runs, on the mesh.
    origin: which weights those are, down to a digest of them.
    model: its networks, without heads.
  """

  encoder: EncoderConfig
  layer: int
  num_heads: int
  params: Params
  origin: str
  model: Electra

  def look(self, params: Params, rows: Rows) -> Projections:
    """Returns what the attention of the layer works on, without dropout."""
    return projections(self.model, params, rows, self.layer)

  def loss(
      self,
      model: Electra,
      params: Params,
      seen: Seen,
      dropout_seeds: RowSeeds | None,
  ) -> tuple[Scalar, Scalar]:
    """Compares the last layer of a student with what the teacher's is like.

    Args:
      model: the student.
      params: its parameters.
      seen: masked rows, whose original text is compared, and the teacher's.
      dropout_seeds: one of each row, or None for no dropout.

    Returns:
      As of `relation_loss`.
    """
    rows, last = seen.batch.rows, model.config.discriminator.num_layers - 1
    ours = projections(model, params, rows, last, dropout_seeds)
    mask = rows.input_mask
    return relation_loss(ours, seen.projections, mask, self.num_heads)

  def training_flops_per_row(self, student: EncoderConfig, length: int) -> int:
    """Returns what learning its relations adds to a step; see models/flops.py.

    Args:
      student: runs on the rows as they are, and back.
      length: tokens of a row.
    """
    used = dataclasses.replace(self.encoder, num_layers=self.layer + 1)
    own = TRAINING_PASSES * encoder_flops(student, length)
    return own + encoder_flops(used, length)


def projections(
    model: Electra,
    params: Params,
    rows: Rows,
    layer: int,
    dropout_seeds: RowSeeds | None = None,
) -> Projections:
  """Returns what the attention of a discriminator's layer works on.

  Args:
    model: the networks.
    params: theirs.
    rows: the text.
    layer: its number, from 0; nothing above it is computed.
    dropout_seeds: one of each row, or None for no dropout.
  """
  _, kept = model.apply(
      {"params": params},
      *rows,
      dropout_seeds=dropout_seeds,
      method="discriminate",
      mutable=[PROJECTIONS],
  )
  return projections_of(kept, layer)


def taught(step: Callable[..., Any], teacher: Any | None) -> Callable[..., Any]:
  """Gives a jitted step its teacher's parameters beside each batch.

  Args:
    step: (state or parameters, batch, …) -> result.
    teacher: with `params`; None leaves the step as it is.
  """
  if teacher is None:
    return step

  def with_teacher(first, batch, *rest):
    return step(first, Taught(batch, teacher.params), *rest)

  return with_teacher


def find_teacher(
    distill: DistillConfig,
    student: Student,
    mesh: Mesh,
    *,
    dtype: str,
    attention: str,
) -> Teacher | None:
  """Finds a config's teacher and reads its encoder; None if it names none.

  Args:
    distill: the section of the config.
    student: what the teacher must fit.
    mesh: where its parameters are laid.
    dtype: of its activations.
    attention: as of config.model.attention.

  Raises:
    UserError: there is no such run, it has no sound checkpoint, or it does not
      fit the student.
  """
  if not distill.teacher:
    return None
  run = load_teacher(distill, student.tokenizer)
  networks = networks_of(run)
  encoder = networks.discriminator
  layer = check_teacher(distill, encoder, student)
  sharding.check_divisible(
      mesh,
      "number of the teacher's attention heads",
      encoder.num_heads,
      ("tensor",),
  )
  encoder = frozen_encoder(encoder, dtype)
  bare = ElectraConfig(
      encoder, None, has_generator_head=False, has_discriminator_head=False
  )
  model = Electra(
      bare, sharding.constrain_hidden(mesh), make_attend(attention, mesh)
  )
  folder, origin, _ = find_weights(distill.teacher, run)
  abstract = _abstract(Electra(bare))
  params = read_encoder(
      folder, networks, abstract, sharding.params_shardings(mesh, abstract)
  )
  return Teacher(
      encoder,
      layer,
      distill.relation_heads,
      params,
      with_digest(origin, params),
      model,
  )


def with_absolute_paths(distill: DistillConfig) -> DistillConfig:
  """Returns the section with paths that hold from any folder."""
  paths = {"teacher": shipped.absolute_or_name(distill.teacher)}
  if hasattr(distill, "unlabelled"):  # Of a fine-tuning.
    paths["unlabelled"] = absolute(distill.unlabelled)
  return dataclasses.replace(distill, **paths)


def describe_teacher(distill: DistillConfig, teacher: Teacher) -> str:
  """Returns what is shown of a teacher when a run starts."""
  count = teacher.encoder.num_layers
  return (
      f"teacher      {teacher.origin}; layer {teacher.layer + 1} of {count},"
      f" {distill.relation_heads} relation heads"
  )


def load_teacher(distill: DistillConfig, tokenizer: Tokenizer) -> workdirs.Run:
  """Opens the run that is to teach.

  Raises:
    UserError: there is no such run, or it is of another vocabulary.
  """
  try:
    run = workdirs.load(distill.teacher)
  except UserError as error:
    raise UserError(
        f"config.distill.teacher: {error}; electra-jax convert makes a workdir"
        " of a Google or Hugging Face folder"
    ) from error
  if run.tokenizer.digest != tokenizer.digest:
    raise UserError(
        f"the teacher in {distill.teacher} has a vocabulary of"
        f" {run.tokenizer.vocab_size} pieces and the student another one of"
        f" {tokenizer.vocab_size}; they must share one: take the student's text"
        f" apart by {distill.teacher}'s tokenizer, or choose another"
        " --config.distill.teacher"
    )
  return run


def check_teacher(
    distill: DistillConfig, encoder: EncoderConfig, student: Student
) -> int:
  """Checks that a teacher's shapes fit; returns the number of its layer.

  Raises:
    UserError: they do not.
  """
  longest = encoder.max_position_embeddings
  if student.length > longest:
    raise UserError(
        f"{student.length_key} {student.length} exceeds the {longest} positions"
        f" of the teacher in {distill.teacher}; set --{student.length_key}"
        f"={longest} or less, or choose another --config.distill.teacher"
    )
  heads = distill.relation_heads
  for whose, width in (
      (f"the teacher in {distill.teacher}", encoder.attention_width),
      ("the student", student.encoder.attention_width),
  ):
    if width % heads:
      raise UserError(
          f"config.distill.relation_heads {heads} does not divide the width"
          f" {width} of {whose}; choose a divisor of both widths,"
          f" {encoder.attention_width} and {student.encoder.attention_width}"
      )
  layer, count = distill.teacher_layer, encoder.num_layers
  if not 1 <= abs(layer) <= count:
    raise UserError(
        f"config.distill.teacher_layer is {layer} and the teacher in"
        f" {distill.teacher} has {count} layers: give 1 to {count}, or -1 to"
        f" -{count} from the last one down"
    )
  return layer - 1 if layer > 0 else count + layer


def frozen_encoder(encoder: EncoderConfig, dtype: str) -> EncoderConfig:
  """Returns an encoder's shapes for a network that is not trained."""
  return dataclasses.replace(
      encoder,
      dtype=dtype,
      remat="none",
      hidden_dropout=0.0,
      attention_dropout=0.0,
  )


def with_digest(origin: str, params: Params) -> str:
  """Puts a digest of weights before their origin.

  A run that is resumed thereby knows whether its teacher is still the same.
  """
  sums = sorted((name, x.checksum) for name, x in examine(params).items())
  digest = hashlib.sha256(repr(sums).encode()).hexdigest()
  return f"{digest[:16]}, {origin}"


def _abstract(model: Electra) -> Params:
  row = jnp.zeros((1, 2), jnp.int32)
  rng = jax.random.key(0)
  return jax.eval_shape(
      lambda: model.init(rng, row, row, row, method="discriminate")["params"]
  )

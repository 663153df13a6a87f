"""DiffCSE's other half: vectors that tell a detector what was replaced.

The run's own generator, frozen, fills masked tokens of a text. A detector that
starts as the run's own discriminator sees the corrupted text, and, in place of
the first token, the vector of the original one. What it cannot see in the
corrupted text it must read off the vector, whose encoder learns to tell it.
Generator and detector serve training alone.

Source: DiffCSE (Chuang et al., 2022), §3; here the generator samples, as in
pre-training, where the paper's takes the likeliest token.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.pretrained_encoder import PretrainedEncoder
from electra_jax.models.conditioned_detector import ConditionedDetector
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.models.electra import Electra, discriminator_embeddings
from electra_jax.models.layers import Embeddings
from electra_jax.objectives.corruption import corrupt, sample_replacements
from electra_jax.objectives.losses import WeightedSum, replaced_token_loss
from electra_jax.objectives.masking import (
    MaskedRows,
    MaskingConfig,
    Rows,
    mask_rows,
)
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Array, Float, Params
from electra_jax.training.checkpoint import Checkpointer

PARTS = FROZEN, DETECTOR = "frozen_generator", "detector"  # Of a train state.
_HEADS = ("discriminator", "discriminator_head")


@dataclasses.dataclass(frozen=True)
class Detection:
  """Generator and detector of a fine-tuning.

  Attributes:
    networks: of the run that it starts from.
    detector: shapes of the detector: the discriminator's, as it is trained.
    masking: which tokens the generator fills.
    weight: of the loss.
  """

  networks: ElectraConfig
  detector: EncoderConfig
  masking: MaskingConfig
  weight: float

  def init_params(self) -> Params:
    """Returns parameters of the shapes that `restore` reads; run abstractly."""
    row = jnp.zeros((1, 2), jnp.int32)
    params = Electra(self.networks).init(jax.random.key(0), row, row, row, row)
    params = params["params"]
    is_shared = self.networks.generator is None
    frozen = {
        name: part
        for name, part in params.items()
        if (name == "discriminator" and is_shared) or name not in _HEADS
    }
    frozen.pop("token_head", None)
    return {FROZEN: frozen, DETECTOR: {name: params[name] for name in _HEADS}}

  def draw(self, rng: jax.Array, texts: Any) -> MaskedRows:
    """Chooses tokens of the first text of each pair.

    Args:
      rng: of the step.
      texts: packed, as `tasks.packing.PackedTexts` has them.
    """
    return mask_rows(rng, _rows(texts), self.masking)

  def loss(
      self,
      params: Params,
      masked: MaskedRows,
      condition: Float[Array, "n E"],
  ) -> WeightedSum:
    """Sums the detector's loss over the tokens of the corrupted texts.

    Args:
      params: of the train state.
      masked: of `draw`.
      condition: of each text, from its vector.
    """
    frozen = jax.lax.stop_gradient(params[FROZEN])
    mask, segments = masked.rows.input_mask, masked.rows.segment_ids
    logits = Electra(self.networks).apply(
        {"params": frozen},
        masked.masked_input_ids,
        mask,
        segments,
        masked.masked_lm_positions,
        method="masked_lm_logits",
    )
    replacements = sample_replacements(logits, masked.sample_uniforms)
    corrupted_ids, is_replaced = corrupt(masked, replacements)
    seen = discriminator_embeddings(frozen, self.networks)
    embeddings = Embeddings(self.detector).apply(
        {"params": seen}, corrupted_ids, segments
    )
    found = ConditionedDetector(self.detector).apply(
        {"params": params[DETECTOR]},
        embeddings,
        condition,
        mask,
        masked.dropout_seeds,
    )
    # The first token is the vector.
    is_read = (mask > 0) & (jnp.arange(mask.shape[1]) > 0)[None]
    return replaced_token_loss(found, is_replaced, is_read.astype(jnp.float32))


def make_detection(
    config: FinetuneConfig, start: PretrainedEncoder
) -> Detection | None:
  """Returns what "diffcse" needs beside the encoder; None for other methods.

  Raises:
    UserError: the run that is started from has no generator or discriminator.
  """
  if config.task != "embedding" or config.embedding.method != "diffcse":
    return None
  networks = start.networks
  if start.checkpoints is None or networks is None:
    what = "random weights"
  elif not networks.has_discriminator_head or not networks.has_generator_head:
    what = "a run without generator or discriminator"
  elif networks.has_two_towers:
    what = "a run whose generator is two towers"
  else:
    special = start.tokenizer.special
    masking = MaskingConfig(
        mask_prob=config.embedding.detection_mask_prob,
        max_length=config.data.max_length,
        mask_id=special.mask,
        unmaskable_ids=(special.cls, special.sep, special.mask),
    )
    weight = config.embedding.detection_weight
    return Detection(networks, start.encoder, masking, weight)
  raise UserError(
      f"config.embedding.method=diffcse starts from {what}, and needs a"
      " pre-trained masked-LM generator and its discriminator; name such a run by"
      " --config.init_from, or set --config.embedding.method=simcse"
  )


def restore(
    detection: Detection, start: PretrainedEncoder, mesh: Mesh
) -> Params:
  """Reads generator and detector from the run that is started from."""
  abstract = jax.eval_shape(detection.init_params)
  names = {**abstract[FROZEN], **abstract[DETECTOR]}
  with Checkpointer(start.checkpoints) as checkpointer:
    params = checkpointer.read_params(
        names, sharding.params_shardings(mesh, names)
    )
  return {
      part: {name: params[name] for name in some}
      for part, some in abstract.items()
  }


def _rows(texts: Any) -> Rows:
  """Unpacks the first text of each pair into a row of its own."""
  input_ids, _, starts, lengths = texts
  place = jnp.arange(input_ids.shape[1], dtype=jnp.int32)[None]
  starts, totals = starts[::2, None], lengths[::2, 1:]
  flat = input_ids.reshape(-1)
  ids = flat[jnp.minimum(starts + place, flat.shape[0] - 1)]
  mask = (place < totals).astype(jnp.int32)
  return Rows(ids * mask, mask, jnp.zeros_like(mask))

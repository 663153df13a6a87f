"""The discriminator's encoder with the heads of one or several tasks.

Texts come packed: several behind each other in a row, blind to each other, so
that padding is not computed. A row per text is the special case.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from electra_jax.models.attention import attend
from electra_jax.models.config import EncoderConfig
from electra_jax.models.dropout import fold_seeds
from electra_jax.models.encoder import Encoder, EncoderOutput
from electra_jax.models.layers import Embeddings
from electra_jax.models.pooling import pool_tokens
from electra_jax.models.task_heads import HeadConfig, TaskHeads
from electra_jax.shapes import Array, Hidden, Int, RowSeeds

_ENCODER_PLACE, _HEAD_PLACE = 0, 1  # Each draws its own dropout.


class TaskModel(nn.Module):
  """Encoder and heads; parameters of the encoder as `Electra` has them.

  Attributes:
    config: the discriminator's.
    heads: one for each task.
    constrain: see `Encoder`.
    attend: see `Encoder`.
  """

  config: EncoderConfig
  heads: tuple[HeadConfig, ...]
  constrain: Callable[[Hidden], Hidden] = lambda x: x
  attend: Callable[..., Hidden] = attend

  def setup(self):
    self.embeddings = Embeddings(self.config)
    self.discriminator = Encoder(self.config, self.constrain, self.attend)
    self.task_specific = TaskHeads(self.heads, self.config)

  def __call__(
      self,
      input_ids: Int[Array, "R L"],
      owners: Int[Array, "R L"],
      starts: Int[Array, " B"],
      lengths: Int[Array, "B 2"],
      *,
      word_places: Mapping[str, Int[Array, "B W"]],
      answer_starts: Mapping[str, Int[Array, " B"]] | None,
      beam_size: int = 20,
      max_answer_length: int = 30,
      dropout_seeds: RowSeeds | None = None,
  ) -> dict[str, Any]:
    """Encodes packed texts and runs every head on every text.

    Args:
      input_ids: R rows of texts behind each other, then padding.
      owners: the number of the text, from 0, that each token is of; -1 for
        padding.
      starts: of each text, in the rows as one sequence of R * L tokens.
      lengths: of each text's first segment, and of the whole text; 0 for a
        text that only fills up the batch.
      word_places: for each tagging task, the place in its text of the first
        piece of each word.
      answer_starts: for each question task, the gold starts; None where
        answers are searched for.
      beam_size: S, how many starts and ends a search keeps.
      max_answer_length: tokens of an answer, for a head that chooses starts and
        ends apart.
      dropout_seeds: [B] one of each text, or None for no dropout.

    Returns:
      By task: [B, C] logits, BottleneckOutput of a head that has a bottleneck,
      [B, W, C] logits of tags, SpanLogits in training and SpanBeam in a search,
      TextVectors of an embedding; all in float32.
    """
    encoded = self._encode(
        input_ids,
        owners,
        starts,
        lengths,
        fold_seeds(dropout_seeds, _ENCODER_PLACE),
    )
    hidden = encoded.sequence
    tokens = hidden.reshape(-1, hidden.shape[-1])  # [R * L, D]
    outputs = {}
    for head in self.heads:
      run = self.task_specific.of(head.name)
      if head.kind == "questions":
        places = jnp.arange(input_ids.shape[1])[None]
        rows = tokens[_bounded(starts[:, None] + places, tokens)]  # [B, L, D]
        # The last [SEP] is left to choose as released, and in theirs is not.
        ends = lengths[:, 1:] - (head.shape == "huggingface")
        context = (places >= lengths[:, :1]) & (places < ends)
        mask = (context | (places == 0)).astype(jnp.int32)
        if answer_starts is None:
          outputs[head.name] = run.search(
              rows, mask, beam_size, max_answer_length
          )
        else:
          outputs[head.name] = run.logits(rows, mask, answer_starts[head.name])
      elif head.kind == "tagging":
        places = starts[:, None] + word_places[head.name]
        outputs[head.name] = run(tokens[_bounded(places, tokens)])
      elif head.kind == "embedding":
        states = (*encoded.layers, hidden)[head.layer]
        tokens_there = states.reshape(-1, states.shape[-1])
        places = jnp.arange(input_ids.shape[1])[None]
        rows = tokens_there[_bounded(starts[:, None] + places, tokens)]
        mask = (places < lengths[:, 1:]).astype(jnp.int32)
        outputs[head.name] = run(pool_tokens(rows, mask, head.pooling))
      else:
        outputs[head.name] = run(
            tokens[starts], fold_seeds(dropout_seeds, _HEAD_PLACE)
        )
    return outputs

  def _encode(
      self, input_ids, owners, starts, lengths, dropout_seeds
  ) -> EncoderOutput:
    is_token = owners >= 0
    place = jnp.arange(owners.size).reshape(owners.shape)
    positions = jnp.where(is_token, place - starts[owners], 0)
    segments = is_token & (positions >= lengths[:, 0][owners])
    if dropout_seeds is not None:
      dropout_seeds = dropout_seeds[owners]  # [R, L]
    return self.discriminator(
        self.embeddings(input_ids, segments.astype(jnp.int32), positions),
        owners + 1,
        positions=positions,
        dropout_seeds=dropout_seeds,
    )


def _bounded(places, tokens):
  # A place behind the last text of a short row is never used.
  return jnp.minimum(places, tokens.shape[0] - 1)

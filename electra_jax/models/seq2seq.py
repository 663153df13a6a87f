"""Sequence-to-sequence: a text in, another text out, from one encoder.

Four architectures read the source with the discriminator's encoder and score
the target token by token with a masked-LM head:

- "unilm": one stack over source and target, with a mask alone;
- "shared": the encoder's layers are the decoder's too, with attention to the
  source in each (BERTSHARE);
- "separate": the decoder has such layers of its own (BERT2BERT);
- "recurrent": a GRU with attention to the encoder's states.

Each has two ways to run: `__call__` over whole targets, and `start` and `step`,
which keep what earlier tokens left and read one token of each beam.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from electra_jax.errors import UserError
from electra_jax.models.attention import (
    SOURCE_TO_TARGET,
    Attended,
    attend,
    split_heads,
)
from electra_jax.models.config import EncoderConfig
from electra_jax.models.decoder import (
    CachedAttention,
    CrossAttention,
    Decoder,
    Past,
    ancestors_bias,
    empty_past,
    padding_bias,
)
from electra_jax.models.dropout import Seeds, fold_seeds
from electra_jax.models.encoder import Encoder, projections_of_stack
from electra_jax.models.heads import LabelScores, MaskedLMHead
from electra_jax.models.layers import PROJECTIONS, Embeddings
from electra_jax.models.recurrent_decoder import (
    RecurrentDecoder,
    RecurrentMemory,
    recurrent_memory,
)
from electra_jax.shapes import Array, Float, Hidden, Int, RowSeeds

ARCHITECTURES = ("unilm", "shared", "separate", "recurrent")
ENCODER_PLACE, _DECODER_PLACE = 0, 1  # Each draws its own dropout.


class Memory(NamedTuple):
  """What a target is written from; it does not change meanwhile.

  Attributes:
    sources: what each layer attends to, or what a recurrent decoder reads.
    lengths: tokens of each source.
  """

  sources: tuple[Attended, ...] | RecurrentMemory
  lengths: Int[Array, " B"]


Kept = tuple[Past, ...] | Float[Array, "B K D"]


class Seq2Seq(nn.Module):
  """Encoder, decoder and head; the encoder's parameters as `Electra` has them.

  Source: "unilm" is Dong et al. (2019), "Unified language model pre-training
  for natural language understanding and generation", §2.3, trained on all of
  the target; "shared" and "separate" are BERTSHARE and BERT2BERT of Rothe et
  al. (2020), §3, with one set of embeddings.

  Attributes:
    config: the discriminator's; its dropout is the decoder's too.
    architecture: one of ARCHITECTURES.
    constrain: see `Encoder`.
    attend: see `Encoder`.
  """

  config: EncoderConfig
  architecture: str = "unilm"
  constrain: Callable[[Hidden], Hidden] = lambda x: x
  attend: Callable[..., Hidden] = attend

  def setup(self):
    config = self.config
    if self.architecture not in ARCHITECTURES:
      raise UserError(
          f"architecture is {self.architecture!r}; it must be one of"
          f" {', '.join(ARCHITECTURES)}"
      )
    direction = SOURCE_TO_TARGET if self._is_one_stack else "both"
    self.embeddings = Embeddings(config)
    self.discriminator = Encoder(config, self.constrain, self.attend, direction)
    self.target_head = MaskedLMHead(config)
    if self.architecture == "recurrent":
      self.decoder = RecurrentDecoder(config)
    elif not self._is_one_stack:
      self.decoder = Decoder(config, self.architecture == "separate")

  def __call__(
      self,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      target_ids: Int[Array, "B T"],
      target_mask: Int[Array, "B T"],
      *,
      source_segments: Int[Array, "B S"] | None = None,
      dropout_seeds: RowSeeds | None = None,
  ) -> Float[Array, "B T D"]:
    """States that score the token behind each token of the target.

    Args:
      source_ids: texts, then padding.
      source_mask: 1 for tokens, 0 for padding.
      target_ids: what stands before each token to be scored: the id of the
        beginning, then the target without its end.
      target_mask: 1 for tokens, 0 for padding, which stands behind them.
      source_segments: 0 or 1, or None for 0 everywhere.
      dropout_seeds: one of each text, or None for no dropout.

    Raises:
      UserError: the rows have more places than the position table.
    """
    self._check_lengths(source_ids.shape[1], target_ids.shape[1])
    if source_segments is None:
      source_segments = jnp.zeros_like(source_ids)
    given = (source_ids, source_mask, source_segments)
    seeds = fold_seeds(dropout_seeds, ENCODER_PLACE)
    if self._is_one_stack:
      return self._run_one_stack(*given, target_ids, target_mask, seeds)
    states, mask = self._encode(*given, seeds)
    return self._decode(states, mask, target_ids, target_mask, dropout_seeds)

  def label_scores(
      self,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      target_ids: Int[Array, "B T"],
      target_mask: Int[Array, "B T"],
      labels: Int[Array, "B T"],
      **options: Any,
  ) -> LabelScores:
    """What training needs of every label; see `__call__` for the others."""
    states = self(source_ids, source_mask, target_ids, target_mask, **options)
    return self.target_head.label_scores(states, self._table(), labels)

  def log_probabilities(
      self, states: Float[Array, "B T D"], ids: Int[Array, "B T M"]
  ) -> Float[Array, "B T M"]:
    """What the states of `__call__` give M ids at every place, in nats."""
    return self.target_head.log_probabilities(states, self._table(), ids)

  def logits(self, states: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    """All logits of the states of `__call__`, in float32."""
    return self.target_head(states, self._table())

  def start(
      self,
      source_ids: Int[Array, "B S"],
      source_mask: Int[Array, "B S"],
      *,
      source_segments: Int[Array, "B S"] | None = None,
      beam_size: int = 1,
      max_length: int,
  ) -> tuple[Memory, Kept]:
    """Reads the sources before the first step.

    Args:
      source_ids: as of `__call__`.
      source_mask: the same.
      source_segments: the same.
      beam_size: K.
      max_length: T, how many steps there will be at most.
    """
    self._check_lengths(source_ids.shape[1], max_length)
    if source_segments is None:
      source_segments = jnp.zeros_like(source_ids)
    if self._is_one_stack:
      sources = self._projections(source_ids, source_mask, source_segments)
      lengths = jnp.sum(source_mask > 0, axis=1)
      past = empty_past(self.config, len(source_ids), beam_size, max_length)
      return Memory(sources, lengths), past
    states, mask = self._encode(source_ids, source_mask, source_segments, None)
    return self._memory(states, mask, beam_size, max_length)

  def step(
      self,
      memory: Memory,
      kept: Kept,
      tokens: Int[Array, "B K"],
      ancestry: Int[Array, "B K T"],
      place: Int[Array, ""],
  ) -> tuple[Float[Array, "B K V"], Kept]:
    """Reads one token of each of K beams.

    Args:
      memory: of `start`.
      kept: of `start` or the step before.
      tokens: at this place: the id of the beginning at the first.
      ancestry: for every place before this one, the beam that read the token
        which this beam continues.
      place: from 0.

    Returns:
      Logits of the next token, in float32, and what the next step needs.
    """
    places = jnp.broadcast_to(place, tokens.shape)
    segments = jnp.zeros_like(tokens)
    if self._is_one_stack:
      places, segments = places + memory.lengths[:, None], segments + 1
    embeddings = self.embeddings(tokens, segments, places)
    if self.architecture == "recurrent":
      writers = jax.lax.dynamic_index_in_dim(
          ancestry, jnp.maximum(place - 1, 0), axis=2
      )  # [B, K, 1]
      state = jnp.take_along_axis(kept, writers, axis=1)
      state, states = self.decoder.step(state, embeddings, memory.sources)
      return self.logits(states), state
    one_stack = self._is_one_stack
    attention = CachedAttention(
        *(kept, place, ancestors_bias(ancestry, place)),
        sources=memory.sources if one_stack else (),
    )
    states = self._run_layers(
        *(embeddings, jnp.ones_like(tokens), attention),
        between=None if one_stack else self._between(memory.sources),
        positions=places,
    )
    return self.logits(states), tuple(attention.past)

  @property
  def _is_one_stack(self) -> bool:
    return self.architecture == "unilm"

  def _table(self):
    return self.embeddings.word_table()

  def _encode(
      self, ids, mask, segments, seeds: Seeds | None
  ) -> tuple[Hidden, Int[Array, "B S"]]:
    """Returns what the target is written from, and its mask."""
    embeddings = self.embeddings(ids, segments)
    output = self.discriminator(embeddings, mask, dropout_seeds=seeds)
    return output.sequence, mask

  def _decode(
      self, states, source_mask, target_ids, target_mask, dropout_seeds
  ) -> Hidden:
    embeddings = self.embeddings(target_ids, jnp.zeros_like(target_ids))
    seeds = fold_seeds(dropout_seeds, _DECODER_PLACE)
    if self.architecture == "recurrent":
      return self.decoder(
          embeddings, recurrent_memory(states, source_mask), seeds
      )
    if self.is_initializing():
      self.decoder(embeddings[:, :1], target_mask[:, :1], states[:, :1])
    sources = self._read(states, source_mask)
    return self._run_layers(
        *(embeddings, target_mask, self.attend),
        between=self._between(sources),
        seeds=seeds,
        remat=self.config.remat,
    )

  def _memory(
      self, states, mask, beam_size: int, max_length: int
  ) -> tuple[Memory, Kept]:
    """Returns what `start` does, of states that a target is written from."""
    lengths = jnp.sum(mask > 0, axis=1)
    if self.architecture == "recurrent":
      memory = recurrent_memory(states, mask)
      state = self.decoder.first_state(memory)[:, None]
      return Memory(memory, lengths), jnp.repeat(state, beam_size, axis=1)
    past = empty_past(self.config, len(states), beam_size, max_length)
    return Memory(self._read(states, mask), lengths), past

  def _run_one_stack(
      self, ids, mask, segments, target_ids, target_mask, seeds
  ) -> Hidden:
    lengths = jnp.sum(mask > 0, axis=1, keepdims=True)
    length = ids.shape[1]
    places = jnp.broadcast_to(jnp.arange(length)[None], ids.shape)
    # A target stands right behind its source, wherever padding ends.
    target_places = lengths + jnp.arange(target_ids.shape[1])[None]
    positions = jnp.concatenate([places, target_places], axis=1)
    pairs = (
        (ids, target_ids),
        (segments, jnp.ones_like(target_ids)),
        (mask, 2 * target_mask),
    )
    ids, segments, mask = (jnp.concatenate(pair, axis=1) for pair in pairs)
    output = self.discriminator(
        self.embeddings(ids, segments, positions),
        mask,
        positions=positions,
        dropout_seeds=seeds,
    )
    return output.sequence[:, length:]

  def _projections(self, ids, mask, segments) -> tuple[Attended, ...]:
    # Keys and values of the source, which sees nothing but itself.
    config = dataclasses.replace(self.config, remat="none")
    stack = Encoder(config, self.constrain, self.attend, parent=None)
    _, kept = stack.apply(
        {"params": self.discriminator.variables["params"]},
        self.embeddings(ids, segments),
        mask,
        mutable=[PROJECTIONS],
    )
    heads, bias = config.num_heads, padding_bias(mask)
    return tuple(
        Attended(split_heads(x.key, heads), split_heads(x.value, heads), bias)
        for x in projections_of_stack(kept[PROJECTIONS])
    )

  def _read(self, states, mask) -> tuple[Attended, ...]:
    bias = padding_bias(mask)
    return tuple(
        run(states, bias, method="read") for run in self._cross_attentions()
    )

  def _between(self, sources):
    runs = self._cross_attentions()

    def between(layer, hidden, seeds):
      return runs[layer](hidden, sources[layer], seeds)

    return between

  def _cross_attentions(self):
    # Functions of parameters, as a layer that is computed again in the
    # backward pass may call no module but its own.
    module = CrossAttention(self.config, parent=None)
    params = self.decoder.variables["params"]

    def of_layer(i):
      variables = {"params": params[f"cross_{i}"]}
      return lambda *args, **options: module.apply(variables, *args, **options)

    return [of_layer(i) for i in range(self.config.num_layers)]

  def _run_layers(
      self,
      embeddings,
      mask,
      attend,
      *,
      between,
      positions=None,
      seeds=None,
      remat="none",
  ) -> Hidden:
    # The layers of the decoder, whosoever they are.
    is_own = self.architecture == "separate"
    holder = self.decoder if is_own else self.discriminator
    config = dataclasses.replace(self.config, remat=remat)
    stack = Encoder(
        *(config, self.constrain, attend, "left_to_right", between),
        parent=None,
    )
    output = stack.apply(
        {"params": holder.variables["params"]},
        embeddings,
        mask,
        positions=positions,
        dropout_seeds=seeds,
    )
    return output.sequence

  def _check_lengths(self, source: int, target: int) -> None:
    longest = self.config.max_position_embeddings
    needed = source + target if self._is_one_stack else max(source, target)
    if needed > longest:
      together = "together " if self._is_one_stack else ""
      raise UserError(
          f"sources of {source} and targets of {target} tokens need"
          f" {together}{needed} positions and the encoder has {longest};"
          " choose shorter ones"
      )


def longest_target(
    config: EncoderConfig, architecture: str, source_length: int
) -> int:
  """Returns how many tokens the position table leaves to a target.

  Args:
    config: the encoder's.
    architecture: one of ARCHITECTURES.
    source_length: tokens of the longest source.
  """
  longest = config.max_position_embeddings
  return longest - source_length if architecture == "unilm" else longest

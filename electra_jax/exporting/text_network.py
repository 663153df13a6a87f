"""What is exported of a run that writes text: an encoder, and a decoder's step.

The encoder's file reads the sources once. The decoder's reads one token of
each row and says which may come next; what it keeps of the tokens so far goes
out, and into the next step.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.decoding.config import DecodingConfig
from electra_jax.exporting.networks import BATCH, Port, as_numpy, plain_config
from electra_jax.finetuning.generation_checks import decoding_config
from electra_jax.interop.written_text import TextState
from electra_jax.models.config import EncoderConfig
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task
from electra_jax.text.join_words import JOINS
from electra_jax.text.tokenizer import WORD_START, Tokenizer
from electra_jax.text.wordpiece import CONTINUATION

SOURCE, PAST = "source", "past"  # Axes: tokens of a source, tokens written.
_KEPT = ("past_key_", "past_value_")  # Of each layer, before a step.


@dataclasses.dataclass(frozen=True)
class TextNetwork:
  """A network that writes, in float32.

  Attributes:
    config: shapes of the encoder.
    architecture: see `models.seq2seq`.
    params: numpy arrays by the paths of the run.
    task: that it has learned.
    step: updates done.
    source_length: tokens of a source at most, in training.
    decoding: how the run chooses words.
    tokenizer: of both sides.
  """

  config: EncoderConfig
  architecture: str
  params: Params
  task: Task
  step: int
  source_length: int
  decoding: DecodingConfig
  tokenizer: Tokenizer

  name = "encoder-decoder"

  @property
  def is_one_stack(self) -> bool:
    """Whether one stack reads and writes."""
    return self.architecture == "unilm"

  @property
  def is_recurrent(self) -> bool:
    """Whether a state is kept in place of keys and values."""
    return self.architecture == "recurrent"

  @property
  def encoder_inputs(self) -> tuple[Port, ...]:
    """What the encoder's file reads."""
    row = (BATCH, SOURCE)
    return (
        Port("source_ids", "int32", row, "ids of tokens, padded at the end"),
        _mask(),
        Port("source_segments", "int32", row, "1 for a second text, else 0"),
    )

  @property
  def memory(self) -> tuple[Port, ...]:
    """What the encoder's file gives, and every step reads."""
    if self.is_recurrent:
      shape = (BATCH, SOURCE, self.config.hidden_size)
      return (Port("source_states", "float32", shape, "of the encoder"),)
    return self._keys_and_values("source_key_", "source_value_", SOURCE)

  @property
  def encoder_outputs(self) -> tuple[Port, ...]:
    """What the encoder's file gives."""
    return (*self.memory, *(self.kept if self.is_recurrent else ()))

  @property
  def kept(self) -> tuple[Port, ...]:
    """What a step reads of the step before."""
    if self.is_recurrent:
      shape = (BATCH, self.config.hidden_size)
      return (Port("past_state", "float32", shape, "of the decoder"),)
    return self._keys_and_values(*_KEPT, PAST)

  @property
  def decoder_inputs(self) -> tuple[Port, ...]:
    """What a step reads."""
    return (
        Port("tokens", "int32", (BATCH,), "the newest token of each row"),
        Port("place", "int32", (1,), "of these tokens in their text, from 0"),
        _mask(),
        *self.memory,
        *self.kept,
    )

  @property
  def decoder_outputs(self) -> tuple[Port, ...]:
    """What a step gives."""
    shape = (BATCH, self.config.vocab_size)
    return (
        Port("logits", "float32", shape, "of the token behind the newest one"),
        *(
            port._replace(
                name=next_name(port.name),
                shape=tuple(
                    f"{PAST} + 1" if x == PAST else x for x in port.shape
                ),
            )
            for port in self.kept
        ),
    )

  def _keys_and_values(self, key: str, value: str, axis: str):
    heads, width = self.config.num_heads, self.config.head_width
    return tuple(
        port
        for i in range(self.config.num_layers)
        for port in (
            Port(f"{key}{i}", "float32", (BATCH, heads, width, axis), "keys"),
            Port(
                f"{value}{i}", "float32", (BATCH, heads, axis, width), "values"
            ),
        )
    )


def next_name(name: str) -> str:
  """Returns how a step calls what it keeps for the next one."""
  return name.replace(PAST, "present", 1)


def text_network(
    state: TextState, config: FinetuneConfig, tokenizer: Tokenizer
) -> TextNetwork:
  """Returns the network of a run that writes text.

  Args:
    state: its parameters.
    config: of the run.
    tokenizer: of the run.
  """
  return TextNetwork(
      plain_config(state.encoder),
      state.architecture,
      as_numpy(state.params),
      state.task,
      state.step,
      config.data.max_length,
      decoding_config(config),
      tokenizer,
  )


def text_facts(
    network: TextNetwork, files: Mapping[str, str]
) -> dict[str, Any]:
  """Returns what a program must know to write text, for manifest.json.

  Args:
    network: that was exported.
    files: names of its float32 files, by "encoder" and "decoder".
  """
  return {
      "architecture": network.architecture,
      "encoder": {
          "file": files["encoder"],
          "inputs": _ports(network.encoder_inputs),
          "outputs": _ports(network.encoder_outputs),
      },
      "decoder": {
          "file": files["decoder"],
          "inputs": _ports(network.decoder_inputs),
          "outputs": _ports(network.decoder_outputs),
          "memory": [port.name for port in (_mask(), *network.memory)],
          "kept": {port.name: next_name(port.name) for port in network.kept},
      },
      "lengths": {
          "source": network.source_length,
          "target": network.decoding.max_length,
          "longest": network.config.max_position_embeddings,
      },
      "task": {
          "name": network.task.name,
          "kind": network.task.kind,
          "takes_pairs": network.task.takes_pairs,
      },
      "decoding": decoding_facts(network),
      "words": _words(network.tokenizer),
  }


def decoding_facts(network: TextNetwork) -> dict[str, Any]:
  """Returns how words are chosen, as `writing_loop` takes it."""
  special = network.tokenizer.special
  return {
      **dataclasses.asdict(network.decoding),
      "begin": special.cls,
      "end": special.sep,
      "never": sorted({special.cls, special.pad, special.unk, special.mask}),
  }


def _words(tokenizer: Tokenizer) -> dict[str, Any]:
  """Returns how pieces become text; see `text.join_words`."""
  is_wordpiece = tokenizer.kind == "wordpiece"
  return {
      "mark": CONTINUATION if is_wordpiece else WORD_START,
      "marks_start": not is_wordpiece,
      "joins": [list(pair) for pair in JOINS] if is_wordpiece else [],
  }


def _mask() -> Port:
  meaning = "1 for tokens, 0 for padding"
  return Port("source_mask", "int32", (BATCH, SOURCE), meaning)


def _ports(ports: Sequence[Port]) -> list[dict[str, Any]]:
  return [{**port._asdict(), "shape": list(port.shape)} for port in ports]

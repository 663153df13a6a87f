"""The discriminator's verdicts on rows, and how a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.text

from electra_jax.objectives.corruption import corrupt
from electra_jax.objectives.generators import Networks, ObjectiveOptions
from electra_jax.objectives.masking import MaskedRows
from electra_jax.objectives.objective import Method
from electra_jax.shapes import Array, Float, TokenIds
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import Tokenizer
from electra_jax.text.visible import visible_token

# From which probability on a token of one's own text has which shade.
SHADES = (
    (0.75, "bold color(196) underline"),
    (0.50, "bold color(208)"),
    (0.25, "color(178)"),
    (0.10, "color(142)"),
)
_CALLED = 0.5  # Probability from which on a token is called replaced.
_BESIDE_NEXT = tuple(".,;:!?)%]}'\u2019")  # No space before these,
_BESIDE_LAST = tuple("(['\u2019$")  # and none behind these.


class Detection(NamedTuple):
  """The discriminator's verdict on one text.

  Attributes:
    tokens: the tokens it saw, [CLS] and [SEP] among them.
    originals: the tokens of the text; differ where the generator replaced.
    probabilities: of each token, that it was replaced.
  """

  tokens: list[str]
  originals: list[str]
  probabilities: list[float]


def judge(
    networks: Networks,
    method: Method,
    masked: MaskedRows,
    options: ObjectiveOptions,
    *,
    corrupted: bool,
) -> tuple[TokenIds, Float[Array, "B L"]]:
  """Returns the ids that were judged and the probability of a replacement.

  Args:
    networks: both of them.
    method: with an objective that detects.
    masked: the rows.
    options: of the objective.
    corrupted: whether the generator replaces the chosen tokens first.
  """
  input_ids = masked.rows.input_ids
  if corrupted:
    generated = method.generator.function(networks, masked, options)
    input_ids, _ = corrupt(masked, generated.replacements)
  logits = method.objective.detect(networks, masked, options, input_ids)
  return input_ids, jax.nn.sigmoid(logits)


def to_detections(
    tokenizer: Tokenizer,
    batch: Batch,
    judged_ids: TokenIds | np.ndarray,
    probabilities: Float[Array, "B L"] | np.ndarray,
) -> list[Detection]:
  """Returns a verdict for each row, without padding.

  Args:
    tokenizer: of the ids.
    batch: the rows as they were.
    judged_ids: of `judge`.
    probabilities: of `judge`.
  """
  detections = []
  for row, original in enumerate(np.asarray(batch.input_ids)):
    length = int(batch.segment_lengths[row, 1])
    detections.append(
        Detection(
            tokenizer.tokens(judged_ids[row, :length].tolist()),
            tokenizer.tokens(original[:length].tolist()),
            probabilities[row, :length].tolist(),
        )
    )
  return detections


def detection_of(row: Mapping[str, Any]) -> Detection:
  """Returns the verdict on a row that an evaluation has kept.

  Args:
    row: of `held_out.make_sample`.
  """
  originals, replaced = row["tokens"], row["replaced"]
  tokens = [replaced.get(str(i), old) for i, old in enumerate(originals)]
  return Detection(tokens, originals, row["probabilities"])


def is_corrupted(detection: Detection) -> bool:
  """Whether a generator has replaced anything."""
  return detection.tokens != detection.originals


def render_detection(
    detection: Detection, most_tokens: int | None = None
) -> rich.text.Text:
  """Colours one text by what the discriminator says.

  Where tokens were replaced, each of them is underlined, with the original
  behind it. Green: found; yellow: missed; red: a false alarm; plain: rightly
  called original. Of a text as it was typed, a token has the shade of its
  probability. [CLS] and the last [SEP] are left out.

  Args:
    detection: the verdict.
    most_tokens: a longer text is cut after so many.
  """
  text, is_own = rich.text.Text(), not is_corrupted(detection)
  inside = range(len(detection.tokens))
  if detection.originals[:1] == ["[CLS]"]:
    inside = inside[1:]
  if inside and detection.originals[inside[-1]] == "[SEP]":
    inside = inside[:-1]
  is_cut = most_tokens is not None and len(inside) > most_tokens
  is_marked = any(token.startswith("▁") for token in detection.originals)
  before = "", ""
  for i in inside[:most_tokens]:
    token, original = detection.tokens[i], detection.originals[i]
    probability = detection.probabilities[i]
    if text and _has_space(before, (original, token), is_marked):
      text.append(" ")
    before = original, token
    if is_own:
      text.append(visible_token(token), style=shade(probability))
    else:
      _append_verdict(text, token, original, probability)
    if is_own and probability > _CALLED:
      text.append(f"({probability:.0%})", style="dim")
  return text.append(" …") if is_cut else text


def shade(probability: float) -> str:
  """Returns the style of a token of one's own text."""
  return next((s for least, s in SHADES if probability >= least), "")


def join_tokens(tokens: Sequence[str]) -> str:
  """Returns about the text that a row's tokens come from."""
  inside = tokens[1:-1]  # Without [CLS] and the last [SEP].
  if any(token.startswith("▁") for token in inside):
    return "".join(inside).replace("▁", " ").strip()
  return " ".join(inside).replace(" ##", "")


def _append_verdict(
    text: rich.text.Text, token: str, original: str, probability: float
) -> None:
  replaced, called = token != original, probability > _CALLED
  style = {
      (True, True): "bold green underline",
      (True, False): "yellow underline",
      (False, True): "red",
      (False, False): "",
  }[replaced, called]
  text.append(visible_token(token), style=style)
  if replaced:
    text.append(f"({visible_token(original)} {probability:.0%})", style="dim")
  elif called:
    text.append(f"({probability:.0%})", style="dim")


def _has_space(
    before: tuple[str, str], here: tuple[str, str], is_marked: bool
) -> bool:
  """Whether a space stands between two tokens of a text, as far as is known.

  Args:
    before: the token before it: the original, and what is shown.
    here: the token, likewise.
    is_marked: whether spaces are told by "▁", as SentencePiece does.
  """
  if is_marked:
    return here[0].startswith("▁")
  if here[0].startswith("##"):
    return False
  # A word that stands in place of a comma has a space.
  return not (
      all(token.startswith(_BESIDE_NEXT) for token in here)
      or (
          all(token.endswith(_BESIDE_LAST) for token in before if token)
          and any(before)
      )
  )

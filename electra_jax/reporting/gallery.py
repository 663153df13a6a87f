"""Held-out sentences as the discriminator saw them, evaluation by evaluation."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.reporting.records import number
from electra_jax.text.visible import visible_token

_MOST_FRAMES = 24  # Evaluations that a page shows, spread over the run.
_SHADES = (0.05, 0.2, 0.4, 0.6, 0.8)  # From where each one begins.
_CALLED = 0.5  # From where a token counts as called replaced.
FOUND, MISSED, ALARM, RIGHT = "found", "missed", "alarm", "right"


@dataclasses.dataclass(frozen=True)
class Piece:
  """One token.

  Attributes:
    text: as it was seen.
    original: what stood there, or "" where nothing was replaced.
    percent: probability of a replacement.
    shade: 0 to 5, by that.
    verdict: FOUND, MISSED, ALARM or RIGHT.
    gap: whether a space goes before it.
    is_special: whether it is one like [CLS].
  """

  text: str
  original: str
  percent: int
  shade: int
  verdict: str
  gap: bool
  is_special: bool


@dataclasses.dataclass(frozen=True)
class Row:
  """One sentence.

  Attributes:
    pieces: its tokens.
    left_out: how many more there were.
    found: replaced tokens that were called so.
    replaced: replaced tokens.
    alarms: original ones that were called replaced.
  """

  pieces: Sequence[Piece]
  left_out: int
  found: int
  replaced: int
  alarms: int


@dataclasses.dataclass(frozen=True)
class Frame:
  """The sentences at one evaluation."""

  step: int
  rows: Sequence[Row]

  @property
  def told(self) -> str:
    """How many replaced tokens were found, in words."""
    found = sum(row.found for row in self.rows)
    replaced = sum(row.replaced for row in self.rows)
    alarms = sum(row.alarms for row in self.rows)
    plural = "" if alarms == 1 else "s"
    return f"{found} of {replaced} replaced tokens found, {alarms} false alarm{plural}"


def frames_of(samples: Sequence[Mapping[str, Any]]) -> list[Frame]:
  """Lays out what evaluations kept, at most some of them.

  The first and the last one are always among them.
  """
  whole = [f for f in map(_frame, samples) if f.rows]
  if len(whole) <= _MOST_FRAMES:
    return whole
  last = len(whole) - 1
  places = {round(i * last / (_MOST_FRAMES - 1)) for i in range(_MOST_FRAMES)}
  return [whole[i] for i in sorted(places)]


def _frame(sample: Mapping[str, Any]) -> Frame:
  rows = sample.get("rows")
  rows = rows if isinstance(rows, list) else []
  found = [_row(row) for row in rows if isinstance(row, dict)]
  return Frame(sample["step"], [row for row in found if row is not None])


def _row(row: Mapping[str, Any]) -> Row | None:
  tokens, chances = row.get("tokens"), row.get("probabilities")
  replaced = row.get("replaced")
  if not isinstance(tokens, list) or not isinstance(chances, list):
    return None
  replaced = replaced if isinstance(replaced, dict) else {}
  is_marked = any(isinstance(t, str) and t.startswith("▁") for t in tokens)
  pieces = []
  for i, (original, chance) in enumerate(zip(tokens, chances, strict=False)):
    chance = number(chance)
    if not isinstance(original, str) or chance is None:
      return None
    new = replaced.get(str(i))
    seen = new if isinstance(new, str) else original
    pieces.append(_piece(original, seen, chance, i == 0, is_marked))
  verdicts = [piece.verdict for piece in pieces]
  left_out = number(row.get("left_out")) or 0
  found, missed = verdicts.count(FOUND), verdicts.count(MISSED)
  return Row(
      pieces, int(left_out), found, found + missed, verdicts.count(ALARM)
  )


def _piece(
    original: str, seen: str, chance: float, is_first: bool, is_marked: bool
) -> Piece:
  is_replaced, is_called = seen != original, chance > _CALLED
  verdict = {
      (True, True): FOUND,
      (True, False): MISSED,
      (False, True): ALARM,
      (False, False): RIGHT,
  }[is_replaced, is_called]
  return Piece(
      visible_token(seen),
      visible_token(original) if is_replaced else "",
      round(100 * chance),
      sum(chance >= bound for bound in _SHADES),
      verdict,
      has_space(seen, is_marked) and not is_first,
      _is_special(seen),
  )


def has_space(token: str, is_marked: bool) -> bool:
  """Whether a space stands before a token.

  Args:
    token: any but the first of its row.
    is_marked: whether spaces are told by "▁", as SentencePiece does.
  """
  if _is_special(token):
    return True
  return token.startswith("▁") if is_marked else not token.startswith("##")


def _is_special(token: str) -> bool:
  return token.startswith("[") and token.endswith("]") and len(token) > 2

"""Which documents become the validation split.

A document is held out where its hash lies under a ceiling. Neither seed nor
order plays a part: one held out once is held out of every store with the same
share, or a larger one. Of few documents the hashes may choose none; then the
document with the lowest hash stands in, or the end of it where it is long.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

# The largest share of the text that one document takes out of training.
_MAX_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class ValidationSplit:
  """What is held out.

  Attributes:
    percent: share of the documents, chosen by their hashes.
    also: hash of a document that is held out besides.
    cut: hash of a document that is cut in two, the end of it being `also`.
    tail: characters of that end.
  """

  percent: float
  also: bytes | None = None
  cut: bytes | None = None
  tail: int = 0

  def holds_out(self, digest: bytes) -> bool:
    """Says whether a document belongs to the validation split."""
    return is_held_out(digest, self.percent) or digest == self.also

  def divide(self, documents: Iterable[str]) -> Iterator[str]:
    """Passes documents on, the one that is cut as two."""
    if self.cut is None:
      yield from documents
      return
    for document in documents:
      if document_digest(document) == self.cut:
        yield document[: -self.tail - 1]
        yield document[-self.tail :]
      else:
        yield document


def document_digest(document: str) -> bytes:
  """Returns the 16-byte hash by which a document is known."""
  return hashlib.blake2b(document.encode("utf-8"), digest_size=16).digest()


def is_held_out(digest: bytes, percent: float) -> bool:
  """Says whether a hash lies under the ceiling of a share."""
  return _place(digest) < percent / 100


def choose_split(documents: Iterable[str], percent: float) -> ValidationSplit:
  """Chooses what is held out; reads on until the hashes have made two splits.

  That is after 100 / percent documents or so; all are read where there are
  few. If no hash chooses any, the one with the lowest is held out. Where it is
  the only one or has more than a twentieth of the text, its last lines are held
  out instead, or its last words if it has but one line: `percent` of the text
  of all documents, and no more than half of its lines.

  Args:
    documents: cleaned, in any order.
    percent: share of the documents; 0 holds out nothing.
  """
  split = ValidationSplit(percent)
  if not percent:
    return split
  total, lowest, is_only, kinds = 0, None, True, set()
  for document in documents:
    digest = document_digest(document)
    kinds.add(split.holds_out(digest))
    if len(kinds) > 1:  # Both splits have some.
      return split
    total += len(document)
    is_only = is_only and lowest in (None, (digest, document))
    if lowest is None or digest < lowest[0]:
      lowest = digest, document
  if lowest is None or (True in kinds and not is_only):
    return split
  digest, document = lowest
  if not is_only and len(document) <= _MAX_SHARE * total:
    return dataclasses.replace(split, also=digest)
  tail = _find_tail(document, total * percent / 100)
  head, end = document[: -tail - 1], document[-tail:]
  if not tail or head == end:
    return split
  return dataclasses.replace(
      split, also=document_digest(end), cut=digest, tail=tail
  )


def _find_tail(document: str, wanted: float) -> int:
  """Finds how many characters the last lines or words have that are wanted."""
  separator = "\n" if "\n" in document else " "
  units = document.split(separator)
  size = 0
  for count, unit in enumerate(reversed(units), start=1):
    if count > max(1, len(units) // 2) or (count > 1 and size >= wanted):
      break
    size += len(unit) + bool(size)
  return size if len(units) > 1 else 0


def _place(digest: bytes) -> float:
  return int.from_bytes(digest[:8], "big") / 2**64

"""Where chunks end: the documents that `rows.build_rows` is given together.

A chunk takes documents until it holds some number of characters, wherever the
documents come from. That is a matter of the whole stream, and still many can
cut it at once: how an open chunk passes through a part of the stream follows
from a small table, and the tables are joined one after the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class OpenChunk(NamedTuple):
  """The chunk that is open where a part of the stream begins.

  Attributes:
    part: the part in which it began.
    size: characters in it so far; 0 where none is open.
  """

  part: int
  size: int


class Passage(NamedTuple):
  """How a part of the stream passes chunks on.

  Attributes:
    characters: of all its documents.
    ends: characters up to the end of each document that may end a chunk which
      is open at the start.
    rests: characters of the chunk that is open at the end, where a chunk begins
      with the first document, the second, and so on.
  """

  characters: int
  ends: np.ndarray
  rests: np.ndarray


def cut_chunks(documents: Iterable[str], limit: int) -> Iterator[list[str]]:
  """Cuts a stream into chunks that depend on nothing but the stream.

  Args:
    documents: the stream.
    limit: a chunk ends with the document that reaches so many characters.

  Yields:
    The chunks; the last one may be smaller.
  """
  chunk, size = [], 0
  for document in documents:
    chunk.append(document)
    size += len(document)
    if size >= limit:
      yield chunk
      chunk, size = [], 0
  if chunk:
    yield chunk


def take_rest(documents: Iterator[str], size: int, limit: int) -> list[str]:
  """Takes from a stream what ends an open chunk of `size` characters.

  Where no chunk is open, `size` is 0 and nothing is taken.
  """
  taken = []
  while 0 < size < limit:
    document = next(documents, None)
    if document is None:
      break
    taken.append(document)
    size += len(document)
  return taken


def find_passage(lengths: np.ndarray, limit: int) -> Passage:
  """Finds how a part passes chunks on.

  Args:
    lengths: [documents] characters of each.
    limit: see `cut_chunks`.
  """
  ends = np.cumsum(lengths)
  starts = np.concatenate([[0], ends])
  # The document with which a chunk ends that begins with each document.
  lasts = np.searchsorted(ends, starts + limit)
  rests = starts[-1] - starts
  for first in reversed(np.flatnonzero(lasts < len(ends))):
    rests[first] = rests[lasts[first] + 1]
  count = int(np.searchsorted(ends, limit)) + 1
  return Passage(int(starts[-1]), ends[:count], rests[: count + 1])


def join_passages(passages: Sequence[Passage], limit: int) -> list[OpenChunk]:
  """Finds which chunk is open where each part begins."""
  found, open_chunk = [], OpenChunk(0, 0)
  for part, (characters, ends, rests) in enumerate(passages):
    found.append(open_chunk)
    size = open_chunk.size
    if size and size + characters < limit:
      open_chunk = open_chunk._replace(size=size + characters)
    else:
      taken = int(np.searchsorted(ends, limit - size)) + 1 if size else 0
      open_chunk = OpenChunk(part, int(rests[taken]))
  return found

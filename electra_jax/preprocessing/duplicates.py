"""Finds exact duplicates among any number of documents, in bounded memory."""

import contextlib
import pathlib
from collections.abc import Iterable

import numpy as np

_NUM_BUCKETS = 256  # A billion documents make 94 MB a bucket.
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("index", "<u8")])


def find_duplicates(
    digests: Iterable[bytes], folder: pathlib.Path
) -> np.ndarray:
  """Marks every document that equals an earlier one.

  The hashes go to files by their first byte and are compared file by file, so
  that no more than one 256th of them is in memory.

  Args:
    digests: 16-byte hash of each document, in order.
    folder: an existing, empty folder; the files in it are removed again.

  Returns:
    [documents] bool, True for duplicates. One byte a document is all that stays
    in memory.
  """
  paths = [folder / f"{i:03d}" for i in range(_NUM_BUCKETS)]
  count = 0
  with contextlib.ExitStack() as stack:
    files = [stack.enter_context(path.open("wb")) for path in paths]
    for digest in digests:
      files[digest[0]].write(digest + count.to_bytes(8, "little"))
      count += 1
  is_duplicate = np.zeros(count, bool)
  for path in paths:
    records = np.fromfile(path, _RECORD)
    path.unlink()
    # By hash, then by index: the first of equal ones is the one to keep.
    order = np.lexsort((records["index"], records["low"], records["high"]))
    records = records[order]
    repeats = (records["high"][1:] == records["high"][:-1]) & (
        records["low"][1:] == records["low"][:-1]
    )
    is_duplicate[records["index"][1:][repeats]] = True
  return is_duplicate

"""Chunks cut in parts are those of the whole stream."""

import itertools
import random

import numpy as np
import pytest

from electra_jax.preprocessing.chunks import (
    OpenChunk,
    cut_chunks,
    find_passage,
    join_passages,
    take_rest,
)


def cut_in_parts(parts, limit):
  """Cuts each part on its own, knowing of the others only where chunks end."""
  lengths = [np.array([len(d) for d in part], np.int64) for part in parts]
  passages = [find_passage(each, limit) for each in lengths]
  opened = join_passages(passages, limit)
  ends = [[] for _ in parts]
  for part, chunk in zip(parts, opened, strict=True):
    ends[chunk.part] += take_rest(iter(part), chunk.size, limit)
  for part, chunk, end in zip(parts, opened, ends, strict=True):
    documents = iter(part)
    take_rest(documents, chunk.size, limit)
    yield from cut_chunks(itertools.chain(documents, end), limit)


@pytest.mark.parametrize("limit", [1, 20, 100, 1000])
def test_parts_are_cut_as_the_whole(limit):
  rng = random.Random(limit)
  for _ in range(50):
    parts = [
        ["x" * rng.randint(1, 50) for _ in range(rng.choice([0, 1, 5, 30]))]
        for _ in range(rng.randint(1, 8))
    ]
    whole = list(cut_chunks(itertools.chain(*parts), limit))
    assert list(cut_in_parts(parts, limit)) == whole


def test_a_chunk_goes_through_parts():
  lengths = [np.array(each, np.int64) for each in ([4, 8, 3], [2], [], [9, 1])]
  passages = [find_passage(each, 10) for each in lengths]
  assert join_passages(passages, 10) == [
      OpenChunk(0, 0), OpenChunk(0, 3), OpenChunk(0, 5), OpenChunk(0, 5),
  ]  # fmt: skip
  assert join_passages(passages * 2, 10)[4] == OpenChunk(3, 1)


def test_a_passage_is_small():
  passage = find_passage(np.full(1000, 7), 70)
  assert passage.characters == 7000
  assert (len(passage.ends), len(passage.rests)) == (10, 11)

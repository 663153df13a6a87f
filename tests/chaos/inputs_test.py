"""Damaged and odd inputs of every format: right, or refused in a sentence."""

import random

import pytest

from tests.chaos import inputs
from tests.chaos.judging import attempt, contents, judge


@pytest.mark.slow
def test_damaged_inputs(tmp_path, size, tally):
  rng = random.Random(f"inputs {size.name}")
  for target in inputs.all_targets(tmp_path):
    whole = target.path.read_bytes()
    right = attempt(target.call)
    assert right.error is None and right.crash is None, (target.kind, right)
    for name, content in target.damages(whole, rng, size.inputs):
      target.path.write_bytes(content)
      before = contents(target.path.parent)
      ended = attempt(target.call)
      tally.add(
          judge(
              target.kind,
              name,
              ended,
              is_right=lambda x, t=target, c=content: t.is_right(x, c),
              is_kept=contents(target.path.parent) == before,
          )
      )
    target.path.write_bytes(whole)
  tally.check()

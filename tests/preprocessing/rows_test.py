"""The rows of a document depend on the row_options and on the document alone."""

import numpy as np
import pytest

from electra_jax.preprocessing.held_out import ValidationSplit
from electra_jax.preprocessing.rows import RowOptions, build_rows


def make_documents(count):
  # Of equal shape, so that only chance tells their segments apart.
  return [
      "\n".join(f"the people of {i} and of {j}" for j in range(30))
      for i in range(count)
  ]


def make_recipe(tokenizer, packing="released", seed=0, validation_percent=30.0):
  split = ValidationSplit(validation_percent)
  return RowOptions(tokenizer, 64, packing, seed, split)


def test_neighbours_do_not_matter(tokenizer):
  documents = make_documents(20)
  row_options = make_recipe(tokenizer)
  together = build_rows(documents, row_options)
  alone = [build_rows([document], row_options) for document in documents]
  assert together.tokens_read == sum(each.tokens_read for each in alone)
  for name, split in together.splits.items():
    parts = [each.splits[name] for each in alone]
    rows = np.concatenate([part.rows for part in parts])
    np.testing.assert_array_equal(split.rows, rows)
    assert split.num_documents == sum(part.num_documents for part in parts) > 0
    assert (split.counts == sum(part.counts for part in parts)).all()


@pytest.mark.parametrize("packing", ["released", "full"])
def test_chance_differs_by_document_and_seed(tokenizer, packing):
  def segments(document, seed=0):
    row_options = make_recipe(tokenizer, packing, seed, validation_percent=0.0)
    return tuple(
        build_rows([document], row_options).splits["train"].rows[:, 64]
    )

  documents = make_documents(8)
  assert len(set(map(segments, documents))) > 4
  assert len({segments(documents[0], seed) for seed in range(8)}) > 4
  assert segments(documents[0]) == segments(documents[0])


def test_counts_leave_special_tokens_out(tokenizer):
  row_options = make_recipe(tokenizer, "full", validation_percent=0.0)
  rows = build_rows(["the people\n東", "the union"], row_options)
  counts = rows.splits["train"].counts
  [the] = tokenizer.encode("the")
  assert counts[the] == 2
  assert counts[tokenizer.special.unk] == 1  # An unknown word is text, too.
  assert counts.sum() == rows.tokens_read == 5
  assert rows.splits["train"].rows.shape == (1, 66)
  assert rows.splits["validation"].rows.shape == (0, 66)

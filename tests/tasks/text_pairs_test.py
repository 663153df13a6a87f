"""The user's texts and pairs: files, columns, mistakes with file and line."""

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.batches import Batches
from electra_jax.tasks.examples import PairExample
from electra_jax.tasks.features import Features
from electra_jax.tasks.task import MissingSplitError, Source
from electra_jax.tasks.text_pairs import embedding_task, read_pairs

PAIRS = {"text": "q", "other_text": "a"}


def source(folder, **options):
  return Source(folder, options=options)


def test_texts_stand_in_lines_or_columns(tmp_path):
  (tmp_path / "train.txt").write_text("one\n\ntwo words\n")
  assert read_pairs(source(tmp_path, text="text"), "train") == [
      PairExample("0", "one", None, None, None),
      PairExample("1", "two words", None, None, None),
  ]
  (tmp_path / "dev.tsv").write_text("q\ta\tn\ts\nx\ty\tz\t0.5\n")
  options = PAIRS | {"negative": "n", "label": "s"}
  assert read_pairs(source(tmp_path, **options), "dev") == [
      PairExample("0", "x", "y", "z", 0.5)
  ]
  assert embedding_task(options).metrics[0] == "spearman"
  assert embedding_task(PAIRS).metrics[0] == "recall_at_1"


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        (PAIRS, "q\ta\nx\ty\nx\t \n", r"train.tsv:3 has nothing in .* 'a'"),
        (PAIRS, "q\tb\nx\ty\n", r"train.tsv:2 has no column 'a'"),
        (PAIRS, "q\ta\n", "holds no text"),
        (PAIRS | {"label": "a2"}, "q\ta\ta2\nx\ty\tz\n", "train.tsv:2 has the"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path, options, content, message
):
  (tmp_path / "train.tsv").write_text(content)
  with pytest.raises(UserError, match=message):
    read_pairs(source(tmp_path, **options), "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ""}, "config.table.text is empty"),
        ({"text": "a", "other_text": "a"}, "both name the column 'a'"),
        ({"text": "a", "negative": "n"}, "config.table.negative is 'n' and"),
        ({"text": "a", "label": "n"}, "config.table.label is 'n' and"),
    ],
)
def test_columns_that_do_not_fit_are_told(options, message):
  with pytest.raises(UserError, match=message):
    embedding_task(options)


def test_lines_have_no_columns(tmp_path):
  (tmp_path / "train.txt").write_text("one\n")
  with pytest.raises(UserError, match=r"config.table.other_text is 'a' and"):
    read_pairs(source(tmp_path, **PAIRS), "train")


def test_a_share_of_train_is_held_out(tmp_path):
  (tmp_path / "train.txt").write_text("".join(f"text {i}\n" for i in range(99)))
  whole = source(tmp_path, text="text", dev_percent=20.0)
  train, dev = (read_pairs(whole, split) for split in ("train", "dev"))
  assert len(train) + len(dev) == 99 and 5 < len(dev) < 40
  with pytest.raises(MissingSplitError, match="dev_percent=10"):
    read_pairs(source(tmp_path, text="text"), "dev")


def test_a_batch_holds_whole_groups_and_an_epoch_all_of_them():
  texts = [np.asarray([2, 5 + i, 3], np.int32) for i in range(15)]
  features = Features(
      texts,
      np.full(15, 3, np.int32),
      np.repeat(np.arange(5, dtype=np.int32), 3),
      {"text_ids": np.arange(15, dtype=np.int32)},
      group=3,
  )
  batches = Batches(
      {"embedding": features}, batch_size=6, row_length=8, pad_id=0
  )
  assert batches.steps_of(1.0) == 3
  seen = []
  for _, batch in zip(range(5), batches.training(0), strict=False):
    ids = batch.targets["embedding"]["text_ids"].reshape(-1, 3)
    np.testing.assert_array_equal(ids[:, 0] % 3, 0)
    np.testing.assert_array_equal(ids, ids[:, :1] + np.arange(3))
    seen += list(ids[:, 0] // 3)
  assert sorted(seen) == sorted([*range(5)] * 2)

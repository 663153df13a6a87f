"""Texts that are their own targets: files, columns, mistakes."""

import logging

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.autoencoding import (
    autoencoding_task,
    read_texts,
)
from electra_jax.tasks.examples import GenerationExample
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.task import MissingSplitError, Source


def source(folder, **options):
  return Source(folder, options={"text": "text"} | options)


def example(name, text):
  return GenerationExample(name, text, None, text)


def test_texts_stand_in_lines_or_columns(tmp_path, caplog):
  (tmp_path / "train.txt").write_text("one\n \ntwo words\n")
  with caplog.at_level(logging.WARNING):
    found = read_texts(source(tmp_path), "train")
  assert found == [example("0", "one"), example("2", "two words")]
  assert "1 of 3 texts of train" in caplog.text
  assert "train.txt:2" in caplog.text
  (tmp_path / "dev.tsv").write_text("label\ttext\tn\ngood\tx y\tseven\n")
  assert read_texts(source(tmp_path, id="n"), "dev") == [
      example("seven", "x y")
  ]
  with pytest.raises(MissingSplitError, match="'test'"):
    read_texts(source(tmp_path), "test")


def test_a_part_of_train_is_held_out(tmp_path):
  lines = "".join(f"text {i}\n" for i in range(60))
  (tmp_path / "train.txt").write_text(lines)
  options = {"dev_percent": 20.0}
  train, dev = (
      read_texts(source(tmp_path, **options), split)
      for split in ("train", "dev")
  )
  assert len(train) + len(dev) == 60 and 4 < len(dev) < 24
  assert not set(train) & set(dev)


def test_texts_that_dev_shares_are_told(tmp_path):
  (tmp_path / "train.txt").write_text("one\ntwo\n")
  (tmp_path / "dev.txt").write_text("two\nthree\n")
  task = find_task("autoencode", {"text": "text"})
  splits = {x: read_texts(source(tmp_path), x) for x in ("train", "dev")}
  assert task.check(source(tmp_path), splits) == [
      "1 of 2 texts of dev stand in train as well"
  ]


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ({}, "words\nx\n", r"train.tsv:2 has no column 'text'.*config.table.text"),
        ({}, "text\n", "holds no text; write"),
        ({}, "text\n \n", "holds no text, only 1 blank ones"),
        ({"id": "n"}, "text\nx\n", r"no column 'n'.*config\.table\.id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    tmp_path, options, content, message
):
  (tmp_path / "train.tsv").write_text(content)
  with pytest.raises(UserError, match=message):
    read_texts(source(tmp_path, **options), "train")


def test_lines_have_no_identifiers(tmp_path):
  (tmp_path / "train.txt").write_text("one\n")
  with pytest.raises(UserError, match=r"config\.table\.id is 'n' and"):
    read_texts(source(tmp_path, id="n"), "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ""}, r"config\.table\.text is empty"),
        ({"target": "x"}, r"config\.table\.target is 'x', and task=autoencode"),
        ({"other_text": "x"}, r"config\.table\.other_text is 'x'"),
        ({"source_language": "en"}, r"config\.table\.source_language is 'en'"),
        ({"id": "text"}, "both name the column 'text'"),
        ({"dataset": "tfds:"}, r"config\.table\.dataset is 'tfds:' and"),
    ],
)
def test_what_does_not_fit_is_told(options, message):
  with pytest.raises(UserError, match=message):
    autoencoding_task({"text": "text"} | options)

"""Pairs of texts: every format, and each mistake with its place."""

import gzip
import json
import pathlib

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.task import MissingSplitError, Source
from electra_jax.tasks.text_to_text import METRICS, generation_task

COLUMNS = {"text": "source", "target": "target"}
LANGUAGES = {"source_language": "en", "target_language": "de"}
PAIRS = [("one house", "ein Haus"), ("two houses", "zwei Häuser")]


def read(folder, split="train", name="translate", **options):
  options = {**COLUMNS, **options}
  task = find_task(name, options)
  return task.read(Source(folder, options=options), split)


def sides(examples):
  return [(example.text, example.target) for example in examples]


def write(path: pathlib.Path, *lines: str) -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
  return path


def write_table(path, rows):
  if path.suffix == ".jsonl":
    keyed = (dict(zip(("source", "target"), row, strict=True)) for row in rows)
    return write(path, *map(json.dumps, keyed))
  if path.suffix == ".parquet":
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = dict(
        zip(("source", "target"), zip(*rows, strict=True), strict=True)
    )
    parquet.write_table(pyarrow.table(columns), path)
    return path
  between = "\t" if path.suffix == ".tsv" else ","
  return write(path, *map(between.join, [("source", "target"), *rows]))


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_table_is_read(tmp_path, suffix):
  write_table(tmp_path / f"train{suffix}", PAIRS)
  found = read(tmp_path)
  assert sides(found) == PAIRS
  assert [example.id for example in found] == ["0", "1"]
  assert found[0].other_text is None


def test_columns_have_any_name_and_a_second_text_is_read_behind(tmp_path):
  path = write(tmp_path / "mine.tsv", "n\tq\tc\ta", "7\twho?\tAnn came.\tAnn")
  options = {"id": "n", "text": "q", "other_text": "c", "target": "a"}
  (found,) = read(None, name="answer", train=str(path), **options)
  assert found[:4] == ("7", "who?", "Ann came.", "Ann")


def test_two_files_are_read_side_by_side(tmp_path):
  for language, side in zip(
      ("en", "de"), zip(*PAIRS, strict=True), strict=True
  ):
    write(tmp_path / f"translate/train.{language}", *side)
  assert sides(read(tmp_path, **LANGUAGES)) == PAIRS
  # The other way round they are the other task.
  turned = read(tmp_path, source_language="de", target_language="en")
  assert sides(turned) == [pair[::-1] for pair in PAIRS]


@pytest.mark.parametrize("middle", ["", ".de-en", ".en-de"])
def test_two_files_are_named_by_what_stands_before_the_language(
    tmp_path, middle
):
  for language, side in zip(
      ("en", "de"), zip(*PAIRS, strict=True), strict=True
  ):
    packed = gzip.compress("\n".join(side).encode())
    (tmp_path / f"news{middle}.{language}.gz").write_bytes(packed)
  start = str(tmp_path / "news")
  assert sides(read(None, train=start, **LANGUAGES)) == PAIRS


def test_files_of_other_numbers_of_lines_are_refused_with_the_line(tmp_path):
  write(tmp_path / "train.en", "one", "two", "three")
  write(tmp_path / "train.de", "eins", "zwei")
  with pytest.raises(UserError) as caught:
    read(tmp_path, **LANGUAGES)
  told = str(caught.value)
  assert "train.en has 3 lines" in told and "train.de 2" in told
  assert "train.en:3 has no partner" in told


def test_one_file_of_two_is_refused(tmp_path):
  write(tmp_path / "train.en", "one")
  with pytest.raises(
      UserError, match=r"train\.en and no .*train\.de beside it"
  ):
    read(tmp_path, **LANGUAGES)
  with pytest.raises(MissingSplitError, match="dev"):
    read(tmp_path, "dev", **LANGUAGES)
  with pytest.raises(
      UserError, match=r"no file .*corpus\.en; give by --config"
  ):
    read(None, train=str(tmp_path / "corpus"), **LANGUAGES)


@pytest.mark.parametrize("empty", ["", " "])
def test_pairs_with_an_empty_side_are_left_out_and_counted(
    tmp_path, caplog, empty
):
  write(tmp_path / "train.en", "one", empty, "three")
  write(tmp_path / "train.de", "eins", "zwei", empty)
  assert sides(read(tmp_path, **LANGUAGES)) == [("one", "eins")]
  (record,) = caplog.records
  told = record.getMessage()
  assert told.startswith("2 of 3 pairs of train")
  assert told.endswith("the first is " + str(tmp_path / "train.en") + ":2")


def test_a_table_without_one_whole_pair_is_refused(tmp_path):
  write_table(tmp_path / "train.tsv", [("one", ""), ("", "zwei")])
  with pytest.raises(UserError, match=r"all 2 pairs .*train\.tsv:2;"):
    read(tmp_path)
  write(tmp_path / "dev.tsv", "source\ttarget")
  with pytest.raises(UserError, match=r"dev\.tsv holds no pair"):
    read(tmp_path, "dev")


def test_a_test_split_may_lack_all_targets_and_not_some(tmp_path):
  write_table(tmp_path / "test.tsv", [("one", ""), ("two", "")])
  assert [example.target for example in read(tmp_path, "test")] == [None, None]
  write(tmp_path / "other/test.tsv", "source", "one")
  (found,) = read(tmp_path / "other", "test")
  assert found.target is None
  write_table(tmp_path / "test.tsv", [("one", "eins"), ("two", "")])
  with pytest.raises(UserError, match="target of 1 of 2 texts of test"):
    read(tmp_path, "test")


def test_a_missing_column_is_told_with_its_key(tmp_path):
  write(tmp_path / "train.tsv", "en\tde", "one\teins")
  with pytest.raises(
      UserError, match=r"train\.tsv:2 has no column 'source'.*text"
  ):
    read(tmp_path)
  with pytest.raises(
      UserError, match=r"no column 'target'.*config\.table\.target"
  ):
    read(tmp_path, text="en")
  (found,) = read(tmp_path, text="en", target="de")
  assert found.target == "eins"


@pytest.mark.parametrize("options", [{}, LANGUAGES])
def test_equal_sources_stay_on_one_side(tmp_path, options):
  rows = [(f"source {i % 20}", f"target {i}") for i in range(200)]
  write_table(tmp_path / "train.tsv", rows)
  for language, side in zip(("en", "de"), zip(*rows, strict=True), strict=True):
    write(tmp_path / f"train.{language}", *side)
  train, dev = (
      {e.text for e in read(tmp_path, split, dev_percent=30, **options)}
      for split in ("train", "dev")
  )
  assert train and dev and not train & dev
  assert len(train | dev) == 20


def test_squad_files_are_answers_to_write(tmp_path):
  def question(name, *texts):
    answers = [{"text": t, "answer_start": 0} for t in texts]
    return {"id": name, "question": f"{name}?", "answers": answers}

  paragraph = {
      "context": "Ann came.",
      "qas": [question("a", "Ann", "Ann", "she"), question("b")],
  }
  data = {"data": [{"paragraphs": [paragraph]}]}
  write(tmp_path / "train.json", json.dumps(data))
  (found,) = read(tmp_path, name="answer")
  assert found == ("a", "a?", "Ann came.", "Ann", ("she",))


def test_dev_that_repeats_train_is_noted(tmp_path):
  for split in ("train", "dev"):
    write_table(tmp_path / f"{split}.tsv", PAIRS)
  task = generation_task("translate", COLUMNS)
  source = Source(tmp_path, options=COLUMNS)
  splits = {split: task.read(source, split) for split in ("train", "dev")}
  assert task.check(source, splits) == [
      "2 of 2 sources of dev stand in train as well"
  ]
  both = Source(tmp_path, options={**COLUMNS, "dev_percent": 10})
  with pytest.raises(UserError, match="dev_percent is 10 and dev has a file"):
    task.check(both, splits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": ""}, r"config\.table\.text is empty; name the column"),
        ({"target": ""}, r"config\.table\.target is empty; name the column"),
        ({"target": "source"}, "both name the column 'source'"),
        ({"source_language": "en"}, "'en' and config.table.target_language ''"),
        (
            {"source_language": "en", "target_language": "en"},
            "name the two ends",
        ),
        ({"dataset": "tfds:"}, "names none"),
        ({"dataset": "tfds:x", **LANGUAGES}, "leave the languages out"),
        ({"other_text": "c", **LANGUAGES}, "have no such column"),
    ],
)
def test_options_that_do_not_fit_are_told(options, message):
  with pytest.raises(UserError, match=message):
    generation_task("translate", {**COLUMNS, **options})


def test_every_task_has_scores():
  for name in METRICS:
    task = find_task(name, COLUMNS)
    assert task.kind == "generation" and task.metrics == METRICS[name]
  with pytest.raises(UserError, match="'summarise', 'answer'"):
    find_task("summary")

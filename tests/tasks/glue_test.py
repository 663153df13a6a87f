"""GLUE: real lines with their oddities, both layouts, and clear errors."""

import logging

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import TextExample
from electra_jax.tasks.glue import GLUE_TASKS
from electra_jax.tasks.task import MissingSplitError, Source

STS_HEADER = (
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1"
    "\tsentence2"
)
MNLI_HEADER = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse"
    "\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1"
    "\tsentence2"
)
MNLI_ROW = '7\t1n\t1e\tfiction\t( a )\t( b )\t(ROOT)\t(ROOT)\tOne "quote\tTwo'
MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def read(folder, name, split="train"):
  return GLUE_TASKS[name].read(Source(folder), split)


def write(path, *lines, end="\n"):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes("".join(f"{line}{end}" for line in lines).encode("utf-8"))
  return path


def fails(folder, name, *parts, split="train", error=UserError):
  with pytest.raises(error) as caught:
    read(folder, name, split)
  for part in parts:
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split", "lines", "expected"),
    [
        (
            "cola",
            "train",
            ['gj04\t0\t*\tThey drank "the pub.', "gj04\t1\t\tBill sang."],
            ("1", "Bill sang.", None, "1"),
        ),
        (
            "cola",
            "test",
            ["index\tsentence", "0\tBill whistled.", "1\tSue gave."],
            ("1", "Sue gave.", None, None),
        ),
        (
            "sst",
            "dev",
            ["sentence\tlabel", "bleak \t0", "a charming trip \t1"],
            ("1", "a charming trip ", None, "1"),
        ),
        (
            "sst",
            "test",
            ["index\tsentence", "0\tuneasy", "1\tgood"],
            ("1", "good", None, None),
        ),
        (
            "mrpc",
            "train",
            [MRPC, '1\t70\t71\t"A said.\tB said.'],
            ("0", '"A said.', "B said.", "1"),
        ),
        (
            "mrpc",
            "test",
            [
                "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
                "0\t70\t71\tA\tB",
                "5\t72\t73\tC\tD",
            ],
            ("5", "C", "D", None),
        ),
        (
            "sts",
            "dev",
            [
                f"{STS_HEADER}\tscore",
                "0\tnews\tMSR\t2012\t0001\tnone\tnone\tA man.\tA boy.\t3.800",
            ],
            ("0", "A man.", "A boy.", 3.8),
        ),
        (
            "sts",
            "test",
            [STS_HEADER, "9\tnews\tMSR\t2012\t0024\tnone\tnone\tA girl.\tA.B"],
            ("9", "A girl.", "A.B", None),
        ),
        (
            "qqp",
            "train",
            [
                "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
                "133273\t213221\t213222\tHow?\tWhy?\t0",
            ],
            ("0", "How?", "Why?", "0"),
        ),
        (
            "qqp",
            "test",
            ["id\tquestion1\tquestion2", "0\tWould?\tWhat?"],
            ("0", "Would?", "What?", None),
        ),
        (
            "mnli",
            "train",
            [f"{MNLI_HEADER}\tlabel1\tgold_label", f"{MNLI_ROW}\tx\tneutral"],
            ("0", 'One "quote', "Two", "neutral"),
        ),
        (
            "mnli",
            "dev_mismatched",
            [
                f"{MNLI_HEADER}\tlabel1\tlabel2\tgold_label",
                f"{MNLI_ROW}\tneutral\tneutral\tentailment",
            ],
            ("0", 'One "quote', "Two", "entailment"),
        ),
        (
            "mnli",
            "test_matched",
            [MNLI_HEADER, MNLI_ROW],
            ("7", 'One "quote', "Two", None),
        ),
        (
            "mnli",
            "diagnostic",
            ["index\tsentence1\tsentence2", "3\tA cat.\tA dog."],
            ("3", "A cat.", "A dog.", None),
        ),
        (
            "qnli",
            "dev",
            [
                "index\tquestion\tsentence\tlabel",
                "0\tWhat?\tThis.\tnot_entailment",
            ],
            ("0", "What?", "This.", "not_entailment"),
        ),
        (
            "rte",
            "train",
            ["index\tsentence1\tsentence2\tlabel", "4\tA\tB\tentailment"],
            ("0", "A", "B", "entailment"),
        ),
        (
            "wnli",
            "train",
            ["index\tsentence1\tsentence2\tlabel", "0\tA\tB\t1"],
            ("0", "A", "B", "1"),
        ),
    ],
)
def test_columns(tmp_path, name, split, lines, expected):
  write(tmp_path / name / f"{split}.tsv", *lines)
  assert read(tmp_path, name, split)[-1] == TextExample(*expected)


@pytest.mark.parametrize(
    "folder",
    ["sst", "finetuning_data/sst", "SST-2", "glue_data/SST-2", "."],
)
def test_layouts(tmp_path, folder):
  write(tmp_path / folder / "dev.tsv", "sentence\tlabel", "good\t1")
  assert [e.text for e in read(tmp_path, "sst", "dev")] == ["good"]


@pytest.mark.parametrize("folder", ["MNLI", "mnli", "diagnostic", "AX", "."])
def test_the_diagnostic_set_is_found_as_part_of_mnli_and_alone(
    tmp_path, folder
):
  header = "index\tsentence1\tsentence2"
  write(tmp_path / folder / "diagnostic.tsv", header, "0\tA\tB")
  expected = [TextExample("0", "A", "B", None)]
  assert read(tmp_path, "mnli", "diagnostic") == expected
  assert read(tmp_path, "ax", "test") == expected
  fails(tmp_path, "ax", "no split 'train'", "'mnli'", error=MissingSplitError)


def test_line_ends_byte_order_mark_and_blank_lines(tmp_path):
  path = tmp_path / "sst" / "dev.tsv"
  lines = ["\ufeffsentence\tlabel", "a\u2028b\x85c\t1", "", "d\t0"]
  write(path, *lines, end="\r\n")
  examples = read(tmp_path, "sst", "dev")
  assert [(e.id, e.text, e.label) for e in examples] == [
      ("0", "a\u2028b\x85c", "1"),
      ("1", "d", "0"),
  ]
  write(tmp_path / "cola" / "dev.tsv", "\ufeffgj04\t1\t\tFirst.")
  assert read(tmp_path, "cola", "dev")[0].text == "First."


def test_damaged_lines_are_left_out_up_to_one_percent(tmp_path, caplog):
  header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
  good = ["1\t2\t3\tHow?\tWhy?\t0"] * 198
  path = tmp_path / "qqp" / "train.tsv"
  write(path, header, "1\t2\t3\tHow?", *good, "1\t2\t3\tHow?\tWhy?")
  with caplog.at_level(logging.WARNING):
    examples = read(tmp_path, "qqp")
  assert len(examples) == 198
  assert examples[0].id == "1"
  assert "left out 2 of 200 lines" in caplog.text and "line 2" in caplog.text
  write(path, header, "1\t2\t3\tHow?", *good[:-1], "1\t2\t3\tHow?\tWhy?")
  fails(tmp_path, "qqp", f"{path}:2", "4 columns", "6 are needed")
  write(path, header, good[0], "1\t2\t3\tHow?")
  fails(tmp_path, "qqp", f"{path}:3", "4 columns", "6 are needed")


def test_columns_from_the_end_need_a_row_as_wide_as_the_header(tmp_path):
  path = tmp_path / "mnli" / "train.tsv"
  header = f"{MNLI_HEADER}\tlabel1\tgold_label"
  write(path, header, f"{MNLI_ROW}\tneutral")
  fails(tmp_path, "mnli", f"{path}:2", "11 columns", "12 are needed")


def test_a_file_of_another_task_is_told_by_its_first_line(tmp_path):
  path = write(tmp_path / "sts" / "train.tsv", "sentence\tlabel", "good\t1")
  fails(tmp_path, "sts", f"{path}:1", "2 columns", "3 are needed")


def test_labels_are_checked(tmp_path):
  path = write(
      tmp_path / "sst" / "train.tsv", "sentence\tlabel", "a\t1", "b\t2"
  )
  fails(tmp_path, "sst", f"{path}:3", "'2'", "['0', '1']")
  path = tmp_path / "sts" / "train.tsv"
  for rating in ("5.1", "-1", "nan", "high"):
    row = f"0\tg\tf\ty\t1\tn\tn\tA\tB\t{rating}"
    write(path, f"{STS_HEADER}\tscore", row)
    fails(tmp_path, "sts", f"{path}:2", repr(rating), "from 0 to 5")


def test_the_original_files_of_mrpc(tmp_path):
  rows = [f"{i % 2}\t{i}\t{i + 100}\tA {i}\tB {i}" for i in range(4)]
  folder = tmp_path / "MRPC"
  write(folder / "msr_paraphrase_train.txt", f"\ufeff{MRPC}", *rows, end="\r\n")
  write(folder / "msr_paraphrase_test.txt", f"\ufeff{MRPC}", *rows[:2])
  fails(tmp_path, "mrpc", "dev_ids.tsv")
  ids = write(folder / "dev_ids.tsv", "1\t101", "3\t103")
  assert [e.text for e in read(tmp_path, "mrpc")] == ["A 0", "A 2"]
  assert read(tmp_path, "mrpc", "dev")[1] == TextExample("3", "A 3", "B 3", "1")
  assert [e.id for e in read(tmp_path, "mrpc", "test")] == ["0", "1"]
  write(ids, "7\t107")
  fails(tmp_path, "mrpc", "leaves no dev pair", split="dev")


def test_missing_data(tmp_path):
  fails(
      tmp_path, "cola", "'train'", "train.tsv", "CoLA", error=MissingSplitError
  )
  fails(tmp_path, "mrpc", "train.tsv", error=MissingSplitError)
  fails(tmp_path / "gone", "cola", "no folder", "cola/train.tsv")
  fails(None, "cola", "no folder", "cola/train.tsv")
  path = write(tmp_path / "cola" / "train.tsv")
  fails(tmp_path, "cola", str(path), "no example")
  write(path, "gj04\t1\t\tFine.")
  path.write_bytes(path.read_bytes() + b"gj04\t1\t\tcaf\xe9")
  fails(tmp_path, "cola", f"{path}:2", "not UTF-8")


def test_tasks():
  assert list(GLUE_TASKS) == (
      ["cola", "sst", "mrpc", "sts", "qqp", "mnli", "qnli", "rte", "wnli", "ax"]
  )
  files = [f for t in GLUE_TASKS.values() for f in t.leaderboard.values()]
  assert sorted(set(files)) == [
      "AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "QNLI.tsv",
      "QQP.tsv", "RTE.tsv", "SST-2.tsv", "STS-B.tsv", "WNLI.tsv",
  ]  # fmt: skip
  for task in GLUE_TASKS.values():
    assert set(task.leaderboard) == set(task.test_splits)
  assert GLUE_TASKS["mnli"].labels == GLUE_TASKS["ax"].labels
  assert GLUE_TASKS["mnli"].labels == (
      "contradiction",
      "entailment",
      "neutral",
  )
  doubled = [t.name for t in GLUE_TASKS.values() if t.doubles_pairs]
  assert doubled == ["mrpc", "sts"]

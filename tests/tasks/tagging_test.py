"""Tagging: columns as CoNLL wrote them, and every form of tags as BIOES."""

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import TaggedExample
from electra_jax.tasks.tagging import TAGGING_TASKS, to_bioes
from electra_jax.tasks.task import MissingSplitError, Source

NER = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O


Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def read(folder, name, split="train"):
  return TAGGING_TASKS[name].read(Source(folder), split)


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode("utf-8"))
  return path


def test_conll_2003(tmp_path):
  write(tmp_path / "ner" / "train.txt", NER)
  assert read(tmp_path, "ner") == [
      TaggedExample(
          "0",
          ("EU", "rejects", "German", "call"),
          ("S-ORG", "O", "S-MISC", "O"),
      ),
      TaggedExample("1", ("Peter", "Blackburn"), ("B-PER", "E-PER")),
  ]


@pytest.mark.parametrize(
    "path",
    ["pos/dev.txt", "pos/dev.conll", "finetuning_data/pos/dev.tsv", "dev.txt"],
)
def test_layouts_tabs_and_line_ends(tmp_path, path):
  write(tmp_path / path, "\ufeff#\t#\r\n\u00a0\tSP \r\n \t\r\n-\tB-x")
  assert read(tmp_path, "pos", "dev") == [
      TaggedExample("0", ("#", "\u00a0"), ("#", "SP")),
      TaggedExample("1", ("-",), ("B-x",)),
  ]


@pytest.mark.parametrize(
    ("form", "tags", "expected"),
    [
        ("IOB2", "B-A I-A B-A O B-B I-B I-B", "B-A E-A S-A O B-B I-B E-B"),
        ("IOB1", "I-A I-A B-A O I-B I-B I-B", "B-A E-A S-A O B-B I-B E-B"),
        ("IOB1, neighbours", "I-A I-B I-B", "S-A B-B E-B"),
        ("BIOES", "B-A E-A S-A O B-B I-B E-B", "B-A E-A S-A O B-B I-B E-B"),
        ("all inside", "I-A I-A I-A", "B-A I-A E-A"),
        ("hyphens", "B-A-x I-A-x I-A-y", "B-A-x E-A-x S-A-y"),
        ("outside", "O O", "O O"),
        ("one", "I-A", "S-A"),
    ],
)
def test_bioes(form, tags, expected):
  assert to_bioes(tags.split()) == tuple(expected.split()), form


def test_errors_name_the_place(tmp_path):
  def fails(*parts, name="ner", error=UserError):
    with pytest.raises(error) as caught:
      read(tmp_path, name)
    for part in parts:
      assert part in str(caught.value)

  fails("'train'", "train.txt", "train.conll", error=MissingSplitError)
  path = write(tmp_path / "ner" / "train.txt", "EU B-ORG\nrejects\n")
  fails(f"{path}:2", "'rejects'")
  for tag in ("NNP", "B-", "U-ORG", "-ORG"):
    write(path, f"EU O\n\nEU {tag}\n")
    fails(f"{path}:3", repr(tag), "'ner'")
  write(path, "-DOCSTART- -X- O O\n\n")
  fails(str(path), "no sentence")


def test_tasks():
  assert list(TAGGING_TASKS) == ["chunk", "ner", "pos"]
  assert TAGGING_TASKS["pos"].metrics == ("accuracy",)
  assert TAGGING_TASKS["ner"].metrics[0] == "span_f1"
  assert TAGGING_TASKS["chunk"].labels == ()

"""Tagging: columns as CoNLL and as annotation tools write them."""

import pathlib

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import TaggedExample
from electra_jax.tasks.features import with_labels
from electra_jax.tasks.tagging import TAGGING_TASKS
from electra_jax.tasks.task import MissingSplitError, Source

CASES = pathlib.Path(__file__).parents[1] / "cases"
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
          ("B-ORG", "O", "B-MISC", "O"),
      ),
      TaggedExample("1", ("Peter", "Blackburn"), ("B-PER", "I-PER")),
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


def test_errors_name_the_place(tmp_path):
  def fails(*parts, name="ner", error=UserError):
    with pytest.raises(error) as caught:
      read(tmp_path, name)
    for part in parts:
      assert part in str(caught.value)

  fails("'train'", "train.txt", "train.conll", error=MissingSplitError)
  path = write(tmp_path / "ner" / "train.txt", "EU B-ORG\nrejects\n")
  fails(f"{path}:2", "'rejects'")
  for tag in ("NNP", "B-", "X-ORG", "-ORG", "b-ORG", "o", "B_ORG"):
    write(path, f"EU O\n\nEU {tag}\n")
    fails(f"{path}:3", repr(tag), "'ner'")
  write(path, "-DOCSTART- -X- O O\n\n")
  fails(str(path), "no sentence")


def test_tasks():
  assert list(TAGGING_TASKS) == ["chunk", "ner", "pos"]
  assert TAGGING_TASKS["pos"].metrics == ("accuracy",)
  assert TAGGING_TASKS["ner"].metrics[0] == "span_f1"
  assert TAGGING_TASKS["chunk"].labels == ()


# --- Files as annotation tools write them ---


def tags_of(examples):
  return [example.tags for example in examples]


def words_of(examples):
  return [example.words for example in examples]


def test_comments_are_no_words():
  (*examples,) = read(CASES / "tags-comment-lines", "pos")
  assert set(words_of(examples)) == {("the", "young", "cook", "sees")}
  assert set(tags_of(examples)) == {("DET", "ADJ", "NOUN", "VERB")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A comment of as many columns as the words have.
        ("# sent_id = 1\nx A B C\n", [("x",)]),
        ("# newdoc\n# newpar\nx A\n# B\n", [("x", "#")]),
        ("#sent_id=a-1\n# text = a\tb\nx\tA\n", [("x",)]),
        ("#begin document (a); part 000\nx A\n\n#end document\n", [("x",)]),
        ("# free words\n#\nx\tA\n", [("x",)]),
        ("#x=1\tA\nx\tA\n", [("#x=1", "x")]),
        # The next sentence begins, though no empty line says so.
        ("x\tA\n# sent_id = 2\ny\tA\n", [("x",), ("y",)]),
        ("-DOCSTART- -X-\nx A\n-DOCSTART-\ny A\n", [("x",), ("y",)]),
        # Words that begin with a hash.
        ("#\tA\n#tag\tA\n##\tA\n", [("#", "#tag", "##")]),
        ("#tag A\nx A\n# A\n", [("#tag", "x", "#")]),
        # Blanks in a word, other white space as a word or a line of its own.
        ("New York\tA\n \tA\n", None),
        ("New York\tA\nthe\tB\n", [("New York", "the")]),
        ("10\u00a0000 A\nx\u3000y A\n", [("10\u00a0000", "x\u3000y")]),
        ("\u00a0 A\nx A\n\u00a0\ny A\n", [("\u00a0", "x"), ("y",)]),
        ("x\t\tA\r\ny\tB\r\n", [("x", "y")]),
        ("x  A\n\ty\t A \n", None),
        ("\u2028 A\n\u200b A\n", [("\u2028", "\u200b")]),
    ],
)
def test_lines_that_are_words(tmp_path, text, expected):
  write(tmp_path / "pos" / "train.txt", text)
  if expected is None:
    with pytest.raises(UserError, match=r"train.txt:\d has \d columns?, '"):
      read(tmp_path, "pos")
  else:
    assert words_of(read(tmp_path, "pos")) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pos", "x A\nNew York A\n", r":2 has 3 columns, 'New' and 'York' and"
            r" 'A', where line 1 has 2, between blanks; .* tabs"),
        ("pos", "x\tA\ny B\n", r":2 has 1 column, 'y B', where line 1 has 2"),
        ("pos", "x A\n#tag\n", r":2 has 1 column, '#tag'"),
        ("pos", "#tag\nx A\n", r":1 has 1 column, '#tag'"),
        ("pos", "x A\n# some words here\ny A\n", r":2 has 4 columns"),
        ("ner", "1\tx\tO\tO\n2\ty\tO\tO\n", r":1 begins with '1', .* cut -f2,3"),
        ("ner", "x O\nx B-A\nx I\n", r":3 has the tag 'I' without a type and"
            r" line 2 has 'B-A'"),
        ("ner", "x B-A\nx M-A\nx L-A\n", r"mixes schemes: 'B-A' on line 1,"
            r" 'M-A' on line 2, 'L-A' on line 3"),
        ("ner", "x o\n", r":1 has the tag 'o'"),
        ("ner", "# = 1\n", r"train.txt"),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_read(tmp_path, name, text, message):
  write(tmp_path / name / "train.txt", text)
  with pytest.raises(UserError, match=message):
    read(tmp_path, name)


CONLLU = """# newdoc id = n
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tx\tx\tADP\t_\t_\t_\t_\t_\t_
3\tal mar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No

"""


def test_conllu_has_universal_parts_of_speech(tmp_path):
  write(tmp_path / "pos" / "train.conllu", CONLLU)
  assert read(tmp_path, "pos") == [
      TaggedExample("0", ("vamos", "nos", "al mar"), ("VERB", "PRON", "NOUN"))
  ]
  write(tmp_path / "ner" / "train.conllu", CONLLU)
  with pytest.raises(UserError, match="is a CoNLL-U file"):
    read(tmp_path, "ner")


def test_tags_without_a_type():
  examples = read(CASES / "ner-tags-without-type", "ner")
  assert set(tags_of(examples)) == {tuple("OOBOOBIO")}
  task = with_labels(TAGGING_TASKS["ner"], examples)
  assert task.tag_scheme == "IOB2"
  assert task.labels == ("B", "E", "O", "S")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("x O\ny B-A\n", "x\ny\n"),
        ("x O\ny B-A\n", "# sent_id = 1\nx\ny\n"),
        ("x NN O\ny NN B-A\n", "x NN\ny NN\n"),
        ("x NP B-NP O\ny NP I-NP B-A\n", "x NP B-NP\ny NP I-NP\n"),
        ("x O\ny B-A\n", "x _\ny _\n"),
        ("x O\ny B-A\n", "-DOCSTART- ?\n\nx ?\ny ?\n"),
        ("x O\ny B-A\n", "#\n#tag\nx\n"),
    ],
)
@pytest.mark.parametrize("name", ["ner", "pos"])
def test_a_test_split_without_tags(tmp_path, name, train, test):
  for split in ("train", "dev"):
    write(tmp_path / name / f"{split}.txt", train)
  write(tmp_path / name / "test.txt", test)
  assert tags_of(read(tmp_path, name, "test")) == [None]
  assert tags_of(read(tmp_path, name))[0] is not None
  write(tmp_path / name / "dev.txt", "x\ny\n")
  with pytest.raises(UserError, match=r"dev.txt:1 has only the column 'x'"):
    read(tmp_path, name, "dev")
  # A file of its own, as `evaluate --folder` is given.
  (tmp_path / name / "train.txt").unlink()
  if "NP" not in test and "NN" not in test:
    assert tags_of(read(tmp_path, name, "test")) == [None]


def test_the_case_without_tags():
  examples = read(CASES / "ner-test-without-tags", "ner", "test")
  words = ("the", "young", "cook", "sees", "the", "old", "river", ".")
  assert examples == [TaggedExample("0", words, None)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ner", "en:Anna\tB-X\nen:runs\tO\n", "word begins with 'en:'.*sed"),
        ("pos", "zh-yue:食\tV\nzh-yue:飯\tN\n", "word begins with 'zh-yue:'"),
        ("pos", "Word\tPOS\nshe\tPRON\n", ":1 names the columns, 'Word' and"),
        ("pos", "The/DT dog/NN\n\nA/DT cat/NN\n", "joined by '/'"),
    ],
)
def test_what_other_programs_write_into_words(tmp_path, name, text, message):
  (tmp_path / "train.txt").write_text(text, encoding="utf-8")
  with pytest.raises(UserError, match=message):
    read(tmp_path, name)


def test_words_that_only_look_like_that(tmp_path):
  text = "a:b\tX\n1/2\tNUM\n\nword\tNOUN\nand/or\tX/Y\n"
  (tmp_path / "train.txt").write_text(text)
  words = [word for example in read(tmp_path, "pos") for word in example.words]
  assert words == ["a:b", "1/2", "word", "and/or"]


def test_tags_in_utf_16(tmp_path):
  (tmp_path / "train.txt").write_bytes("Ōe\tB-X\nja\tO\n".encode("utf-16"))
  assert read(tmp_path, "ner")[0].words == ("Ōe", "ja")

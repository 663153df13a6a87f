"""SQuAD and MRQA: every answer, its offset, and errors with their place."""

import gzip
import json
import pathlib

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.question_files import QUESTION_TASKS
from electra_jax.tasks.task import MissingSplitError, Source

CASES = pathlib.Path(__file__).parents[1] / "cases"
CONTEXT = "The Normans (Norman: Nourmands) lived in France, in France."


def read(folder, name, split="train"):
  return QUESTION_TASKS[name].read(Source(folder), split)


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  data = text.encode("utf-8")
  path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
  return path


def squad(*questions, **others):
  paragraph = {"context": CONTEXT, "qas": list(questions)}
  data = [{"title": "Normans", "paragraphs": [paragraph]}]
  return json.dumps({"version": "v2.0", "data": data, **others})


def question(name="56dd", **fields):
  return {"id": name, "question": "Where?", **fields}


def answer(text, start):
  return {"text": text, "answer_start": start}


def mrqa(*questions, header=True):
  lines = [{"header": {"dataset": "NewsQA", "split": "train"}}] * header
  tokens = [["The", 0]]
  lines.append(
      {"context": CONTEXT, "context_tokens": tokens, "qas": list(questions)}
  )
  return "".join(f"{json.dumps(line)}\n" for line in lines)


def mrqa_question(**fields):
  return {
      "qid": "da0e",
      "question": "Where?",
      "answers": ["france", "France", "Gaul"],
      "detected_answers": [
          {
              "text": "france",
              "char_spans": [[41, 46], [52, 57]],
              "token_spans": [[10, 10]],
          },
          {"text": "France", "char_spans": [[52, 57]]},
          {"text": "Gaul", "char_spans": [[0, 2]]},
      ],
      **fields,
  }


def fails(folder, name, *parts, error=UserError):
  with pytest.raises(error) as caught:
    read(folder, name)
  for part in parts:
    assert part in str(caught.value)


def test_squad_2(tmp_path):
  both = [answer("France", 41), answer("in France", 38)]
  text = squad(
      question(is_impossible=False, answers=both),
      question(
          "5ad3",
          is_impossible=True,
          answers=[],
          plausible_answers=[answer("France", 41)],
      ),
  )
  write(tmp_path / "squad" / "dev.json", "\ufeff" + text)
  assert read(tmp_path, "squad", "dev") == [
      QuestionExample(
          "56dd",
          "Where?",
          CONTEXT,
          (Answer("France", 41), Answer("in France", 38)),
      ),
      QuestionExample("5ad3", "Where?", CONTEXT, (), is_impossible=True),
  ]


def test_a_test_file_without_answers(tmp_path):
  write(tmp_path / "squad" / "test.json", squad(question()))
  (example,) = read(tmp_path, "squad", "test")
  assert not example.has_gold and not example.is_impossible
  assert example.answers == ()


def test_ids_that_are_whole_numbers():
  examples = read(CASES / "squad-whole-number-ids", "squad")
  assert [example.id for example in examples] == [700, 701, 702]
  assert examples[2].answers == (Answer("a quiet train", 71),)


def test_what_annotation_tools_and_data_libraries_write(tmp_path):
  start = CONTEXT.index("France")
  path = tmp_path / "squad" / "train.json"
  columns = {"text": ["France"], "answer_start": [float(start)]}
  none = {"text": [], "answer_start": []}
  text = squad(
      question(7, answers=columns, is_impossible="false"),
      question("7", answers=none, is_impossible="True"),
      question(-1, answers=none),
      question("", answers=None, is_impossible=None),
      question(2**70, answers=[], is_impossible=1, answer_id=5),
  )
  write(path, text)
  examples = read(tmp_path, "squad")
  assert [e.id for e in examples] == [7, "7", -1, "", 2**70]
  assert [e.is_impossible for e in examples] == [False, True, True, False, True]
  assert [e.has_gold for e in examples] == [True, True, True, False, True]
  assert examples[0].answers == (Answer("France", start),)
  flat = {"context": CONTEXT, **question(3, answers=columns)}
  write(path, json.dumps({"data": [flat]}))
  assert read(tmp_path, "squad") == [
      QuestionExample(3, "Where?", CONTEXT, (Answer("France", start),))
  ]


def test_questions_to_predict_have_ids_of_their_own(tmp_path):
  text = squad(question(7, answers=[]), question("7", answers=[]))
  for split in ("train", "dev"):
    write(tmp_path / "squad" / f"{split}.json", text)
  assert len(read(tmp_path, "squad")) == 2
  with pytest.raises(UserError, match=r"dev.json has 2 questions .* id '7'"):
    read(tmp_path, "squad", "dev")


def test_squad_1(tmp_path):
  write(
      tmp_path / "train-v1.1.json",
      squad(question(answers=[answer("France", 41)])),
  )
  (example,) = read(tmp_path, "squadv1")
  assert example.answers == (Answer("France", 41),)
  assert example.has_gold and not example.is_impossible


@pytest.mark.parametrize(
    "path",
    [
        "squad/train.json",
        "finetuning_data/squad/train.json",
        "squad/train-v2.0.json",
        "train-v2.0.json",
    ],
)
def test_squad_layouts(tmp_path, path):
  write(tmp_path / path, squad(question(answers=[], is_impossible=True)))
  assert read(tmp_path, "squad")[0].is_impossible


def test_mrqa_puts_the_detected_span_first_in_training_only(tmp_path):
  for split in ("train", "dev"):
    write(tmp_path / "newsqa" / f"{split}.jsonl", mrqa(mrqa_question()))
  (train,) = read(tmp_path, "newsqa")
  assert train.id == "da0e" and train.context == CONTEXT and train.has_gold
  assert train.answers == (
      Answer("France", 41),
      Answer("france", -1),
      Answer("Gaul", -1),
  )
  (dev,) = read(tmp_path, "newsqa", "dev")
  assert dev.answers == (
      Answer("france", -1),
      Answer("France", 41),
      Answer("Gaul", -1),
  )


def test_mrqa_without_answers_or_detected_spans(tmp_path):
  bare = {"qid": "1", "question": "Where?"}
  path = tmp_path / "newsqa" / "train.jsonl"
  write(path, mrqa(bare, mrqa_question(detected_answers=[]), header=False))
  first, second = read(tmp_path, "newsqa")
  assert not first.has_gold and first.answers == ()
  assert second.answers[0] == Answer("france", -1)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("newsqa", "newsqa/train.jsonl"),
        ("newsqa", "newsqa/train.jsonl.gz"),
        ("newsqa", "finetuning_data/newsqa/train.jsonl"),
        ("newsqa", "train/NewsQA.jsonl.gz"),
        ("triviaqa", "train/TriviaQA-web.jsonl.gz"),
        ("searchqa", "train/SearchQA.jsonl.gz"),
        ("naturalqs", "train/NaturalQuestionsShort.jsonl.gz"),
        ("hotpotqa", "hotpotqa/train/HotpotQA.jsonl"),
    ],
)
def test_mrqa_layouts(tmp_path, name, path):
  write(tmp_path / path, mrqa(mrqa_question()))
  assert read(tmp_path, name)[0].id == "da0e"


def test_squad_errors_name_the_place(tmp_path):
  path = tmp_path / "squadv1" / "train.json"
  place = f"{path}: data[0].paragraphs[0].qas[0]"
  fails(tmp_path, "squadv1", "train-v1.1.json", error=MissingSplitError)
  write(path, '{"data": [')
  fails(tmp_path, "squadv1", str(path), "not JSON", "line 1")
  write(path, "[]")
  fails(tmp_path, "squadv1", str(path), "JSON list")
  write(path, json.dumps({"data": []}))
  fails(tmp_path, "squadv1", str(path), "no question")
  write(path, json.dumps({"data": [{"title": "a"}]}))
  fails(tmp_path, "squadv1", f"{path}: data[0] ", "'paragraphs'", "list")
  write(path, json.dumps({"data": [{"paragraphs": ["a"]}]}))
  fails(tmp_path, "squadv1", ".paragraphs[0] ", "'context'", "text")
  for name in (None, True, 7.5, ["7"]):
    write(path, squad(question(name)))
    fails(tmp_path, "squadv1", place, "'id'")
  write(path, squad(question(is_impossible="no")))
  fails(tmp_path, "squadv1", place, "'no' under 'is_impossible'")
  write(path, squad(question(answers=[{"text": "France"}])))
  fails(tmp_path, "squadv1", place, "'answer_start'", "whole number")
  for start in (True, 4.5, "4"):
    write(path, squad(question(answers=[answer("France", start)])))
    fails(tmp_path, "squadv1", f"'{start}' there")
  columns = {"text": ["France"], "answer_start": []}
  write(path, squad(question(answers=columns)))
  fails(tmp_path, "squadv1", place, "1 answers under 'text' and 0 under")
  write(path, squad(question(answers=[])))
  fails(tmp_path, "squadv1", place, "has no answer", "'squad'")


def test_mrqa_errors_name_the_place(tmp_path):
  path = tmp_path / "newsqa" / "train.jsonl"
  fails(tmp_path, "newsqa", "train/NewsQA.jsonl.gz", error=MissingSplitError)
  write(path, mrqa().splitlines()[0])
  fails(tmp_path, "newsqa", str(path), "no question")
  write(path, mrqa() + '{"context": "a"}')
  fails(tmp_path, "newsqa", f"{path}:3", "'qas'")
  write(path, mrqa() + '{"con')
  fails(tmp_path, "newsqa", f"{path}:3", "not JSON")
  for spans in ([], [[5]], [[9, 5]], [[0, len(CONTEXT)]], [["0", "1"]]):
    detected = [{"text": "a", "char_spans": spans}]
    write(path, mrqa(mrqa_question(detected_answers=detected)))
    fails(tmp_path, "newsqa", f"{path}:2: qas[0]", "char_spans", str(spans))
  write(path, mrqa(mrqa_question(detected_answers=None)))
  fails(tmp_path, "newsqa", f"{path}:2: qas[0]", "'detected_answers'")
  path.unlink()
  cut = write(path.with_suffix(".jsonl.gz"), mrqa(mrqa_question()))
  cut.write_bytes(cut.read_bytes()[:-9])
  fails(tmp_path, "newsqa", str(cut), "damaged gzip")


def test_tasks():
  assert QUESTION_TASKS["squad"].may_lack_answer
  assert QUESTION_TASKS["squad"].metrics == ("f1", "exact")
  for name, task in QUESTION_TASKS.items():
    assert task.name == name and task.kind == "questions"
    if name != "squad":
      assert task.metrics == ("f1", "exact_match")
      assert not task.may_lack_answer


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet", "train.json"])
def test_what_hugging_faces_datasets_write(tmp_path, name):
  """A question in each row, with a list of texts and one of starts."""
  rows = [
      {
          "id": str(i),
          "title": "Normans",
          "context": CONTEXT,
          "question": "Where?",
          "answers": {"text": texts, "answer_start": starts},
      }
      for i, (texts, starts) in enumerate([(["France"], [41]), ([], [])])
  ]
  if name.endswith(".parquet"):
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / name)
  else:
    write(tmp_path / name, "\n".join(map(json.dumps, rows)) + "\n")
  first, second = read(tmp_path, "squad")
  assert first.context == CONTEXT and first.answers == (Answer("France", 41),)
  assert (second.answers, second.is_impossible) == ((), True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, encoding):
  text = squad(question(answers=[answer("France", 41)], note="Ōsaka 日本"))
  (tmp_path / "train.json").write_bytes(text.encode(encoding))
  assert read(tmp_path, "squad")[0].answers == (Answer("France", 41),)
  (tmp_path / "train.json").write_bytes(text.encode(encoding) + b"\xff")
  with pytest.raises(UserError, match=r"train.json:\d+ is not"):
    read(tmp_path, "squad")

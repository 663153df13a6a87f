"""Questions about a context: SQuAD 1.1 and 2.0, and MRQA as JSON lines."""

import collections
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import table_files, task_files
from electra_jax.tasks.examples import Answer, QuestionExample
from electra_jax.tasks.task import Source, Task

SQUAD_VERSIONS = {"squad": "v2.0", "squadv1": "v1.1"}
MRQA_FILES = {
    "newsqa": "NewsQA",
    "triviaqa": "TriviaQA-web",
    "searchqa": "SearchQA",
    "naturalqs": "NaturalQuestionsShort",
    "hotpotqa": "HotpotQA",
}


def read_squad(name: str, source: Source, split: str) -> list[QuestionExample]:
  """Reads a split of SQuAD.

  Args:
    name: "squad" (2.0) or "squadv1".
    source: where the files are, named `train.json` as in the release,
      `train-v2.0.json` as in the download, or `train.jsonl` or `train.parquet`
      with a question in each row, as Hugging Face's datasets write them.
    split: "train", "dev" or "test".

  Returns:
    The questions with all their answers; `has_gold` is False where the file
      has no field for answers, or null in it. Ids are texts or whole numbers,
      as in the file.

  Raises:
    MissingSplitError: there is no such file.
    UserError: the file is not of the form, SQuAD 1.1 has a question that
      cannot be answered, or two questions to predict have the same id.
  """
  version = SQUAD_VERSIONS[name]
  path = task_files.find_file(
      source,
      name,
      split,
      folders=(name,),
      names=(
          *(f"{split}.json", f"{split}-{version}.json"),
          *(f"{split}.jsonl", f"{split}.parquet"),
      ),
  )
  examples = []
  for place, example in squad_examples(path):
    if example.is_impossible and name == "squadv1":
      raise UserError(
          f"{place} has no answer, which SQuAD 1.1 does not know; read the file"
          " as the task 'squad'"
      )
    examples.append(example)
  if split != "train":
    _check_ids(examples, path)
  return _not_empty(examples, path)


def squad_examples(
    path: pathlib.Path,
) -> Iterator[tuple[str, QuestionExample]]:
  """Yields place and question of a file as of `read_squad`.

  Raises:
    UserError: the file is not of the form.
  """
  for place, context, question in _squad_questions(path):
    yield place, _squad_example(context, question, place)


def read_mrqa(name: str, source: Source, split: str) -> list[QuestionExample]:
  """Reads a split of one of the MRQA 2019 tasks.

  Args:
    name: a key of `MRQA_FILES`.
    source: where the files are, named `newsqa/train.jsonl` as in the release
      or `train/NewsQA.jsonl.gz` as in the download; all may have `.gz` behind.
    split: "train", "dev" or "test".

  Returns:
    The questions with all strings that count as an answer, with their offset
    where the file tells it and -1 elsewhere. In training the first span that
    was detected in the context comes first, as it stands there.

  Raises:
    MissingSplitError: there is no such file.
    UserError: the file is not of the form.

  Source: release finetune/qa/qa_tasks.py:QATask._add_examples.
  """
  names = (f"{split}.jsonl", f"{split}/{MRQA_FILES[name]}.jsonl")
  path = task_files.find_file(
      source,
      name,
      split,
      folders=(name,),
      names=tuple(n + end for n in names for end in ("", ".gz")),
  )
  examples = []
  for place, record in task_files.read_objects(path):
    if "header" in record:
      continue
    context = _field(record, "context", str, place)
    for i, question in enumerate(_field(record, "qas", list, place)):
      examples.append(
          _mrqa_example(
              context,
              question,
              f"{place}: qas[{i}]",
              is_train=split == "train",
          )
      )
  return _not_empty(examples, path)


def order_answers(
    answers: Sequence[str], detected: Sequence[Answer], *, is_train: bool
) -> tuple[Answer, ...]:
  """Joins MRQA's strings that count as an answer with its detected spans.

  Args:
    answers: all strings that count.
    detected: spans of the context.
    is_train: puts the first span in front, for only the first answer is
      trained on.

  Returns:
    The strings, with the start of an equal span or -1.
  """
  starts = {answer.text: answer.start for answer in reversed(detected)}
  known = [Answer(text, starts.get(text, -1)) for text in answers]
  if is_train and detected:
    known = [detected[0], *(a for a in known if a.text != detected[0].text)]
  return tuple(known)


def _squad_questions(path: pathlib.Path) -> Iterator[tuple[str, str, Any]]:
  """Yields place, context and question."""
  if path.suffix != ".json":
    rows = table_files.read_rows(path, ())
  else:
    text = "\n".join(line for _, line in task_files.read_lines(path))
    first, _, rest = text.partition("\n")
    if rest.strip() and '"question"' in first and first.rstrip()[-1] == "}":
      rows = task_files.read_objects(path)  # JSON lines by another name.
    else:
      document = task_files.parse_object(text, str(path))
      yield from _questions_of(document, str(path))
      return
  for place, row in rows:
    yield place, _field(row, "context", str, place), row


def _questions_of(
    document: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str, Any]]:
  for i, article in enumerate(_field(document, "data", list, path)):
    place = f"{path}: data[{i}]"
    if isinstance(article, dict) and "question" in article:  # No articles.
      yield place, _field(article, "context", str, place), article
      continue
    for j, part in enumerate(_field(article, "paragraphs", list, place)):
      place = f"{path}: data[{i}].paragraphs[{j}]"
      context = _field(part, "context", str, place)
      for k, question in enumerate(_field(part, "qas", list, place)):
        yield f"{place}.qas[{k}]", context, question


def _squad_example(context: str, question: Any, place: str) -> QuestionExample:
  name = _id(question, "id", place)
  text = _field(question, "question", str, place)
  answers = question.get("answers")
  has_gold = answers is not None
  if isinstance(answers, dict):
    answers = _rows(answers, place)
  elif has_gold:
    answers = _field(question, "answers", list, place)
  is_impossible = question.get("is_impossible")
  if is_impossible is None:
    is_impossible = has_gold and not answers
  return QuestionExample(
      id=name,
      question=text,
      context=context,
      answers=tuple(
          Answer(
              _field(answer, "text", str, place),
              _field(answer, "answer_start", int, place),
          )
          for answer in answers or ()
      ),
      is_impossible=_truth(is_impossible, "is_impossible", place),
      has_gold=has_gold,
  )


def _rows(columns: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
  """Turns {"text": […], "answer_start": […]} into a list of answers."""
  texts = _field(columns, "text", list, place)
  starts = _field(columns, "answer_start", list, place)
  if len(texts) != len(starts):
    raise UserError(
        f"{place} has {len(texts)} answers under 'text' and {len(starts)} under"
        " 'answer_start'; write a start for each text"
    )
  pairs = zip(texts, starts, strict=True)
  return [{"text": text, "answer_start": start} for text, start in pairs]


def _mrqa_example(
    context: str, question: Any, place: str, *, is_train: bool
) -> QuestionExample:
  name = _id(question, "qid", place)
  text = _field(question, "question", str, place)
  has_gold = "answers" in question
  answers, detected = (), []
  if has_gold:
    answers = _field(question, "answers", list, place)
    for answer in _field(question, "detected_answers", list, place):
      # Ends are inclusive; further spans repeat the text of the first.
      start, end = _first_span(answer, context, place)
      detected.append(Answer(context[start : end + 1], start))
  return QuestionExample(
      id=name,
      question=text,
      context=context,
      answers=order_answers(answers, detected, is_train=is_train),
      has_gold=has_gold,
  )


def _first_span(answer: Any, context: str, place: str) -> tuple[int, int]:
  spans = _field(answer, "char_spans", list, place)
  match spans:
    case [[int(start), int(end)], *_] if 0 <= start <= end < len(context):
      return start, end
  raise UserError(
      f"{place} has the char_spans {spans}; the first must be [start, end]"
      f" within the {len(context)} characters of its context"
  )


_KINDS = {str: "text", int: "whole number", list: "list"}


def _field(record: Any, key: str, kind: type, place: str) -> Any:
  value = record.get(key) if isinstance(record, dict) else None
  if kind is int and isinstance(value, float) and value.is_integer():
    value = int(value)
  if not isinstance(value, kind) or isinstance(value, bool):
    found = "has none" if value is None else f"has {str(value)[:40]!r} there"
    raise UserError(
        f"{place} needs a {_KINDS[kind]} under {key!r} and {found}; mend the"
        " file, or check that it belongs to this task"
    )
  return value


def _id(record: Any, key: str, place: str) -> str | int:
  """Returns an identifier, as the file has it."""
  is_number = isinstance(record, dict) and not isinstance(record.get(key), str)
  return _field(record, key, int if is_number else str, place)


def _truth(value: Any, key: str, place: str) -> bool:
  names = {"true": True, "false": False, "1": True, "0": False}
  if str(value).lower() not in names:
    raise UserError(
        f"{place} has {value!r} under {key!r}; it must be true or false"
    )
  return names[str(value).lower()]


def _check_ids(examples: list[QuestionExample], path: pathlib.Path) -> None:
  """Refuses ids that would give two questions one answer in the files."""
  counts = collections.Counter(str(example.id) for example in examples)
  for name, count in counts.items():
    if count > 1:
      raise UserError(
          f"{path} has {count} questions with the id {name!r}; give each its"
          " own, for predictions are told by it"
      )


def _not_empty(
    examples: list[QuestionExample], path: pathlib.Path
) -> list[QuestionExample]:
  if not examples:
    raise UserError(f"{path} holds no question; fetch the file again")
  return examples


def _squad_task(name: str, metrics: tuple[str, ...], **others: Any) -> Task:
  read = functools.partial(read_squad, name)
  return Task(name, "questions", metrics, read, **others)


def _mrqa_task(name: str) -> Task:
  read = functools.partial(read_mrqa, name)
  return Task(name, "questions", ("f1", "exact_match"), read)


QUESTION_TASKS = {
    "squad": _squad_task("squad", ("f1", "exact"), may_lack_answer=True),
    "squadv1": _squad_task("squadv1", ("f1", "exact_match")),
    **{name: _mrqa_task(name) for name in MRQA_FILES},
}

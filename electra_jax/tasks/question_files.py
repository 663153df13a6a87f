"""Questions about a context: SQuAD 1.1 and 2.0 as JSON, MRQA as JSON lines."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks import task_files
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
    source: where the files are, named `train.json` as in the release or
      `train-v2.0.json` as in the download.
    split: "train", "dev" or "test".

  Returns:
    The questions with all their answers; `has_gold` is False where the file
    has no field for answers.

  Raises:
    MissingSplitError: there is no such file.
    UserError: the file is not of the form, or SQuAD 1.1 has a question that
      cannot be answered.
  """
  version = SQUAD_VERSIONS[name]
  path = task_files.find_file(
      source,
      name,
      split,
      folders=(name,),
      names=(f"{split}.json", f"{split}-{version}.json"),
  )
  text = "\n".join(line for _, line in task_files.read_lines(path))
  document = task_files.parse_object(text, str(path))
  examples = []
  for place, context, question in _squad_questions(document, str(path)):
    example = _squad_example(context, question, place)
    if example.is_impossible and name == "squadv1":
      raise UserError(
          f"{place} has no answer, which SQuAD 1.1 does not know; read the file"
          " as the task 'squad'"
      )
    examples.append(example)
  return _not_empty(examples, path)


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


def _squad_questions(
    document: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str, Any]]:
  """Yields place, context and question."""
  for i, article in enumerate(_field(document, "data", list, path)):
    place = f"{path}: data[{i}]"
    for j, part in enumerate(_field(article, "paragraphs", list, place)):
      place = f"{path}: data[{i}].paragraphs[{j}]"
      context = _field(part, "context", str, place)
      for k, question in enumerate(_field(part, "qas", list, place)):
        yield f"{place}.qas[{k}]", context, question


def _squad_example(context: str, question: Any, place: str) -> QuestionExample:
  name = _field(question, "id", str, place)
  text = _field(question, "question", str, place)
  has_gold = "answers" in question
  answers = _field(question, "answers", list, place) if has_gold else ()
  return QuestionExample(
      id=name,
      question=text,
      context=context,
      answers=tuple(
          Answer(
              _field(answer, "text", str, place),
              _field(answer, "answer_start", int, place),
          )
          for answer in answers
      ),
      is_impossible=bool(
          question.get("is_impossible", has_gold and not answers)
      ),
      has_gold=has_gold,
  )


def _mrqa_example(
    context: str, question: Any, place: str, *, is_train: bool
) -> QuestionExample:
  name = _field(question, "qid", str, place)
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


def _field(record: Any, key: str, kind: type, place: str) -> Any:
  value = record.get(key) if isinstance(record, dict) else None
  if not isinstance(value, kind):
    raise UserError(
        f"{place} has no {key!r} that is a {kind.__name__}; check that the file"
        " belongs to this task, or fetch it again"
    )
  return value


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

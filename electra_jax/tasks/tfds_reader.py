"""The same tasks by tensorflow-datasets, which fetches and keeps the data."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from electra_jax.errors import UserError
from electra_jax.tasks.examples import (
    Answer,
    Example,
    QuestionExample,
    TaggedExample,
    TextExample,
)
from electra_jax.tasks.glue import DIAGNOSTIC
from electra_jax.tasks.question_files import order_answers
from electra_jax.tasks.tagging import make_tagged_examples
from electra_jax.tasks.task import MissingSplitError, Task

DATASETS = {
    "cola": "glue/cola",
    "sst": "glue/sst2",
    "mrpc": "glue/mrpc",
    "sts": "glue/stsb",
    "qqp": "glue/qqp",
    "mnli": "glue/mnli",
    "qnli": "glue/qnli",
    "rte": "glue/rte",
    "wnli": "glue/wnli",
    "ax": "glue/ax",
    "squad": "squad/v2.0",
    "squadv1": "squad/v1.1",
    "newsqa": "mrqa/news_qa",
    "triviaqa": "mrqa/trivia_qa",
    "searchqa": "mrqa/search_qa",
    "naturalqs": "mrqa/natural_questions",
    "hotpotqa": "mrqa/hotpot_qa",
    "chunk": "conll2003",
    "ner": "conll2003",
    "pos": "conll2003",
}

# The features of GLUE's texts; the first of these that a dataset has.
_TEXT_FEATURES = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence",),
)
_TAG_FEATURES = {"chunk": "chunks", "ner": "ner", "pos": "pos"}

_Records = Iterable[Mapping[str, Any]]


def read_tfds(task: Task, split: str) -> list[Example]:
  """Reads a split of a task from tensorflow-datasets.

  Args:
    task: one of the tasks in `DATASETS`.
    split: the task's own name of the split.

  Returns:
    The examples as from the files; GLUE's in the order of the files.

  Raises:
    MissingSplitError: the dataset has no such split.
    UserError: tensorflow-datasets does not know the task, is not installed, or
      cannot bring the data.
  """
  if task.name not in DATASETS:
    raise UserError(
        f"tensorflow-datasets has no data for the task {task.name!r}, only for"
        f" {list(DATASETS)}; name a folder with its files by"
        " --config.data.folder and leave out --config.data.source"
    )
  dataset = DATASETS[task.name]
  if split == DIAGNOSTIC:
    dataset, split = DATASETS["ax"], "test"
  features, records = _open(dataset, split)
  convert = _CONVERTERS[dataset.partition("/")[0]]
  return convert(task, features, records, is_train=split == "train")


def read_tfds_rows(
    dataset: str, split: str
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields place and texts of every row of any dataset.

  Args:
    dataset: as tensorflow-datasets names it, "NAME/CONFIG:VERSION".
    split: "train", "dev" (its validation) or "test".

  Raises:
    MissingSplitError: the dataset has no such split.
    UserError: tensorflow-datasets is not installed, or cannot bring the data.
  """
  _, records = _open(dataset, split)
  for number, record in enumerate(records):
    texts = {
        name: value.decode("utf-8") if isinstance(value, bytes) else value
        for name, value in record.items()
    }
    yield f"{dataset} {split} row {number}", texts


def _open(dataset: str, split: str) -> tuple[Mapping[str, Any], _Records]:
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise UserError(
        f"reading {dataset} needs a package that is not installed; run pip"
        " install 'electra-jax[tfds]'"
    ) from error
  try:
    builder = tfds.builder(dataset)
    builder.download_and_prepare()
  except (ValueError, OSError, tfds.core.DatasetNotFoundError) as error:
    reason = str(error).strip().split("\n")[0]
    raise UserError(
        f"tensorflow-datasets cannot bring {dataset}: {reason}; check the"
        " network, or name a folder with the files by --config.data.folder and"
        " leave out --config.data.source"
    ) from error
  names = (split, split.replace("dev", "validation"))
  name = next((n for n in names if n in builder.info.splits), None)
  if name is None:
    raise MissingSplitError(
        f"{dataset} of tensorflow-datasets has no split {split!r}, only"
        f" {list(builder.info.splits)}; name a folder with the file by"
        " --config.data.folder and leave out --config.data.source"
    )
  examples = builder.as_dataset(split=name, shuffle_files=False)
  return builder.info.features, tfds.as_numpy(examples)


def _glue_examples(
    task: Task, features: Mapping[str, Any], records: _Records, **_: bool
) -> list[TextExample]:
  texts = next(t for t in _TEXT_FEATURES if set(t) <= set(features))
  return [
      TextExample(
          id=str(record["idx"]),
          text=_decode(record[texts[0]]),
          other_text=_decode(record[texts[1]]) if len(texts) > 1 else None,
          label=_glue_label(task, features["label"], record["label"]),
      )
      for record in sorted(records, key=lambda r: int(r["idx"]))
  ]


def _glue_label(task: Task, feature: Any, value: Any) -> str | float | None:
  if value < 0:
    return None
  if task.kind == "regression":
    return float(str(value))  # As in the file: 3.8, not the nearest float32.
  # Names where the files have names; the order of ids may differ from ours.
  name = feature.names[value]
  return name if name in task.labels else str(value)


def _squad_examples(
    task: Task, features: Mapping[str, Any], records: _Records, **_: bool
) -> list[QuestionExample]:
  del task, features
  return [
      QuestionExample(
          id=_decode(record["id"]),
          question=_decode(record["question"]),
          context=_decode(record["context"]),
          answers=tuple(
              Answer(_decode(text), int(start))
              for text, start in zip(
                  record["answers"]["text"],
                  record["answers"]["answer_start"],
                  strict=True,
              )
          ),
          is_impossible=bool(record.get("is_impossible", False)),
      )
      for record in records
  ]


def _mrqa_examples(
    task: Task,
    features: Mapping[str, Any],
    records: _Records,
    *,
    is_train: bool,
) -> list[QuestionExample]:
  del task, features
  examples = []
  for record in records:
    context = _decode(record["context"])
    spans = record["detected_answers"]["char_spans"]
    detected = []
    for i in range(len(record["detected_answers"]["text"])):
      start, end = int(spans["start"][i][0]), int(spans["end"][i][0])
      detected.append(Answer(context[start : end + 1], start))
    answers = [_decode(text) for text in record["answers"]]
    examples.append(
        QuestionExample(
            id=_decode(record["qid"]),
            question=_decode(record["question"]),
            context=context,
            answers=order_answers(answers, detected, is_train=is_train),
        )
    )
  return examples


def _tagged_examples(
    task: Task, features: Mapping[str, Any], records: _Records, **_: bool
) -> list[TaggedExample]:
  column = _TAG_FEATURES[task.name]
  names = features[column].feature.names
  sentences = (
      (
          [_decode(word) for word in record["tokens"]],
          [names[tag] for tag in record[column]],
      )
      for record in records
      if len(record["tokens"])  # The data has an empty sentence.
  )
  return make_tagged_examples(sentences)


def _decode(text: bytes) -> str:
  return text.decode("utf-8")


_CONVERTERS = {
    "glue": _glue_examples,
    "squad": _squad_examples,
    "mrqa": _mrqa_examples,
    "conll2003": _tagged_examples,
}

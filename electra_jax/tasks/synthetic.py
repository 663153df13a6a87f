"""Small made-up data of every task, in the files that the real data has.

Each label follows from one word, so that a tiny model learns it in minutes.
"""

import json
import pathlib
import random
from collections.abc import Iterable

from etils import epath

from electra_jax.tasks import (
    autoencoding,
    glue,
    table,
    text_pairs,
    text_to_text,
)
from electra_jax.tasks.question_files import SQUAD_VERSIONS
from electra_jax.tasks.registry import find_task
from electra_jax.tasks.reviews import REVIEW_TASKS
from electra_jax.tasks.task import Source, Task
from electra_jax.text.tokenizer import SPECIAL_NAMES
from electra_jax.text.wordpiece import release_words

TABLE_LABELS = ("negative", "positive")

_WORDS = "the a small old red house river road tree cat saw was near under with"
_MARKERS = ("bad", "good", "cold", "warm", "dark", "bright")  # One a label.
_FIRST_NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Frank")
_LAST_NAMES = ("Miller", "Smith", "Taylor", "Baker", "Cook", "Mason")
_CITIES = ("Paris", "London", "Rome", "Berlin", "Oslo", "Madrid")

# Column names of train and dev, then of test.
_PAIR = "index|sentence1|sentence2"
_STS = "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2"
_PARSES = "binary_parse|sentence2_binary_parse|sentence1_parse|sentence2_parse"
_MNLI = f"index|promptID|pairID|genre|sentence1_{_PARSES}|sentence1|sentence2"
_QUESTIONS = "question1|question2"
_MRPC = "#1 ID|#2 ID|#1 String|#2 String"
_HEADERS = {
    "cola": ("source|label|mark|sentence", "index|sentence"),
    "sst": ("sentence|label", "index|sentence"),
    "mrpc": (f"Quality|{_MRPC}", f"index|{_MRPC}"),
    "sts": (f"{_STS}|score", _STS),
    "qqp": (f"id|qid1|qid2|{_QUESTIONS}|is_duplicate", f"id|{_QUESTIONS}"),
    "mnli": (f"{_MNLI}|label1|gold_label", _MNLI),
    "qnli": ("index|question|sentence|label", "index|question|sentence"),
    "rte": (f"{_PAIR}|label", _PAIR),
    "wnli": (f"{_PAIR}|label", _PAIR),
    "ax": (None, _PAIR),
}


def write_synthetic_task(
    name: str,
    folder: pathlib.Path,
    *,
    num_train: int = 64,
    num_dev: int = 24,
    num_test: int = 8,
    seed: int = 0,
) -> None:
  """Writes all splits of a task.

  Args:
    name: a key of `TASKS`, or "table" for CSV files with the columns text and
      label, "embedding" and "autoencode" for texts in lines, or a key of `text_to_text.METRICS`
      for a table whose target is the source's first words, backwards; of
      "reviews", which brings its own data, nothing is written.
    folder: gets a folder of the task's name, as the release has it.
    num_train: examples to train on.
    num_dev: examples of each split that is scored.
    num_test: examples of each split that is predicted.
    seed: another seed gives other examples by the same rule.
  """
  task = find_task(name, _options_of(name))
  # The diagnostic set is only predicted.
  sizes = {"train": num_train} if task.dev_splits else {}
  sizes |= dict.fromkeys(task.dev_splits, num_dev)
  sizes |= dict.fromkeys(task.test_splits, num_test)
  folder = pathlib.Path(folder) / name
  folder.mkdir(parents=True, exist_ok=True)
  for split, size in sizes.items():
    rng = random.Random(f"{seed} {name} {split}")
    if name == table.NAME:
      _write_table(folder / f"{split}.csv", rng, size)
    elif name == autoencoding.NAME:
      _write(folder / f"{split}.txt", (_sentence(rng) for _ in range(size)))
    elif name == text_pairs.NAME:
      lines = (f"{_sentence(rng)} {_sentence(rng)}" for _ in range(size))
      _write(folder / f"{split}.txt", lines)
    elif task.kind == text_to_text.KIND:
      _write_backwards(folder / f"{split}.tsv", rng, size)
    elif task.kind == "tagging":
      _write_tagging(folder / f"{split}.txt", name, rng, size)
    elif name in REVIEW_TASKS:
      continue
    elif name in SQUAD_VERSIONS:
      _write_squad(folder / f"{split}.json", task, rng, size)
    elif task.kind == "questions":
      _write_mrqa(folder / f"{split}.jsonl", rng, size)
    else:
      _write_glue(folder, task, split, rng, size)


def _options_of(name: str) -> dict[str, str]:
  """Returns the columns of made-up tables."""
  if name in (text_pairs.NAME, autoencoding.NAME):
    return {"text": "text"}
  if name in text_to_text.METRICS:
    return {"text": text_to_text.SOURCE, "target": text_to_text.TARGET}
  return {"kind": "classification", "text": "text", "label": "label"}


def _write_glue(
    folder: pathlib.Path, task: Task, split: str, rng: random.Random, size: int
) -> None:
  is_test = split in task.test_splits
  name = task.name
  if name == "ax" or split == glue.DIAGNOSTIC:
    name, split = "ax", glue.DIAGNOSTIC
  header = _HEADERS[name][is_test].split("|")
  columns = (glue.TEST_COLUMNS if is_test else glue.TRAIN_COLUMNS)[name]
  labels = task.labels or [f"{rating}.000" for rating in range(6)]
  last_text = columns.text if columns.other_text is None else columns.other_text
  rows = [header] if columns.has_header else []
  for i in range(size):
    kind = i % len(labels)
    cells = [str(i)] + ["none"] * (len(header) - 1)
    cells[columns.text] = _sentence(rng)
    cells[last_text] = _sentence(rng, _MARKERS[kind])
    if columns.label is not None:
      cells[columns.label] = labels[kind]
    rows.append(cells)
  _write(folder / f"{split}.tsv", map("\t".join, rows))


def _write_table(path: pathlib.Path, rng: random.Random, size: int) -> None:
  lines = ["text,label"]
  for i in range(size):
    text = f"{_sentence(rng, _MARKERS[i % 2])}, {_sentence(rng)}"
    lines.append(f'"{text}",{TABLE_LABELS[i % 2]}')
  _write(path, lines)


def _write_backwards(path: pathlib.Path, rng: random.Random, size: int) -> None:
  rows = [(text_to_text.SOURCE, text_to_text.TARGET)]
  for _ in range(size):
    source = _sentence(rng)
    rows.append((source, " ".join(source.split()[2::-1])))
  _write(path, map("\t".join, rows))


def _write_tagging(
    path: pathlib.Path, name: str, rng: random.Random, size: int
) -> None:
  """Writes as many of the columns word, pos, chunk and ner as CoNLL has."""
  width = 2 + ("pos", "chunk", "ner").index(name)
  lines = ["-DOCSTART- -X- -X- O", ""]
  for _ in range(size):
    rows = [
        (rng.choice(_FIRST_NAMES), "NNP", "B-NP", "B-PER"),
        (rng.choice(_LAST_NAMES), "NNP", "I-NP", "I-PER"),
    ][: rng.randint(1, 2)]
    rows += [
        (rng.choice(("saw", "left", "liked")), "VBD", "B-VP", "O"),
        ("the", "DT", "B-NP", "O"),
        (rng.choice(("house", "river", "cat")), "NN", "I-NP", "O"),
        ("in", "IN", "B-PP", "O"),
        (rng.choice(_CITIES), "NNP", "B-NP", "B-LOC"),
        (".", ".", "O", "O"),
    ]
    lines += [*(" ".join(row[:width]) for row in rows), ""]
  _write(path, lines)


def _write_squad(
    path: pathlib.Path, task: Task, rng: random.Random, size: int
) -> None:
  paragraphs = []
  for i in range(size):
    is_impossible = task.may_lack_answer and i % 3 == 2
    context, question, spans = _question(rng, is_impossible=is_impossible)
    qa = {"id": f"{path.stem}-{i}", "question": question}
    if path.stem != "test":
      spans = spans[:1] if path.stem == "train" else spans
      qa["answers"] = [
          {"text": context[start:end], "answer_start": start}
          for start, end in spans
      ]
      if task.may_lack_answer:
        qa["is_impossible"] = is_impossible
    paragraphs.append({"context": context, "qas": [qa]})
  data = [{"title": "Made up", "paragraphs": paragraphs}]
  _write(path, [json.dumps({"version": "made up", "data": data})])


def _write_mrqa(path: pathlib.Path, rng: random.Random, size: int) -> None:
  records = [{"header": {"dataset": "MadeUp", "mrqa_split": path.stem}}]
  for i in range(size):
    context, question, spans = _question(rng)
    qa = {"qid": f"{path.stem}-{i}", "question": question}
    if path.stem != "test":
      qa["answers"] = [context[start:end] for start, end in spans]
      qa["detected_answers"] = [
          {"text": context[start:end], "char_spans": [[start, end - 1]]}
          for start, end in spans
      ]
    records.append({"context": context, "qas": [qa]})
  _write(path, map(json.dumps, records))


def _question(
    rng: random.Random, *, is_impossible: bool = False
) -> tuple[str, str, list[tuple[int, int]]]:
  """Returns context, question and answers: a name, or its end alone."""
  question = "What was the man called?"
  sentences = [f"{_sentence(rng)}." for _ in range(3)]
  if is_impossible:
    return " ".join(sentences), question, []
  first, last = rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
  sentences.insert(rng.randrange(4), f"the man was called {first} {last}.")
  context = " ".join(sentences)
  start, middle = context.index(first), context.index(last)
  end = middle + len(last)
  return context, question, [(start, end), (middle, end)]


def _sentence(rng: random.Random, *markers: str) -> str:
  words = [*rng.choices(_WORDS.split(), k=rng.randint(4, 8)), *markers]
  rng.shuffle(words)
  return " ".join(words)


def _write(path: pathlib.Path, lines: Iterable[str]) -> None:
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_task(names: list[str], folder: epath.PathLike) -> None:
  """Writes the files of made-up tasks, and a `vocab.txt` of their words.

  Args:
    names: of the tasks.
    folder: a local folder; made if it is not there.
  """
  folder = pathlib.Path(folder)
  texts = []
  for name in names:
    write_synthetic_task(name, folder)
    options = _options_of(name)
    task = find_task(name, options)
    for example in task.read(Source(folder, options=options), "train"):
      fields = [x for x in example[1:3] if x is not None]
      texts += [f if isinstance(f, str) else " ".join(f) for f in fields]
  text = " ".join(texts)
  words = set(release_words(text, lowercase=True, strip_accents=True))
  letters = {letter for word in words for letter in word}
  pieces = words | letters | {f"##{letter}" for letter in letters}
  names = [names[0] for names in SPECIAL_NAMES.values()]
  vocabulary = "\n".join([*names, *sorted(pieces)]) + "\n"
  (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")

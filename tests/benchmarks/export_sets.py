"""Small labelled sets for every kind of task, out of larger ones.

FOLDER holds trec_question, rt_sentiment and imdb_sentiment as train.tsv,
dev.tsv and test.tsv with the columns text and label; brown_pos as .conll with a
word and its tag on each line; and wiki_leads.txt, articles between blank lines,
each with its title in its first line.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

SPLITS = ("train", "dev", "test")
TRAIN, DEV, TEXTS = 4_000, 1_000, 1_000  # Examples of a set at most.
_YEAR = re.compile(r"\b1[0-9]{3}\b|\b20[0-9]{2}\b")
# Kinds of words that a sentence may have, by the beginnings of Brown's tags.
_KINDS = {
    "name": ("NP",),
    "number": ("CD",),
    "past": ("VBD", "HVD", "BED"),
    "pronoun": ("PP",),
    "question": ("WD", "WP", "WRB"),
}


class Recipe(NamedTuple):
  """How a set is learnt.

  Attributes:
    task: of configs/finetune.py.
    values: of the config, by key.
    seeds: how many models.
    suffix: of its files.
  """

  task: str
  values: dict[str, Any]
  seeds: int = 1
  suffix: str = "tsv"


_SHORT = {"data.max_length": 64, "train.num_epochs": 3.0}
RECIPES = {
    "trec_question": Recipe("table", _SHORT | {"train.num_epochs": 6.0}, 3),
    "rt_sentiment": Recipe("table", _SHORT, 3),
    "brown_pos": Recipe("pos", _SHORT, 3, "conll"),
    # Most of its texts are longer than a row.
    "imdb_sentiment": Recipe("table", {"train.num_epochs": 2.0}),
    "brown_kinds": Recipe("table", _SHORT | {"table.kind": "multilabel"}),
    "brown_nouns": Recipe("table", _SHORT | {"table.kind": "regression"}),
    # Many contexts take several windows, and some questions have no answer.
    "lead_years": Recipe(
        "squad",
        {
            "data.max_length": 96,
            "data.max_query_length": 32,
            "data.doc_stride": 48,
            "train.num_epochs": 1.0,
        },
        suffix="jsonl",
    ),
}


def write_set(name: str, folder: pathlib.Path, target: pathlib.Path) -> None:
  """Writes train, dev and test of a set, and texts.jsonl to be asked.

  Each line of texts.jsonl holds the fields that `electra-jax predict` takes.
  """
  target.mkdir(parents=True, exist_ok=True)
  splits = {split: list(_read(name, folder, split)) for split in SPLITS}
  for split, most in zip(SPLITS, (TRAIN, DEV, TEXTS), strict=True):
    splits[split] = _spread(splits[split], most)
    path = target / f"{split}.{RECIPES[name].suffix}"
    path.write_text(_file(RECIPES[name].suffix, splits[split]))
  texts = splits["test"] + splits["dev"]  # None is trained on.
  lines = [json.dumps(_asked(row)) + "\n" for row in texts[:TEXTS]]
  (target / "texts.jsonl").write_text("".join(lines))


def _spread(rows: list[dict], most: int) -> list[dict]:
  """Takes rows from all over: some sources have one class after the other."""
  count = min(most, len(rows))
  return [rows[i * len(rows) // count] for i in range(count)]


def _read(name: str, folder: pathlib.Path, split: str) -> Iterator[dict]:
  if name == "lead_years":
    yield from _questions(folder / "wiki_leads.txt", split)
    return
  if not name.startswith("brown"):
    lines = (folder / name / f"{split}.tsv").read_text().split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    yield from ({"text": text, "label": label} for text, label in rows)
    return
  for words, tags in _sentences(folder / f"brown_pos/{split}.conll"):
    if name == "brown_pos":
      yield {"words": words, "tags": tags}
      continue
    if name == "brown_kinds":
      kinds = [k for k, heads in _KINDS.items() if _has(tags, heads)]
      label = "|".join(kinds)
    else:
      nouns = sum(tag.startswith("N") for tag in tags)
      label = f"{nouns / len(tags):.3f}"
    if label:
      yield {"text": " ".join(words), "label": label}


def _has(tags, heads) -> bool:
  return any(tag.startswith(heads) for tag in tags)


def _sentences(path: pathlib.Path) -> Iterator[tuple[list[str], list[str]]]:
  for block in path.read_text().split("\n\n"):
    pairs = [line.rsplit(" ", 1) for line in block.split("\n") if line]
    if pairs:
      words, tags = zip(*pairs, strict=True)
      yield list(words), list(tags)


def _questions(path: pathlib.Path, split: str) -> Iterator[dict]:
  """Yields sentences whose year is asked for; every fifth of another article."""
  parts = {"train": range(4, 10), "dev": (0, 1), "test": (2, 3)}[split]
  asked = []
  for number, article in enumerate(path.read_text().split("\n\n")):
    title, _, context = article.strip().partition("\n")
    if number % 10 not in parts or len(context) > 1_200:
      continue
    for i, year in enumerate(_YEAR.finditer(context)):
      start = context.rfind(". ", 0, year.start()) + 1
      before = context[start : year.start()].split()[-12:]
      after = context[year.end() :].split(".")[0].split()[:8]
      question = " ".join([title, *before, "what year", *after])
      answer = {"text": [year[0]], "answer_start": [year.start()]}
      asked.append((f"{split}{number}_{i}", question, context, answer))
  nothing = {"text": [], "answer_start": []}
  for i, (name, question, context, answer) in enumerate(asked):
    if i % 5 == 4:
      question, answer = asked[i - 3][1], nothing
    yield {
        "id": name,
        "question": question,
        "context": context,
        "answers": answer,
    }


def _file(suffix: str, rows: list[dict]) -> str:
  if suffix == "jsonl":
    return "".join(json.dumps(row) + "\n" for row in rows)
  if suffix == "conll":
    pairs = [zip(row["words"], row["tags"], strict=True) for row in rows]
    blocks = ["".join(f"{w} {tag}\n" for w, tag in pair) for pair in pairs]
    return "\n".join(blocks)
  lines = [f"{row['text']}\t{row['label']}" for row in rows]
  return "\n".join(["text\tlabel", *lines, ""])


def _asked(row: dict) -> dict:
  if "words" in row:
    return {"text": " ".join(row["words"])}
  return {n: row[n] for n in ("text", "question", "context") if n in row}

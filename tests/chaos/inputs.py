"""Input files of every format, the calls that read them, and what is right."""

import bz2
import csv
import dataclasses
import gzip
import io
import itertools
import json
import lzma
import pathlib
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from electra_jax import api
from electra_jax.finetuning import task_data
from electra_jax.store.reader import open_store
from electra_jax.tasks.features import FeatureOptions, make_features
from electra_jax.tasks.synthetic import make_task
from electra_jax.tasks.task import Source
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import google_models, helpers
from tests.chaos import damage

CORPUS = helpers.GOLDEN / "small_corpus.txt"
VOCABULARY = helpers.GOLDEN / "vocab.txt"
TASKS = ("cola", "sts", "mnli", "squad", "ner", "chunk", "pos", "table")


@dataclasses.dataclass(frozen=True)
class Target:
  """A file that is damaged, and a call that reads it.

  Attributes:
    kind: the row of the table.
    path: the file, which the call reads.
    call: reads it.
    is_right: whether a result holds together, beside the damaged content.
    damages: gives damages of its content.
  """

  kind: str
  path: pathlib.Path
  call: Callable[[], Any]
  is_right: Callable[[Any, bytes], bool]
  damages: Callable[[bytes, random.Random, int], Iterator[damage.Damage]]


def all_targets(folder: pathlib.Path) -> Iterator[Target]:
  """Yields every format, with its files below a folder."""
  tokenizer = load_tokenizer(VOCABULARY)
  yield from _texts(folder / "texts", tokenizer)
  yield from _vocabularies(folder / "vocabularies")
  yield from _models(folder / "models")
  yield from _tasks(folder / "tasks", tokenizer)


# --- Text: the verb `prepare` ---


def _texts(folder: pathlib.Path, tokenizer: Tokenizer) -> Iterator[Target]:
  documents = CORPUS.read_text(encoding="utf-8").split("\n\n")[:12]
  text = "\n\n".join(documents).encode()
  lines = "\n".join(json.dumps({"text": x, "n": 1}) for x in documents).encode()
  files = {
      "corpus.txt": (text, _decodes),
      "corpus.jsonl": (lines, _is_json_lines),
      "corpus.json": (json.dumps([{"text": x} for x in documents]).encode(), None),
      "corpus.csv": (_table(documents), None),
      "corpus.tsv": (_plain_table(documents), None),
      "corpus.txt.gz": (gzip.compress(text, mtime=0), gzip.decompress),
      "corpus.txt.bz2": (bz2.compress(text), bz2.decompress),
      "corpus.jsonl.xz": (lzma.compress(lines), lzma.decompress),
      "corpus.parquet": (_parquet(documents), _reads_parquet),
      "wiki_00": (_wiki(documents), None),
  }  # fmt: skip
  for name, (content, oracle) in files.items():
    path = folder / name.replace(".", "_") / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    output = path.parent.with_name(f"{path.parent.name}_store")

    def call(path=path, output=output):
      shutil.rmtree(output, ignore_errors=True)
      return api.prepare(
          path, output, tokenizer=tokenizer, length=16, num_workers=1,
          validation_percent=20.0, progress=False,
      ) and output  # fmt: skip

    def is_right(output, content, oracle=oracle):
      return _is_store(output) and _accepts(oracle, content)

    yield Target(
        f"input: {path.name.removeprefix('corpus.')}",
        path,
        call,
        is_right,
        _both if name.endswith(".json") else damage.damages_of_bytes,
    )


def _both(content, rng, count):
  half = count // 2
  yield from damage.damages_of_bytes(content, rng, count - half)
  yield from damage.damages_of_json(content, rng, half)


def _table(documents) -> bytes:
  file = io.StringIO()
  writer = csv.writer(file)
  writer.writerow(["id", "text"])
  writer.writerows(enumerate(documents))
  return file.getvalue().encode()


def _plain_table(documents) -> bytes:
  lines = [f"{i}\t{' '.join(x.split())}" for i, x in enumerate(documents)]
  return "\n".join(["id\ttext", *lines]).encode()


def _parquet(documents) -> bytes:
  import pyarrow as pa
  from pyarrow import parquet

  file = io.BytesIO()
  table = pa.table({"text": documents, "n": list(range(len(documents)))})
  parquet.write_table(table, file)
  return file.getvalue()


def _wiki(documents) -> bytes:
  return "\n".join(
      f'<doc id="{i}" url="u" title="t{i}">\nt{i}\n\n{x}\n</doc>'
      for i, x in enumerate(documents)
  ).encode()


def _accepts(oracle, content: bytes) -> bool:
  """Says whether a reader of others takes a content as well."""
  try:
    return oracle is None or oracle(content) is not False
  except Exception:
    return False


def _decodes(content: bytes) -> None:
  if not content.startswith((b"\xff\xfe", b"\xfe\xff")):  # A mark of UTF-16.
    content.decode("utf-8")


def _is_json_lines(content: bytes) -> None:
  for line in content.decode("utf-8").split("\n"):
    if line.strip():
      json.loads(line)


def _reads_parquet(content: bytes) -> None:
  from pyarrow import parquet

  parquet.read_table(io.BytesIO(content), columns=["text"])


def _is_store(path: pathlib.Path) -> bool:
  store = open_store(path)
  vocab_size = store.tokenizer().vocab_size
  rows = 0
  for name in store.manifest.splits:
    split = store.split(name)
    for index in range(len(split.block_sizes)):
      block = split.read_block(index)
      rows += len(block)
      if block[:, :-2].max(initial=0) >= vocab_size:
        return False
  return rows > 0


# --- Vocabularies ---


def _vocabularies(folder: pathlib.Path) -> Iterator[Target]:
  folder.mkdir(parents=True)
  wordpiece, model = folder / "vocab.txt", folder / "spiece.model"
  wordpiece.write_bytes(b"\n".join(VOCABULARY.read_bytes().split(b"\n")[:400]))
  model.write_bytes(helpers.sentencepiece_model())
  saved = folder / "saved"
  load_tokenizer(wordpiece).save(saved)
  for path in (wordpiece, model, saved / "tokenizer_options.json"):
    is_json = path.suffix == ".json"
    yield Target(
        f"input: {path.name}",
        path,
        lambda path=path: _encoded(saved if path.parent == saved else path),
        lambda ids, content: len(ids) == 2,
        _both if is_json else damage.damages_of_bytes,
    )


def _encoded(path: pathlib.Path) -> list[list[int]]:
  tokenizer = load_tokenizer(path)
  texts = ["Hello [MASK] the Union of 1900!", "\ud800 \0 \u0301é 漢字"]
  ids = tokenizer.encode_batch(texts)
  size = tokenizer.vocab_size
  assert all(0 <= i < size for i in itertools.chain(*ids))
  for text, (_, offsets) in zip(
      texts, tokenizer.encode_with_offsets(texts), strict=True
  ):
    assert all(0 <= a <= b <= len(text) for a, b in offsets)
  return ids


# --- Models of others: the verb `convert` ---


def _models(folder: pathlib.Path) -> Iterator[Target]:
  folder.mkdir(parents=True)
  google = google_models.write(folder / "google", google_models.make_model())
  first = folder / "first"
  api.convert(google, first, to="workdir")
  hugging_face = folder / "hugging_face"
  api.convert(first, hugging_face, to="huggingface")
  for source in (google, hugging_face):
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
      if "generator" in path.parts:
        continue  # As the discriminator's.
      target = folder / "out"
      yield Target(
          f"input: {source.name} {path.suffix.strip('.') or path.name}",
          path,
          lambda source=source, target=target: _converted(source, target),
          lambda arrays, _: all(np.isfinite(x).all() for x in arrays),
          _both if path.suffix == ".json" else damage.damages_of_bytes,
      )


def _converted(source: pathlib.Path, target: pathlib.Path) -> list[np.ndarray]:
  shutil.rmtree(target, ignore_errors=True)
  done = api.convert(source, target, to="workdir")
  return list(helpers.read_params(target, done.step).values())


# --- Files of tasks ---


def _tasks(folder: pathlib.Path, tokenizer: Tokenizer) -> Iterator[Target]:
  folder.mkdir(parents=True)
  make_task(list(TASKS), folder)
  for name in TASKS:
    path = next(p for p in (folder / name).glob("train*"))
    config = helpers.finetune_config(name)
    (task,) = task_data.find_tasks(config)

    def call(task=task, config=config):
      options = dataclasses.asdict(config.table)
      data = task_data.read_task(task, Source(folder, False, options))
      features = make_features(
          data.task, data.splits["train"], tokenizer,
          FeatureOptions(max_length=32, max_query_length=8, doc_stride=8),
          for_training=True,
      )  # fmt: skip
      return len(data.splits["train"]), features

    yield Target(
        f"input: task {name}",
        path,
        call,
        lambda read, content: read[0] > 0,
        _both if path.suffix == ".json" else damage.damages_of_bytes,
    )

"""`prepare_beam`: the store of `prepare`, made in parts and whole or not at all.

Beam has pins that stand against the newest of other packages, so that it is no
part of the extra `test`.
"""

import collections
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.api import prepare
from electra_jax.beam import spans as parts
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.preprocessing import prepare as prepare_module
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.store.feed import Feed
from electra_jax.store.reader import open_store
from tests import helpers
from tests.preprocessing.prepare_test import (
    make_documents,
    read_files,
    read_rows,
)

beam = pytest.importorskip("apache_beam")

from apache_beam.io.filesystem import FileMetadata  # noqa: E402
from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402

from electra_jax.beam import files, output, runner  # noqa: E402
from electra_jax.beam import pipeline as pipelines  # noqa: E402

VOCABULARY = helpers.GOLDEN / "vocab.txt"
# What depends on the order of the rows and on how many files hold them.
ORDER = ("splits",)
# The DirectRunner, without its search for a faster one on the network.
IN_MEMORY = ["--runner=FnApiRunner"]
THREADS = [*IN_MEMORY, "--direct_running_mode=multi_threading"]
PROCESSES = [*IN_MEMORY, "--direct_running_mode=multi_processing"]
TWO = "--direct_num_workers=2"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
  """Makes some five parts, and chunks that reach from one into the next."""
  monkeypatch.setattr(parts, "_MIN_BYTES", 15_000)
  monkeypatch.setattr(prepare_module, "CHUNK_CHARACTERS", 4000)


def write_corpus(path, documents):
  if path.suffix == ".parquet":
    table = pyarrow.table({"text": documents})
    pyarrow.parquet.write_table(table, path, row_group_size=30)
  elif path.suffix == ".jsonl":
    lines = [json.dumps({"text": document}) for document in documents]
    path.write_text("\n".join(lines))
  else:
    path.write_text("\n\n".join(documents))
  return path


@pytest.fixture
def corpus(tmp_path):
  return write_corpus(tmp_path / "corpus.txt", make_documents())


def arguments(**options):
  return {
      "tokenizer": VOCABULARY, "validation_percent": 20.0, "length": 32,
      "progress": False, **options,
  }  # fmt: skip


def run(source, target, *, flags=IN_MEMORY, **options):
  return prepare([source], target, flags=flags, **arguments(**options))


def run_plainly(source, target, **options):
  return prepare([source], target, num_workers=1, **arguments(**options))


def count_rows(store, split):
  return collections.Counter(bytes(row) for row in read_rows(store, split))


def assert_same_store(plain, beamed):
  """Everything is equal but the order of rows."""
  first, second = open_store(plain), open_store(beamed)
  for field in dataclasses.fields(first.manifest):
    if field.name not in ORDER:
      one, two = (getattr(s.manifest, field.name) for s in (first, second))
      assert one == two, field.name
  for name, split in first.manifest.splits.items():
    other = second.manifest.splits[name]
    assert split.num_documents == other.num_documents > 0
    assert split.num_tokens == other.num_tokens
    assert split.num_rows == other.num_rows
    assert count_rows(plain, name) == count_rows(beamed, name)
  assert (first.unigram_counts() == second.unigram_counts()).all()
  assert second.tokenizer().digest == first.manifest.tokenizer_digest
  assert len(second.manifest.splits["train"].shards) > 2


@pytest.mark.parametrize(
    ("kind", "packing", "deduplicate"),
    [
        ("txt", "released", False),
        ("txt", "full", True),
        ("jsonl", "released", True),
        ("parquet", "full", False),
        *(
            pytest.param(kind, packing, deduplicate, marks=pytest.mark.slow)
            for kind, packing, deduplicate in (
                ("txt", "released", True),
                ("txt", "full", False),
                ("jsonl", "full", True),
                ("parquet", "released", True),
            )
        ),
    ],
)
def test_the_store_of_plain_prepare(tmp_path, kind, packing, deduplicate):
  corpus = write_corpus(tmp_path / f"corpus.{kind}", make_documents())
  options = {"packing": packing, "deduplicate": deduplicate}
  run_plainly(corpus, tmp_path / "plain", **options)
  manifest = run(corpus, tmp_path / "beamed", **options)
  assert_same_store(tmp_path / "plain", tmp_path / "beamed")
  assert open_store(tmp_path / "beamed").manifest == manifest
  assert (manifest.duplicates_dropped or 0) > 5 * deduplicate - 1
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
      ["beamed", corpus.name, "plain"]
  )


def test_sentencepiece_and_a_folder(tmp_path):
  folder = tmp_path / "text"
  folder.mkdir()
  documents = make_documents(120)
  for i in range(12):
    kind = ("txt", "jsonl", "parquet")[i % 3]
    some = documents[i * 10 : (i + 1) * 10]
    write_corpus(folder / f"{i:02d}.{kind}", some)
  model = tmp_path / "spiece.model"
  model.write_bytes(helpers.sentencepiece_model())
  options = {"tokenizer": model, "packing": "full", "deduplicate": True}
  run_plainly(folder, tmp_path / "plain", **options)
  run(folder, tmp_path / "beamed", **options)
  assert_same_store(tmp_path / "plain", tmp_path / "beamed")


def test_bytes_are_a_function_of_the_sources(corpus, tmp_path):
  run(corpus, tmp_path / "a", packing="full")
  run(corpus, tmp_path / "b", packing="full", flags=[*THREADS, TWO])
  one = read_files(tmp_path / "a")
  assert one == read_files(tmp_path / "b")
  assert str(tmp_path).encode() not in one["manifest.json"]
  other = run(corpus, tmp_path / "c", packing="full", seed=1)
  digest = open_store(tmp_path / "a").manifest.rows_digest
  assert len(digest) == 64 and digest != other.rows_digest


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["released", "full"])
def test_processes_of_their_own(corpus, tmp_path, packing):
  flags = [*PROCESSES, TWO]
  options = {"packing": packing, "deduplicate": True}
  run(corpus, tmp_path / "a", **options)
  run(corpus, tmp_path / "b", flags=flags, **options)
  assert read_files(tmp_path / "a") == read_files(tmp_path / "b")
  bad = tmp_path / "bad.jsonl"
  bad.write_text('{"body": 1}')
  with pytest.raises(UserError, match="no text under 'text'"):
    run(bad, tmp_path / "c", flags=flags)


def test_counters_tell_what_the_manifest_tells(corpus, tmp_path, monkeypatch):
  ended = []
  original = beam.Pipeline.run
  monkeypatch.setattr(
      beam.Pipeline,
      "run",
      lambda self: ended.append(original(self)) or ended[0],
  )
  manifest = run(corpus, tmp_path / "store", deduplicate=True)
  counted = {
      counter.key.metric.name: counter.committed
      for counter in ended[0].metrics().query()["counters"]
      if counter.key.metric.namespace == pipelines.COUNTERS
  }
  splits = manifest.splits.values()
  shards = [shard for split in splits for shard in split.shards]
  assert counted == {
      "documents": manifest.num_documents,
      "duplicates_dropped": manifest.duplicates_dropped,
      "tokens_read": manifest.tokens_read,
      "tokens_kept": manifest.tokens_kept,
      "rows": sum(split.num_rows for split in splits),
      "bytes": sum(shard.size_bytes for shard in shards),
  }


def test_the_feed_gives_each_row_once(corpus, tmp_path):
  manifest = run(corpus, tmp_path / "store")
  split = open_store(tmp_path / "store").split("train")
  assert len(split.block_sizes) == len(manifest.splits["train"].shards) > 2
  batch = Feed(split, seed=0, global_batch_size=split.num_rows).batch(0)
  rows = np.concatenate(batch, 1).astype(split.dtype)
  seen = collections.Counter(bytes(row) for row in rows)
  assert seen == count_rows(tmp_path / "store", "train")


@pytest.mark.slow
def test_a_model_trains_from_it(corpus, tmp_path):
  run(corpus, tmp_path / "store")
  config = helpers.store_config(tmp_path / "store", **{"train.num_steps": 2})
  pretrain(config, tmp_path / "run", quiet=True)
  records = helpers.read_metrics(tmp_path / "run", "train")
  assert records and np.isfinite([r["loss"] for r in records]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flags": ["--direct_num_wrkers=2"]}, "--direct_num_workers is near"),
        ({"flags": ["--direct_num_workers=two"]}, "invalid int value: 'two'"),
        ({"flags": ["--runner=Nope"]}, "Unexpected pipeline runner: Nope"),
        ({"packing": "loose"}, "--packing loose"),
        ({"length": 5}, "--length 5"),
        ({"validation_percent": 100.0}, "--validation-percent 100.0"),
        ({"document_per": "page"}, "--document-per page"),
        ({"tokenizer": "gone.txt"}, "cannot read the vocabulary gone.txt"),
        ({"source": "gone.txt"}, "no file or folder gone.txt"),
        ({"source": "nowhere://text"}, "cannot list nowhere://text: Unable"),
        ({"target": "nowhere://store"}, r"cannot list nowhere://store/\*\*"),
    ],
)
def test_mistakes_leave_nothing(corpus, tmp_path, options, message):
  options = {"source": corpus, "target": tmp_path / "store"} | options
  with pytest.raises(UserError, match=message):
    run(options.pop("source"), options.pop("target"), **options)
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("packing", ["released", "full"])
def test_mistakes_that_workers_find(tmp_path, packing, deduplicate):
  bad = tmp_path / "text" / "bad.jsonl"
  bad.parent.mkdir()
  write_corpus(bad.with_name("a.txt"), make_documents())
  bad.write_text('{"text": "fine"}\n{"body": 1}\n')
  with pytest.raises(UserError) as error:
    run(
        bad.parent, tmp_path / "store", packing=packing, deduplicate=deduplicate
    )
  assert str(error.value).startswith(f"{bad} at byte 17 has no text under")
  assert [p.name for p in tmp_path.iterdir()] == ["text"]
  bad.write_text(" \n")
  bad.with_name("a.txt").write_text("\n")
  with pytest.raises(UserError, match="no text for the train split"):
    run(bad.parent, tmp_path / "store", packing=packing)


def test_what_is_there_is_not_replaced_unasked(corpus, tmp_path):
  first = run(corpus, tmp_path / "store")
  with pytest.raises(UserError, match="already holds a finished"):
    run(corpus, tmp_path / "store")
  again = run(corpus, tmp_path / "store", seed=1, overwrite=True)
  assert open_store(tmp_path / "store").manifest == again != first
  with pytest.raises(UserError, match="is not a token store"):
    run(corpus, corpus)
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", ["run", "read_results", "move"])
def test_an_interrupt_leaves_nothing(corpus, tmp_path, monkeypatch, place):
  def interrupt(*args, **kwargs):
    if place != "run":
      assert list(tmp_path.glob("store.scratch-*/content/parts/*train-*"))
    raise KeyboardInterrupt

  owner = {"run": beam.Pipeline, "read_results": pipelines, "move": files}
  monkeypatch.setattr(owner[place], place, interrupt)
  with pytest.raises(KeyboardInterrupt):
    run(corpus, tmp_path / "store")
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_an_interrupt_cancels_a_job_that_runs_elsewhere(monkeypatch):
  class Result:
    is_cancelled = False

    def wait_until_finish(self):
      raise KeyboardInterrupt

    def cancel(self):
      self.is_cancelled = True

  result = Result()
  monkeypatch.setattr(beam.Pipeline, "run", lambda self: result)
  with pytest.raises(KeyboardInterrupt):
    runner.run(runner.open_pipeline(IN_MEMORY), progress=False)
  assert result.is_cancelled
  Result.wait_until_finish = lambda self: "CANCELLED"
  with pytest.raises(UserError, match="ended in state CANCELLED"):
    runner.run(runner.open_pipeline(IN_MEMORY), progress=False)


def test_workers_that_share_no_folder_are_explained(
    corpus, tmp_path, monkeypatch
):
  def copy_elsewhere(path, target):
    del path, target

  monkeypatch.setattr(pipelines, "copy_file", copy_elsewhere)
  with pytest.raises(UserError, match="choose an output that every worker"):
    run(corpus, tmp_path / "store")
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_dataflow_does_not_see_this_disk(corpus, tmp_path, monkeypatch):
  monkeypatch.setattr(runner, "is_dataflow", lambda pipeline: True)
  with pytest.raises(UserError, match=r"store lies on this machine.*gs://"):
    run(corpus, tmp_path / "store")
  with pytest.raises(UserError, match=r"corpus.txt lies on this machine"):
    monkeypatch.setattr(files, "check_url", lambda *args, **kwargs: None)
    run(corpus, "gs://bucket/store")


def test_options_of_a_job_server_are_not_ours_to_judge(monkeypatch):
  options = beam.options.pipeline_options.PipelineOptions(
      ["--runner=FlinkRunner", "--known_to_the_server=1"]
  )
  runner._check_names(options)


def test_beam_that_is_missing_is_named(corpus, tmp_path, monkeypatch):
  for name in ("files", "output", "pipeline", "runner"):
    monkeypatch.delitem(sys.modules, f"electra_jax.beam.{name}")
    monkeypatch.delattr(f"electra_jax.beam.{name}")
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  monkeypatch.setitem(sys.modules, "apache_beam.io.filesystem", None)
  with pytest.raises(UserError, match=r"pip install 'electra-jax\[beam\]'"):
    run(corpus, tmp_path / "store")


def test_the_driver_loads_no_jax():
  code = (
      "import sys, electra_jax.beam.prepare;"
      "early = 'apache_beam' in sys.modules;"
      "electra_jax.beam.prepare._import_beam();"
      "heavy = {'jax', 'flax', 'tensorflow', 'torch'};"
      "sys.exit(early or bool(heavy & set(sys.modules)))"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# The command.


def command(*more):
  with pytest.raises(SystemExit) as stop:
    cli.main(["prepare", *map(str, more)])
  return stop.value.code


def test_the_command(corpus, tmp_path, capsys):
  target = ("--output", tmp_path / "store", "--beam.runner=FnApiRunner")
  given = (corpus, *target, "--tokenizer", VOCABULARY, "--length", 32)
  assert command(*given, "--validation-percent", 20, "--deduplicate") == 0
  run_plainly(corpus, tmp_path / "plain", deduplicate=True)
  assert_same_store(tmp_path / "plain", tmp_path / "store")
  assert f"token store: {tmp_path / 'store'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--train-vocab", "300"), "--train-vocab 300 --tokenizer-kind word"),
        (("--tokenizer", "x", "--workers", "3"), "direct_num_workers=3"),
        (("--tokenizer", "x", "--beam.numb_workers=3"), "no --numb_workers"),
        (("--tokenizer", "x", "--bean.runner=a"), "'--bean.runner=a'"),
    ],
)
def test_mistakes_of_the_command_are_one_sentence(
    corpus, tmp_path, capsys, more, message
):
  target = ("--output", tmp_path / "store", "--beam.runner=FnApiRunner")
  assert command(corpus, *target, *more) == 2
  shown = capsys.readouterr().err
  assert message in shown and "Traceback" not in shown
  assert shown.count("\n") == (2 if "bean" in message else 1)
  assert not (tmp_path / "store").exists()


# A file system of its own stands for gs://.


class Shelf(LocalFileSystem):
  """URLs without folders, kept on the disk below `root`."""

  root: pathlib.Path

  @classmethod
  def scheme(cls):
    return "shelf"

  def has_dirs(self):
    return False

  def mkdirs(self, path):
    pass

  def _place(self, url):
    return os.fspath(self.root / url.removeprefix("shelf://"))

  def _list(self, prefix):
    for path in self.root.rglob("*"):
      url = f"shelf://{path.relative_to(self.root)}"
      if path.is_file() and url.startswith(prefix):
        yield FileMetadata(url, path.stat().st_size)

  def exists(self, url):
    return pathlib.Path(self._place(url)).is_file()

  def metadata(self, url):
    return FileMetadata(url, os.path.getsize(self._place(url)))

  def open(self, url, *args, **kwargs):
    return open(self._place(url), "rb")

  def create(self, url, *args, **kwargs):
    place = pathlib.Path(self._place(url))
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.open("wb")

  def rename(self, sources, targets):
    for target in targets:
      pathlib.Path(self._place(target)).parent.mkdir(exist_ok=True)
    places = [list(map(self._place, urls)) for urls in (sources, targets)]
    super().rename(*places)

  def delete(self, urls):
    for url in urls:
      os.remove(self._place(url))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
  folder = tmp_path / "shelf"
  (folder / "text").mkdir(parents=True)
  documents = make_documents()
  for i, name in enumerate(("b/z.txt", "b.txt", "c.jsonl", "a.parquet")):
    path = folder / "text" / name
    path.parent.mkdir(exist_ok=True)
    write_corpus(path, documents[i * 50 : (i + 1) * 50])
  monkeypatch.setattr(Shelf, "root", folder, raising=False)
  return folder


def files_below(folder):
  return sorted(
      str(path.relative_to(folder))
      for path in folder.rglob("*")
      if path.is_file()
  )


@pytest.mark.parametrize("source", ["shelf://text", "shelf://text/**"])
def test_from_url_to_url(shelf, tmp_path, monkeypatch, source):
  (shelf / "text" / "README.md").write_text("no text")
  if source.endswith("*"):
    (shelf / "text" / "README.md").unlink()
  run_plainly(shelf / "text", tmp_path / "plain", packing="full")
  manifest = run(source, "shelf://out/store", packing="full")
  manifest = dataclasses.replace(manifest, sources=("text",))
  (shelf / "out/store/manifest.json").write_text(manifest.to_json())
  assert_same_store(tmp_path / "plain", shelf / "out/store")
  assert not [name for name in files_below(shelf) if "scratch" in name]


def test_a_url_is_not_replaced_unasked(shelf, monkeypatch):
  run("shelf://text", "shelf://out/store")
  before = files_below(shelf)
  with pytest.raises(UserError, match="already holds a finished"):
    run("shelf://text", "shelf://out/store")
  with pytest.raises(UserError, match="is not a token store"):
    run("shelf://text", "shelf://text")
  with pytest.raises(UserError, match=r"no file at shelf://gone"):
    run("shelf://gone", "shelf://out/other")
  assert files_below(shelf) == before
  again = run("shelf://text", "shelf://out/store", seed=1, overwrite=True)
  assert open_store(shelf / "out/store").manifest == again


@pytest.mark.parametrize("owner", [pipelines, files])
def test_a_url_without_a_store_after_an_interrupt(shelf, monkeypatch, owner):
  def interrupt(*args):
    raise KeyboardInterrupt

  before = files_below(shelf)
  name = "read_results" if owner is pipelines else "publish"
  monkeypatch.setattr(owner, name, interrupt)
  with pytest.raises(KeyboardInterrupt):
    run("shelf://text", "shelf://out/store")
  assert files_below(shelf) == before


def test_the_manifest_comes_last(shelf, monkeypatch):
  written = []
  original = files.copy_file
  monkeypatch.setattr(
      files,
      "copy_file",
      lambda path, target: written.append(path.name) or original(path, target),
  )
  run("shelf://text", "shelf://out/store")
  assert written[-1] == "manifest.json" and written.count("manifest.json") == 1
  assert output.files is files

"""Runs every page of the documentation, from the top, in a folder of its own.

Sizes are small (`docs_command.py`), `pip` does nothing, and what a page takes
for granted are stand-ins that its markers name (`pages.py`).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from electra_jax.preprocessing.synthetic import make_text
from electra_jax.tasks.synthetic import write_synthetic_task
from tests import docs_command, helpers, pages

pytestmark = pytest.mark.slow

_PROGRAMS = {
    "electra-jax": f'exec "{sys.executable}" -m tests.docs_command "$@"',
    "python": f'exec "{sys.executable}" "$@"',
    "pip": "",
}


@pytest.fixture(scope="module", name="bin")
def programs(tmp_path_factory) -> pathlib.Path:
  """A folder with the programs that pages call."""
  folder = tmp_path_factory.mktemp("bin")
  for name, body in _PROGRAMS.items():
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
  return folder


class StandIns:
  """Files that pages name and do not make, each made once."""

  def __init__(self, folder: pathlib.Path, bin_folder: pathlib.Path):
    self._folder = folder
    self._bin = bin_folder

  def path(self, name: str) -> pathlib.Path:
    path = self._folder / name
    if not path.exists():
      getattr(self, f"_make_{name.replace('.', '_')}")(path)
    return path

  def _make_wiki(self, path):
    path.mkdir()
    (path / "a.txt").write_text(make_text(documents=600))

  def _make_clinic(self, path):
    path.mkdir()
    (path / "letters.txt").write_text(make_text(documents=600, seed=1))

  def _make_books_jsonl(self, path):
    records = [{"text": f"Book {i} is about a river."} for i in range(40)]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))

  def _make_vocab_txt(self, path):
    shutil.copy(helpers.GOLDEN / "vocab.txt", path)

  def _make_store(self, path):
    self.path("wiki")
    self.path("vocab.txt")
    self._run("prepare wiki --output store --tokenizer vocab.txt")

  def _make_run(self, path):
    self.path("store")
    self._run(
        "pretrain --config pretrain:small --workdir run"
        " --config.data.store=store"
    )

  def _make_electra_base(self, path):
    self.path("run")
    self._run("convert run electra_base --to google")

  def _make_GLUE(self, path):  # noqa: N802
    for task in ("rte", "mnli"):
      write_synthetic_task(task, path)

  def _make_reviews(self, path):
    write_synthetic_task("table", path.parent / "tables")
    shutil.copytree(path.parent / "tables/table", path)
    for file in path.glob("*.csv"):
      text = file.read_text()
      file.write_text(text.replace("text,label", "review,stars"))

  def _make_pairs(self, path):
    path.mkdir()
    for split in ("train", "dev"):
      rows = [f"who saw river {i}\tthe cat saw river {i}" for i in range(20)]
      text = "\n".join(["question\tanswer", *rows]) + "\n"
      (path / f"{split}.tsv").write_text(text)

  def _make_synopses(self, path):
    write_synthetic_task("summarise", path.parent / "written")
    shutil.copytree(path.parent / "written/summarise", path)

  def _make_news(self, path):
    path.mkdir()
    for split in ("train", "dev"):
      for language in ("en", "de"):
        lines = (f"the cat {i} saw the river\n" for i in range(20))
        (path / f"{split}.{language}").write_text("".join(lines))

  def _make_questions(self, path):
    write_synthetic_task("squad", path)

  def _make_tags(self, path):
    write_synthetic_task("ner", path)

  def _run(self, words):
    done = run(f"electra-jax {words}", self._folder, self._bin, {})
    check(done, words, [])


@pytest.fixture(scope="module", name="stand_ins")
def stand_ins_of_all_pages(tmp_path_factory, bin) -> StandIns:
  return StandIns(tmp_path_factory.mktemp("stand_ins"), bin)


def run(script, folder, bin_folder, flags, *, python=False):
  """Runs a shell script or Python, and returns what came of it.

  Args:
    script: its text.
    folder: where it runs.
    bin_folder: the programs that it calls.
    flags: more of each verb's command; None leaves small sizes out as well.
    python: whether it is Python.
  """
  environment = os.environ | {
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "PATH": f"{bin_folder}:{os.environ['PATH']}",
      "PYTHONPATH": str(helpers.ROOT),
      "XLA_FLAGS": "",
  }
  if flags is not None:
    environment["DOCS_FLAGS"] = json.dumps(flags)
  words = ["bash", "-euo", "pipefail", "-c", script]
  if python:
    path = folder / "block.py"  # Processes that it starts read it again.
    path.write_text(script)
    words = [sys.executable, str(path)]
  return subprocess.run(
      words,
      cwd=folder,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
  )


def check(done, place: str, expected: list[str]) -> None:
  told = f"{place}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
  if expected:
    assert done.returncode != 0, told
    for text in expected:
      assert text in done.stdout + done.stderr, told
  else:
    assert done.returncode == 0, told


@pytest.mark.parametrize("page", pages.all_pages(), ids=pages.name_of)
def test_a_page_runs(page, stand_ins, bin, tmp_path):
  for name in ("configs", "launch"):
    (tmp_path / name).symlink_to(helpers.ROOT / name)
  for block in pages.read_blocks(page):
    for name in " ".join(block.marked("given")).split():
      source = stand_ins.path(name)
      copy = shutil.copytree if source.is_dir() else shutil.copy
      copy(source, tmp_path / name)
    for name in block.marked("file"):
      (tmp_path / name).write_text(block.tested)
    if block.marked("skip") or block.marked("file") or block.language == "text":
      continue
    flags = None if block.marked("fails") else {}
    for words in block.marked("with"):
      verb, *more = words.split()
      flags[verb] = more
    script = block.tested
    if block.language == "python":
      script = f"{constants()}\n{script}"
    done = run(script, tmp_path, bin, flags, python=block.language == "python")
    check(done, block.place, block.marked("fails"))


def constants() -> str:
  """Small sizes, as Python blocks may name them."""
  return (
      f"SMALL = {docs_command.PRETRAIN!r}\n"
      f"SMALL_TASK = {docs_command.FINETUNE!r}\n"
  )

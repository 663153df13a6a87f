"""Workdirs: whose a folder is, what a run keeps, what changes are told."""

import dataclasses
import json
import shutil

import pytest

from electra_jax.errors import UserError
from electra_jax.runs import workdir as workdirs
from electra_jax.store.manifest import MANIFEST_FILE
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers

TOKENIZER = load_tokenizer(helpers.GOLDEN / "vocab.txt")
FACTS = helpers.store_facts(TOKENIZER, rows_digest="a" * 64)
CONFIG = helpers.tiny_config()


def enter(workdir, config=CONFIG, facts=FACTS, **at):
  """Enters a workdir, takes a step where one is named; returns what is told."""
  told = []
  with workdirs.entered(
      workdir, workdirs.PRETRAINING, config, TOKENIZER, facts
  ) as entry:
    if at:
      entry.go_on(told.append, **at)
  return told


def files(folder):
  return {
      path.relative_to(folder): path.read_bytes()
      for path in folder.rglob("*")
      if path.is_file()
  }


def test_a_workdir_is_begun_and_read(tmp_path):
  workdir = tmp_path / "run"
  enter(workdir)
  run = workdirs.load(workdir)
  assert run.config == CONFIG and run.tokenizer.digest == TOKENIZER.digest
  assert run.facts == FACTS
  assert not (workdir / "lock.json").exists()
  [first] = helpers.read_records(workdir / "history.jsonl")
  assert first["step"] == 0 and first["config"]["seed"] == CONFIG.seed


def test_entering_again_changes_no_file(tmp_path):
  enter(tmp_path)
  before = files(tmp_path)
  other = helpers.override(CONFIG, {"optimizer.learning_rate": 0.5})
  assert enter(tmp_path, other) == []  # It takes no step.
  assert files(tmp_path) == before


def test_a_change_is_told_and_kept(tmp_path):
  enter(tmp_path)
  old = CONFIG.optimizer.learning_rate
  other = helpers.override(
      CONFIG, {"optimizer.learning_rate": 0.5, "train.log_every_steps": 7}
  )
  told = enter(tmp_path, other, step=52)
  assert f"config.optimizer.learning_rate {old} → 0.5 from step 52" in told[0]
  assert len(told) == 2
  assert workdirs.load(tmp_path).config == other
  enter(tmp_path, other, step=60)
  enter(tmp_path, CONFIG, step=70)
  records = helpers.read_records(tmp_path / "history.jsonl")
  assert [record["step"] for record in records] == [0, 52, 60, 70]
  assert records[1]["changes"]["optimizer.learning_rate"] == [old, 0.5]
  assert "changes" not in records[2] and records[2]["command"]
  assert records[3]["changes"]["optimizer.learning_rate"] == [0.5, old]


def test_a_config_of_another_run_is_refused(tmp_path):
  enter(tmp_path)
  values = json.loads((tmp_path / "config.json").read_text())
  values["seed"] += 1
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(UserError, match=r"config.seed = \d+ and the run began"):
    workdirs.load(tmp_path)


def test_a_run_from_before_a_key_was_there_is_read(tmp_path):
  enter(tmp_path)
  for name in ("config.json", "history.jsonl"):
    values = json.loads((tmp_path / name).read_text())
    del values.get("config", values)["trackers"]
    (tmp_path / name).write_text(json.dumps(values) + "\n")
  keeps_all = dataclasses.replace(workdirs.PRETRAINING, immutable=("",))
  workdirs.check(tmp_path, keeps_all, CONFIG)


def test_signed_urls_are_not_recorded(tmp_path, monkeypatch):
  url = "https://host/a?X-Goog-Signature=s3cr3t"
  argv = [
      "electra-jax",
      f"--config.data.store={url}",
      "https://me:s3cr3t@host/b",
  ]
  monkeypatch.setattr("sys.argv", argv)
  config = helpers.override(CONFIG, {"data.store": url})
  enter(tmp_path, config)
  for name in ("environment.json", "history.jsonl"):
    text = (tmp_path / name).read_text()
    assert "https://host/a?" in text and "s3cr3t" not in text
  assert "https://***@host/b" in (tmp_path / "environment.json").read_text()
  assert workdirs.load(tmp_path).config == config


def test_links_inside_are_not_written_through(tmp_path):
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  (tmp_path / "run").mkdir()
  (tmp_path / "run/tokenizer").symlink_to(elsewhere)
  with pytest.raises(UserError, match="tokenizer is a symbolic link"):
    workdirs.begin(
        tmp_path / "run", workdirs.PRETRAINING, CONFIG, TOKENIZER, FACTS
    )
  assert not list(elsewhere.iterdir())


def test_what_a_run_keeps_cannot_change(tmp_path):
  enter(tmp_path)
  with pytest.raises(UserError, match=r"config.seed = \d+ and this one has 99"):
    enter(tmp_path, dataclasses.replace(CONFIG, seed=99))
  with pytest.raises(UserError, match="another rows digest"):
    enter(tmp_path, facts=FACTS | {"rows_digest": "b"})


def make_mine(folder, name, content="mine"):
  folder.mkdir(exist_ok=True)
  (folder / name).parent.mkdir(exist_ok=True)
  (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (MANIFEST_FILE, "is a token store"),
        ("notes.txt", "is no workdir: it holds notes.txt"),
        ("config.json", "is no workdir: it holds config.json"),
        ("tokenizer/vocab.txt", "is no workdir: it holds tokenizer"),
        ("checkpoints/1", "is no workdir: it holds checkpoints"),
    ],
)
def test_what_is_no_workdir_is_not_written_into(tmp_path, name, message):
  make_mine(tmp_path, name)
  before = files(tmp_path)
  with pytest.raises(UserError, match=message):
    enter(tmp_path)
  assert files(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["log.txt", "log_host_0.txt", "lock", ".DS_Store", ".git/HEAD"]
)
def test_what_a_run_never_touches_may_lie_there(tmp_path, name):
  make_mine(tmp_path, name)
  enter(tmp_path)
  assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("kept", [("store.json",), ("store.json", "tokenizer")])
def test_a_start_that_was_cut_off_is_gone_on_with(tmp_path, kept):
  enter(tmp_path / "whole")
  half = tmp_path / "half"
  half.mkdir()
  for name in kept:
    source = tmp_path / "whole" / name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, half / name)
  enter(half, facts=FACTS | {"rows_digest": "another, as nothing was trained"})
  assert workdirs.load(half).config == CONFIG


def test_no_workdir_is_named():
  with pytest.raises(UserError, match="--workdir is empty"):
    workdirs.check_ours("")


@pytest.mark.parametrize("file", ["config.json", "store.json", "phases.json"])
@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", '"x"', "3", "half", '{"seed": []}', b"\xff"],
)
def test_broken_files_are_one_sentence(tmp_path, file, content):
  enter(tmp_path)
  path = tmp_path / file
  if content == "half":
    text = path.read_bytes() if path.exists() else b'{"phase_1": 3}'
    content = text[: len(text) // 2]
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  for use in (workdirs.load, enter):
    with pytest.raises(UserError) as error:
      use(tmp_path)
    assert f"{file} is damaged" in str(error.value)
    assert "restore it from a copy" in str(error.value)


@pytest.mark.parametrize("change", ["swap", "half"])
def test_a_changed_vocabulary_is_noticed(tmp_path, change):
  enter(tmp_path)
  path = tmp_path / "tokenizer" / "vocab.txt"
  pieces = path.read_text().splitlines()
  if change == "swap":
    pieces[500], pieces[501] = pieces[501], pieces[500]
  else:
    pieces = pieces[: len(pieces) // 2]
  path.write_text("\n".join(pieces) + "\n")
  with pytest.raises(UserError, match=r"tokenizer were changed after the run"):
    workdirs.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    enter(tmp_path / "file" / "run")


def test_facts_of_another_type_are_named(tmp_path):
  enter(tmp_path)
  facts = json.loads((tmp_path / "store.json").read_text())
  (tmp_path / "store.json").write_text(json.dumps(facts | {"sources": "x"}))
  with pytest.raises(UserError, match="'sources' must be a list and is \"x\""):
    workdirs.load(tmp_path)

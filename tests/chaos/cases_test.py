"""Attacks that people and machines are known for, each by name."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_jax import api
from electra_jax.config_files import load_config
from electra_jax.finetuning import task_data
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.runs.config import read_pretrain_config
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers
from tests.chaos import damage, state
from tests.chaos.judging import attempt, attempt_command, contents, judge
from tests.chaos.state import copied

VOCABULARY = helpers.GOLDEN / "vocab.txt"
CONFIG_FILES = {
    "no Python": "def get_config(:",
    "raises": "def get_config(arg):\n  raise OSError('no')",
    "raises at import": "1 / 0",
    "no get_config": "x = 1",
    "exits": "import sys\nsys.exit(0)",
    "exits later": "def get_config(arg):\n  raise SystemExit(0)",
    "returns None": "def get_config(arg):\n  return None",
    "returns a dict": "def get_config(arg):\n  return {}",
    "an empty config": (
        "from ml_collections import ConfigDict\n"
        "def get_config(arg):\n  return ConfigDict()"
    ),
    "a list of sections": (
        "from ml_collections import ConfigDict\n"
        "def get_config(arg):\n"
        "  return ConfigDict({'objective': [1], 'seed': 'x'})"
    ),
    "takes nothing": "def get_config():\n  return None",
    "not UTF-8": "# \udcff",
    "empty": "",
}
LINES = [
    '{"text": "\\ud800"}', '{"text": ' + "[" * 100_000, "{", "{}", '{"text": 3}',
    '{"text": null}', '{"text": ""}', '{"text": "a", "id": {"a": []}}', "\t",
    '{"text": "a", "id": "\\udfff"}', "\ud800", "\0", "a" * 2_000_000, " ",
    '{"text": NaN}', '{"words": [1]}', '{"context": {}, "question": []}',
]  # fmt: skip


def refused(kind, name, ended, tally, *, is_kept=True):
  """Notes an attack that can only be refused."""
  verdict = judge(kind, name, ended, is_right=lambda _: False, is_kept=is_kept)
  return tally.add(verdict)


def test_config_files(tmp_path, tally):
  for name, text in CONFIG_FILES.items():
    path = tmp_path / "config.py"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    command = ["pretrain", "--config", path, "--workdir", tmp_path / "run"]
    ended = attempt_command(command)
    is_kept = not (tmp_path / "run").exists()
    refused("config file", name, ended, tally, is_kept=is_kept)
  tally.check()


def test_values_of_configs(size, tally):
  """Odd values are refused when they are read, or are right by their type."""
  values = load_config("pretrain:tiny,runlocal").to_dict()
  for name in ("data", "model", "objective", "optimizer", "train", "mesh"):
    for key in values[name]:
      for odd in damage.ODD_VALUES[:: 26 - size.values]:
        copy = json.loads(json.dumps(values))
        copy[name][key] = odd
        ended = attempt(functools.partial(read_pretrain_config, copy))
        tally.add(
            judge(
                "value of a config",
                f"{name}.{key} = {str(odd)[:30]!r}",
                ended,
                is_right=lambda c, n=name, k=key, o=odd: (
                    getattr(getattr(c, n), k) == o
                ),
            )
        )
  tally.check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flag",
    [
        "seed=18446744073709551616", "seed=-1", "seed=99999999999999999999999",
        "model.hidden_dropout=-3", "model.hidden_size=0", "train.num_steps=0",
        "model.hidden_size=-64", "train.batch_size=0", "mesh.tensor=1000",
        "mesh.data=7", "optimizer.learning_rate=nan", "model.dtype=float99",
        "optimizer.learning_rate=inf", "data.length=100000", "model.num_heads=7",
        "train.num_steps=1e3", "objective.mask_prob=1.0", "model.attention=x",
        "objective.name=''", "model.embedding_sharing=some", "data.length=9",
        "train.accumulation_steps=3", "optimizer.adam_b1=1.0", "mesh.fsdp=-2",
        "model.max_position_embeddings=8", "init_from=/nowhere", "model.remat=9",
        "model.hidden_size=9999999999999", "phases=3", "data.store=7",
        "objective.generator=nothing", "optimizer.frozen=all_of_it",
    ],
)  # fmt: skip
def test_flags_of_configs(trained, tmp_path, flag, tally):
  command = [
      *("pretrain", "--config", "pretrain:tiny,runlocal"),
      *("--workdir", tmp_path / "run", f"--config.{flag}"),
      *("--config.data.synthetic=false",),
  ]
  if not flag.startswith("data.store"):
    command.append(f"--config.data.store={trained / 'store'}")
  ended = attempt_command(command)
  is_kept = not (tmp_path / "run").exists()
  refused("flag of a config", flag, ended, tally, is_kept=is_kept)
  tally.check()


@pytest.mark.slow
def test_places_that_are_no_workdirs(trained, tmp_path, tally):
  (tmp_path / "file").write_text("mine")
  (tmp_path / "full").mkdir()
  (tmp_path / "full/notes.txt").write_text("mine")
  store = copied(trained / "store", tmp_path / "store")
  before = contents(tmp_path)
  for place in ("", tmp_path / "file", tmp_path / "file/run", store,
                tmp_path / "full", "/dev/null", "/proc/run"):  # fmt: skip
    call = functools.partial(
        api.pretrain, state.run_config(trained / "store"), place, quiet=True
    )
    is_kept = contents(tmp_path) == before
    ended = attempt(call)
    refused("no workdir", str(place), ended, tally, is_kept=is_kept)
    for verb in state.READING:
      there = pathlib.Path(place or tmp_path / "nowhere")
      ended = attempt(functools.partial(verb.call, there))
      refused("no workdir", f"{verb.name} {place}", ended, tally)
  tally.check()


@pytest.mark.slow
def test_files_in_the_place_of_folders(trained, tmp_path, tally):
  config = state.run_config(trained / "store", **{"train.num_steps": 6})
  for name in ("checkpoints", "tokenizer", "tensorboard"):
    for what in ("file", "link", "dangling link"):
      run = copied(trained / "run", tmp_path / "run")
      aside = copied(run / name, tmp_path / "aside")
      shutil.rmtree(run / name)
      if what == "file":
        (run / name).write_text("mine")
      else:
        there = aside if what == "link" else tmp_path / "nowhere"
        (run / name).symlink_to(there)
      before = contents(aside)
      ended = attempt(functools.partial(api.pretrain, config, run, quiet=True))
      is_kept = contents(aside) == before
      is_kept = is_kept and not (tmp_path / "nowhere").exists()
      is_right = name == "tokenizer"  # A run on its way reads the store's.
      verdict = judge(
          "file or link for a folder",
          f"{what} {name}",
          ended,
          is_right=lambda _, r=is_right: r,
          is_kept=is_kept,
      )
      tally.add(verdict)
  for verb in state.READING:
    run = copied(trained / "run", tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("mine")
    refused(
        "file or link for a folder",
        f"{verb.name}, checkpoints a file",
        attempt(functools.partial(verb.call, run)),
        tally,
    )
  tally.check()


@pytest.mark.slow
def test_links_in_the_place_of_files(trained, tmp_path, tally):
  config = state.run_config(trained / "store", **{"train.num_steps": 6})
  for name in ("metrics.jsonl", "history.jsonl", "environment.json",
               "config.json", "lock.json"):  # fmt: skip
    run = copied(trained / "run", tmp_path / "run")
    mine = tmp_path / "mine"
    mine.write_bytes(
        (run / name).read_bytes() if (run / name).exists() else b"mine"
    )
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(mine)
    before = mine.read_bytes()
    ended = attempt(functools.partial(api.pretrain, config, run, quiet=True))
    tally.add(
        judge(
            "link for a file",
            name,
            ended,
            is_right=lambda result: result.step == 6,
            is_kept=mine.read_bytes() == before,
        )
    )
  tally.check()


@pytest.mark.slow
def test_broken_newest_checkpoints_again(trained, tmp_path, tally):
  """A step that was put aside once is broken once more."""
  run = copied(trained / "run", tmp_path / "run")
  resume = state.resume_of(trained / "store")
  right = resume(copied(trained / "run", tmp_path / "whole"))
  for number in range(3):
    record = run / "checkpoints/4/record/metadata"
    record.write_text("{}")
    ended = attempt(functools.partial(resume, run))
    name = f"broken the {number + 1}. time"
    tally.add(judge("broken again", name, ended, is_right=lambda x: x == right))
    shutil.rmtree(run / "checkpoints/6", ignore_errors=True)
  names = {path.name for path in (run / "checkpoints").iterdir()}
  assert {"broken-4", "broken-4-2", "broken-4-3"} <= names
  tally.check()


@pytest.mark.slow
def test_a_workdir_that_is_removed_during_a_run(trained, tmp_path, tally):
  run = tmp_path / "run"

  def remove():
    while not (run / "metrics.jsonl").exists():
      if stopped.wait(0.01):
        return
    os.rename(run, tmp_path / "away")

  stopped = threading.Event()
  thread = threading.Thread(target=remove)
  thread.start()
  config = state.run_config(trained / "store", **{"train.num_steps": 400})
  ended = attempt(functools.partial(api.pretrain, config, run, quiet=True))
  stopped.set()
  thread.join()
  refused("workdir removed", "renamed during a run", ended, tally)
  tally.check()


@pytest.mark.slow
def test_vocabularies_and_stores_that_were_changed(trained, tmp_path, tally):
  def swap(path):
    lines = path.read_bytes().split(b"\n")
    lines[10], lines[11] = lines[11], lines[10]
    path.write_bytes(b"\n".join(lines))

  def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

  def edit(path):
    values = json.loads(path.read_text())
    values["splits"]["train"]["num_rows"] -= 1
    path.write_text(json.dumps(values))

  def lead_out(path):
    values = json.loads(path.read_text())
    name = "file" if "file" in values else "splits"
    if name == "file":
      values["file"] = "../vocab.txt"
    else:
      values["splits"]["train"]["shards"][0]["file"] = "../x"
    path.write_text(json.dumps(values))

  def exchange(path):
    other = path.with_name(path.name.replace("train", "validation"))
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)

  for name, change in (("vocab.txt", swap), ("vocab.txt", halve),
                       ("tokenizer_options.json", lead_out)):  # fmt: skip
    for verb in state.READING:
      run = copied(trained / "run", tmp_path / "run")
      change(run / "tokenizer" / name)
      ended = attempt(functools.partial(verb.call, run))
      what = f"{verb.name}, {name} {change.__name__}"
      refused("changed files", what, ended, tally)
  for name, change in (
      ("vocab.txt", swap), ("manifest.json", edit), ("manifest.json", lead_out),
      ("train-00000.array_record", exchange),
  ):  # fmt: skip
    store = copied(trained / "store", tmp_path / "store")
    change(store / name)
    config = state.run_config(store)
    call = functools.partial(api.pretrain, config, tmp_path / "new", quiet=True)
    what = f"pretrain, {name} {change.__name__}"
    refused("changed files", what, attempt(call), tally)
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
  other = tmp_path / "other_store"
  api.prepare(
      helpers.GOLDEN / "small_corpus.txt", other, length=32, progress=False,
      tokenizer=load_tokenizer(trained / "store"), validation_percent=20.0,
      num_workers=1,
  )  # fmt: skip
  run = copied(trained / "run", tmp_path / "run")
  config = state.run_config(other, **{"train.num_steps": 6})
  call = functools.partial(api.pretrain, config, run, quiet=True)
  refused("changed files", "another store", attempt(call), tally)
  tally.check()


def test_what_lies_beside_an_output_stays(tmp_path, tally):
  corpus = helpers.GOLDEN / "small_corpus.txt"
  mine = tmp_path / "mine"
  mine.mkdir()
  (mine / "notes.txt").write_text("mine")
  for name in ("store.partial-notes", "store.replaced-old", "store.scratch-1",
               "store.scratch-0123456789abcdef"):  # fmt: skip
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("mine")
  (tmp_path / "store.scratch-link").symlink_to(mine)
  before = contents(tmp_path)
  call = functools.partial(
      api.prepare, corpus, tmp_path / "store", tokenizer=VOCABULARY, length=16,
      num_workers=1, progress=False, validation_percent=20.0, overwrite=True,
  )  # fmt: skip
  for number in range(2):
    ended = attempt(call)
    now = contents(tmp_path)
    tally.add(
        judge(
            "beside an output",
            f"prepare, {number + 1}. time",
            ended,
            is_right=lambda manifest: manifest.num_documents > 0,
            is_kept=all(now.get(path) == x for path, x in before.items()),
        )
    )
  for name in ("mine", "store.partial-notes"):
    ended = attempt(functools.partial(call.func, corpus, tmp_path / name,
                                      **call.keywords))  # fmt: skip
    is_kept = all(contents(tmp_path).get(p) == x for p, x in before.items())
    refused("beside an output", f"over {name}", ended, tally, is_kept=is_kept)
  tally.check()


@pytest.mark.parametrize(
    "flags",
    [
        ["--train-vocab", "1000000000"], ["--train-vocab", "9" * 30],
        ["--train-vocab", "-5"], ["--train-vocab", "1"],
        ["--tokenizer", VOCABULARY, "--length", "2"],
        ["--tokenizer", VOCABULARY, "--length", "99999999999"],
        ["--tokenizer", VOCABULARY, "--seed", "9" * 30],
        ["--tokenizer", VOCABULARY, "--seed", "-1"],
        ["--tokenizer", VOCABULARY, "--validation-percent", "nan"],
        ["--tokenizer", VOCABULARY, "--validation-percent", "100"],
        ["--tokenizer", VOCABULARY, "--workers", "0"],
        ["--tokenizer", VOCABULARY, "--encoding", "utf-99"],
        ["--tokenizer", "/nowhere"], ["--tokenizer", "/"],
        ["--tokenizer", helpers.GOLDEN / "weights.npz"],
        ["--train-vocab", "300", "--character-coverage", "nan"],
    ],
)  # fmt: skip
def test_flags_of_prepare(tmp_path, flags, tally):
  corpus = helpers.GOLDEN / "small_corpus.txt"
  command = ["prepare", corpus, "--output", tmp_path / "store", "--quiet"]
  ended = attempt_command([*command, *flags])
  is_kept = not list(tmp_path.iterdir())
  refused("flag of prepare", str(flags[-2:]), ended, tally, is_kept=is_kept)
  tally.check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sst", "mnli", "ner", "squad"])
def test_lines_of_predict(name, tally):
  (task,) = task_data.find_tasks(helpers.finetune_config(name))
  for line in LINES:
    ended = attempt(functools.partial(parse_inputs, task, [line]))
    tally.add(
        judge(
            "line of predict",
            f"{name} {line[:30]!r}",
            ended,
            is_right=lambda found: len(found) == 1,
        )
    )
  tally.check()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x, max_size=3)
    | st.dictionaries(st.text(), x, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    ["text", "other_text", "words", "question", "context", "id", "label"]
)
_LINES = st.text() | st.dictionaries(_FIELDS, _VALUES, max_size=4).map(
    json.dumps
)


def test_any_line_of_predict(size, tally):
  tasks = [
      task_data.find_tasks(helpers.finetune_config(name))[0]
      for name in ("sst", "mnli", "ner", "squad")
  ]

  @settings(
      max_examples=size.examples,
      database=None,
      derandomize=True,
      deadline=None,
      suppress_health_check=list(HealthCheck),
  )
  @given(_LINES, st.sampled_from(tasks))
  def look(line, task):
    ended = attempt(functools.partial(parse_inputs, task, [line]))
    tally.add(
        judge(
            "any line of predict",
            f"{task.name} {line[:60]!r}",
            ended,
            is_right=lambda found: len(found) == 1,
        )
    )

  look()
  tally.check()


@pytest.mark.slow
def test_texts_of_predict(trained, tally):
  model = api.open_run(trained / "run")
  for text in ("", " ", "\ud800", "\0", "[MASK]", "\x1b[31m", "a" * 300_000,
               "\u202e\u0301", "漢" * 5_000, "\n\n"):  # fmt: skip
    ended = attempt(functools.partial(model.detect, [text]))
    tally.add(
        judge(
            "text of predict",
            repr(text[:20]),
            ended,
            is_right=lambda found: np.isfinite(found[0].probabilities).all(),
        )
    )
  command = [
      "predict",
      "--workdir",
      trained / "run",
      "\x1b[31mred\x07",
      "--json",
  ]
  ended = attempt_command(command)
  is_escaped = lambda out: "\x1b" not in out and "\x07" not in out  # noqa: E731
  tally.add(
      judge("text of predict", "control characters", ended, is_right=is_escaped)
  )
  tally.check()


@pytest.mark.slow
def test_runs_that_diverge(trained, tmp_path, tally):
  for name, values in {
      "rate": {"optimizer.learning_rate": 1e30},
      "start": {"model.initializer_range": 10.0, "optimizer.adam_epsilon": 1e-30},
  }.items():  # fmt: skip
    config = state.run_config(
        trained / "store",
        **{"train.num_steps": 8, "optimizer.warmup_steps": 0, **values},
    )
    run = tmp_path / name
    ended = attempt(functools.partial(api.pretrain, config, run, quiet=True))

    def all_finite(_, run=run):
      steps = [int(p.name) for p in (run / "checkpoints").glob("[0-9]*")]
      return all(
          np.isfinite(x).all()
          for step in steps
          for x in helpers.read_params(run, step).values()
      )

    is_kept = not (run / "checkpoints").exists() or all_finite(None)
    tally.add(
        judge("diverges", name, ended, is_right=all_finite, is_kept=is_kept)
    )
  tally.check()


@pytest.fixture
def tiny_disk(tmp_path):
  """Makes a disk of so many bytes; skips where that is not allowed."""
  mounted = []

  def make(name: str, options: str) -> pathlib.Path:
    place = tmp_path / name
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    try:
      done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
      pytest.skip("there is no mount here")
    if done.returncode:
      pytest.skip("nothing may be mounted here")
    mounted.append(place)
    return place

  yield make
  for place in mounted:
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.slow
def test_full_disks(trained, tmp_path, tiny_disk, tally):
  place = tiny_disk("disk", "size=2m")
  config = state.run_config(trained / "store", **{"train.num_steps": 6})
  call = functools.partial(api.pretrain, config, place / "run", quiet=True)
  for number in range(3):  # The disk stays full: all end alike.
    refused("full disk", f"pretrain, start {number + 1}", attempt(call), tally)
  subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
  right = state.resume_of(trained / "store")(
      copied(trained / "run", tmp_path / "whole")
  )
  ended = attempt(call)
  tally.add(
      judge(
          "full disk",
          "room is made",
          ended,
          is_right=lambda _: state.as_bytes(
              helpers.read_params(place / "run", 6)
          ) == right,
      )
  )  # fmt: skip
  tally.check()


@pytest.mark.slow
def test_full_disks_of_other_verbs(trained, tiny_disk, tally):
  place = tiny_disk("disk", "size=256k")
  corpus = place.parent / "corpus.txt"
  text = (helpers.GOLDEN / "small_corpus.txt").read_bytes()
  corpus.write_bytes(b"\n\n".join([text] * 30))
  for number in range(2):
    ended = attempt(
        functools.partial(
            api.prepare, corpus, place / "store", tokenizer=VOCABULARY,
            length=128, num_workers=1, progress=False, validation_percent=20.0,
        )
    )  # fmt: skip
    refused("full disk", f"prepare, start {number + 1}", ended, tally)
    for form in ("google", "huggingface"):
      call = functools.partial(
          api.convert, trained / "run", place / form, to=form
      )
      name = f"convert to {form}, start {number + 1}"
      refused("full disk", name, attempt(call), tally)
    assert not list(place.iterdir())
  tally.check()


@pytest.mark.slow
def test_disks_that_cannot_be_written(trained, tiny_disk, tally):
  place = tiny_disk("disk", "size=64m")
  run = copied(trained / "run", place / "run")
  subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
  config = state.run_config(trained / "store", **{"train.num_steps": 6})
  calls = {
      "pretrain": functools.partial(
          api.pretrain, config, place / "new", quiet=True
      ),
      "resume": functools.partial(api.pretrain, config, run, quiet=True),
      "prepare": functools.partial(
          api.prepare, helpers.GOLDEN / "small_corpus.txt", place / "store",
          tokenizer=VOCABULARY, length=16, num_workers=1, progress=False,
      ),
      "convert": functools.partial(
          api.convert, run, place / "out", to="huggingface"
      ),
  }  # fmt: skip
  for name, call in calls.items():
    refused("read-only disk", name, attempt(call), tally)
  for verb in state.READING[:2]:
    ended = attempt(functools.partial(verb.call, run))
    tally.add(
        judge(
            "read-only disk",
            verb.name,
            ended,
            is_right=lambda x, v=verb: x == v.call(trained / "run"),
        )
    )
  tally.check()


@pytest.mark.slow
def test_devices_in_the_place_of_files(tmp_path, tally):
  command = ["plan", "--config", "pretrain:tiny", "--topology", "here"]
  # By a link, so that a fault of ours would not harm the device.
  full = tmp_path / "full"
  full.symlink_to("/dev/full")
  for place in (full, tmp_path, "/dev/null/x"):
    ended = attempt_command([*command, "--json", place])
    refused("device for a file", f"plan --json {place}", ended, tally)
  for place in (full, "/dev/null"):
    ended = attempt_command(
        ["prepare", place, "--output", tmp_path / "store", "--quiet",
         "--tokenizer", VOCABULARY]
    )  # fmt: skip
    refused("device for a file", f"prepare {place}", ended, tally)
  assert pathlib.Path("/dev/full").is_char_device()
  tally.check()

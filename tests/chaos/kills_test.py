"""Kills at any instant: the end is bit for bit that of an undisturbed run."""

import json
import pathlib
import random
import shutil
import signal
import struct

import pytest
from tensorboard.compat.proto import event_pb2

from electra_jax.preprocessing.synthetic import make_store
from electra_jax.tasks.synthetic import make_task
from tests import helpers
from tests.chaos import kills
from tests.chaos.judging import contents, judge

_NARROW = {
    "model.num_layers": 1,
    "model.hidden_size": 64,
    "model.embedding_size": 32,
    "model.dtype": "float32",
}
_PRETRAIN = _NARROW | {
    "model.generator_width_ratio": 0.5,
    "train.num_steps": 16,
    "train.batch_size": 8,
    "train.log_every_steps": 3,
    "train.eval_every_steps": 4,
    "train.eval_batch_size": 8,
    "train.eval_max_rows": 8,
    "train.checkpoint_every_steps": 2,
    "optimizer.warmup_steps": 2,
}
_FINETUNE = _NARROW | {
    "random_init": True,
    "seeds": 2,
    "data.synthetic": False,
    "train.num_epochs": 2.0,
    "train.batch_size": 8,
    "train.eval_batch_size": 8,
    "train.log_every_steps": 3,
    "train.checkpoint_every_steps": 2,
}
_RATES = ("steps_per_sec", "rows_per_sec")


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    yield kills.Starter(tmp_path_factory.mktemp("chaos_logs"))


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> pathlib.Path:
  """A folder with a store, a task and a text."""
  folder = tmp_path_factory.mktemp("chaos_kills")
  make_store(folder / "store", length=32)
  make_task(["sst"], folder / "tasks")
  text = (helpers.GOLDEN / "small_corpus.txt").read_bytes()
  (folder / "corpus.txt").write_bytes(b"\n\n".join([text] * 40))
  return folder


def flags(values) -> list[str]:
  return [f"--config.{name}={value}" for name, value in values.items()]


def pretrain(given, workdir):
  return [
      *("pretrain", "--config", "pretrain:small", "--workdir", workdir),
      *flags(_PRETRAIN | {"data.store": given / "store", "data.length": 32}),
  ]


def finetune(given, workdir):
  task = given / "tasks"
  data = {"data.folder": task, "data.tokenizer": task / "vocab.txt"}
  return [
      *("finetune", "--config", "finetune:task=sst,size=tiny,runlocal"),
      *("--workdir", workdir, *flags(_FINETUNE | data)),
  ]


def prepare(given, output):
  return [
      *("prepare", given / "corpus.txt", "--output", output, "--length", 32),
      *("--tokenizer", helpers.GOLDEN / "vocab.txt", "--workers", 2),
      *("--validation-percent", 20, "--deduplicate"),
  ]


def convert(given, output):
  return ["convert", given / "run", output, "--to", "google"]


def trained(workdir: pathlib.Path) -> dict[str, object]:
  """All that a run leaves: states bit for bit, records, events."""
  found = {}
  for folder in sorted(workdir.rglob("checkpoints")):
    name = str(folder.parent.relative_to(workdir))
    steps = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
    state = helpers.read_params(folder.parent, max(steps))
    found[f"{name} state"] = {n: x.tobytes() for n, x in state.items()}
    found[f"{name} records"] = [
        {k: x for k, x in record.items() if k not in _RATES}
        for record in helpers.read_records(folder.parent / "metrics.jsonl")
    ]
    found[f"{name} events"] = sorted(events(folder.parent / "tensorboard"))
  for path in sorted(workdir.rglob("scores.json")):
    found[str(path.relative_to(workdir))] = path.read_text()
  return found


def events(folder: pathlib.Path) -> list[tuple[int, str, float]]:
  """Every point of TensorBoard's, read without the package."""
  found = []
  for path in folder.glob("events.*"):
    content, start = path.read_bytes(), 0
    while start < len(content):
      (length,) = struct.unpack_from("<Q", content, start)
      data = content[start + 12 : start + 12 + length]
      event = event_pb2.Event.FromString(data)
      found += [
          (event.step, value.tag, value.simple_value)
          for value in event.summary.value
          if value.tag.split("/")[-1] not in _RATES
      ]
      start += 16 + length
  return found


def made(folder: pathlib.Path) -> dict[str, str]:
  """The digests of a folder's files by name."""
  return {
      str(pathlib.Path(path).relative_to(folder)): digest
      for path, digest in contents(folder).items()
  }


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(pretrain, marks=pytest.mark.slow),
        pytest.param(finetune, marks=pytest.mark.slow),
        prepare,
        pytest.param(convert, marks=pytest.mark.slow),
    ],
)
def test_kills(verb, starter, given, tmp_path, size, tally):
  number = size.kills if verb is pretrain else max(1, size.kills // 4)
  look = trained if verb in (pretrain, finetune) else made
  if verb is convert and not (given / "run").exists():
    starter.run(pretrain(given, given / "run"))
  rng = random.Random(f"{verb.__name__} {size.name}")
  user = contents(given)
  whole = tmp_path / "whole"
  starter.run(verb(given, tmp_path / "first"))  # Compiles, for all others.
  ended, secs = starter.run(verb(given, whole))
  assert ended.result == 0, ended
  right, done, attempts, is_killed = look(whole), 0, 0, True
  while done < number:
    target = tmp_path / f"run_{done}"
    for _ in range(min(rng.randint(2, 8), number - done)):
      attempts += 1
      is_killed, ended = starter.kill(verb(given, target), secs, rng)
      if not is_killed:
        break
      done += 1
      tally.add(
          judge(
              f"kill: {verb.__name__}",
              f"kill {attempts}",
              ended,
              is_right=lambda status: status in KILLED,
              is_kept=contents(given) == user,
          )
      )
    is_made = look is made and target.exists()
    if is_killed and not is_made:
      ended, _ = starter.run(verb(given, target))
    beside = {p.name for p in tmp_path.iterdir() if p.name.startswith("run_")}
    tally.add(
        judge(
            f"kill: {verb.__name__}, its end",
            f"run {target.name}",
            ended,
            is_right=lambda _, t=target: look(t) == right,
            is_kept=contents(given) == user and beside == {target.name},
        )
    )
    shutil.rmtree(target)
  tally.check()


# Of a signal as it is, or noted by the run, which then saves its state.
KILLED = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM, 0)


@pytest.mark.slow
def test_two_runs_in_one_workdir(starter, given, tmp_path, size, tally):
  whole = tmp_path / "whole"
  starter.run(pretrain(given, whole))
  right, rng = trained(whole), random.Random(size.name)
  for number in range(size.pairs):
    workdir = tmp_path / f"run_{number}"
    first = starter.start(pretrain(given, workdir))
    first.process.join(rng.choice((0, 0, 0.2, 1.0)))
    second = starter.start(pretrain(given, workdir))
    ends = [first.end(), second.end()]
    kind = "two runs in one workdir"
    for name, ended in zip(("first", "second"), ends, strict=True):
      told = ended.error is not None
      tally.add(
          judge(
              kind,
              f"{name} of pair {number}",
              ended,
              is_right=lambda status, w=workdir: (
                  status == 0 and trained(w) == right
              ),
          )
      )
      assert not told or "is in use by" in ended.error, ended.error
    assert any(ended.result == 0 for ended in ends), json.dumps(str(ends))
  tally.check()

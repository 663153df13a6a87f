"""Workdirs and stores with broken, exchanged or missing files."""

import functools
import pathlib
import random
import shutil

import jax
import pytest

from electra_jax import api
from electra_jax.preprocessing.synthetic import make_store
from tests.chaos import state
from tests.chaos.judging import attempt, contents, judge


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A store, a run on it, and what verbs answer."""
  folder = tmp_path_factory.mktemp("chaos_state")
  # As tests are compiled, so that answers are equal bit for bit.
  jax.config.update("jax_disable_most_optimizations", True)
  make_store(folder / "store", length=32)
  config = state.run_config(folder / "store")
  api.pretrain(config, folder / "run", quiet=True)
  (folder / "scratch").mkdir()
  answers = state.Answers(folder / "run", folder / "scratch")
  return folder, answers


def resume_verb(folder: pathlib.Path, answers: state.Answers) -> state.Verb:
  resume = state.resume_of(folder / "store")
  whole = folder / "scratch/whole"
  if not whole.exists():
    shutil.copytree(folder / "run", whole)
    answers.add("resume", resume(whole))
  return state.Verb("resume", resume, writes=True)


def copied(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  shutil.rmtree(target, ignore_errors=True)
  return pathlib.Path(shutil.copytree(source, target, symlinks=True))


def try_verb(verb, workdir, answers, kind, name, tally):
  before = contents(workdir)
  ended = attempt(functools.partial(verb.call, workdir))
  tally.add(
      judge(
          kind,
          f"{verb.name}: {name}",
          ended,
          is_right=lambda _: answers.is_right(verb, ended),
          is_kept=state.is_kept(verb, before, contents(workdir)),
      )
  )


def test_broken_workdirs(runs, tmp_path, size, tally):
  folder, answers = runs
  rng = random.Random(f"workdirs {size.name}")
  damages = state.damaged_files(folder / "run", rng, size.state)
  for number, (file, name, content) in enumerate(damages):
    verb = rng.choice(state.READING)
    if size.name != "short" and number % 4 == 0:
      verb = resume_verb(folder, answers)
    workdir = copied(folder / "run", tmp_path / "run")
    (workdir / file).write_bytes(content)
    part = "checkpoint" if "checkpoints" in file.parts else file.name
    part = "tensorboard" if "tensorboard" in file.parts else part
    told = f"{file}: {name}"
    try_verb(verb, workdir, answers, f"state: {part}", told, tally)
  tally.check()


def test_missing_files(runs, tmp_path, size, tally):
  folder, answers = runs
  rng = random.Random(size.name)
  files = sorted(p for p in (folder / "run").rglob("*") if p.is_file())
  for number, path in enumerate(files):
    if size.name == "short" and number % 4:
      continue
    file = path.relative_to(folder / "run")
    verbs = [rng.choice(state.READING)]
    if size.name != "short":
      verbs = [*state.READING, resume_verb(folder, answers)]
    for verb in verbs:
      workdir = copied(folder / "run", tmp_path / "run")
      (workdir / file).unlink()
      name = f"without {file}"
      try_verb(verb, workdir, answers, "state: file missing", name, tally)
  tally.check()


def test_broken_stores(runs, tmp_path, size, tally):
  folder, answers = runs
  rng = random.Random(f"stores {size.name}")
  (evaluate,) = (v for v in state.READING if v.name == "evaluate")

  def on(store, workdir):
    return {
        name: repr(x) for name, x in api.evaluate(workdir, store=store).items()
    }

  for file, name, content in state.damaged_files(
      folder / "store", rng, size.state * 3
  ):
    store = copied(folder / "store", tmp_path / "store")
    (store / file).write_bytes(content)
    before = contents(store)
    ended = attempt(functools.partial(on, store, folder / "run"))
    tally.add(
        judge(
            f"store: {file.name}",
            name,
            ended,
            is_right=lambda _, e=ended: answers.is_right(evaluate, e),
            is_kept=contents(store) == before,
        )
    )
  tally.check()


def test_exchanged_parts(runs, tmp_path, size, tally):
  folder, answers = runs
  other = tmp_path / "other"
  api.pretrain(state.run_config(folder / "store", seed=1), other, quiet=True)
  # A whole checkpoint of another run of this config is sound by itself; parts
  # that do not belong together are not.
  parts = [path.name for path in sorted(other.iterdir()) if path.is_file()]
  parts += ["checkpoints/4/state", "checkpoints/4/record"]
  sources = {part: other / part for part in parts}
  sources["checkpoints/4"] = folder / "run/checkpoints/2"
  verbs = list(state.READING)
  if size.name != "short":
    verbs.append(resume_verb(folder, answers))
  for part, source in sources.items():
    for verb in verbs:
      workdir = copied(folder / "run", tmp_path / "run")
      if source.is_dir():
        copied(source, workdir / part)
      else:
        shutil.copy(source, workdir / part)
      name = f"{part} of {source}"
      try_verb(verb, workdir, answers, "state: exchanged", name, tally)
  tally.check()

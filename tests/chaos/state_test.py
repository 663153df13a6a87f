"""Workdirs and stores with broken, exchanged or missing files."""

import functools
import pathlib
import random
import shutil

import pytest

from electra_jax import api
from tests.chaos import state
from tests.chaos.judging import attempt, contents, judge
from tests.chaos.state import copied


@pytest.fixture(scope="module")
def answers(trained, tmp_path_factory):
  """What verbs answer of the undisturbed run."""
  return state.Answers(trained / "run", tmp_path_factory.mktemp("chaos_state"))


def resume_verb(trained: pathlib.Path, answers: state.Answers) -> state.Verb:
  resume = state.resume_of(trained / "store")
  whole = trained / "resumed"
  if not whole.exists():
    answers.add("resume", resume(copied(trained / "run", whole)))
  return state.Verb("resume", resume, writes=True)


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


@pytest.mark.slow
def test_broken_workdirs(trained, answers, tmp_path, size, tally):
  rng = random.Random(f"workdirs {size.name}")
  damages = state.damaged_files(trained / "run", rng, size.state)
  for number, (file, name, content) in enumerate(damages):
    verb = rng.choice(state.READING)
    if size.name != "short" and number % 4 == 0:
      verb = resume_verb(trained, answers)
    workdir = copied(trained / "run", tmp_path / "run")
    (workdir / file).write_bytes(content)
    part = "checkpoint" if "checkpoints" in file.parts else file.name
    part = "tensorboard" if "tensorboard" in file.parts else part
    told = f"{file}: {name}"
    try_verb(verb, workdir, answers, f"state: {part}", told, tally)
  tally.check()


@pytest.mark.slow
def test_missing_files(trained, answers, tmp_path, size, tally):
  rng = random.Random(size.name)
  files = sorted(p for p in (trained / "run").rglob("*") if p.is_file())
  for number, path in enumerate(files):
    if size.name == "short" and number % 4:
      continue
    file = path.relative_to(trained / "run")
    verbs = [rng.choice(state.READING)]
    if size.name != "short":
      verbs = [*state.READING, resume_verb(trained, answers)]
    for verb in verbs:
      workdir = copied(trained / "run", tmp_path / "run")
      (workdir / file).unlink()
      name = f"without {file}"
      try_verb(verb, workdir, answers, "state: file missing", name, tally)
  tally.check()


@pytest.mark.slow
def test_broken_stores(trained, answers, tmp_path, size, tally):
  rng = random.Random(f"stores {size.name}")
  (evaluate,) = (v for v in state.READING if v.name == "evaluate")

  def on(store, workdir):
    return {
        name: repr(x) for name, x in api.evaluate(workdir, store=store).items()
    }

  for file, name, content in state.damaged_files(
      trained / "store", rng, size.state * 3
  ):
    store = copied(trained / "store", tmp_path / "store")
    (store / file).write_bytes(content)
    before = contents(store)
    ended = attempt(functools.partial(on, store, trained / "run"))
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


@pytest.mark.slow
def test_exchanged_parts(trained, answers, tmp_path, size, tally):
  other = tmp_path / "other"
  api.pretrain(state.run_config(trained / "store", seed=1), other, quiet=True)
  # A whole checkpoint of another run of this config is sound by itself; parts
  # that do not belong together are not.
  parts = [path.name for path in sorted(other.iterdir()) if path.is_file()]
  parts += ["checkpoints/4/state", "checkpoints/4/record"]
  sources = {part: other / part for part in parts}
  sources["checkpoints/4"] = trained / "run/checkpoints/2"
  verbs = list(state.READING)
  if size.name != "short":
    verbs.append(resume_verb(trained, answers))
  for part, source in sources.items():
    for verb in verbs:
      workdir = copied(trained / "run", tmp_path / "run")
      if source.is_dir():
        copied(source, workdir / part)
      else:
        shutil.copy(source, workdir / part)
      name = f"{part} of {source}"
      try_verb(verb, workdir, answers, "state: exchanged", name, tally)
  tally.check()

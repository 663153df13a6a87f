"""From a sweep file to trials: what each one runs, checked before any starts."""

import dataclasses
import difflib
import functools
import hashlib
import json
import os
import pathlib
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from electra_jax.config_files import call_file, load_config, locate
from electra_jax.errors import UserError
from electra_jax.files import SWEEP_FILE
from electra_jax.sweeps.space import Sweep

ROOT = pathlib.Path(__file__).parents[2]
RECORD = SWEEP_FILE
_CONFIG, _JUDGE = "--config.", "--judge."
_LONGEST_NAME = 120
# What a fine-tuning takes of the run that it starts from.
_SHAPES = ("num_layers", "hidden_size", "embedding_size")


@dataclasses.dataclass(frozen=True)
class Stage:
  """One run of a trial.

  Attributes:
    verb: "pretrain" or "finetune".
    config: as the sweep names it.
    overrides: "--config.KEY=VALUE" each.
    folder: of its workdir inside the trial's folder; "" for that itself.
    start: folder of the stage whose weights it starts from, if any.
    end: what a finished one has: its last step, or its number of seeds.
    last_phase: where its figures lie, of a config with phases.
  """

  verb: str
  config: str
  overrides: tuple[str, ...]
  folder: str = ""
  start: str | None = None
  end: int = 0
  last_phase: str = ""

  def command(self, folder: epath.Path) -> list[str]:
    """Returns what is run for it, `folder` being the trial's."""
    words = [sys.executable, "-m", "electra_jax", self.verb]
    words += ["--config", _located(self.config)]
    words += ["--workdir", str(folder / self.folder), *self.overrides]
    if self.start is not None:
      words.append(f"{_CONFIG}init_from={folder / self.start}")
    return words


@dataclasses.dataclass(frozen=True)
class Trial:
  """One point with one seed; of a fine-tuning, with all of its seeds.

  Attributes:
    name: of its folder.
    point: the values of all keys that the sweep varies.
    seed: of pre-training; None where the run itself has several.
    stages: run one after the other.
  """

  name: str
  point: Mapping[str, Any]
  seed: int | None
  stages: tuple[Stage, ...]


@dataclasses.dataclass(frozen=True)
class SweepPlan:
  """All trials of a sweep.

  Attributes:
    flag: the sweep as the user has named it.
    sweep: what its file returned.
    keys: those that vary, in the order of their appearance.
    trials: in the order in which they start.
  """

  flag: str
  sweep: Sweep
  keys: tuple[str, ...]
  trials: tuple[Trial, ...]


def make_plan(flag: str, overrides: Sequence[str] = ()) -> SweepPlan:
  """Reads a sweep file and checks every trial's config.

  Args:
    flag: "FILE.py" or "FILE.py:ARG".
    overrides: for all trials: "--config.KEY=VALUE" for the config that is
      varied, "--judge.KEY=VALUE" for those of the fine-tuning behind it.

  Raises:
    UserError: no such file, a key or value that the config does not take, two
      trials of the same name.
  """
  sweep = load_sweep(flag)
  own = tuple(word for word in overrides if word.startswith(_CONFIG))
  judged = tuple(
      _CONFIG + word.removeprefix(_JUDGE)
      for word in overrides
      if word.startswith(_JUDGE)
  )
  if judged and not sweep.judges:
    raise UserError(
        f"{_JUDGE}{judged[0].removeprefix(_CONFIG)} has no meaning for {flag},"
        " which fine-tunes nothing after its trials; leave it out"
    )
  base = load_config(_located(sweep.config), own)
  verb = "finetune" if "task" in base else "pretrain"
  if sweep.judges and verb == "finetune":
    raise UserError(
        f"sweep {flag} has judges, and {sweep.config} is a fine-tuning itself;"
        " judges are for pre-training"
    )
  _check_keys(flag, sweep, base, own)
  configs = [
      load_config(_located(sweep.config), (*own, *_words(point)))
      for point in sweep.points
  ]
  keys, points = _varied(sweep, configs)
  trials = []
  for set_values, config, point in zip(
      sweep.points, configs, points, strict=True
  ):
    # A fine-tuning runs its seeds itself, in one workdir.
    seeds = range(sweep.seeds) if verb == "pretrain" else (None,)
    for seed in seeds:
      told = {"seeds": sweep.seeds} if seed is None else {"seed": seed}
      words = (*own, *_words({**set_values, **told}))
      stages = _stages(sweep, verb, words, config, judged)
      trials.append(Trial(_name(point, seed), point, seed, stages))
  _check_names(flag, trials)
  if trials[0].stages[-1].verb == "pretrain" and not sweep.metric.startswith(
      "validation/"
  ):
    raise UserError(
        f"sweep {flag} has the metric {sweep.metric!r}; one of pre-training is"
        " named validation/NAME, as validation/rtd_auc, unless judges fine-tune"
    )
  return SweepPlan(flag, sweep, keys, tuple(trials))


def load_sweep(flag: str) -> Sweep:
  """Calls a sweep file's `get_sweep`.

  Raises:
    UserError: no such file, or an argument that it does not take.
  """
  sweep = call_file(
      flag, "get_sweep", kind="sweep", example="sweeps/loss_weight:runlocal"
  )
  if not sweep.points or sweep.seeds < 1 or sweep.goal not in ("max", "min"):
    raise UserError(
        f"sweep {flag} has {len(sweep.points)} points, {sweep.seeds} seeds and"
        f" the goal {sweep.goal!r}; it needs a point, a seed, and max or min"
    )
  return sweep


def enter(plan: SweepPlan, output: epath.Path) -> None:
  """Notes the plan in a folder, or finds all that is noted there in it.

  A plan may add trials to those of the folder; it may change none.

  Raises:
    UserError: the folder holds trials that are not of this plan, or cannot be
      written.
  """
  path = output / RECORD
  new = {trial.name: _stages_to_json(trial) for trial in plan.trials}
  held = json.loads(path.read_text()) if path.exists() else {}
  old = held.get("trials", {})
  for name, stages in old.items():
    if new.get(name) != stages:
      what = "with other values" if name in new else "not at all"
      raise UserError(
          f"{output} holds a sweep with the trial {name}, which {plan.flag} has"
          f" {what}; choose another --output, or give what that sweep was given"
          f" ({RECORD} there tells)"
      )
  contents = {
      "sweep": plan.flag,
      "metric": plan.sweep.metric,
      "goal": plan.sweep.goal,
      "trials": new,
  }
  if held == contents:
    return
  # Shares may begin at the same moment: each has a name of its own.
  partial = output / f"{RECORD}.{socket.gethostname()}-{os.getpid()}"
  try:
    output.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(contents, indent=1))
    partial.replace(path)
  except OSError as error:
    raise UserError(
        f"--output {output} cannot be written ({error.strerror}); give another"
        " folder"
    ) from error


def share_of(trials: Sequence[Trial], share: tuple[int, int]) -> list[Trial]:
  """Returns the I-th of K shares, I from 1: no trial is in two of them."""
  return list(trials[share[0] - 1 :: share[1]])


def flat(tree: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the dotted keys of a config with their values."""
  for key, value in tree.items():
    if isinstance(value, ConfigDict):
      yield from flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def short_names(keys: Sequence[str]) -> dict[str, str]:
  """Returns the last word of each key, or all of it where others share that."""
  last = [key.rpartition(".")[2] for key in keys]
  return {
      key: word if last.count(word) == 1 else key
      for key, word in zip(keys, last, strict=True)
  }


def value_text(value: Any) -> str:
  """Returns a value as it stands in names and tables."""
  if isinstance(value, float):
    return f"{value:.6g}"
  return "none" if value == "" else str(value)


def _located(flag: str) -> str:
  path, argument = locate(flag, "config", "pretrain:small")
  return f"{path}:{argument}" if argument else path


def _words(values: Mapping[str, Any]) -> tuple[str, ...]:
  return tuple(f"{_CONFIG}{key}={value}" for key, value in values.items())


def _check_keys(flag, sweep: Sweep, config: ConfigDict, own) -> None:
  known = [key for key, _ in flat(config)]
  given = [word.removeprefix(_CONFIG).partition("=")[0] for word in own]
  for key in dict.fromkeys(key for point in sweep.points for key in point):
    if key in ("seed", "seeds"):
      raise UserError(
          f"sweep {flag} sets {key!r} in a point; give the number of seeds as"
          " seeds= of the Sweep"
      )
    if key not in known:
      nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
      raise UserError(
          f"sweep {flag} sets {key!r}, which {sweep.config} has not; the"
          f" nearest key is {nearest!r}"
      )
    if key in given:
      raise UserError(
          f"{_CONFIG}{key} is given for all trials, and sweep {flag} sets it;"
          " leave it out"
      )


def _varied(sweep: Sweep, configs: Sequence[ConfigDict]):
  """Returns the keys with several values, and those values by point."""
  named = dict.fromkeys(key for point in sweep.points for key in point)
  points = [{key: _value(config, key) for key in named} for config in configs]
  keys = tuple(
      key for key in named if any(p[key] != points[0][key] for p in points)
  )
  return keys, [{key: point[key] for key in keys} for point in points]


def _value(config: ConfigDict, key: str) -> Any:
  return functools.reduce(
      lambda section, name: section[name], key.split("."), config
  )


def _stages(sweep, verb, words, config, judged) -> tuple[Stage, ...]:
  end = config.train.num_steps if verb == "pretrain" else sweep.seeds
  last_phase = ""
  if verb == "pretrain" and config.phases:
    last_phase = sorted(config.phases)[-1]
    own_train = config.phases[last_phase].get("train", {})
    end = own_train.get("num_steps", end)
  first = Stage(verb, sweep.config, words, end=end, last_phase=last_phase)
  if not sweep.judges:
    return (first,)
  first = dataclasses.replace(first, folder=verb)
  shapes = _words({f"model.{name}": config.model[name] for name in _SHAPES})
  start = f"{verb}/{last_phase}" if last_phase else verb
  stages = [first]
  for judge in sweep.judges:
    told = load_config(_located(judge), (*shapes, *judged))
    stages.append(
        Stage(
            "finetune",
            judge,
            (*shapes, *judged),
            folder=told.task,
            start=start,
            end=told.seeds,
        )
    )
  if len({stage.folder for stage in stages}) < len(stages):
    raise UserError(
        f"two of the judges {', '.join(sweep.judges)} have the same task; leave"
        " one out"
    )
  return tuple(stages)


def _name(point: Mapping[str, Any], seed: int | None) -> str:
  parts = [
      f"{short}={re.sub(r'[^-A-Za-z0-9_.+]', '_', value_text(point[key]))}"
      for key, short in short_names(list(point)).items()
  ]
  if seed is not None:
    parts.append(f"seed={seed}")
  name = ",".join(parts) or "only"
  if len(name) <= _LONGEST_NAME:
    return name
  digest = hashlib.sha256(name.encode()).hexdigest()[:8]
  return f"{name[:_LONGEST_NAME]}-{digest}"


def _check_names(flag: str, trials: Sequence[Trial]) -> None:
  seen = set()
  for trial in trials:
    if trial.name in seen:
      raise UserError(
          f"sweep {flag} has two trials named {trial.name}; leave one of the"
          " points out, or make them differ in six digits"
      )
    seen.add(trial.name)


def _stages_to_json(trial: Trial) -> list[dict[str, Any]]:
  return [
      {
          "verb": stage.verb,
          "config": stage.config,
          # More seeds of a fine-tuning are added to those that are there.
          "overrides": [w for w in stage.overrides if not _sets_seeds(w)],
          "folder": stage.folder,
      }
      for stage in trial.stages
  ]


def _sets_seeds(word: str) -> bool:
  return word.startswith(f"{_CONFIG}seeds=")

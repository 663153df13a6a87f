"""What a model card tells of a run, read from its workdir.

A card is published. So no path of this machine and no command line is in it: of
a path its last part alone.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from electra_jax.disk.json_files import read_json
from electra_jax.errors import UserError
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import learns_by_itself
from electra_jax.runs.weights import SCORES, seed_folder
from electra_jax.store.manifest import MANIFEST_FILE, Manifest
from electra_jax.tasks.glue import GLUE_TASKS
from electra_jax.tasks.question_files import QUESTION_TASKS
from electra_jax.tasks.registry import TASKS
from electra_jax.tasks.reviews import REVIEW_TASKS

# Whose texts are English; those of tagging and of tables may be any.
_ENGLISH = (*GLUE_TASKS, *QUESTION_TASKS, *REVIEW_TASKS)
_PLACE = re.compile(r"(.*? (?:in|from) )(.*)", re.DOTALL)
# Config keys that hold paths; see also "phases".
_PATHS = frozenset(
    (
        *("init_from", "store", "folder", "tokenizer", "train", "dev", "test"),
        *("teacher", "unlabelled"),
    )
)


@dataclasses.dataclass(frozen=True)
class Score:
  """One figure of the exported model.

  Attributes:
    name: as "rte/dev/accuracy", or "mlm_loss" on held-out rows.
    value: of the exported model.
    spread: median, standard deviation, least and largest value over the seeds
      of a fine-tuning, if there are several.
  """

  name: str
  value: float
  spread: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class CardFacts:
  """What is known of a run.

  Attributes:
    name: of its folder.
    source: what the model was made from.
    task: name of the task, "" for pre-training.
    takes_pairs: whether the task's texts are pairs.
    may_lack_answer: whether the task's questions may have no answer.
    start: where its weights come from, in words.
    step: updates done.
    data: lines on what it was trained on.
    scores: measured ones.
    num_seeds: of a fine-tuning.
    seed: of the exported model.
    config: the recipe by section, {} where none is known.
    version: of the package that trained it, "" where not known.
    device: that it was trained on.
    is_made_up: whether the data is synthetic.
    language: code of its texts' language, if that is known.
    has_random_heads: whether a teacher taught its encoder, and nothing its
      heads.
  """

  name: str
  source: str
  task: str = ""
  takes_pairs: bool = False
  may_lack_answer: bool = False
  start: str = ""
  step: int = 0
  data: Sequence[str] = ()
  scores: Sequence[Score] = ()
  num_seeds: int = 0
  seed: int = 0
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  version: str = ""
  device: str = ""
  is_made_up: bool = False
  language: str = ""
  has_random_heads: bool = False


def read_facts(
    source: epath.PathLike, source_format: str, seed: int | None, step: int
) -> CardFacts:
  """Reads what is known of a model that is exported.

  What is missing or damaged is left out: a card is no reason to stop.

  Args:
    source: a workdir, or a folder of another format, of which nothing but the
      name is known.
    source_format: which of them it is.
    seed: of a finetune run's model, the best by default.
    step: updates done.
  """
  name = epath.Path(source).absolute().name
  if source_format != "workdir":
    what = (
        "a TensorFlow checkpoint" if source_format == "google" else "a folder"
    )
    return CardFacts(name, f"{what} named {name}", step=step)
  run = workdirs.load(source)
  environment = _json(epath.Path(source) / "environment.json")
  found = {
      "start": _without_path(str(run.facts["start"])),
      "step": step,
      "config": _without_paths(dataclasses.asdict(run.config)),
      "version": str(environment.get("electra_jax", "")),
      "device": str(environment.get("device_kind", "")),
      "is_made_up": run.config.data.synthetic,
  }
  if run.kind is workdirs.FINETUNING:
    found |= _of_tasks(source, run, seed)
  else:
    found |= {
        "data": _rows(run),
        "scores": _held_out(epath.Path(source), step),
        "has_random_heads": not learns_by_itself(run.config),
    }
  return CardFacts(name, f"the {run.kind.verb} run {name}", **found)


def _of_tasks(source, run: workdirs.Run, seed: int | None) -> dict[str, Any]:
  folder = seed_folder(source, seed)
  own = _json(folder / SCORES)
  summary = _json(epath.Path(source) / SCORES)
  seeds = summary.get("seeds", {})
  parts = ("median", "standard_deviation", "min", "max")
  scores = []
  for name, value in own.items():
    spread = None
    if len(seeds) > 1 and all(name in summary.get(x, {}) for x in parts):
      spread = tuple(float(summary[part][name]) for part in parts)
    if isinstance(value, int | float):
      scores.append(Score(name, float(value), spread))
  task = run.config.task
  known = run.facts["tasks"][0]
  is_made_up = run.config.data.synthetic
  data = [
      f"{name}: "
      + ", ".join(f"{count:,} {split}" for split, count in splits.items())
      + " examples"
      for name, splits in run.facts["examples"].items()
  ]
  if is_made_up:
    data.append("They are made up: this model is a trial and good for nothing")
  return {
      "task": task,
      "takes_pairs": bool(known["takes_pairs"]),
      "may_lack_answer": task in TASKS and TASKS[task].may_lack_answer,
      "data": data,
      "scores": scores,
      "num_seeds": len(seeds),
      "seed": int(folder.name.removeprefix("seed_")),
      "language": "en" if task in _ENGLISH and not is_made_up else "",
  }


def _rows(run: workdirs.Run) -> list[str]:
  """Says what a pre-training's token store was made of."""
  sources = run.facts["sources"]
  lines = []
  if sources:
    lines.append("text from " + ", ".join(map(_without_path, sources)))
  if run.config.data.synthetic:
    lines.append("It is made up: this model is a trial and good for nothing")
  path = epath.Path(run.config.data.store) / MANIFEST_FILE
  try:
    manifest = Manifest.from_json(path.read_bytes(), str(path))
  except (UserError, OSError):
    return lines
  if manifest.rows_digest != run.facts["rows_digest"]:
    return lines  # Another store lies there by now.
  for name, split in manifest.splits.items():
    lines.append(
        f"{name}: {split.num_rows:,} rows of {manifest.length} tokens,"
        f" {split.num_documents:,} documents, {split.num_text_tokens:,} tokens"
        " of text"
    )
  return lines


def _held_out(workdir: epath.Path, step: int) -> list[Score]:
  """Returns the figures of the last evaluation up to a step."""
  path, last = workdir / "metrics.jsonl", {}
  if path.exists():
    for line in path.read_bytes().splitlines():
      try:
        record = json.loads(line)
        if record["group"] == "validation" and record["step"] <= step:
          last = record
      except (ValueError, KeyError, TypeError, RecursionError):
        continue
  return [
      Score(name, float(value))
      for name, value in last.items()
      if name not in ("step", "group") and isinstance(value, int | float)
  ]


def _json(path: epath.Path) -> dict[str, Any]:
  try:
    return read_json(path, dict[str, Any], "copy it again")
  except (FileNotFoundError, UserError):
    return {}


def _without_path(text: str) -> str:
  """Leaves of "weights of step 9 in /home/me/run/checkpoints" but "… in run"."""
  match = _PLACE.fullmatch(text)
  before, place = match.groups() if match else ("", text)
  *parents, name = place.removesuffix("/checkpoints").split("/")
  if name.startswith("seed_") and parents:
    name = f"{parents[-1]}/{name}"
  return before + name


def _without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
  plain = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      plain[key] = _without_paths(value)
    elif key in _PATHS and isinstance(value, str):
      plain[key] = value.rstrip("/").rpartition("/")[2]
    else:
      plain[key] = value
  return plain

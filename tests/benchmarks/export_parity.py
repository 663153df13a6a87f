"""Exported fine-tuned models beside `predict`: answers, and scores in int8.

  python tests/benchmarks/export_parity.py RUN FOLDER OUT [SET ...]

RUN is the workdir of a pre-training run, or tiny-en. FOLDER holds labelled sets
(export_sets.py says which). Each SET is fine-tuned; the model of each
seed is exported to ONNX and to LiteRT in float32 and in int8, and the export
scores all of them on the dev set. The best seed's folders are then asked 1,000
held-out texts by their own example.py, in a process without this package, and
`electra-jax predict` is asked the same. OUT gets export_parity.json; what is
finished there is not run again. Prints the tables as Markdown.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.benchmarks import export_sets

TARGETS = {
    "onnx": ("model.onnx", "model.int8.onnx"),
    "litert": ("model.tflite", "model.int8.tflite"),
}
STRANGER = pathlib.Path(__file__).with_name("export_stranger.py")
# What is scored of each kind of task, in percent.
METRICS = {
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "regression": "pearson",
    "tagging": "accuracy",
    "questions": "f1",
}


def main() -> None:
  """Measures every set and prints the tables."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run")
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("out", type=pathlib.Path)
  parser.add_argument("names", nargs="*", metavar="SET")
  parser.add_argument(
      "--size", default="tiny_en", help="of configs/finetune.py"
  )
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  path = args.out / "export_parity.json"
  records = json.loads(path.read_text()) if path.exists() else {}
  for name in args.names or export_sets.RECIPES:
    if name not in records:
      records[name] = measure(name, args)
      path.write_text(json.dumps(records, indent=1) + "\n")
  print(tables(records))


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
  """Fine-tunes, exports, scores and asks; returns what was found."""
  from electra_jax import export, finetune

  place = args.out / name
  export_sets.write_set(name, args.folder, place / "data")
  finetune(config_of(name, args), place / "run", quiet=True)
  best = json.loads((place / "run/scores.json").read_text())["best_seed"]
  record = {"scores": {}, "asked": {}}
  for seed in range(export_sets.RECIPES[name].seeds):
    for target in TARGETS:
      folder = place / f"{target}_{seed}"
      if not folder.exists():
        export(
            place / "run",
            folder,
            to=target,
            int8=True,
            seed=seed,
            check=export_sets.DEV,
        )
      told = json.loads((folder / "manifest.json").read_text())
      for file in ("run", *TARGETS[target]):
        scores = told["checks"][file]["scores"]
        record["scores"].setdefault(file, {})[seed] = scores
  (task,) = told["tasks"]
  record["kind"] = task["kind"]
  texts = (place / "data/texts.jsonl").read_text()
  own = predict(place / "run", place / "data/texts.jsonl")
  for target, files in TARGETS.items():
    for file in files:
      found = ask(place / f"{target}_{best}", file, task["kind"], texts)
      record["asked"][file] = compare(task, own, found)
  return record


def config_of(name: str, args: argparse.Namespace) -> Any:
  """Returns the config of a set."""
  from electra_jax import config_files

  recipe = export_sets.RECIPES[name]
  values = {
      "init_from": args.run,
      "data.folder": str(args.out / name / "data"),
      "seeds": recipe.seeds,
      **recipe.values,
  }
  config = ROOT / f"configs/finetune.py:task={recipe.task},size={args.size}"
  flags = [f"--config.{key}={value}" for key, value in values.items()]
  return config_files.load_config(str(config), flags)


def predict(run: pathlib.Path, texts: pathlib.Path) -> list[dict]:
  """Returns what `electra-jax predict` prints."""
  command = ["-m", "electra_jax", "predict", "--workdir", run.absolute()]
  command += ["--file", texts.absolute(), "--json"]
  done = subprocess.run(
      [sys.executable, *command],
      cwd=ROOT,
      check=True,
      stdout=subprocess.PIPE,
      text=True,
  )
  return [json.loads(line) for line in done.stdout.splitlines()]


def ask(folder: pathlib.Path, file: str, kind: str, texts: str) -> list[dict]:
  """Returns what the example of an exported folder answers."""
  environment = {k: x for k, x in os.environ.items() if k != "PYTHONPATH"}
  done = subprocess.run(
      [sys.executable, STRANGER, folder.absolute(), file, kind],
      cwd=folder,
      env=environment,
      check=True,
      input=texts,
      stdout=subprocess.PIPE,
      text=True,
  )
  return [json.loads(line) for line in done.stdout.splitlines()]


def compare(
    task: Mapping[str, Any], own: list[dict], found: list[dict]
) -> dict[str, int]:
  """Counts answers, and those that are not `predict`'s."""
  differing = texts = total = 0
  for x, y in zip(own, found, strict=True):
    pairs = _answers(task, x, y)
    differs = sum(a != b for a, b in pairs)
    differing += differs
    texts += differs > 0
    total += len(pairs)
  return {
      "texts": len(own),
      "differing_texts": texts,
      "answers": total,
      "differing_answers": differing,
  }


def _answers(task, own, found) -> list[tuple[Any, Any]]:
  if task["kind"] == "tagging":
    if own["words"] != found["words"]:
      return [(own["words"], found["words"])]
    return list(zip(own["tags"], found["tags"], strict=True))
  if task["kind"] == "regression":
    low, high = task["label_range"]
    near = abs(own["rating"] - found["rating"]) <= 0.01 * (high - low)
    return [(near, True)]
  keys = {"multilabel": ["labels"], "questions": ["answer", "start", "end"]}
  names = keys.get(task["kind"], ["label"])
  return [([own[n] for n in names], [found[n] for n in names])]


def medians(record: Mapping[str, Any]) -> dict[str, float]:
  """Returns the median score over seeds of the run and of every file."""
  metric = METRICS[record["kind"]]
  return {
      file: statistics.median(
          value
          for scores in of_seeds.values()
          for name, value in scores.items()
          if name.rsplit("/", 1)[-1] == metric
      )
      for file, of_seeds in record["scores"].items()
  }


def tables(records: Mapping[str, Mapping[str, Any]]) -> str:
  """Lays out counts and scores."""
  files = [file for pair in TARGETS.values() for file in pair]
  head = " | ".join(f"`{file}`" for file in files)
  lines = [f"| set | answers | {head} |", f"|---|---|{'---|' * len(files)}"]
  for name, record in records.items():
    asked = record["asked"]
    counts = [str(asked[file]["differing_answers"]) for file in files]
    total = asked[files[0]]["answers"]
    lines.append(f"| {name} | {total:,} | {' | '.join(counts)} |")
  lines += ["", f"| set | score | the run | {head} |"]
  lines.append(f"|---|---|---|{'---|' * len(files)}")
  for name, record in records.items():
    found = medians(record)
    cells = [f"{found['run']:.2f}"]
    cells += [f"{found[f]:.2f} ({found[f] - found['run']:+.2f})" for f in files]
    lines.append(
        f"| {name} | {METRICS[record['kind']]} | {' | '.join(cells)} |"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  main()

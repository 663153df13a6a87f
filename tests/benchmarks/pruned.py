"""Scores and time on a CPU with fewer attention heads and columns, over seeds.

  python tests/benchmarks/pruned.py RUN FOLDER OUT [NAME ...]

RUN is the workdir of a pre-training run, or tiny-en with --size tiny_en. FOLDER
holds a folder for each set, with train.tsv and dev.tsv (columns text and label).
Each set is learnt from its first --texts training texts (shuffled), three ways
for each share of heads and columns that is removed: RUN is pruned on these texts
and then fine-tuned; RUN is fine-tuned and its best seed pruned on them; and that
is fine-tuned on, with a fresh head. Beside them stands the same of the whole RUN:
its fine-tuning, the best seed of that, and that fine-tuned on. A share of less
than one head removes one. The time is of answering the dev texts, the sides in
alternating rounds. OUT gets the tables, a workdir for each, and pruned.json; what
is finished there is not run again. Prints the table as Markdown.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import electra_jax
from electra_jax.finetuning import task_data
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.weights import encoder_of
from tests.benchmarks import sets

LENGTH = 64  # Tokens of a text.
# Of heads, and of columns.
SHARES = ("0,0.25", "0,0.5", "0.25,0", "0.5,0", "0.5,0.5")
_METRIC = "table/dev/accuracy"


def learn(args: argparse.Namespace, start, tables, workdir) -> list[float]:
  """Fine-tunes with all seeds; returns their dev accuracies."""
  summary = sets.learn(
      f"finetune:task=table,size={args.size},from_init",
      workdir,
      {
          "init_from": str(start),
          "seeds": args.seeds,
          "data.folder": str(tables),
          "data.max_length": LENGTH,
          "train.num_epochs": args.epochs,
          "train.keep_all_models": False,
      },
  )
  return [scores[_METRIC] for scores in summary["seeds"].values()]


def arms(args: argparse.Namespace) -> dict[str, tuple[int, float]]:
  """Returns heads and share of columns to remove, by name, of a run."""
  total = encoder_of(workdirs.load(args.run)).num_heads
  found = {}
  for pair in args.shares:
    share, columns = map(float, pair.split(","))
    heads = max(1, int(share * total)) if share else 0
    parts = [f"{heads} of {total} heads"] if heads else []
    parts += [f"{columns:.0%} of columns"] if columns else []
    found[" and ".join(parts)] = (heads, columns)
  return found


def pruned(run, place: pathlib.Path, amounts, **options) -> pathlib.Path:
  """Prunes a run, unless that is done already; returns the workdir."""
  heads, columns = amounts
  if not place.exists():
    electra_jax.prune(
        run, place, remove_heads=heads, remove_columns=columns, **options
    )
  return place


def timed(workdirs_of: dict[str, pathlib.Path], rounds: int) -> dict:
  """Returns milliseconds for one dev text, a median of alternating rounds."""
  sides = {}
  for name, workdir in workdirs_of.items():
    model = FinetunedModel(workdir)
    task = model.task()
    examples = task.read(task_data.source_of(model.config), "dev")
    features = model.predictor.features(task, examples)
    sides[name] = model, task, features
  secs = {name: [] for name in sides}
  for number in range(rounds + 1):  # The first one compiles.
    for name, (model, task, features) in sides.items():
      began = time.perf_counter()
      model.predictor.outputs(model.params, task, features)
      if number:
        secs[name].append((time.perf_counter() - began) / len(features))
  return {name: 1e3 * statistics.median(x) for name, x in secs.items()}


def measure(args: argparse.Namespace, name: str) -> list[dict]:
  """Returns the figures of one set, a record for each arm."""
  out = pathlib.Path(args.out) / name
  tables = out / "tables"
  source = pathlib.Path(args.folder) / name
  sets.write_few_texts(source, tables, {"train": args.texts})
  _, *lines = (tables / "train.tsv").read_text().splitlines()
  texts = [line.split("\t")[0] for line in lines]
  whole = out / "whole"
  scores = learn(args, args.run, tables, whole)
  on = learn(args, whole, tables, out / "on")
  records = [
      {
          "set": name,
          "removed": "nothing",
          "fine-tuned": scores,
          "pruned afterwards": [max(scores)],  # Of the seed that is pruned.
          "and fine-tuned on": on,
      }
  ]
  places = {"nothing": whole}
  for number, (arm, amounts) in enumerate(arms(args).items()):
    first = pruned(args.run, out / f"run_{number}", amounts, texts=texts)
    later = pruned(whole, out / f"whole_{number}", amounts, split="train")
    scores = json.loads((later / "scores.json").read_text())
    records.append(
        {
            "set": name,
            "removed": arm,
            "fine-tuned": learn(args, first, tables, out / f"first_{number}"),
            "pruned afterwards": [scores["median"][_METRIC]],
            "and fine-tuned on": learn(
                args, later, tables, out / f"on_{number}"
            ),
        }
    )
    places[arm] = later
  millis = timed(places, args.rounds)
  return [record | {"ms": millis[record["removed"]]} for record in records]


def main() -> None:
  """Measures every set and prints the table as Markdown."""
  parser = sets.make_parser(__doc__)
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--texts", type=int, default=500)
  parser.add_argument("--epochs", type=float, default=12.0)
  parser.add_argument(
      "--shares",
      nargs="+",
      default=SHARES,
      metavar="HEADS,COLUMNS",
      help="to remove (0,0.25 0,0.5 0.25,0 0.5,0 0.5,0.5)",
  )
  parser.add_argument("--rounds", type=int, default=15)
  args = parser.parse_args()
  records = []
  ways = ("fine-tuned", "pruned afterwards", "and fine-tuned on")
  print("| set | removed | " + " | ".join(ways) + " | ms a text |")
  print("|" + "---|" * 6)
  for name in sets.names_of(args):
    for record in measure(args, name):
      told = [
          f"{statistics.median(record[way]):.1f}" + _deviation(record[way])
          for way in ways
      ]
      print(
          f"| {name} | {record['removed']} | {' | '.join(told)} |"
          f" {record['ms']:.3f} |",
          flush=True,
      )
      records.append(record)
    path = pathlib.Path(args.out) / "pruned.json"
    path.write_text(json.dumps(records, indent=1))


def _deviation(scores: list[float]) -> str:
  return f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""


if __name__ == "__main__":
  main()

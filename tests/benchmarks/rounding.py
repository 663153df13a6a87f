"""int8 and int4 weights by rounding afterwards and by training with rounding.

  python tests/benchmarks/rounding.py RUN FOLDER OUT [NAME ...]

RUN is the workdir of a pre-training run, or tiny-en with --size tiny_en. FOLDER
holds a folder for each set, with train.tsv and dev.tsv (columns text and label).
Each set is learnt from its first --texts training texts (shuffled), in float32
and with int4 weights: same start, texts, seeds and steps. Scores are those of
the forward pass that LiteRT's files compute. OUT gets the tables, a workdir for
each, and rounding.json; what is finished there is not run again.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from etils import epath

from electra_jax.devices import sharding
from electra_jax.finetuning import task_data
from electra_jax.finetuning.task_predictor import TaskPredictor
from electra_jax.interop.workdir import read_finetuned
from electra_jax.runs import workdir as workdirs
from tests.benchmarks import sets

LENGTH = 64  # Tokens of a text.
_METRIC = "table/dev/accuracy"


def learn(
    args: argparse.Namespace, name: str, quantization: str
) -> pathlib.Path:
  """Fine-tunes with all seeds; returns the workdir."""
  folder = pathlib.Path(args.out) / name
  workdir = folder / (quantization or "float32")
  sets.learn(
      f"finetune:task=table,size={args.size}",
      workdir,
      {
          "init_from": args.run,
          "seeds": args.seeds,
          "data.folder": str(folder),
          "data.max_length": LENGTH,
          "train.num_epochs": args.epochs,
          "model.quantization": quantization,
      },
  )
  return workdir


def scores(workdir: epath.PathLike, seed: int, quantization: str) -> float:
  """Returns the dev accuracy of a seed's model with weights rounded."""
  run = workdirs.load(workdir)
  state = read_finetuned(workdir, run, seed)
  encoder = dataclasses.replace(state.encoder, quantization=quantization)
  mesh = sharding.make_mesh()
  predictor = TaskPredictor(run.config, encoder, run.tokenizer, mesh)
  (task,) = state.tasks
  examples = task.read(task_data.source_of(run.config), "dev")
  answers = predictor.predict(state.params, task, examples)
  return predictor.score(task, examples, answers)["accuracy"]


def measure(args: argparse.Namespace, name: str) -> dict:
  """Returns the accuracies of one set by how its weights were rounded."""
  source = pathlib.Path(args.folder) / name
  tables = pathlib.Path(args.out) / name
  sets.write_few_texts(source, tables, {"train": args.texts})
  plain, trained = (learn(args, name, x) for x in ("", "int4"))
  seeds = range(args.seeds)
  return {
      "set": name,
      "float32": [scores(plain, seed, "") for seed in seeds],
      "int8 afterwards": [scores(plain, seed, "int8") for seed in seeds],
      "int4 afterwards": [scores(plain, seed, "int4") for seed in seeds],
      "int4 trained": [scores(trained, seed, "int4") for seed in seeds],
  }


def main() -> None:
  """Measures every set and prints the table as Markdown."""
  parser = sets.make_parser(__doc__)
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--texts", type=int, default=1000)
  parser.add_argument("--epochs", type=float, default=6.0)
  args = parser.parse_args()
  records = []
  for name in sets.names_of(args):
    record = measure(args, name)
    if not records:
      print("| " + " | ".join(record) + " |\n|" + "---|" * len(record))
    medians = [f"{statistics.median(x):.1f}" for x in [*record.values()][1:]]
    print(f"| {name} | " + " | ".join(medians) + " |", flush=True)
    records.append(record)
    path = pathlib.Path(args.out) / "rounding.json"
    path.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

"""Few labels with and without the information bottleneck, over seeds.

  python tests/benchmarks/bottleneck.py RUN FOLDER OUT [NAME ...]

RUN is the workdir of a pre-training run, or tiny-en with --size tiny_en. FOLDER
holds a folder for each set, with train.tsv and dev.tsv (columns text and label).
Each set is learnt from its first 200, 500 and 1,000 training texts (shuffled),
without a bottleneck and with one: same start, texts, seeds and steps. OUT gets
the tables, a workdir for each, and bottleneck.json; what is finished there is
not run again. Prints the table as Markdown.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.benchmarks import sets

EPOCHS = {200: 20.0, 500: 12.0, 1000: 8.0}  # By the number of texts.
LENGTH = 64  # Tokens of a text.


def measure(args: argparse.Namespace, name: str, number: int, width: int):
  """Fine-tunes with all seeds; returns scores of dev by seed."""
  folder = pathlib.Path(args.out) / name
  overrides = {
      "init_from": args.run,
      "seeds": args.seeds,
      "data.max_length": LENGTH,
      "table.train": str(folder / f"train_{number}.tsv"),
      "table.dev": str(folder / "dev.tsv"),
      "train.num_epochs": EPOCHS[number],
      "train.keep_all_models": False,
      "bottleneck.dimensions": width,
      "bottleneck.beta": args.beta,
  }
  summary = sets.learn(
      f"finetune:task=table,size={args.size}",
      folder / (f"{number}_k{width}_{args.beta:g}" if width else f"{number}"),
      overrides,
  )
  scores = summary["seeds"].values()
  record = {
      "accuracies": [seed["table/dev/accuracy"] for seed in scores],
      "median": summary["median"]["table/dev/accuracy"],
      "standard_deviation": summary["standard_deviation"]["table/dev/accuracy"],
      "loss": summary["median"]["table/dev/loss"],
  }
  if width:
    record["rate"] = summary["median"]["table/dev/rate"]
  return record


def main() -> None:
  """Measures every set and prints the table."""
  parser = sets.make_parser(__doc__)
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--dimensions", type=int, default=16)
  parser.add_argument("--beta", type=float, default=1e-5)
  args = parser.parse_args()
  records = []
  print("| set | texts | without | with | gain | nats | share |")
  print(f"|{'---|' * 7}")
  for name in sets.names_of(args):
    sets.write_few_texts(
        pathlib.Path(args.folder) / name,
        pathlib.Path(args.out) / name,
        {f"train_{number}": number for number in EPOCHS},
    )
    for number in EPOCHS:
      without, with_it = (
          measure(args, name, number, width) for width in (0, args.dimensions)
      )
      record = {
          "set": name,
          "texts": number,
          "epochs": EPOCHS[number],
          "dimensions": args.dimensions,
          "beta": args.beta,
          "without": without,
          "with": with_it,
      }
      records.append(record)
      told = [
          f"{x['median']:.1f} ± {x['standard_deviation']:.1f}"
          for x in (without, with_it)
      ]
      print(
          f"| {name} | {number:,} | {told[0]} | {told[1]} |"
          f" {with_it['median'] - without['median']:+.1f} |"
          f" {with_it['rate']:.1f} |"
          f" {100 * with_it['median'] / without['median']:.1f} % |",
          flush=True,
      )
      path = pathlib.Path(args.out) / "bottleneck.json"
      path.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

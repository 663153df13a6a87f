"""Pre-trained against random weights on labelled sets: scores over seeds.

  python tests/benchmarks/labelled_sets.py [--size SIZE] RUN FOLDER OUT [NAME ...]

RUN is the workdir of a pre-training run, or tiny-en with --size tiny_en. FOLDER
holds a folder for each set: train, dev and test as .tsv with the columns text
and label, or as .conll with a word and its tag on each line. Every set is
fine-tuned twice, from RUN's weights and from random ones: same shapes,
vocabulary, seeds, steps. OUT gets a workdir for each, and labelled_sets.json;
what is finished there is not run again. Prints the table as Markdown.
"""

import argparse
import json
import pathlib
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from tests.benchmarks import sets

SEEDS = 3
# Long or large sets are passed over less often; all others as the config says.
EPOCHS = {"imdb_sentiment": 1.0, "sarcasm": 3.0, "brown_pos": 2.0}


class Accuracies(NamedTuple):
  """Of one set over seeds, in percent."""

  accuracies: list[float]
  median: float
  standard_deviation: float

  def __str__(self):
    return f"{self.median:.1f} ± {self.standard_deviation:.1f}"


def load_config(
    run: str,
    folder: pathlib.Path,
    *,
    size: str,
    is_random: bool,
    epochs: float | None,
):
  """Returns the config of one set; without epochs, with the recipe's own."""
  task = "pos" if any(folder.glob("*.conll")) else "table"
  flags = [
      f"--config.init_from={run}",
      f"--config.random_init={is_random}",
      f"--config.data.folder={folder}",
      f"--config.seeds={SEEDS}",
      "--config.train.keep_all_models=False",
  ]
  if epochs is not None:
    flags.append(f"--config.train.num_epochs={epochs}")
  config = ROOT / f"configs/finetune.py:task={task},size={size}"
  return config_files.load_config(str(config), flags)


def accuracies(config, workdir: pathlib.Path) -> Accuracies:
  """Fine-tunes with all seeds, unless that is done already."""
  summary = sets.learn(config, workdir)
  (metric,) = summary["selected_by"]
  return Accuracies(
      [seed[metric] for seed in summary["seeds"].values()],
      summary["median"][metric],
      summary["standard_deviation"][metric],
  )


def measure(name: str, args: argparse.Namespace) -> dict:
  """Fine-tunes from both starts, and returns the accuracies."""
  record = {"set": name}
  for start in ("pretrained", "random"):
    config = load_config(
        args.run,
        pathlib.Path(args.folder) / name,
        size=args.size,
        is_random=start == "random",
        epochs=EPOCHS.get(name),
    )
    workdir = pathlib.Path(args.out) / f"{name}_{start}"
    record[start] = accuracies(config, workdir)
    record["epochs"] = config.train.num_epochs
  return record


def main() -> None:
  """Measures every set and prints the table."""
  parser = sets.make_parser(__doc__)
  args = parser.parse_args()
  pathlib.Path(args.out).mkdir(parents=True, exist_ok=True)
  records = []
  print(f"| set | epochs | pre-trained | random | gain |\n|{'---|' * 5}")
  for name in sets.names_of(args):
    record = measure(name, args)
    trained, random = record["pretrained"], record["random"]
    print(
        f"| {name} | {record['epochs']:g} | {trained} | {random} |"
        f" {trained.median - random.median:+.1f} |",
        flush=True,
    )
    starts = {"pretrained": trained._asdict(), "random": random._asdict()}
    records.append(record | starts)
    path = pathlib.Path(args.out) / "labelled_sets.json"
    path.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

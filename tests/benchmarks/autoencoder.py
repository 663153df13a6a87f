"""What z holds of short texts, with and without free bits.

  python tests/benchmarks/autoencoder.py RUN FOLDER OUT [NAME ...] [--size tiny_en]
      [--free-bits 0 0.25] [--architectures separate] [--steps N] [--seeds N]
      [--train N] [--dev N] [--set KEY=VALUE ...]

RUN is a pretrain run. FOLDER holds a folder for each set, with train.tsv and
dev.tsv and a column text; labels are not read. OUT gets a workdir of each set,
architecture and number of free nats, and autoencoder.json; what is finished
there is not run again. All have the same batches, steps and seeds, and nothing
dropped.

Prints for each set a table in Markdown, medians over seeds, and of each run
five texts of dev as they are written again, and five on a line between two.
"""

import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import electra_jax
from electra_jax import config_files
from electra_jax.tasks.examples import GenerationExample
from tests.benchmarks import sets

SCORES = (
    "reconstruction", "kl", "elbo", "active_units", "mutual_information",
    "loss", "f1", "exact_match",
)  # fmt: skip
SAMPLES = 5


def load_config(args, folder, architecture, free_bits):
  """Returns the config of one run."""
  flags = {
      "init_from": args.run,
      "data.folder": folder,
      "seeds": args.seeds,
      "generation.architecture": architecture,
      "autoencoder.free_bits": free_bits,
      "model.hidden_dropout": 0.0,
      "model.attention_dropout": 0.0,
  }
  given = [f"--config.{key}={value}" for key, value in flags.items()]
  given += [f"--config.{one}" for one in args.set]
  config = ROOT / f"configs/finetune.py:task=autoencode,size={args.size}"
  # Epochs are whole passes; what is asked for are steps.
  loaded = config_files.load_config(str(config), given)
  texts = (folder / "train.txt").read_text().count("\n")
  batches = -(-texts // loaded.train.batch_size)
  epochs = f"--config.train.num_epochs={(args.steps + 0.5) / batches}"
  return config_files.load_config(str(config), [*given, epochs])


def write_set(source: pathlib.Path, folder: pathlib.Path, counts) -> None:
  """Writes so many texts of each split of a set, a line each."""
  folder.mkdir(parents=True, exist_ok=True)
  for split, count in counts.items():
    title, *rows = (source / f"{split}.tsv").read_text().splitlines()
    column = title.split("\t").index("text")
    texts = dict.fromkeys(row.split("\t")[column] for row in rows)
    texts = [text for text in texts if text.strip()]
    random.Random(0).shuffle(texts)
    lines = "".join(f"{text}\n" for text in texts[:count])
    (folder / f"{split}.txt").write_text(lines)


def measure(name: str, args) -> list[dict]:
  """Returns a row for each run of a set."""
  folder = pathlib.Path(args.out) / name / "data"
  counts = {"train": args.train, "dev": args.dev}
  write_set(pathlib.Path(args.folder) / name, folder, counts)
  rows = []
  for architecture in args.architectures:
    for free_bits in args.free_bits:
      workdir = pathlib.Path(args.out) / name / f"{architecture}_{free_bits}"
      config = load_config(args, folder, architecture, free_bits)
      median = sets.learn(config, workdir)["median"]
      scores = {x: median[f"autoencode/dev/{x}"] for x in SCORES}
      rows.append(
          {
              "set": name,
              "architecture": architecture,
              "free_bits": free_bits,
              **scores,
              **samples_of(workdir, folder),
          }
      )
      told = {key: rows[-1][key] for key in ("architecture", "free_bits")}
      print(told | scores, file=sys.stderr, flush=True)
  return rows


def samples_of(workdir: pathlib.Path, folder: pathlib.Path) -> dict:
  """Returns texts written again, and texts between the first two."""
  model = electra_jax.open_run(workdir)
  texts = (folder / "dev.txt").read_text().splitlines()[:SAMPLES]
  examples = [GenerationExample("", text, None, None) for text in texts]
  return {
      "texts": texts,
      "written": model.predict(examples).values,
      "between": [x["written"] for x in model.interpolate(*texts[:2], SAMPLES)],
  }


def table_of(rows: list[dict]) -> str:
  """Returns a table in Markdown."""
  titles = " | ".join(x.replace("_", " ") for x in SCORES)
  lines = [
      f"| decoder, free nats | {titles} |",
      f"|---|{'---:|' * len(SCORES)}",
  ]
  for row in rows:
    cells = " | ".join(f"{row[x]:.2f}" for x in SCORES)
    lines.append(f"| {row['architecture']}, {row['free_bits']} | {cells} |")
  return "\n".join(lines)


def main():
  parser = sets.make_parser(__doc__)
  parser.set_defaults(size="tiny_en")
  parser.add_argument("--free-bits", nargs="+", type=float, default=[0.0, 0.25])
  parser.add_argument("--architectures", nargs="+", default=["separate"])
  parser.add_argument("--steps", type=int, default=1_000)
  parser.add_argument("--seeds", type=int, default=1)
  parser.add_argument("--train", type=int, default=20_000)
  parser.add_argument("--dev", type=int, default=500)
  parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
  args = parser.parse_args()
  found = []
  for name in sets.names_of(args):
    rows = measure(name, args)
    found += rows
    print(f"\n{name}\n\n{table_of(rows)}\n")
    for row in rows:
      print(f"{row['architecture']}, {row['free_bits']} free nats:\n")
      for text, again in zip(row["texts"], row["written"], strict=True):
        print(f"- {text} → **{again}**")
      print(f"- between the first two: {' / '.join(row['between'])}\n")
  out = pathlib.Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  (out / "autoencoder.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()

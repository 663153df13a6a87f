"""What is written after a short training, by architecture and start.

  python tests/benchmarks/seq2seq.py RUN FOLDER OUT [NAME ...] [--size tiny_en]
      [--task summarise] [--architectures unilm shared recurrent]
      [--starts pretrained random] [--steps N] [--seeds N] [--train N]
      [--dev N] [--set KEY=VALUE ...]

RUN is a pretrain run. FOLDER holds a folder for each set, with train.tsv and
dev.tsv of the columns source and target. OUT gets a workdir of each set,
architecture and start, and seq2seq.json; what is finished there is not run
again. All have the same batches, steps and seeds, and nothing dropped.

Learns from the first N pairs of train in an order of their own, and prints for
each set a table in Markdown, medians over seeds, on so chosen pairs of dev,
beside what needs no model: the source as
it is, and its first words, as many as the median target of training. Then ten
texts of the best score, one from each tenth of the split by chrF.
"""

import json
import pathlib
import random
import statistics
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files, finetune
from electra_jax.tasks import generation_scoring as scoring
from electra_jax.tasks.examples import GenerationExample
from tests.benchmarks import sets

METRICS = ("chrf", "bleu", "rouge1", "rouge2", "rougeL")
SAMPLES = 10


def load_config(args, folder, architecture, start):
  """Returns the config of one run."""
  flags = {
      "init_from": args.run,
      "random_init": start == "random",
      "data.folder": folder,
      "seeds": args.seeds,
      "generation.architecture": architecture,
      "model.hidden_dropout": 0.0,
      "model.attention_dropout": 0.0,
      "train.keep_all_models": False,
  }
  given = [f"--config.{key}={value}" for key, value in flags.items()]
  given += [f"--config.{one}" for one in args.set]
  config = ROOT / f"configs/finetune.py:task={args.task},size={args.size}"
  # Epochs are whole passes; what is asked for are steps.
  loaded = config_files.load_config(str(config), given)
  pairs = (folder / "train.tsv").read_text().count("\n") - 1
  batches = -(-pairs // loaded.train.batch_size)
  epochs = f"--config.train.num_epochs={(args.steps + 0.5) / batches}"
  return config_files.load_config(str(config), [*given, epochs])


def write_set(
    source: pathlib.Path, folder: pathlib.Path, counts: dict[str, int]
):
  """Writes so many pairs of each split of a set."""
  folder.mkdir(parents=True, exist_ok=True)
  for split, count in counts.items():
    title, *rows = (source / f"{split}.tsv").read_text().splitlines()
    random.Random(0).shuffle(rows)
    text = "\n".join([title, *rows[:count]]) + "\n"
    (folder / f"{split}.tsv").write_text(text)


def read_pairs(path: pathlib.Path) -> list[GenerationExample]:
  """Returns the pairs of a table."""
  rows = path.read_text().splitlines()[1:]
  pairs = (row.split("\t") for row in rows)
  return [
      GenerationExample(str(i), source, None, target)
      for i, (source, target) in enumerate(pairs)
      if source.strip() and target.strip()
  ]


def measure(name: str, args) -> list[dict]:
  """Returns a row for each baseline and each run of a set."""
  folder = pathlib.Path(args.out) / name / "data"
  counts = {"train": args.train, "dev": args.dev}
  write_set(pathlib.Path(args.folder) / name, folder, counts)
  train, dev = (read_pairs(folder / f"{x}.tsv") for x in ("train", "dev"))
  words = scoring.lead_words([example.target for example in train])
  rows = [
      {"set": name, "what": told, **scores}
      for told, scores in zip(
          ("the source itself", f"its first {words} words"),
          scoring.baselines(
              METRICS, dev, [example.target for example in train]
          ).values(),
          strict=True,
      )
  ]
  for architecture in args.architectures:
    for start in args.starts:
      workdir = pathlib.Path(args.out) / name / f"{architecture}_{start}"
      config = load_config(args, folder, architecture, start)
      summary = finetune(config, workdir, quiet=True).summary
      rows.append(row_of(name, architecture, start, workdir, dev, summary))
      print(rows[-1], file=sys.stderr, flush=True)
  return rows


def row_of(name, architecture, start, workdir, dev, summary) -> dict:
  """Returns the scores of all seeds of a run."""
  found, texts = [], {}
  for seed in summary["seeds"]:
    path = workdir / f"seed_{seed}/predictions"
    (file,) = path.glob("*_dev.jsonl")
    texts[seed] = [json.loads(x)["written"] for x in file.open()]
    found.append(scoring.score_texts(METRICS, dev, texts[seed]))
  (loss,) = (key for key in summary["median"] if key.endswith("/loss"))
  return {
      "set": name,
      "what": f"{architecture}, {start}",
      **{x: statistics.median(f[x] for f in found) for x in METRICS},
      "loss": summary["median"][loss],
      "seeds": found,
      "written": texts[str(summary["best_seed"])],
  }


def table_of(rows: list[dict]) -> str:
  """Returns a table in Markdown."""
  columns = ("chrf", "bleu", "rouge1", "rouge2", "rougeL", "loss")
  lines = [
      f"| | {' | '.join(columns)} |",
      f"|---|{'---:|' * len(columns)}",
  ]
  for row in rows:
    cells = (f"{row[x]:.2f}" if x in row else "" for x in columns)
    lines.append(f"| {row['what']} | {' | '.join(cells)} |")
  return "\n".join(lines)


def samples_of(dev, written) -> list[str]:
  """Returns texts from each tenth of a split, by chrF."""
  rated = []
  for example, text in zip(dev, written, strict=True):
    chrf = scoring.score_texts(("chrf",), [example], [text])["chrf"]
    rated.append((chrf, int(example.id), example, text))
  rated.sort(key=lambda rating: rating[:2])
  step = len(rated) / SAMPLES
  chosen = [rated[int((i + 0.5) * step)] for i in range(SAMPLES)][::-1]
  return [
      f"- chrF {chrf:.0f}: *{example.text[:160]}* → **{text}** (target:"
      f" {example.target})"
      for chrf, _, example, text in chosen
  ]


def main():
  parser = sets.make_parser(__doc__)
  parser.set_defaults(size="tiny_en")
  parser.add_argument("--task", default="summarise")
  parser.add_argument(
      "--architectures", nargs="+", default=["unilm", "shared", "recurrent"]
  )
  parser.add_argument("--starts", nargs="+", default=["pretrained", "random"])
  parser.add_argument("--steps", type=int, default=1_000)
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--train", type=int, default=20_000)
  parser.add_argument("--dev", type=int, default=500)
  parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
  args = parser.parse_args()
  out = pathlib.Path(args.out)
  found = []
  for name in sets.names_of(args):
    rows = measure(name, args)
    found += rows
    print(f"\n{name}\n\n{table_of(rows)}\n")
    best = max(rows[2:], key=lambda row: row["chrf"])
    dev = read_pairs(out / name / "data/dev.tsv")
    print(f"{best['what']}:\n")
    print("\n".join(samples_of(dev, best["written"])))
  out.mkdir(parents=True, exist_ok=True)
  (out / "seq2seq.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()

"""Compares objectives and generators: pre-trained alike, then fine-tuned.

  python tests/benchmarks/objectives_table.py STORE FOLDER OUT [NAME ...]

STORE is a token store with rows of 32 tokens, FOLDER holds labelled sets as
labelled_sets.py wants them; OUT gets a workdir for every run and
objectives_table.json. What is finished there is not run again, so several
processes may share the NAMEs and one without names prints the table.

Every variant is `configs/pretrain.py:tiny` but for what VARIANTS says, trained
for STEPS steps; with `=flops` behind its name, for as many steps as cost the
model FLOPs of STEPS steps of `electra`. "random weights" is not trained at all.
Fine-tuned on SETS, with the seeds of labelled_sets.py.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import config_files
from electra_jax.pretraining.phases import phase_configs
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.runs.networks import training_flops, vocabulary_of
from electra_jax.store.reader import open_store
from tests.benchmarks import labelled_sets

STEPS = 2_000
SETS = {"trec_question": 4.0, "bbc_topic": 2.0}  # Epochs.

# A generator of half the width beside the discriminator, as in the paper;
# the tiny size itself has one encoder for both.
SMALL = {
    "model.embedding_sharing": "embeddings",
    "model.generator_width_ratio": 0.5,
}
VARIANTS = {
    "electra": {},
    "masked_lm": {"objective.name": "masked_lm"},
    "electra_15": {"objective.name": "electra_15"},
    "replace_mlm": {"objective.name": "replace_mlm"},
    "all_tokens_mlm": {"objective.name": "all_tokens_mlm"},
    "electra, small generator": SMALL,
    "electra, unigram": {"objective.generator": "unigram"},
    "electra, random": {"objective.generator": "random"},
    "electra, two towers": SMALL | {"objective.generator": "two_tower"},
    "electric": SMALL
    | {
        "objective.name": "electric",
        "objective.generator": "two_tower",
        "objective.temperature": 1.0,  # Noise is of the towers themselves.
    },
    "electra, disentangled": SMALL
    | {"model.embedding_sharing": "gradient_disentangled"},
    "electra, uniform": {"objective.generator": "uniform"},
    "electra, two stages": {},
    "random weights": {},
}
EQUAL_FLOPS = (
    "masked_lm",
    "electra, small generator",
    "electra, unigram",
    "electra, random",
    "all_tokens_mlm",
)  # Of the others, steps of about the same cost or of little promise.


def load_config(name: str, store: str, steps: int | None = None):
  """Returns the config of a variant."""
  suffix = ",two_stage" if name == "electra, two stages" else ""
  config = config_files.load_config(
      f"{ROOT}/configs/pretrain.py:tiny{suffix}", []
  )
  config.data.store = store
  for path, value in VARIANTS[name].items():
    section, _, key = path.rpartition(".")
    config[section][key] = value
  config.train.num_steps = steps or STEPS
  config.train.eval_every_steps = config.train.checkpoint_every_steps = 0
  for phase in config.get("phases", {}).values():
    phase.train.num_steps = config.train.num_steps // 2
  return config


def flops_per_step(name: str, store: str) -> float:
  """Returns the model FLOPs of one step of a variant, the mean of its phases."""
  config = load_config(name, store)
  phases = [phase.config for phase in phase_configs(config, "unused")]
  vocabulary = vocabulary_of(open_store(store).tokenizer())
  counts = [training_flops(phase, vocabulary) for phase in phases or [config]]
  return sum(counts) / len(counts)


def measure(name: str, args: argparse.Namespace) -> dict:
  """Pre-trains and fine-tunes one variant, and returns its figures."""
  variant, _, equal = name.partition("=")
  steps, flops = STEPS, flops_per_step(variant, args.store)
  if equal:
    steps = round(STEPS * flops_per_step("electra", args.store) / flops / 2) * 2
  folder = pathlib.Path(args.out) / name.replace(", ", "_").replace(" ", "_")
  record_path = folder / "record.json"
  if record_path.exists():
    return json.loads(record_path.read_text())
  is_random = variant == "random weights"
  if is_random:  # Shapes and vocabulary of a run, and nothing it has learned.
    steps, flops = 1, 0.0
  config = load_config(variant, args.store, steps)
  result = pretrain(config, folder / "run", quiet=True)
  run = folder / "run"
  if config.get("phases"):
    run /= max(config.phases)
  record = {
      "name": name,
      "steps": steps,
      "flops": flops * steps,
      "pretraining": dict(result.evaluation),
  }
  for task, epochs in SETS.items():
    texts = pathlib.Path(args.folder) / task
    config = labelled_sets.load_config(
        run, texts, is_random=is_random, epochs=epochs
    )
    record[task] = labelled_sets.accuracies(config, folder / task)._asdict()
  record_path.write_text(json.dumps(record, indent=1))
  return record


def main() -> None:
  """Measures the variants and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("store")
  parser.add_argument("folder")
  parser.add_argument("out")
  parser.add_argument("names", nargs="*")
  args = parser.parse_args()
  pathlib.Path(args.out).mkdir(parents=True, exist_ok=True)
  sets = " | ".join(SETS)
  print(f"| variant | steps | TFLOPs | AUC | {sets} |")
  print("|" + "---|" * (4 + len(SETS)))
  records = []
  for name in args.names or [
      *VARIANTS,
      *(f"{name}=flops" for name in VARIANTS),
  ]:
    record = measure(name, args)
    records.append(record)
    cells = [str(labelled_sets.Accuracies(**record[task])) for task in SETS]
    area = record["pretraining"].get("rtd_auc")
    shown = "none" if area is None else f"{area:.3f}"
    print(
        f"| {name} | {record['steps']:,} | {record['flops'] / 1e12:.1f} |"
        f" {shown} | {' | '.join(cells)} |",
        flush=True,
    )
  if not args.names:
    path = pathlib.Path(args.out) / "objectives_table.json"
    path.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

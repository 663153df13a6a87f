"""Distilled against plainly trained students on labelled sets, over seeds.

  python tests/benchmarks/distilled.py TEACHER STORE FOLDER OUT [NAME ...]

TEACHER is tiny-en or the workdir of a run like it, STORE a token store of its
vocabulary. The student of configs/distill.py:tiny_en is trained three times,
on the same rows with the same seed: as in pre-training ("plain"), with the
teacher's relations beside that ("distilled"), and by the relations alone
("relations"). FOLDER holds a folder for each labelled set: train and dev as
.tsv with the columns text and label. Each student is fine-tuned on as many
training texts of each, chosen by a hash, with every seed. OUT gets a workdir
for each, and distilled.json; what is finished there is not run again. Prints
the table as Markdown.
"""

import argparse
import hashlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax import api, config_files
from tests.benchmarks import sets
from tests.benchmarks.labelled_sets import accuracies

ARMS = ("plain", "distilled", "relations")


def train_student(arm: str, args: argparse.Namespace) -> pathlib.Path:
  """Trains one student, unless that is done already; returns its workdir."""
  switch = "" if arm == "relations" else ",with_objective"
  teacher = "" if arm == "plain" else args.teacher
  flags = [
      f"--config.data.store={args.store}",
      f"--config.distill.teacher={teacher}",
      f"--config.distill.teacher_layer={args.layer}",
      f"--config.train.num_steps={args.steps}",
      "--config.train.eval_every_steps=0",
  ]
  config = config_files.load_config(
      str(ROOT / f"configs/distill.py:tiny_en{switch}"), flags
  )
  workdir = pathlib.Path(args.out) / f"student_{arm}"
  result = api.pretrain(config, workdir, quiet=True)
  (workdir.parent / f"student_{arm}.json").write_text(
      json.dumps(dict(result.evaluation), indent=1)
  )
  return workdir


def few_texts(folder: pathlib.Path, out: pathlib.Path, count: int) -> None:
  """Writes the texts with the smallest hashes, and as many to be scored."""
  out.mkdir(parents=True, exist_ok=True)
  for name in ("train", "dev"):
    head, *lines = (folder / f"{name}.tsv").read_text().splitlines()
    lines.sort(key=lambda line: hashlib.sha256(line.encode()).digest())
    (out / f"{name}.tsv").write_text("\n".join([head, *lines[:count], ""]))


def finetune(student: pathlib.Path, name: str, args: argparse.Namespace):
  """Returns the accuracies of a student on a set."""
  tables = pathlib.Path(args.out) / "sets" / name
  if not tables.exists():
    few_texts(pathlib.Path(args.folder) / name, tables, args.texts)
  config = config_files.load_config(
      str(ROOT / "configs/finetune.py:task=table,size=tiny_en,from_init"),
      [
          f"--config.init_from={student}",
          f"--config.data.folder={tables}",
          "--config.data.max_length=64",
          f"--config.seeds={args.seeds}",
          f"--config.train.num_epochs={args.epochs}",
          "--config.train.keep_all_models=False",
      ],
  )
  workdir = pathlib.Path(args.out) / f"{name}_{student.name}"
  return accuracies(config, workdir)


def main() -> None:
  """Trains all students, measures every set and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("teacher")
  parser.add_argument("store")
  parser.add_argument("folder")
  parser.add_argument("out")
  parser.add_argument("names", nargs="*")
  parser.add_argument("--steps", type=int, default=800, help="of a student")
  parser.add_argument("--layer", type=int, default=-1, help="of the teacher")
  parser.add_argument("--texts", type=int, default=1000, help="of a set")
  parser.add_argument("--epochs", type=float, default=5.0)
  parser.add_argument("--seeds", type=int, default=3)
  args = parser.parse_args()
  out = pathlib.Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  students = {arm: train_student(arm, args) for arm in ARMS}
  records = []
  print(f"| set | {' | '.join(ARMS)} |\n|{'---|' * (len(ARMS) + 1)}")
  for name in sets.names_of(args):
    found = {arm: finetune(students[arm], name, args) for arm in ARMS}
    told = " | ".join(str(found[arm]) for arm in ARMS)
    print(f"| {name} | {told} |", flush=True)
    scores = {arm: x._asdict() for arm, x in found.items()}
    records.append({"set": name, **vars(args), **scores})
    (out / "distilled.json").write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
  main()

"""Training texts per second: packed rows, and two ways of padding.

  python tests/benchmarks/packing_speed.py RUN FOLDER OUT

RUN and FOLDER as for labelled_sets.py, FOLDER being one set of texts. Three
ways to lay out the same batches are timed in turn, in one process:

  max_length   a row of 128 tokens for each text, as the release does
  longest      rows as long as the batch's longest text, rounded up to 8
  packed       several texts in a row of 128

Then RUN is fine-tuned for one epoch with the first and with the last; both
models' scores, and one model's predictions in both layouts, are compared.
Writes OUT/packing.json.
"""

import argparse
import json
import pathlib
import statistics
import time

import jax
import numpy as np

from electra_jax import config_files, finetune
from electra_jax.devices import sharding
from electra_jax.finetuning import task_data
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.task_predictor import head_of
from electra_jax.finetuning.trainer import make_task_trainer
from electra_jax.tasks.batches import Batches, TaskBatch
from electra_jax.tasks.features import make_features

ROOT = pathlib.Path(__file__).parents[2]
BATCHES, ROUNDS = 20, 8


def load_config(args, *more: str):
  """Returns the config of a set, one epoch."""
  flags = [
      f"--config.init_from={args.run}",
      f"--config.data.folder={args.folder}",
      "--config.train.num_epochs=1.0",
      *more,
  ]
  config = ROOT / "configs/finetune.py:task=table,size=tiny"
  return config_files.load_config(str(config), flags)


def cut_to_longest(batch: TaskBatch) -> TaskBatch:
  """Cuts rows of one text each to the longest of them."""
  texts = batch.texts
  width = -(-int(texts.lengths[:, 1].max()) // 8) * 8
  rows = np.arange(len(texts.starts), dtype=np.int32)
  cut = texts._replace(
      input_ids=texts.input_ids[:, :width],
      owners=texts.owners[:, :width],
      starts=rows * width,
  )
  return batch._replace(texts=cut)


def measure_speed(config) -> dict[str, float]:
  """Returns median texts per second by layout."""
  start = find_encoder(config)
  (task,) = task_data.find_tasks(config)
  data = task_data.read_task(task, task_data.source_of(config))
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  heads = [head_of(data.task)]
  trainer = make_task_trainer(config, start.encoder, heads, mesh, 10_000)
  features = make_features(
      data.task,
      data.splits["train"],
      start.tokenizer,
      task_data.feature_options(config),
      for_training=True,
  )

  def batches_of(is_packed):
    batches = Batches(
        {data.task.name: features},
        batch_size=config.train.batch_size,
        row_length=config.data.max_length,
        pad_id=start.tokenizer.special.pad,
        is_packed=is_packed,
    ).training(0)
    return [next(batches) for _ in range(BATCHES)]

  layouts = {
      "max_length": batches_of(False),
      "longest": list(map(cut_to_longest, batches_of(False))),
      "packed": batches_of(True),
  }
  encoder_params = start.restore(
      trainer.abstract.params, trainer.shardings.params
  )
  state = trainer.init(0, encoder_params)
  rates = {name: [] for name in layouts}
  for number in range(ROUNDS + 1):  # The first compiles.
    for name, batches in layouts.items():
      began = time.perf_counter()
      for batch in batches:
        batch = sharding.rows_to_global(mesh, batch)
        state, sums = trainer.train_step(state, batch)
      jax.block_until_ready(sums)
      secs = time.perf_counter() - began
      if number:
        rates[name].append(BATCHES * config.train.batch_size / secs)
  lengths = [len(text) for text in features.texts]
  return {
      "mean_length": statistics.mean(lengths),
      "texts_per_sec": {n: statistics.median(r) for n, r in rates.items()},
      "spread": {n: [min(r), max(r)] for n, r in rates.items()},
  }


def compare_scores(args) -> dict:
  """Fine-tunes with and without packing; compares scores and predictions."""
  figures = {}
  for name, flag in (("packed", "true"), ("max_length", "false")):
    config = load_config(args, f"--config.data.packing={flag}")
    workdir = f"{args.out}/{name}"
    result = finetune(config, workdir, quiet=True)
    figures[f"scores_{name}"] = result.summary["median"]
  model = FinetunedModel(f"{args.out}/packed")
  task = model.task()
  examples = task.read(task_data.source_of(load_config(args)), "dev")
  packed = model.predict(examples).records
  model.predictor._config.data.packing = False
  apart = model.predict(examples).records
  figures["equal_predictions"] = sum(
      a["label"] == b["label"] for a, b in zip(packed, apart, strict=True)
  )
  figures["predictions"] = len(examples)
  figures["largest_difference_of_probability"] = max(
      abs(a["probability"] - b["probability"])
      for a, b in zip(packed, apart, strict=True)
  )
  return figures


def main() -> None:
  """Measures and writes everything."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run")
  parser.add_argument("folder")
  parser.add_argument("out")
  args = parser.parse_args()
  pathlib.Path(args.out).mkdir(parents=True, exist_ok=True)
  figures = measure_speed(load_config(args)) | compare_scores(args)
  print(json.dumps(figures, indent=1))
  path = pathlib.Path(args.out) / "packing.json"
  path.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
  main()

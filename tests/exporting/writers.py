"""Workdirs of runs that write text, with random weights; nobody trained them."""

import numpy as np

from tests import helpers
from tests.exporting.workdirs import random_run


def write_pairs(folder, counts, longest=5, questions=False):
  """Writes words, and the same words backwards."""
  rng = np.random.default_rng(0)
  for split, count in counts.items():
    rows = ["\t".join(["source", *["other"] * questions, "target"])]
    for _ in range(count):
      words = list(rng.permutation(helpers.WORDS)[: rng.integers(2, longest)])
      sides = [words, *[words[:2]] * questions, words[::-1]]
      rows.append("\t".join(map(" ".join, sides)))
    (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")


def writer(workdir, vocabulary, task="translate", **overrides):
  """A finished run of a task that writes text, and its pairs beside it."""
  data = workdir.with_name(f"{workdir.name}_data")
  data.mkdir(parents=True)
  has_other = bool(overrides.get("table.other_text"))
  write_pairs(data, {"train": 8, "dev": 12}, questions=has_other)
  values = {
      "data.synthetic": False,
      "data.folder": str(data),
      "data.tokenizer": str(vocabulary),
      "data.max_length": 16,
      "random_init": True,
      "model.dtype": "float32",
      "model.num_layers": 2,
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "generation.max_target_length": 8,
  }
  config = helpers.finetune_config(task, **values | overrides)
  config = helpers.override(config, {"task": task})
  return random_run(workdir, config)

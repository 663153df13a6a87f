"""Workdirs of runs that write text, with random weights; nobody trained them."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.finetuning import finetune, task_data
from electra_jax.finetuning.model import abstract_params
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.runs import workdir as workdirs
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from tests import helpers

WORDS = [
    "we",
    "the",
    "people",
    "of",
    "united",
    "states",
    "senate",
    "house",
    "power",
    "law",
]


def write_pairs(folder, counts, longest=5, questions=False):
  """Writes words, and the same words backwards."""
  rng = np.random.default_rng(0)
  for split, count in counts.items():
    rows = ["\t".join(["source", *["other"] * questions, "target"])]
    for _ in range(count):
      words = list(rng.permutation(WORDS)[: rng.integers(2, longest)])
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
  start = find_encoder(config)
  source = task_data.source_of(config)
  tasks = [task_data.read_task(t, source) for t in task_data.find_tasks(config)]
  facts = finetune.facts_of(start, tasks)
  workdirs.begin(workdir, workdirs.FINETUNING, config, start.tokenizer, facts)
  abstract = abstract_params([x.task for x in tasks], config, start.encoder)
  params = jax.tree_util.tree_map_with_path(
      lambda path, x: 0.2 * x + (1 if path[-1].key == "scale" else 0),
      helpers.random_tree(abstract),
  )
  seed = workdir / "seed_0"
  state = TrainState(jnp.int32(3), jax.tree.map(jnp.asarray, params), ())
  with Checkpointer(workdirs.checkpoints(seed)) as checkpointer:
    checkpointer.save(state, 3)
  (seed / "scores.json").write_text("{}")
  (workdir / "scores.json").write_text(json.dumps({"best_seed": 0}))
  return workdir

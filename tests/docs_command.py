"""`electra-jax` as the documentation's test runs it: with small sizes put in.

The environment's DOCS_FLAGS holds more flags by verb, as JSON; where it is not
set, a command runs as it is shown.
"""

import json
import os
import sys

from electra_jax.cli.main import main

SHAPE = {
    "model.num_layers": 1,
    "model.hidden_size": 64,
    "model.embedding_size": 32,
    "model.dtype": "float32",
}
PRETRAIN = SHAPE | {
    "model.generator_width_ratio": 0.5,
    "optimizer.warmup_steps": 1,
    "train.num_steps": 4,
    "train.batch_size": 8,
    "train.eval_batch_size": 8,
    "train.eval_max_rows": 8,
    "train.eval_every_steps": 4,
    "train.checkpoint_every_steps": 4,
}
FINETUNE = SHAPE | {
    "train.num_epochs": 0.5,
    "train.batch_size": 16,
    "train.eval_batch_size": 16,
}
SMALL = {
    "pretrain": PRETRAIN,
    "plan": PRETRAIN,
    "benchmark": PRETRAIN,
    "finetune": FINETUNE,
    "distill": PRETRAIN,
}


def run(words: list[str]) -> None:
  """Runs a command with the flags of its verb behind it."""
  if "DOCS_FLAGS" not in os.environ:
    main(words)
  more = json.loads(os.environ["DOCS_FLAGS"])
  verb = words[0] if words else ""
  small = [f"--config.{k}={v}" for k, v in SMALL.get(verb, {}).items()]
  main([*words, *small, *more.get(verb, ())])


if __name__ == "__main__":
  run(sys.argv[1:])

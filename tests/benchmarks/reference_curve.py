"""Trains the configuration of the released code's reference curve.

The released code trained a 4-layer model for 2,000 steps, twice, and evaluated
five checkpoints (tests/golden/reference_curve.json). This trains the same
configuration on the same examples and prints both sides.

  python tests/benchmarks/reference_curve.py --examples examples.npz \
      --output curve.json

`--seed 2 --steps 250 --evaluate-at 235 250` shows how much a figure moves from
seed to seed and from step to step.

`examples.npz` holds input_ids, input_mask and segment_ids [21018, 128] as the
release's builder made them; about ten minutes on two CPU cores.
"""

import argparse
import json
import pathlib
import sys
import time

import jax
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "configs")]

import pretrain as pretrain_config

from electra_jax.devices import sharding
from electra_jax.objectives import masking
from electra_jax.objectives.objective import find_method
from electra_jax.pretraining.trainer import bind, make_trainer
from electra_jax.runs.config import PretrainConfig, read_pretrain_config
from electra_jax.runs.networks import (
    Vocabulary,
    masking_config,
    objective_options,
)
from electra_jax.store.feed import Batch
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.training.metrics import add_up, divide

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
VOCAB_SIZE, BATCH, STEPS = 1966, 32, 2000
VOCABULARY = Vocabulary(VOCAB_SIZE, SPECIAL)
EVAL_STEPS = (250, 500, 1000, 1500, 2000)


def make_config(seed: int, draw: str) -> PretrainConfig:
  config = pretrain_config.get_config("small")
  config.seed = seed
  config.model.update(
      num_layers=4,
      hidden_size=128,
      embedding_size=64,
      generator_width_ratio=0.5,
      dtype="float32",
  )
  config.objective.masking_draw = draw
  config.optimizer.warmup_steps = 500
  config.train.update(num_steps=STEPS, batch_size=BATCH, eval_batch_size=BATCH)
  return read_pretrain_config(config)


def load(path: str) -> Batch:
  arrays = np.load(path)
  total = arrays["input_mask"].astype(np.int32).sum(1)
  second = arrays["segment_ids"].astype(np.int32).sum(1)
  return Batch(
      arrays["input_ids"], np.stack([total - second, total], 1).astype(np.int32)
  )


def released_auc(probability, labels) -> float:
  """The trapezoid over 200 thresholds of TensorFlow's streaming AUC."""
  thresholds = np.arange(1, 199) / 199
  thresholds = np.concatenate([[-1e-7], thresholds, [1 + 1e-7]])
  called = probability[None] > thresholds[:, None]
  recall = (called & labels).sum(1) / labels.sum()
  false_alarms = (called & ~labels).sum(1) / (~labels).sum()
  return float(np.trapezoid(recall[::-1], false_alarms[::-1]))


def make_evaluate(config, model):
  """Released-style figures: loss by example, AUC with padding counted."""
  options = objective_options(config, VOCABULARY)
  how = masking_config(config, VOCABULARY)

  @jax.jit
  def forward(params, batch, rng):
    masked = masking.mask_rows(rng, masking.unpack_rows(*batch), how)
    networks = bind(model, params, None)
    outcome = find_method("electra", "masked_lm").run(networks, masked, options)
    return {**outcome.losses, **outcome.metrics}, outcome.replaced

  def evaluate(params, rows, rng):
    # The release deals example i to shard i % 1000 and reads shards in turn:
    # its 3,200 rows spread over the whole corpus.
    shards = np.argsort(np.arange(len(rows.input_ids)) % 1000, kind="stable")
    rows = Batch(*(x[shards[: 100 * BATCH]] for x in rows))
    sums, losses, scores, labels = [], [], [], []
    for i in range(100):
      batch = Batch(*(x[i * BATCH : (i + 1) * BATCH] for x in rows))
      step_sums, replaced = forward(params, batch, jax.random.fold_in(rng, i))
      sums.append(step_sums)
      logits, is_replaced, weights = map(np.asarray, replaced)
      nats = np.logaddexp(0, np.where(is_replaced, -logits, logits)) * weights
      losses.extend(nats.sum(1) / weights.sum(1))
      scores.append((1 / (1 + np.exp(-logits)) * weights).ravel())
      labels.append(is_replaced.ravel())
    values = divide(add_up(jax.device_get(sums)))
    return {
        "masked_lm_loss": values["mlm_loss"],
        "masked_lm_accuracy": values["mlm_accuracy"],
        "sampled_masked_lm_accuracy": values["sampled_mlm_accuracy"],
        "disc_loss": float(np.mean(losses)),
        "disc_auc": released_auc(
            np.concatenate(scores), np.concatenate(labels)
        ),
        "disc_accuracy": values["rtd_accuracy"],
        "disc_precision": values["rtd_precision"],
        "disc_recall": values["rtd_recall"],
        "loss": values["mlm_loss"] + 50 * values["rtd_loss"],
    }

  return evaluate


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--examples", required=True)
  parser.add_argument("--output", required=True)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--draw", default="with_replacement")
  parser.add_argument("--steps", type=int, default=STEPS, help="stop earlier")
  parser.add_argument("--evaluate-at", type=int, nargs="+", default=EVAL_STEPS)
  args = parser.parse_args()
  config = make_config(args.seed, args.draw)
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  trainer = make_trainer(config, VOCABULARY, mesh)
  rows = load(args.examples)
  evaluate = make_evaluate(config, trainer.model)
  state = trainer.init()
  order = np.random.default_rng(args.seed).permutation(
      np.tile(np.arange(len(rows.input_ids)), 4)
  )
  began, losses, evaluations = time.time(), [], {}
  for step in range(args.steps):
    chosen = order[step * BATCH : (step + 1) * BATCH]
    batch = Batch(*(x[chosen] for x in rows))
    state, sums = trainer.train_step(state, sharding.to_global(mesh, batch))
    losses.append(sums["loss"][0])
    if step + 1 in args.evaluate_at:
      rng = jax.random.fold_in(jax.random.key(args.seed + 1), step)
      evaluations[str(step + 1)] = evaluate(state.params, rows, rng)
      print(
          step + 1,
          round(time.time() - began),
          evaluations[str(step + 1)],
          flush=True,
      )
  losses = np.asarray(jax.device_get(losses), np.float64)
  result = {
      "eval": evaluations,
      "first_loss": losses[0],
      "mean_training_loss_per_50_steps": losses[: len(losses) // 50 * 50]
      .reshape(-1, 50)
      .mean(1)
      .tolist(),
      "seconds_per_step": (time.time() - began) / args.steps,
      "draw": args.draw,
      "seed": args.seed,
  }
  pathlib.Path(args.output).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
  main()

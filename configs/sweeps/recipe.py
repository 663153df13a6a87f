r"""A small budget over several values at once: points that leave no large hole.

  python launch/sweep.py --sweep configs/sweeps/recipe.py:size=tiny,points=16 \
      --output SWEEP --jobs 2 --config.data.store=STORE

Not the paper's: rate, λ, mask share and warm-up together, drawn by a scrambled
Halton sequence; draw=random draws them independently, draw_seed others. With
more points in the same --output those that are there are kept and the rest is
added. Arguments beside these: size, seeds, runlocal, and tasks, whose dev scores
rank the points (of the tiny size film reviews, of the others GLUE's eight).

Cost: `points` times pre-training and fine-tuning; the tiny size takes about ten
minutes a point on two cores. `,runlocal` takes some minutes on a laptop.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.searches import ARGUMENTS, pretraining_sweep
from electra_jax.sweeps.space import (
    choice,
    log_uniform,
    quasi_random,
    random,
    uniform,
)

DRAWS = {"quasi_random": quasi_random, "random": random}
# Steps of warm-up; tiny has 4,000 steps in all.
WARMUPS, TINY_WARMUPS = (1_000, 5_000, 10_000), (50, 100, 400)
LOCAL_WARMUPS = (2, 5, 10)


def get_sweep(arg=None):
  """Returns the sweep; "size=tiny,points=16,draw=random,draw_seed=1"."""
  args = parse_arg(arg, **ARGUMENTS, points=8, draw="quasi_random", draw_seed=0)
  if args["draw"] not in DRAWS:
    raise ValueError(f"draw={args['draw']} is not one of {', '.join(DRAWS)}")
  warmups = TINY_WARMUPS if args["size"] == "tiny" else WARMUPS
  if args["runlocal"]:
    warmups = LOCAL_WARMUPS
  space = {
      "optimizer.learning_rate": log_uniform(1e-4, 2e-3),
      "objective.disc_weight": log_uniform(1.0, 100.0),
      "objective.mask_prob": uniform(0.10, 0.40),
      "optimizer.warmup_steps": choice(*warmups),
  }
  return pretraining_sweep(
      args,
      DRAWS[args["draw"]](space, args["points"], args["draw_seed"]),
      {
          "optimizer.learning_rate": "highest learning rate",
          "objective.disc_weight": "weight λ of the discriminator's loss",
          "objective.mask_prob": "share of masked tokens",
          "optimizer.warmup_steps": "steps of warm-up",
      },
  )

r"""The generator's width: how large a part of the discriminator's?

  python launch/sweep.py --sweep configs/sweeps/generator_width.py:size=base \
      --output SWEEP --config.data.store=STORE --judge.data.folder=GLUE

As in the paper (§3.2, Figure 3, left): every point has 500k steps, generators
differ in the widths of their layers alone, and one only draws tokens as
frequent as in the text. The paper finds 1/4 to 1/2 best and shows a figure
without numbers; the fractions here are ours. Arguments: size, seeds, runlocal,
and tasks (the eight of GLUE by default), whose dev scores rank the points:
replaced-token AUC cannot, since a weak generator is found out more easily.

Cost at size=base: six times 500k steps, two thirds of configs/pretrain.py's,
and fine-tuning on every task. `,runlocal` takes some minutes on a laptop.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.searches import ARGUMENTS, pretraining_sweep
from electra_jax.sweeps.space import grid

NUM_STEPS = 500_000  # Paper, §3.2.
RATIOS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


def get_sweep(arg=None):
  """Returns the sweep; "size=base,seeds=3,tasks=rte+mrpc,runlocal"."""
  args = parse_arg(arg, **ARGUMENTS)
  points = grid({"model.generator_width_ratio": RATIOS})
  points.append({"objective.generator": "unigram"})
  if not args["runlocal"]:
    points = [{**point, "train.num_steps": NUM_STEPS} for point in points]
  return pretraining_sweep(
      args,
      points,
      {"model.generator_width_ratio": "width of generator / discriminator"},
  )

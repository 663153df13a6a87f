r"""The discriminator's loss weight λ: which of 1, 10, 20, 50, 100?

  python launch/sweep.py --sweep configs/sweeps/loss_weight.py --output SWEEP \
      --config.data.store=STORE --judge.data.folder=GLUE

The paper chose 50 out of these in early experiments (Appendix A), of which it
prints no scores. Arguments: size, seeds, runlocal, and tasks (tasks=rte+mrpc;
the eight of GLUE by default) whose dev scores rank the points. tasks=none
fine-tunes nothing and ranks by replaced-token AUC: a hint, as λ leaves the
generator nearly as it is.

Cost at size=small: five times pre-training, each as configs/pretrain.py says,
and fine-tuning on every task. `,runlocal` takes some minutes on a laptop.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.searches import ARGUMENTS, pretraining_sweep
from electra_jax.sweeps.space import grid


def get_sweep(arg=None):
  """Returns the sweep; "size=base,seeds=3,tasks=rte+mrpc,runlocal"."""
  return pretraining_sweep(
      parse_arg(arg, **ARGUMENTS),
      grid({"objective.disc_weight": (1.0, 10.0, 20.0, 50.0, 100.0)}),
      {"objective.disc_weight": "weight λ of the discriminator's loss"},
      may_lack_tasks=True,
  )

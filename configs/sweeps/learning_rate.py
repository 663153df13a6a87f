r"""The learning rate of pre-training: 1e-4, 2e-4, 3e-4 or 5e-4?

  python launch/sweep.py --sweep configs/sweeps/learning_rate.py:size=base \
      --output SWEEP --config.data.store=STORE --judge.data.folder=GLUE

The paper's search for Small and Base (Appendix A); it chose 5e-4 for Small and
2e-4 for Base (Table 6). Arguments: size, seeds, runlocal, and tasks (the eight
of GLUE by default), whose dev scores rank the points: replaced-token AUC cannot,
since a generator that has learned little is found out more easily.

Cost: four times the pre-training of configs/pretrain.py, and fine-tuning on
every task. `,runlocal` takes some minutes on a laptop.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.searches import ARGUMENTS, pretraining_sweep
from electra_jax.sweeps.space import grid


def get_sweep(arg=None):
  """Returns the sweep; "size=base,seeds=3,tasks=rte+mrpc,runlocal"."""
  return pretraining_sweep(
      parse_arg(arg, **ARGUMENTS),
      grid({"optimizer.learning_rate": (1e-4, 2e-4, 3e-4, 5e-4)}),
      {"optimizer.learning_rate": "highest learning rate"},
  )

r"""The share of masked tokens: 15 %, 25 %, or more?

  python launch/sweep.py --sweep configs/sweeps/mask_share.py:size=large \
      --output SWEEP --config.data.store=STORE --judge.data.folder=GLUE

The paper masks 15 %, and 25 % for Large, whose generator was right so often
that few tokens were replaced (Appendix A, Table 6); the other shares are ours.
Arguments: size, seeds, runlocal, and tasks (the eight of GLUE by default), whose
dev scores rank the points: replaced-token AUC cannot, since the generator fills
the gaps of fewer masks better.

Cost: six times the pre-training of configs/pretrain.py, and fine-tuning on
every task. `,runlocal` takes some minutes on a laptop.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.searches import ARGUMENTS, pretraining_sweep
from electra_jax.sweeps.space import grid


def get_sweep(arg=None):
  """Returns the sweep; "size=base,seeds=3,tasks=rte+mrpc,runlocal"."""
  return pretraining_sweep(
      parse_arg(arg, **ARGUMENTS),
      grid({"objective.mask_prob": (0.10, 0.15, 0.20, 0.25, 0.35, 0.50)}),
      {"objective.mask_prob": "share of masked tokens"},
  )

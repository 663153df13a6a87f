r"""Fine-tuning: the paper's search over rate, layer-wise decay and epochs.

  python launch/sweep.py --sweep configs/sweeps/finetune.py:task=rte,size=base \
      --output SWEEP --config.init_from=RUN --config.data.folder=GLUE

What the paper searched (Appendix B): for Base rates and the decay of rates by
layer, for Small rates, for Large 3 or 10 epochs; `epochs` adds the last to the
other sizes. It chose 3e-4 and 0.8 for Small, 1e-4 and 0.8 for Base, 5e-5 and
0.9 for Large (Table 7). Every point is a run with `seeds` seeds (5 by default),
whose median ranks it: one seed alone says little on RTE or CoLA.

Cost: 12 points for Base, 4 for Small, 2 for Large, times seeds, times minutes
to hours by task. `,runlocal` takes some minutes on a laptop, on made-up data.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.space import Sweep, grid

# Paper, Appendix B; tiny is ours.
SPACES = {
    "tiny": {"optimizer.learning_rate": (1e-4, 3e-4, 1e-3)},
    "small": {"optimizer.learning_rate": (1e-4, 2e-4, 3e-4, 5e-3)},
    "base": {
        "optimizer.learning_rate": (3e-5, 5e-5, 1e-4, 1.5e-4),
        "optimizer.layerwise_decay": (0.9, 0.8, 0.7),
    },
    "large": {"train.num_epochs": (3.0, 10.0)},
}


def get_sweep(arg=None):
  """Returns the sweep; "task=rte,size=small,seeds=3,epochs,runlocal"."""
  args = parse_arg(
      arg, task="rte", size="base", seeds=5, epochs=False, runlocal=False
  )
  if args["size"] not in SPACES:
    raise ValueError(f"size {args['size']!r} is not one of {', '.join(SPACES)}")
  space = dict(SPACES[args["size"]])
  if args["epochs"]:
    space |= SPACES["large"]
  suffix = ",runlocal" if args["runlocal"] else ""
  return Sweep(
      f"configs/finetune.py:task={args['task']},size={args['size']}{suffix}",
      grid(space),
      seeds=args["seeds"],
      labels={
          "optimizer.learning_rate": "highest learning rate",
          "optimizer.layerwise_decay": "decay of rates by layer",
          "train.num_epochs": "epochs",
          "metric": f"dev score on {args['task']} (points of 100)",
      },
  )

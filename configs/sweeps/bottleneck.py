r"""The information bottleneck: how much of a text does a class need?

  python launch/sweep.py --output SWEEP \
      --sweep configs/sweeps/bottleneck.py:task=table,size=tiny_en \
      --config.init_from=tiny-en --config.data.folder=REVIEWS

Every point is a width K of the bottleneck and a weight β of its rate. The last
panel of the plot is the rate-accuracy curve: dev score over the nats that the
bottleneck keeps of a text; a line is a width. The paper's β of 1e-4 to 1e-6 are
among the values. Arguments: task, size, seeds (5 by default), runlocal, and
dimensions=8+16+32.

Cost: 15 fine-tunings, times seeds. `,runlocal` takes some minutes on a laptop,
on made-up data.
"""

from electra_jax.config_files import parse_arg
from electra_jax.sweeps.space import Sweep, grid

BETAS = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)


def get_sweep(arg=None):
  """Returns the sweep; "task=rte,size=small,seeds=3,dimensions=16,runlocal"."""
  args = parse_arg(
      arg,
      task="rte",
      size="base",
      seeds=5,
      dimensions="8+16+32",
      runlocal=False,
  )
  suffix = ",runlocal" if args["runlocal"] else ""
  widths = tuple(map(int, args["dimensions"].split("+")))
  return Sweep(
      f"configs/finetune.py:task={args['task']},size={args['size']}{suffix}",
      grid({"bottleneck.dimensions": widths, "bottleneck.beta": BETAS}),
      seeds=args["seeds"],
      labels={
          "bottleneck.dimensions": "dimensions K",
          "bottleneck.beta": "weight β of the rate",
          "rate": "rate (nats of a text)",
          "metric": f"dev score on {args['task']} (points of 100)",
      },
      against="rate",
  )

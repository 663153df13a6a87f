"""What the shipped sweeps over pre-training have in common.

A pre-trained model is judged by what it is for: each trial is fine-tuned, as in
the paper, and the dev scores rank the points. Replaced-token AUC would not do:
against a weaker generator it is higher.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from electra_jax.errors import UserError
from electra_jax.sweeps.space import Point, Sweep

# The tasks of the paper's average over GLUE (§3.1; its Table 2).
GLUE = ("cola", "sst", "mrpc", "sts", "qqp", "mnli", "qnli", "rte")
# Words behind the colon of a sweep file, with their defaults.
ARGUMENTS = {"size": "small", "tasks": "", "seeds": 1, "runlocal": False}
NO_TASKS = "none"


def pretraining_sweep(
    args: Mapping[str, Any],
    points: Sequence[Point],
    labels: Mapping[str, str],
    *,
    may_lack_tasks: bool = False,
) -> Sweep:
  """Returns a sweep over configs/pretrain.py, judged by fine-tuning.

  Args:
    args: of ARGUMENTS: `size` and `runlocal` of the config, `seeds`, and the
      `tasks` that judge, joined by "+". By default the eight of GLUE, of the
      tiny size film reviews, with `runlocal` made-up RTE.
    points: as of `Sweep`.
    labels: as of `Sweep`, but for "metric".
    may_lack_tasks: whether tasks=none, which ranks by replaced-token AUC, has
      a meaning: where all points have about the same generator.

  Raises:
    UserError: tasks=none where it has no meaning.
  """
  suffix = ",runlocal" if args["runlocal"] else ""
  config = f"configs/pretrain.py:{args['size']}{suffix}"
  if args["tasks"] == NO_TASKS:
    if not may_lack_tasks:
      raise UserError(
          f"tasks={NO_TASKS} would rank by replaced-token AUC, and this sweep's"
          " points have different generators, of which the weaker ones give the"
          " higher AUC; name tasks, as tasks=rte+mrpc"
      )
    return Sweep(
        config,
        points,
        metric="validation/rtd_auc",
        seeds=args["seeds"],
        labels={**labels, "metric": "replaced-token AUC on held-out rows"},
    )
  tasks = args["tasks"].split("+") if args["tasks"] else _default_tasks(args)
  size = args["size"].removesuffix("_pp")
  named = "GLUE" if tuple(tasks) == GLUE else ", ".join(tasks)
  return Sweep(
      config,
      points,
      seeds=args["seeds"],
      judges=tuple(
          f"configs/finetune.py:task={task},size={size}{suffix}"
          for task in tasks
      ),
      labels={**labels, "metric": f"dev score on {named} (points of 100)"},
  )


def _default_tasks(args: Mapping[str, Any]) -> Sequence[str]:
  if args["runlocal"]:
    return ("rte",)
  return ("reviews",) if args["size"] == "tiny" else GLUE

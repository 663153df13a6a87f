"""The verbs as Python functions, and finished runs as models."""

from etils import epath

from electra_jax.finetuning.model import FinetunedModel
from electra_jax.pretraining.evaluation import evaluate_run
from electra_jax.runs import workdir as workdirs


def evaluate(
    workdir: epath.PathLike,
    *,
    split: str | None = None,
    store: epath.PathLike | None = None,
    max_rows: int | None = None,
    task: str | None = None,
    folder: epath.PathLike | None = None,
    seed: int | None = None,
    output: epath.PathLike | None = None,
) -> dict[str, float]:
  """Evaluates a run: its pre-training metrics, or its tasks' scores.

  Args:
    workdir: of a pretrain or finetune run.
    split: "train" or "validation" of a token store ("validation" by default);
      a split of a task (its dev splits by default).
    store: pretrain: a token store of the run's vocabulary, or None for its
      own.
    max_rows: pretrain: rows to use, or None for the config's number.
    task: finetune: one of the run's tasks, or None for all.
    folder: finetune: where the task's files lie, or None for the run's own.
    seed: finetune: whose model, or None for the best.
    output: finetune: a folder for predictions and leaderboard files; then a
      split that does not tell the answers may be asked for as well.

  Returns:
    Of pre-training: losses in nats and shares by name, `rtd_auc` over all
    tokens but padding, and `unigram_entropy` of the training text in nats
    where that is known. Of tasks: scores by name, as "rte/dev/accuracy"; in
    percent but for `mse`, `loss` in nats, numbers of questions and thresholds.

  Raises:
    UserError: no run, no checkpoint, no such split, a store of another
      vocabulary, or an argument that belongs to the other kind of run.
  """
  run = workdirs.load(workdir)
  if run.kind is workdirs.FINETUNING:
    workdirs.refuse(run, store=store, max_rows=max_rows)
    model = FinetunedModel(workdir, seed=seed)
    return model.evaluate(task=task, split=split, folder=folder, output=output)
  workdirs.refuse(run, task=task, folder=folder, seed=seed, output=output)
  return evaluate_run(workdir, run, split=split, store=store, max_rows=max_rows)

"""Files that one seed leaves of its predictions."""

from etils import epath

from electra_jax.task_data import TaskData
from electra_jax.tasks.leaderboard import (
    write_leaderboard,
    write_predictions,
    write_squad_files,
)
from electra_jax.tasks.predictions import DecodeOptions, Predictions


def write_outputs(
    folder: epath.Path,
    data: TaskData,
    split: str,
    answers: Predictions,
    options: DecodeOptions,
) -> None:
  """Writes a split's predictions, for people and for leaderboards.

  Args:
    folder: of the seed.
    data: the task and its examples.
    split: which of them.
    answers: in their order.
    options: the threshold of "no answer".
  """
  task = data.task
  name = f"{task.name}_{split}"
  place = folder / "predictions"
  place.mkdir(parents=True, exist_ok=True)
  write_predictions(place / f"{name}.jsonl", answers.records)
  if task.kind == "questions":
    write_squad_files(
        place,
        name,
        answers.answers,
        threshold=options.null_threshold,
        may_lack_answer=task.may_lack_answer,
    )
  if split in task.leaderboard:
    place = folder / "leaderboard"
    place.mkdir(parents=True, exist_ok=True)
    write_leaderboard(
        place / task.leaderboard[split],
        [example.id for example in data.splits[split]],
        answers.values,
        task,
    )

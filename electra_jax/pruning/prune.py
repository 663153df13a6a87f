"""The verb `prune`: a run without the heads and columns that count least.

What stays is an ordinary, smaller run of the same kind. Of a pre-training run
the discriminator is pruned, the network that is kept; its generator stays as it
is unless one encoder serves both.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from electra_jax.compress.importance import (
    mean_loss,
    measure_importance,
    most_important,
)
from electra_jax.compress.pruning import Kept, everything
from electra_jax.devices import sharding
from electra_jax.disk.scratch import new_folder, open_scratch
from electra_jax.errors import UserError
from electra_jax.files import to_json, write_whole, writing
from electra_jax.finetuning.evaluation import Evaluator
from electra_jax.finetuning.seeds import summarise, write_summary
from electra_jax.finetuning.task_data import TaskData
from electra_jax.finetuning.task_predictor import TaskPredictor
from electra_jax.interop.model import FinetunedState, Model, PretrainedState
from electra_jax.interop.workdir import (
    read_finetuned,
    read_pretrained,
    write_finetuned,
    write_pretrained,
)
from electra_jax.pruning.amounts import Amount, check_layers, left_over
from electra_jax.pruning.examples import (
    Examples,
    pretraining_examples,
    read_tasks,
    task_examples,
)
from electra_jax.pruning.outcome import Plan, Pruning
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import DistillConfig, PretrainConfig
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.parameters import note_parameters
from electra_jax.runs.sections import replaced
from electra_jax.runs.weights import SCORES, encoder_of, find_weights
from electra_jax.shapes import Params
from electra_jax.training.optimizer import AdamState
from electra_jax.trees import count_parameters

MAX_ROWS = 1000  # That importance is measured on, unless told otherwise.
PRUNED_FILE = "pruned.json"  # In a pruned workdir: what was removed, and why.


def prune(
    workdir: epath.PathLike,
    output: epath.PathLike,
    *,
    remove_heads: Amount = 0,
    remove_columns: Amount = 0,
    remove_layers: Sequence[int] = (),
    store: epath.PathLike | None = None,
    texts: Sequence[str] | None = None,
    folder: str | None = None,
    split: str | None = None,
    max_rows: int = MAX_ROWS,
    seed: int | None = None,
) -> Pruning:
  """Writes a run without its least important heads and columns.

      prune("rte", "rte_small", remove_heads=0.5, remove_columns=0.25)

  Layers go first, by number. Importance is measured on what is left; as many
  heads, and columns, go of each layer. See `compress.importance`.

  Args:
    workdir: of a pretrain or finetune run, or "tiny-en".
    output: a folder, which must not be there.
    remove_heads: of each layer: a whole number, or a share below 1, rounded
      down to whole heads.
    remove_columns: of each layer's feed-forward part: the same.
    remove_layers: numbers of layers, from 0.
    store: pretrain: a token store to measure on, or None for the run's own.
    texts: pretrain: lines to measure on in place of a store.
    folder: finetune: where the task's files lie, or None for the run's own
      source.
    split: which rows or texts; by default what was held out.
    max_rows: rows or texts at most.
    seed: finetune: whose model, or None for the best.

  Returns:
    Shapes, parameters, losses and scores before and after.

  Raises:
    UserError: an argument or the run is at fault, or there is nothing to
      measure on. Nothing has been written then.
  """
  target = new_folder(output, "OUTPUT")
  run = workdirs.load(workdir)
  where = {"split": split, "max_rows": max_rows}
  if run.kind is workdirs.FINETUNING:
    workdirs.check_not_given(run, store=store, texts=texts is not None)
  else:
    workdirs.check_not_given(run, folder=folder, seed=seed)
  _check_where(store, texts, **where)
  encoder = encoder_of(run)
  check_layers(encoder, remove_layers)
  counts = left_over(encoder, remove_heads, remove_columns)
  is_measured = counts != (encoder.num_heads, encoder.intermediate_size)
  if not is_measured and not remove_layers:
    raise UserError(
        "there is nothing to remove; give --remove-heads, --remove-columns or"
        " --remove-layers"
    )
  kept = everything(encoder, remove_layers)
  if run.kind is workdirs.FINETUNING:
    model = read_finetuned(workdir, run, seed)
    _check_vectors(model, remove_layers)
    data = read_tasks(run, model.tasks, folder)
    plan = Plan(encoder, kept)
    if is_measured:
      examples = task_examples(run, data, folder=folder, **where)
      plan = _measured(plan, model, examples, counts)
    return _write_finetuned(target, workdir, run, model, plan, data, seed)
  model = read_pretrained(workdir, run)
  plan = Plan(encoder, kept)
  if is_measured:
    examples = pretraining_examples(
        workdir, run, store=store, texts=texts, **where
    )
    plan = _measured(plan, model, examples, counts)
  return _write_pretrained(target, workdir, run, model, plan)


def _check_where(
    store: epath.PathLike | None,
    texts: Sequence[str] | None,
    split: str | None,
    max_rows: int,
) -> None:
  for name, value in (("store", store), ("split", split)):
    if texts is not None and value is not None:
      raise UserError(
          f"--{name} {value} and --texts are both given, and importance is"
          " measured on one of them; leave the other out"
      )
  if max_rows < 1:
    raise UserError(f"--max-rows is {max_rows}; it must be at least 1")


def _measured(
    plan: Plan, model: Model, examples: Examples, counts: tuple[int, int]
) -> Plan:
  """Chooses heads and columns of the layers that stay."""
  rows, encoder = examples.rows, plan.pruned
  params = plan.take(model.params)
  found = measure_importance(examples.loss(encoder), params, encoder, rows)
  before = found.loss
  if encoder.num_layers != plan.encoder.num_layers:
    before = mean_loss(examples.loss(plan.encoder), model.params, rows)
  heads, columns = (
      most_important(importance, count)
      for importance, count in zip(found[:2], counts, strict=True)
  )
  kept = Kept(plan.kept.layers, heads, columns)
  plan = dataclasses.replace(plan, kept=kept)
  after = mean_loss(examples.loss(plan.pruned), plan.take(model.params), rows)
  return dataclasses.replace(
      plan,
      importance=found,
      losses=(before, after),
      origin=f"{len(rows):,} {examples.origin}",
  )


def _write_pretrained(
    target: epath.Path,
    workdir: epath.PathLike,
    run: workdirs.Run,
    model: PretrainedState,
    plan: Plan,
) -> Pruning:
  moments = model.moments
  if moments is not None:
    moments = AdamState(*map(plan.take, moments))
  networks = dataclasses.replace(model.config, discriminator=plan.pruned)
  pruned = model._replace(
      config=networks, params=plan.take(model.params), moments=moments
  )
  config = _with_shapes(run.config, plan)
  facts = {n: x for n, x in run.facts.items() if n != "teacher"}
  facts["start"] = _origin(workdir, run, plan)
  with open_scratch(target) as scratch:
    with writing(target):
      place = scratch.folder
      write_pretrained(place, pruned, config, run.tokenizer, facts)
      _write_notes(place, facts["start"], pruned.params, plan)
    scratch.publish()
  return _result(target, model, pruned, plan, {})


def _write_finetuned(
    target: epath.Path,
    workdir: epath.PathLike,
    run: workdirs.Run,
    model: FinetunedState,
    plan: Plan,
    data: Sequence[TaskData],
    seed: int | None,
) -> Pruning:
  pruned = model._replace(encoder=plan.pruned, params=plan.take(model.params))
  config = _seed_config(run.config, workdir, plan)
  facts = {n: x for n, x in run.facts.items() if n != "teacher"}
  facts["start"] = _origin(workdir, run, plan, seed)
  facts["encoder"] = dataclasses.asdict(plan.pruned)
  mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
  scores = []
  with open_scratch(target) as scratch:
    with writing(target):
      place = scratch.folder
      seed_place = write_finetuned(place, pruned, config, run.tokenizer, facts)
      _write_notes(place, facts["start"], pruned.params, plan)
      for one in (model, pruned):
        predictor = TaskPredictor(config, one.encoder, run.tokenizer, mesh)
        evaluator = Evaluator(data, predictor)
        answers = evaluator.predict(one.params, evaluator.dev_splits)
        scores.append(evaluator.scores(answers))
      evaluator.write(seed_place, answers)
      write_whole(seed_place / SCORES, [to_json(scores[-1], indent=1)])
      write_summary(place, summarise({0: scores[-1]}, evaluator.main_metrics))
    scratch.publish()
  before, after = scores
  pairs = {name: (before[name], after[name]) for name in after}
  return _result(target, model, pruned, plan, pairs)


def _with_shapes(config: PretrainConfig, plan: Plan) -> PretrainConfig:
  """Returns a config of the pruned networks, which starts from nothing else."""
  before, after = plan.encoder, plan.pruned
  shapes = {
      name: getattr(after, name)
      for name in ("num_layers", "num_heads", "head_size", "intermediate_size")
      if getattr(after, name) != getattr(before, name)
  }
  if "num_layers" in shapes:  # The generator stays as deep as it is.
    ratio = config.model.generator_depth_ratio
    ratio *= before.num_layers / after.num_layers
    shapes["generator_depth_ratio"] = ratio
  return dataclasses.replace(
      config,
      init_from="",
      phases={},
      distill=DistillConfig(),
      model=dataclasses.replace(config.model, **shapes),
  )


def _seed_config(
    config: FinetuneConfig, workdir: epath.PathLike, plan: Plan
) -> FinetuneConfig:
  """Returns the config of a run of one seed that goes on from another run."""
  changes = {
      "seeds": 1,
      "random_init": False,
      "init_from": shipped.absolute_or_name(os.fspath(workdir)),
  }
  if config.model.num_layers:
    changes["model.num_layers"] = plan.pruned.num_layers
  return replaced(config, changes)


def _check_vectors(model: FinetunedState, layers: Sequence[int]) -> None:
  """Refuses to renumber layers of a run that knows one by its number."""
  for task in model.tasks:
    if layers and task.vectors:
      raise UserError(
          f"--remove-layers {','.join(map(str, layers))} would give other numbers"
          f" to the layers of a run whose vectors are of layer"
          f" {task.vectors.layer}; leave it out, or prune the run that this one"
          " was fine-tuned from"
      )


def _origin(
    workdir: epath.PathLike,
    run: workdirs.Run,
    plan: Plan,
    seed: int | None = None,
) -> str:
  return f"{plan.removed()}: {find_weights(workdir, run, seed).origin}"


def _write_notes(
    place: epath.Path, origin: str, params: Params, plan: Plan
) -> None:
  """Writes the parameters, and what was removed for which importance."""
  note_parameters(place, params)
  notes: dict[str, Any] = {"origin": origin, "kept": plan.kept._asdict()}
  if plan.importance is not None:
    notes |= {
        "measured_on": plan.origin,
        "loss": dict(zip(("before", "after"), plan.losses, strict=True)),
        "importance": {
            "heads": plan.importance.heads.tolist(),
            "columns": plan.importance.columns.tolist(),
        },
    }
  write_whole(place / PRUNED_FILE, [to_json(notes)])


def _result(
    target: epath.Path,
    model: Model,
    pruned: Model,
    plan: Plan,
    scores: Mapping[str, tuple[float, float]],
) -> Pruning:
  return Pruning(
      os.fspath(target),
      model.step,
      (plan.encoder, plan.pruned),
      tuple(count_parameters(one.params) for one in (model, pruned)),
      plan.origin,
      plan.losses,
      scores,
  )

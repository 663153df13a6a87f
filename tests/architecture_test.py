"""The plan of the house: who may import whom, and how long a file may be."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "electra_jax"

# A module imports only from modules above it.
PLAN = [
    "errors",
    "files",
    "compilation_cache",
    "shapes",
    "trees",
    "config_args",
    "sweeps.space",
    "sweeps.searches",
    "arguments",
    "models.config",
    "models.dropout",
    "models.products",
    "models.attention",
    "models.tpu_attention",
    "models.gpu_attention",
    "models.layers",
    "models.encoder",
    "models.heads",
    "models.flops",
    "models.electra",
    "models.task_heads",
    "models.task_model",
    "objectives.masking",
    "objectives.corruption",
    "objectives.losses",
    "objectives.generators",
    "objectives.pseudo_likelihood",
    "objectives.pretraining",
    "objectives.finetuning",
    "data.wordpiece",
    "data.tokenizer",
    "data.vocabulary",
    "data.formats",
    "data.sources",
    "data.parts",
    "data.chunks",
    "data.duplicates",
    "data.manifest",
    "data.examples",
    "data.rows",
    "data.store",
    "data.store_writer",
    "data.reporter",
    "data.feed",
    "data.packing",
    "tasks.examples",
    "tasks.task",
    "tasks.task_files",
    "tasks.glue",
    "tasks.question_files",
    "tasks.tagging",
    "tasks.table",
    "tasks.reviews",
    "tasks.tfds_reader",
    "tasks.registry",
    "tasks.alignment",
    "tasks.span_features",
    "tasks.features",
    "tasks.batches",
    "tasks.span_answers",
    "tasks.squad_scoring",
    "tasks.scoring",
    "tasks.predictions",
    "tasks.leaderboard",
    "training.sharding",
    "training.reduction",
    "training.optimizer",
    "training.state",
    "training.step",
    "training.checkpoint",
    "training.metrics",
    "training.writers",
    "training.loop",
    "prepare",
    "beam.files",
    "beam.pipeline",
    "beam.output",
    "beam.runner",
    "prepare_beam",
    "made_up_tasks",
    "made_up",
    "workdir",
    "attention_paths",
    "gpu_targets",
    "accelerators",
    "settings",
    "programs",
    "carry_over",
    "interop.names",
    "interop.states",
    "interop.crc32c",
    "interop.leveldb_table",
    "interop.tf_checkpoint",
    "interop.google",
    "interop.huggingface_files",
    "interop.huggingface_tokenizer",
    "interop.huggingface",
    "starting_point",
    "continuation",
    "task_data",
    "task_programs",
    "task_predictor",
    "task_outputs",
    "seed_scores",
    "interop.runs",
    "finetuned",
    "evaluate",
    "phases",
    "pretrain",
    "network_programs",
    "compiled",
    "benchmark_result",
    "benchmark",
    "plan_result",
    "plan",
    "finetune",
    "predict",
    "printing",
    "convert",
    "cli",
    "sweeps.plan",
    "sweeps.outcomes",
    "sweeps.runner",
    "sweeps.table",
    "sweeps.plot",
    "sweeps.launchers",
    "__main__",
]
# Mechanism stays apart from subject; the host side stays apart from jax.
APART = (
    ("models.", ("objectives", "data", "training")),
    ("objectives.", ("models", "data", "training", "flax")),
    ("training.", ("models", "objectives", "data")),
    ("data.", ("models", "objectives", "training", "jax", "flax")),
    ("tasks.", ("models", "objectives", "training", "jax", "flax")),
)


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
  for prefix, rooms in APART:
    if name.startswith(prefix):
      for room in rooms:
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
          if node.name in ("pretrain", "finetune", "build", "prepare")
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
            "safetensors",
            "matplotlib",
        ):
          text = ast.unparse(node)
          assert heavy not in text.split(), f"{name} imports {heavy}"

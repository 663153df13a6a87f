"""Every shipped config: locked, complete, read to the last key."""

import dataclasses
import importlib.util

import jax
import pytest

from electra_jax import config_files
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.trainer import init_params
from electra_jax.models.config import encoder_config
from electra_jax.models.task_heads import HeadConfig
from electra_jax.pretraining.phases import phase_configs
from electra_jax.pretraining.trainer import make_trainer
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import Vocabulary, learns_by_itself
from electra_jax.text.tokenizer import SpecialIds
from electra_jax.trees import count_parameters
from tests import helpers

BACKBONES = {"small": 13_483_008, "base": 108_891_648, "large": 334_092_288}
SPECIAL = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103)
# The paper's Table 6 and the released checkpoints.
RECIPES = {
    "small": (14_196_219, 128, 128, 5e-4, 1_000_000, 0.15),
    "base": (119_386_427, 512, 256, 2e-4, 766_000, 0.15),
    "large": (354_655_291, 512, 2048, 2e-4, 400_000, 0.25),
    "small_pp": (23_122_875, 512, 128, 5e-4, 4_000_000, 0.15),
    "base_pp": (119_386_427, 512, 256, 2e-4, 4_000_000, 0.15),
}


def sizes():
  path = helpers.ROOT / "configs/pretrain.py"
  spec = importlib.util.spec_from_file_location("shipped_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return tuple(module.SIZES)


def build(size):
  config = helpers.load_config(f"configs/pretrain.py:{size}")
  return config, programs_of(config)


def programs_of(config):
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  return make_trainer(config, Vocabulary(30522, SPECIAL), mesh)


def phases_of(argument):
  config = helpers.load_config(f"configs/pretrain.py:{argument}")
  stores = {
      f"phases.{name}.data.store": "store"
      for name, own in config.phases.items()
      if "data" in own
  }
  config = helpers.override(config, {"data.store": "store", **stores})
  return [phase.config for phase in phase_configs(config, "run")]


def test_every_size_but_ours_has_its_recipe_here():
  assert set(sizes()) == {"tiny", "tiny_en", *RECIPES}


@pytest.mark.parametrize("size", RECIPES)
def test_recipes_are_the_papers(size):
  config, trainer = build(size)
  assert RECIPES[size] == (
      count_parameters(trainer.abstract.params),
      config.data.length,
      config.train.batch_size,
      config.optimizer.learning_rate,
      config.train.num_steps,
      config.objective.mask_prob,
  )
  assert dataclasses.asdict(config.optimizer) == {
      "name": "adam",
      "frozen": "",
      "learning_rate": RECIPES[size][3],
      "warmup_steps": 10_000,
      "decay_power": 1.0,
      "weight_decay": 0.01,
      "clip_norm": 1.0,
      "adam_b1": 0.9,
      "adam_b2": 0.999,
      "adam_epsilon": 1e-6,
  }
  assert (config.objective.gen_weight, config.objective.disc_weight) == (1, 50)
  assert (config.model.hidden_dropout, config.model.attention_dropout) == (
      0.1,
      0.1,
  )
  assert config.model.initializer_range == 0.02
  assert config.model.initialization == "released"
  assert not config.phases


def test_the_staged_recipe_is_nvidias():
  first, second = phases_of("base,staged")
  for phase, numbers in (
      # Length, rows of 8 devices, rate, warm-up, steps, moments.
      (first, (128, 176 * 8 * 48, 6e-3, 2_000, 10_000, "fresh")),
      (second, (512, 24 * 8 * 144, 4e-3, 200, 933, "restored")),
  ):
    assert numbers == (
        phase.data.length,
        phase.train.batch_size,
        phase.optimizer.learning_rate,
        phase.optimizer.warmup_steps,
        phase.train.num_steps,
        phase.init.optimizer,
    )
    optimizer = phase.optimizer
    assert optimizer.name == "lamb" and optimizer.decay_power == 0.5
    assert (optimizer.adam_b1, optimizer.adam_b2) == (0.878, 0.974)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.01, 1.0)
    assert phase.objective.mask_prob == 0.15
    assert phase.model.generator_width_ratio == 1 / 3
  # Each phase has a store of its own, whatever is given for the whole.
  config = helpers.load_config("configs/pretrain.py:base,staged")
  assert [own["data"]["store"] for own in config.phases.values()] == ["", ""]


@pytest.mark.parametrize("size", sizes())
def test_two_stages_take_the_steps_of_one(size):
  first, second = phases_of(f"{size},two_stage")
  whole = helpers.load_config(f"configs/pretrain.py:{size}").train.num_steps
  assert first.train.num_steps == second.train.num_steps == whole / 2
  for name in ("num_layers", "hidden_size", "embedding_size"):
    assert getattr(first.model, name) == getattr(second.model, name)
  assert second.objective.gen_weight == 0


@pytest.mark.parametrize("size", sizes())
def test_stacked_phases_take_the_steps_of_one(size):
  first, second = phases_of(f"{size},stacked")
  whole = helpers.load_config(f"configs/pretrain.py:{size}")
  assert first.train.num_steps == second.train.num_steps
  assert 2 * first.train.num_steps == whole.train.num_steps
  layers = whole.model.num_layers
  few = 3 if size == "tiny_en" else layers // 2
  assert (first.model.num_layers, second.model.num_layers) == (few, layers)
  assert (first.init.layers, second.init.layers) == ("same", "stacked")
  assert second.optimizer.learning_rate == pytest.approx(
      0.7 * first.optimizer.learning_rate
  )


@pytest.mark.parametrize("switch", ["staged", "two_stage", "stacked"])
@pytest.mark.parametrize("size", ["tiny", "base", "base,runlocal"])
def test_phases_build(size, switch):
  trained = [
      programs_of(c).abstract.params for c in phases_of(f"{size},{switch}")
  ]
  if switch == "staged":
    assert jax.tree.leaves(trained[0]) == jax.tree.leaves(trained[1])
  elif switch == "stacked":
    layers = [len(x["discriminator"]) for x in trained]
    assert layers[0] < layers[1] and trained[0].keys() == trained[1].keys()
  else:
    assert "generator" not in trained[0]
    assert jax.tree.leaves(trained[1]["generator"]) == jax.tree.leaves(
        trained[0]["discriminator"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("staged,two_stage", "staged and two_stage exclude each other; choose"),
        ("two_stage,stacked", "two_stage and stacked exclude each other"),
        ("stacked,from_init", "from_init leaves that to another run; choose"),
    ],
)
def test_words_that_exclude_each_other(words, message):
  with pytest.raises(UserError, match=message):
    helpers.load_config(f"configs/pretrain.py:base,{words}")


@pytest.mark.parametrize("size", sizes())
def test_configs_are_locked_and_run_locally(size):
  for argument in (size, f"{size},runlocal"):
    config, trainer = build(argument)
    assert config_files.load_config(f"pretrain:{argument}").is_locked
    assert count_parameters(trainer.abstract.params) > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
      config.train.num_steps = 3


@pytest.mark.parametrize("switch", ["", ",with_objective", ",runlocal"])
@pytest.mark.parametrize("size", ["small", "minilm", "tiny_en"])
def test_students_build(size, switch):
  config = helpers.load_config(f"configs/distill.py:{size}{switch}")
  assert learns_by_itself(config) == (switch == ",with_objective")
  assert count_parameters(programs_of(config).abstract.params) > 0
  heads = config.distill.relation_heads
  assert config.model.hidden_size % heads == 0
  assert (128 if size == "tiny_en" else 768) % heads == 0


@pytest.mark.parametrize("argument", ["small", "tiny_en", "small,runlocal"])
def test_a_student_on_a_task_has_the_recipe_of_the_task(argument):
  config = helpers.load_config(f"configs/distill.py:{argument},task=rte")
  size = argument.replace("runlocal", "task=rte,runlocal")
  plain = helpers.load_config(f"configs/finetune.py:task=rte,size={size}")
  assert config.optimizer == plain.optimizer and config.train == plain.train
  assert config.distill.temperature == 2.0


ROOMS = {
    "pretrain": ("pretraining", "compress", "runs", "performance"),
    "finetune": ("finetuning", "compress", "runs"),
}


@pytest.mark.parametrize("name", ROOMS)
def test_every_key_is_read(name):
  package = helpers.ROOT / "electra_jax"
  rooms = [package / room for room in ROOMS[name]]
  # Where keys are declared is not where they are read.
  files = [
      file
      for room in rooms
      for file in room.glob("*.py")
      if (room.name, file.name) != ("runs", "config.py")
  ]
  text = "".join(file.read_text() for file in files)
  config = helpers.load_config(f"configs/{name}.py")
  whole = {  # Sections that are handed on key by key.
      "optimizer": "asdict(config.optimizer)",
      "mesh": "asdict(config.mesh)",
  }
  for section, values in dataclasses.asdict(config).items():
    if section in whole:
      assert whole[section] in text, f"config.{section} is never read"
    elif section == "table":
      names = ("table", "text_pairs", "text_to_text")
      files = (package / f"tasks/{name}.py" for name in names)
      table = "".join(file.read_text() for file in files)
      for key in values:
        assert f'"{key}"' in table, f"config.table.{key} is never read"
    elif not isinstance(values, dict) or section == "phases":
      assert f"config.{section}" in text, f"config.{section} is never read"
    else:
      for key in values:
        assert (
            f".{key}" in text or f'"{key}"' in text
        ), f"config.{section}.{key} is never read"


# The paper's Table 7: rate, layer-wise decay.
FINETUNE_SIZES = {
    "small": (3e-4, 0.8),
    "base": (1e-4, 0.8),
    "large": (5e-5, 0.9),
}
# Epochs and length where they are not 3 and 128.
FINETUNE_TASKS = {
    "rte": (10, 128),
    "sts": (10, 128),
    "squad": (2, 512),
    "squadv1": (2, 512),
    "naturalqs": (2, 512),
    "chunk": (3, 256),
}


@pytest.mark.parametrize("size", FINETUNE_SIZES)
@pytest.mark.parametrize("task", [*FINETUNE_TASKS, "cola", "mnli", "qqp"])
def test_finetuning_recipes_are_the_papers(task, size):
  config = helpers.load_config(f"configs/finetune.py:task={task},size={size}")
  rate, layer_decay = FINETUNE_SIZES[size]
  epochs, length = FINETUNE_TASKS.get(task, (3, 128))
  assert dataclasses.asdict(config.optimizer) == {
      "learning_rate": rate,
      "warmup_proportion": 0.1,
      "decay_power": 1.0,
      "weight_decay": 0.0,
      "clip_norm": 1.0,
      "adam_b1": 0.9,
      "adam_b2": 0.999,
      "adam_epsilon": 1e-6,
      "layerwise_decay": layer_decay,
      "released_layer_exponents": False,
  }
  assert (config.train.num_epochs, config.data.max_length) == (epochs, length)
  assert config.train.batch_size == 32
  assert config.model.hidden_dropout == config.model.attention_dropout == 0.1


@pytest.mark.parametrize("task", [*FINETUNE_TASKS, "table", "rte+squad"])
def test_finetuning_of_tiny_en_fits_into_its_positions(task):
  data = helpers.load_config(
      f"configs/finetune.py:task={task},size=tiny_en"
  ).data
  assert (
      data.max_length
      <= workdirs.load("tiny-en").config.model.max_position_embeddings
  )
  if "squad" in task:  # A window holds more than one goes on.
    assert data.max_query_length + data.doc_stride + 3 <= data.max_length


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_finetuning_has_the_released_number_of_parameters(size):
  config = helpers.load_config(f"configs/finetune.py:task=rte,size={size}")
  model = config.model
  encoder = encoder_config(
      30522, model.num_layers, model.hidden_size, model.embedding_size
  )
  heads = [HeadConfig("rte", "classification", 2)]
  abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
  head = 2 * model.hidden_size + 2
  assert count_parameters(abstract) == BACKBONES[size] + head

"""Going on from another run: what fits it, what is read, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning.finetune import facts_of
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.pretraining.trainer import make_trainer
from electra_jax.pretraining.warm_start import WarmStart, find_warm_start
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.networks import vocabulary_of
from electra_jax.text.tokenizer import load_tokenizer
from electra_jax.training.checkpoint import Checkpointer
from electra_jax.training.step import TrainState
from electra_jax.trees import path_names
from tests import helpers

TOKENIZER = load_tokenizer(helpers.GOLDEN / "vocab.txt")
STEP = 7


def config_of(**overrides):
  narrow = {"model.num_layers": 1, "model.max_position_embeddings": 48}
  return helpers.tiny_config(**narrow | overrides)


def build(config, tokenizer=TOKENIZER, **axes):
  vocabulary = vocabulary_of(tokenizer)
  return make_trainer(config, vocabulary, sharding.make_mesh(**axes))


def pretrained(folder, **overrides):
  """A workdir as pre-training leaves it, and its state, drawn at random."""
  config = config_of(**overrides)
  rng = np.random.default_rng(0)
  trainer = build(config)

  def draw(leaf):
    if leaf.dtype == jnp.int32:
      return jnp.full(leaf.shape, STEP, leaf.dtype)
    return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

  state = jax.tree.map(draw, trainer.abstract)
  workdirs.begin(
      folder,
      workdirs.PRETRAINING,
      config,
      TOKENIZER,
      helpers.store_facts(TOKENIZER),
  )
  checkpointer = Checkpointer(workdirs.checkpoints(folder))
  checkpointer.save(state, STEP)
  checkpointer.close()
  return state


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pretrained")
  return str(folder), pretrained(folder)


@pytest.fixture(scope="module", name="finetuned")
def a_finetuned_run(tmp_path_factory, run):
  config = helpers.load_config("configs/finetune.py:task=rte,size=small")
  config = helpers.override(
      config, helpers.NARROW_ENCODER | {"init_from": run[0]}
  )
  start = find_encoder(config)
  folder = tmp_path_factory.mktemp("finetuned")
  facts = facts_of(start, [])
  workdirs.begin(folder, workdirs.FINETUNING, config, TOKENIZER, facts)
  (folder / "scores.json").write_text(json.dumps({"best_seed": 1}))
  params = {n: run[1].params[n] for n in ("embeddings", "discriminator")}
  params = jax.tree.map(lambda x: x + 1, params)
  seed = folder / "seed_1"
  checkpointer = Checkpointer(workdirs.checkpoints(seed))
  checkpointer.save(TrainState(jnp.asarray(STEP), params, {}), STEP)
  checkpointer.close()
  (seed / "scores.json").write_text("{}")
  return str(folder), params


def find(config, tokenizer=TOKENIZER, **axes):
  return find_warm_start(config, tokenizer, build(config, tokenizer, **axes))


def begin(config, tokenizer=TOKENIZER, **axes) -> TrainState:
  trainer = build(config, tokenizer, **axes)
  start = find_warm_start(config, tokenizer, trainer)
  assert isinstance(start, WarmStart)
  return start.init(trainer, start.restore(trainer))


def test_random_weights():
  assert find(config_of()) is None


@pytest.mark.parametrize("axes", [{}, {"fsdp": 4}])
def test_the_state_of_step_0_on_any_mesh(run, axes):
  folder, source = run
  config = config_of(init_from=folder)
  state = begin(config, **axes)
  trainer = build(config, **axes)
  helpers.assert_equal_trees(state.params, source.params)
  helpers.assert_equal_trees(
      state._replace(params=()), trainer.init()._replace(params=())
  )
  for (name, leaf), (_, other) in zip(
      path_names(state), path_names(trainer.shardings), strict=True
  ):
    assert leaf.sharding.is_equivalent_to(other, leaf.ndim), name


def test_a_deeper_run_repeats_the_layers(run):
  folder, source = run
  deep = {"model.num_layers": 3, "init.layers": "stacked"}
  config = config_of(init_from=folder, **deep)
  assert find(config).origin.endswith(", layers repeated from 1 to 3")
  state = begin(config, fsdp=2)
  for name, part in source.params.items():
    expected = dict(part)
    if "layer_0" in expected:
      expected |= {f"layer_{i}": part["layer_0"] for i in (1, 2)}
    helpers.assert_equal_trees(dict(state.params[name]), expected)
  assert "layer_2" in state.params["generator"]


def test_the_origin_names_folder_and_step(run):
  start = find(config_of(init_from=run[0]))
  assert start.origin == f"weights of step 7 in {run[0]}/checkpoints"


@pytest.mark.parametrize("name", ["adam", "lamb"])
def test_a_restored_optimizer_is_warmed_up_anew(tmp_path, name):
  source = pretrained(tmp_path, **{"optimizer.name": name})
  asked = {"optimizer.name": name, "init.optimizer": "restored"}
  state = begin(config_of(init_from=str(tmp_path), **asked), fsdp=2)
  assert int(state.step) == 0
  helpers.assert_equal_trees(state.params, source.params)

  def is_schedule(node):
    return isinstance(node, optax.ScaleByScheduleState)

  expected = jax.tree.map(
      lambda x: optax.ScaleByScheduleState(0) if is_schedule(x) else x,
      source.opt_state,
      is_leaf=is_schedule,
  )
  # LAMB's correction of the bias goes on where it was.
  helpers.assert_equal_trees(state.opt_state, expected)
  counts = [n for n, _ in path_names(state.opt_state) if n.endswith("count")]
  assert len(counts) == (1 if name == "adam" else 2)


def test_a_finetuned_run_gives_its_best_encoder(finetuned):
  folder, params = finetuned
  trainer = "discriminator_head,generator,generator_head"
  config = config_of(init_from=folder, **{"init.fresh": trainer})
  state = begin(config)
  fresh = build(config).init()
  for name, part in state.params.items():
    helpers.assert_equal_trees(part, params.get(name, fresh.params[name]))
  assert find(config).checkpoints.parent.name == "seed_1"


@pytest.mark.slow
def test_another_vocabulary_and_other_positions(run, tmp_path):
  folder, source = run
  pieces = [TOKENIZER.token(i) for i in range(TOKENIZER.vocab_size)]
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join([*reversed(pieces[:1500]), "zzzz"]))
  tokenizer = load_tokenizer(path)
  config = config_of(init_from=folder)
  with pytest.raises(UserError) as error:
    find(config, tokenizer)
  message = str(error.value)
  assert "vocabulary of 1501 pieces" in message and "of 1966" in message
  assert "--config.init.vocabulary=matched" in message
  assert f"--tokenizer {folder}/tokenizer" in message
  matched = {"init.vocabulary": "matched", "model.max_position_embeddings": 60}
  config = helpers.override(config, matched)
  with pytest.raises(UserError, match="positions=resized") as error:
    find(config, tokenizer)
  message = str(error.value)
  assert "max_position_embeddings is 60" in message and "has 48" in message
  config = helpers.override(config, {"init.positions": "resized"})
  start = find(config, tokenizer)
  assert start.origin.endswith("checkpoints, 1,500 of 1,501 tokens matched")
  state = jax.device_get(begin(config, tokenizer, fsdp=2))
  fresh = jax.device_get(build(config, tokenizer).init())
  source = jax.device_get(source)
  new, old, begun = (x.params["embeddings"] for x in (state, source, fresh))
  words = [x["word_embeddings"]["embedding"] for x in (new, old, begun)]
  np.testing.assert_array_equal(words[0][:1500], words[1][:1500][::-1])
  np.testing.assert_array_equal(words[0][1500], words[2][1500])
  places = [x["position_embeddings"]["embedding"] for x in (new, old)]
  np.testing.assert_array_equal(places[0], np.resize(places[1], (60, 32)))
  biases = [x.params["generator_head"]["output_bias"] for x in (state, source)]
  np.testing.assert_array_equal(biases[0][:1500], biases[1][:1500][::-1])
  assert biases[0][1500] == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"init.optimizer": "old"}, "optimizer is 'old'; it must be 'fresh' or"),
        ({"init.positions": "cut"}, "positions is 'cut'; it must be 'same' or"),
        ({"init.vocabulary": ""}, "vocabulary is ''; it must be 'same' or"),
        ({"init.fresh": "generator", "init_from": ""},
         "init.fresh is 'generator' and config.init_from is empty; give the"),
        ({"init.optimizer": "restored", "init_from": ""},
         "init.optimizer is 'restored' and config.init_from is empty"),
        ({"model.num_layers": 2},
         r"num_layers is 2 and the run in \S+ has 1; .*, or set --config.model."
         "num_layers=1, or repeat its layers by --config.init.layers=stacked"),
        ({"init.layers": "stacked"},
         r"repeats the 1 layers of the run in \S+, and config.model.num_layers is"
         " 1; set a larger one, or --config.init.layers=same"),
        ({"init.layers": "stacked", "init_from": ""},
         "init.layers is 'stacked' and config.init_from is empty"),
        ({"init.layers": "twice"}, "layers is 'twice'; it must be 'same' or"),
        ({"init.layers": "stacked", "init.optimizer": "restored",
          "model.num_layers": 2}, "positions or parts are not the same; set"),
        ({"model.hidden_size": 128}, "or set --config.model.hidden_size=64"),
        ({"model.embedding_size": 64}, "set --config.model.embedding_size=32"),
        ({"model.num_heads": 2},
         "num_heads is 2 and .* has 1; .* or set --config.model.num_heads=1"),
        ({"init.unused": "generators"}, "'generators', which is no part of the"),
        ({"objective.generator": "uniform"},
         "without a place here; .*init.unused=generator,generator_head$"),
        ({"init.optimizer": "restored", "optimizer.name": "lamb"},
         r"of the run in \S+ do not fit: they are of adam, and config.optimi"),
        ({"init.optimizer": "restored", "init.fresh": "generator",
          "init.unused": "generator"},
         "do not fit: vocabulary, positions or parts are not the same; set"),
        ({"init.optimizer": "restored", "init.positions": "resized",
          "model.max_position_embeddings": 60},
         "positions or parts are not the same; set --config.init.optimizer="),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(run, overrides, message):
  with pytest.raises(UserError, match=message):
    find(config_of(**{"init_from": run[0], **overrides}))


def test_heads_of_another_width(tmp_path):
  pretrained(tmp_path, **{"model.num_heads": 2})
  with pytest.raises(UserError, match=r"set --config.model.num_heads=2"):
    find(config_of(init_from=str(tmp_path)))


def test_moments_of_tables_with_another_meaning(tmp_path):
  shapes = {"model.generator_width_ratio": 1.0, "model.embedding_size": 64}
  none, deltas = (
      {"model.embedding_sharing": name, **shapes}
      for name in ("none", "gradient_disentangled")
  )
  pretrained(tmp_path, **none)
  asked = {"init_from": str(tmp_path), "init.optimizer": "restored"}
  assert find(config_of(**none, **asked))
  with pytest.raises(UserError, match="parts are not the same"):
    find(config_of(**deltas, **asked))


def test_moments_of_a_finetuned_run(finetuned):
  asked = {
      "init.fresh": "discriminator_head,generator,generator_head",
      "init.optimizer": "restored",
  }
  with pytest.raises(UserError, match="a finetune run's are of another loss"):
    find(config_of(init_from=finetuned[0], **asked))


def test_a_folder_that_is_no_run(tmp_path):
  with pytest.raises(UserError, match="is not a workdir"):
    find(config_of(init_from=str(tmp_path)))


@pytest.mark.parametrize("optimizer", ["fresh", "restored"])
def test_a_source_is_only_read(run, tmp_path, optimizer):
  source = pretrained(tmp_path)
  asked = {"init_from": str(tmp_path), "init.optimizer": optimizer}
  config = config_of(**asked)
  checkpointer = Checkpointer(workdirs.checkpoints(tmp_path))
  checkpointer.save(source._replace(step=jnp.asarray(STEP + 1)), STEP + 1)
  checkpointer.close()
  for file in (tmp_path / f"checkpoints/{STEP + 1}/state").rglob("*"):
    if file.is_file() and file.parent.name == "d":
      file.write_bytes(file.read_bytes()[:100])
  before = sorted(tmp_path.rglob("*"))
  helpers.assert_equal_trees(begin(config).params, source.params)
  assert sorted(tmp_path.rglob("*")) == before
  workdirs.checkpoints(tmp_path).rmtree()
  with pytest.raises(UserError, match="there is no checkpoint in"):
    begin(config)

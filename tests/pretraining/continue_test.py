"""Whole runs that go on from another run's weights."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.api import prepare
from electra_jax.errors import UserError
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.models.electra import Electra, discriminator_embeddings
from electra_jax.preprocessing.synthetic import make_store, make_text
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.weights import networks_of
from electra_jax.store.reader import open_store
from electra_jax.text.match_tokens import match_tokens
from electra_jax.training.checkpoint import Checkpointer
from tests import helpers, processes

STEPS = 4  # Of the run that is gone on from, and of those that do.
# The rate of step 0 is 0: the first checkpoint holds the weights at the start.
EVERY = {"train.num_steps": STEPS, "train.checkpoint_every_steps": 1}
FIRST = {"train.num_steps": 1}


@pytest.fixture(scope="module")
def short_store(tmp_path_factory) -> str:
  """Rows of 16 tokens of the vocabulary that the source has."""
  path = tmp_path_factory.mktemp("data") / "short"
  make_store(path, length=16)
  return str(path)


@pytest.fixture(scope="module")
def other_store(tmp_path_factory) -> str:
  """Rows of 16 tokens of text with words of its own."""
  root = tmp_path_factory.mktemp("data")
  (root / "text.txt").write_text(make_text(documents=200, seed=5))
  prepare(
      [str(root / "text.txt")],
      root / "other",
      train_vocab=200,
      length=16,
      validation_percent=10.0,
      num_workers=1,
      progress=False,
  )
  return str(root / "other")


def read(workdir):
  """A run's networks and its newest parameters."""
  run = workdirs.load(workdir)
  config = networks_of(run)
  abstract = helpers.abstract_params(Electra(config))
  checkpointer = Checkpointer(workdirs.checkpoints(workdir))
  params = checkpointer.read_params(abstract)
  checkpointer.close()
  return config, params


def logits(workdir, ids, method, *more):
  config, params = read(workdir)
  return np.asarray(
      Electra(config).apply(
          {"params": params},
          ids,
          jnp.ones_like(ids),
          jnp.zeros_like(ids),
          *more,
          method=method,
      )
  )


@pytest.mark.slow
def test_another_length_starts_with_the_sources_answers(
    tmp_path, short_store, tiny_run, capsys
):
  short = {"data.length": 16, **FIRST}
  config = helpers.store_config(short_store, init_from=str(tiny_run), **short)
  assert pretrain(config, tmp_path).step == 1
  origin = f"weights of step {STEPS} in {tiny_run}/checkpoints"
  assert f"start        {origin}\n" in capsys.readouterr().out
  facts = json.loads((tmp_path / "store.json").read_text())
  assert facts["start"] == origin
  [record] = helpers.read_metrics(tmp_path, "train")
  assert record["learning_rate"] == 0
  text = "dra dre [MASK] dro"
  old, new = PretrainedModel(tiny_run), PretrainedModel(tmp_path)
  for ours, theirs in zip(new.fill(text), old.fill(text), strict=True):
    assert ours.tokens == theirs.tokens
    assert ours.probabilities == pytest.approx(theirs.probabilities)
  ours, theirs = (x.detect([text[:7]])[0].probabilities for x in (new, old))
  assert ours == pytest.approx(theirs)


@pytest.mark.slow
def test_a_restored_optimizer_adds_to_the_sources_moments(
    tmp_path, store, tiny_run
):
  states = {}
  for optimizer in ("fresh", "restored"):
    folder = tmp_path / optimizer
    asked = {"init.optimizer": optimizer, "init_from": str(tiny_run), **EVERY}
    pretrain(helpers.store_config(store, **asked), folder, quiet=True)
    states[optimizer] = helpers.read_params(folder, 1)
  before = helpers.read_params(tiny_run, STEPS)
  fresh, restored = states["fresh"], states["restored"]
  checked = 0
  for name, value in before.items():
    if name.startswith("params/"):
      np.testing.assert_array_equal(fresh[name], value, err_msg=name)
      np.testing.assert_array_equal(restored[name], value, err_msg=name)
    decay = 0.9 if "/mu/" in name else 0.999
    if "/mu/" in name or "/nu/" in name:
      checked += np.any(value != 0)
      np.testing.assert_allclose(
          restored[name], fresh[name] + decay * value, rtol=1e-4, atol=1e-9
      )
    elif name.endswith("count"):
      assert value == STEPS and restored[name] == fresh[name] == 1
  assert checked > 20


@pytest.mark.slow
def test_another_vocabulary_keeps_what_it_shares(
    tmp_path, store, other_store, tiny_run
):
  asked = {
      "init_from": str(tiny_run),
      "init.vocabulary": "matched",
      "init.positions": "resized",
      "model.max_position_embeddings": 24,
      "data.length": 16,
      **FIRST,
  }
  pretrain(helpers.store_config(other_store, **asked), tmp_path, quiet=True)
  own = open_store(store).tokenizer()
  other = open_store(other_store).tokenizer()
  rows = match_tokens(own, other)
  found = np.flatnonzero(rows >= 0)
  assert 60 < len(found) < len(rows) == 200
  facts = json.loads((tmp_path / "store.json").read_text())
  assert facts["start"].endswith(f", {len(found)} of 200 tokens matched")
  ids = jnp.asarray(found[np.arange(36) % len(found)].reshape(3, 12), jnp.int32)
  old_ids = jnp.asarray(rows)[ids]
  np.testing.assert_allclose(
      logits(tmp_path, ids, "replaced_token_logits"),
      logits(tiny_run, old_ids, "replaced_token_logits"),
      rtol=1e-5,
      atol=1e-6,
  )
  places = jnp.zeros((3, 1), jnp.int32) + 4
  np.testing.assert_allclose(
      logits(tmp_path, ids, "masked_lm_logits", places)[..., found],
      logits(tiny_run, old_ids, "masked_lm_logits", places)[..., rows[found]],
      rtol=1e-5,
      atol=1e-6,
  )


@pytest.mark.slow
def test_a_bert_becomes_both_networks_of_the_second_stage(tmp_path, store):
  few = {"train.num_steps": 5, "train.checkpoint_every_steps": 5}
  bert = {"objective.name": "masked_lm", "model.generator_width_ratio": 1.0}
  first, second = tmp_path / "first", tmp_path / "second"
  pretrain(helpers.store_config(store, **few, **bert), first, quiet=True)
  asked = {
      "init_from": str(first),
      "init.fresh": "discriminator_head",
      "optimizer.frozen": "generator,generator_head,generator_embeddings",
      "optimizer.warmup_steps": 0,
      "model.generator_width_ratio": 1.0,
      "model.embedding_sharing": "gradient_disentangled",
      **few,
  }
  pretrain(helpers.store_config(store, **asked), second, quiet=True)
  ids = jnp.asarray([[2, 9, 30, 31, 3]], jnp.int32)
  places = jnp.asarray([[1, 2]], jnp.int32)
  np.testing.assert_array_equal(
      logits(second, ids, "masked_lm_logits", places),
      logits(first, ids, "masked_lm_logits", places),
  )
  _, before = read(first)
  config, after = read(second)
  moved = jax.tree.map(
      lambda x, y: float(jnp.abs(x - y).max()),
      before["discriminator"],
      after["discriminator"],
  )
  assert 1e-4 < max(jax.tree.leaves(moved)) < 0.05
  # Fine-tuning takes the tables as the discriminator sees them.
  task = helpers.load_config("configs/finetune.py:task=rte,size=small")
  task = helpers.override(
      task, helpers.NARROW_ENCODER | {"init_from": str(second)}
  )
  start = find_encoder(task)
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  taken = start.restore(after, jax.tree.map(lambda _: here, after))
  seen = discriminator_embeddings(after, config)["word_embeddings"]["embedding"]
  table = taken["embeddings"]["word_embeddings"]["embedding"]
  np.testing.assert_array_equal(table, seen)
  assert np.abs(after["embeddings"]["word_embeddings"]["embedding"]).max() > 0


@pytest.mark.slow
def test_a_resumed_run_keeps_its_start(tmp_path, store, tiny_run):
  copy, workdir = tmp_path / "source", tmp_path / "run"
  shutil.copytree(tiny_run, copy)
  first = helpers.store_config(store, init_from=str(copy), **EVERY)
  pretrain(first, workdir, quiet=True)
  before = helpers.read_params(workdir, STEPS)
  assert pretrain(first, workdir, quiet=True).step == STEPS
  helpers.assert_equal_trees(helpers.read_params(workdir, STEPS), before)
  for key, value in (
      ("init_from", ""),
      ("init_from", str(tiny_run)),
      ("init.optimizer", "restored"),
  ):
    asked = {"init_from": str(copy), key: value}
    other = helpers.store_config(store, **EVERY | asked)
    with pytest.raises(UserError, match=rf"with config.{key} = '.*' and this"):
      pretrain(other, workdir, quiet=True)
  shutil.rmtree(copy)  # A run that has begun needs its source no more.
  assert pretrain(first, workdir, quiet=True).step == STEPS
  facts = helpers.read_json(workdir / "store.json")
  assert facts["start"].startswith(f"weights of step {STEPS} in")


@pytest.mark.slow
def test_the_shapes_may_be_those_of_the_source(tmp_path, store, tiny_run):
  copy, workdir = tmp_path / "source", tmp_path / "run"
  shutil.copytree(tiny_run, copy)
  asked = {"data.synthetic": False, "data.store": str(store), **FIRST}
  config = helpers.override(
      helpers.load_config("configs/pretrain.py:base,from_init,runlocal"),
      asked | {"init_from": str(copy)},
  )
  assert pretrain(config, workdir, quiet=True).step == 1
  source, ours = (workdirs.load(x).config.model for x in (copy, workdir))
  assert ours == source
  shutil.rmtree(copy)
  assert pretrain(config, workdir, quiet=True).step == 1


@pytest.mark.slow
def test_a_run_resumed_before_its_first_checkpoint(tmp_path, store, tiny_run):
  config = helpers.store_config(store, init_from=str(tiny_run), **EVERY)
  pretrain(config, tmp_path, quiet=True)
  expected = helpers.read_params(tmp_path, STEPS)
  for checkpoint in (tmp_path / "checkpoints").iterdir():
    shutil.rmtree(checkpoint)
  pretrain(config, tmp_path, quiet=True)
  again = helpers.read_params(tmp_path, STEPS)
  helpers.assert_equal_trees(again, expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"init_from": "/nowhere"}, "/nowhere is not a workdir"),
        ({"init.fresh": "generator"}, "init.fresh names 'generator', which the"),
        ({"model.num_layers": 2}, "num_layers is 2 and the run in"),
        ({"model.embedding_sharing": "all"},
         "has another generator_head .*has generator without a place here"),
    ],
)  # fmt: skip
def test_mistakes_leave_nothing_behind(
    tmp_path, store, tiny_run, overrides, message
):
  asked = {"init_from": str(tiny_run)} | overrides
  config = helpers.store_config(store, **asked)
  with pytest.raises(UserError, match=message):
    pretrain(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_a_broken_source_leaves_nothing_behind(tmp_path, store, tiny_run):
  copy = tmp_path / "source"
  shutil.copytree(tiny_run, copy)
  for file in (copy / "checkpoints").rglob("d/*"):
    file.write_bytes(file.read_bytes()[:10])
  config = helpers.store_config(store, init_from=str(copy))
  with pytest.raises(UserError, match="none of the checkpoints"):
    pretrain(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_go_on_as_one(tmp_path, other_store, tiny_run):
  asked = {
      "init_from": str(tiny_run),
      "init.vocabulary": "matched",
      "data.synthetic": False,
      "data.store": other_store,
      "data.length": 16,
      "model.num_layers": 1,
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "model.generator_width_ratio": 0.5,
      "train.num_steps": 3,
      "train.log_every_steps": 1,
  }
  processes.run_together(
      *("pretrain", "--workdir", tmp_path / "two"),
      *("--config", helpers.ROOT / "configs/pretrain.py:small,runlocal"),
      *(f"--config.{name}={value}" for name, value in asked.items()),
      "--config.mesh.fsdp=2",
  )
  pretrain(helpers.tiny_config(**asked), tmp_path / "one", quiet=True)
  two, one = (
      helpers.read_metrics(tmp_path / name, "train") for name in ("two", "one")
  )
  assert len(two) == len(one) == 3
  for ours, theirs in zip(two, one, strict=True):
    for name in ("mlm_loss", "rtd_loss", "loss", "grad_norm"):
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3)

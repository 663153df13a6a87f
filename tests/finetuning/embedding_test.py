"""Learning vectors of texts: whole runs, devices, resuming, mistakes."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.api import evaluate, open_run
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import diffcse, finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.programs import training_batches
from electra_jax.finetuning.task_data import find_tasks, read_task, source_of
from electra_jax.finetuning.task_predictor import TaskPredictor, head_of
from electra_jax.finetuning.trainer import make_task_trainer
from electra_jax.tasks.packing import PackedTexts
from electra_jax.trees import path_names
from tests import helpers
from tests.exporting.workdirs import pretrained

STEPS = 4


@pytest.fixture(scope="module", name="start")
def what_runs_start_from(tmp_path_factory, tokenizer):
  """Changes of a config: a run with random weights, and pairs to learn."""
  folder = tmp_path_factory.mktemp("embedding")
  rng = np.random.default_rng(0)
  for split, count in (("train", 32), ("dev", 12)):
    rows = ["q\ta\tn"]
    for _ in range(count):
      words = rng.permutation(helpers.WORDS)
      sides = words[:4], words[3::-1], words[4:7]
      rows.append("\t".join(map(" ".join, sides)))
    (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
  run = pretrained(folder / "run", tokenizer, **{"model.num_layers": 2})
  return {
      "init_from": str(run),
      "data.synthetic": False,
      "data.folder": str(folder),
      "data.max_length": 16,
      "table.text": "q",
      "table.other_text": "a",
      "model.num_layers": 2,
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "train.num_epochs": 2.0,
      "train.log_every_steps": 1,
      "train.checkpoint_every_steps": 2,
  }


def config_of(start, **changes):
  task = changes.pop("task", "embedding")
  return helpers.override(
      helpers.finetune_config("embedding", **start | changes), {"task": task}
  )


def steps_of(config, devices, steps=2):
  """Metrics and parameters after some steps."""
  start = find_encoder(config)
  mesh = sharding.make_mesh(devices=devices)
  tasks = [read_task(t, source_of(config)) for t in find_tasks(config)]
  batches = training_batches(config, start, tasks, mesh)
  detection = diffcse.make_detection(config, start)
  trainer = make_task_trainer(
      config,
      start.encoder,
      [head_of(data.task) for data in tasks],
      mesh,
      10,
      detection=detection,
      group=batches.group,
  )
  params = start.restore(trainer.abstract.params, trainer.shardings.params)
  if detection is not None:
    params |= diffcse.restore(detection, start, mesh)
  before = jax.device_get(params)
  state = trainer.init(0, params)
  records, params = helpers.after_steps(trainer, state, batches, steps)
  return records, before, params


METHODS = {
    "pairs": {
        "embedding.method": "pairs",
        "table.negative": "n",
        "embedding.dimensions": (8, 64),
    },
    "diffcse": {
        "embedding.method": "diffcse",
        "embedding.detection_weight": 1.0,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_devices_and_packing_change_nothing(start, method):
  config = config_of(start, **METHODS[method])
  one = steps_of(config, jax.devices()[:1])
  config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, packing=False)
  )
  other = steps_of(config, jax.devices()[:8])
  for a, b in zip(one[0], other[0], strict=True):
    assert a.keys() == b.keys()
    for name, (total, weight) in a.items():
      value = b[name][0] / b[name][1]
      assert value == pytest.approx(total / weight, rel=2e-4), name
  for (name, a), (_, b) in zip(
      path_names(one[2]), path_names(other[2]), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_the_generator_is_frozen_and_the_detector_learns(start):
  config = config_of(start, **METHODS["diffcse"])
  records, before, after = steps_of(config, jax.devices()[:1])
  helpers.assert_equal_trees(after[diffcse.FROZEN], before[diffcse.FROZEN])
  frozen = after[diffcse.FROZEN]
  assert "generator" in frozen and "discriminator" not in frozen
  learnt = dict(path_names(after[diffcse.DETECTOR]))
  for name, was in path_names(before[diffcse.DETECTOR]):
    if name.endswith("kernel"):
      assert not np.array_equal(learnt[name], was), name
  total, weight = records[0]["rtd_loss"]
  contrast, count = records[0]["embedding_loss"]
  # [CLS], whose place the vector takes, is not judged.
  assert count == 16 and 0 < weight < 16 * 15
  whole = contrast / count + total / weight
  assert records[0]["loss"][0] == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_the_detector_judges_all_but_the_vector_and_padding(start):
  """With logits of 0 every judged token costs log 2, replaced or not."""
  config = config_of(start, **METHODS["diffcse"])
  detection = diffcse.make_detection(config, find_encoder(config))
  shapes = jax.eval_shape(detection.init_params)
  params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  # Two pairs of equal texts of 4 and 6 tokens, one row for each pair.
  lengths = np.array([4, 4, 6, 6], np.int32)
  texts = PackedTexts(
      np.arange(5, 37, dtype=np.int32).reshape(2, 16),
      np.zeros((2, 16), np.int32),
      np.array([0, 4, 16, 22], np.int32),
      np.stack([lengths, lengths], axis=1),
  )
  masked = detection.draw(jax.random.key(0), texts)
  assert masked.rows.input_mask.sum(axis=1).tolist() == [4, 6]
  assert masked.rows.input_ids[1, :6].tolist() == list(range(21, 27))
  condition = jnp.zeros((2, 32))
  total, weight = detection.loss(params, masked, condition)
  assert weight == 3 + 5
  assert total == pytest.approx(8 * np.log(2), rel=1e-6)


@pytest.mark.slow
def test_the_vector_reaches_the_detector(start):
  """Without the contrast, the encoder learns through the condition alone."""
  config = config_of(
      start, **METHODS["diffcse"], **{"embedding.temperature": 1e6}
  )
  _, before, after = steps_of(config, jax.devices()[:1])
  kernel = ("discriminator", "layer_0", "intermediate", "kernel")
  for name in kernel:
    before, after = before[name], after[name]
  assert np.abs(after - before).max() > 1e-5


@pytest.fixture(scope="module", name="trained")
def a_finished_run(start, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("embedding") / "trained"
  config = config_of(
      start,
      **{"embedding.layer": -2, "embedding.pooling": "max"},
      **{"embedding.projection": True},
  )
  finetune.finetune(config, workdir, quiet=True)
  return config, workdir


def test_a_resumed_run_ends_in_the_same_bits(trained, tmp_path):
  config, workdir = trained
  again = tmp_path / "again"
  shutil.copytree(workdir, again)
  shutil.rmtree(again / f"seed_0/checkpoints/{STEPS}")
  for scores in ("scores.json", "seed_0/scores.json"):
    (again / scores).unlink()
  finetune.finetune(config, again, quiet=True)
  helpers.assert_equal_trees(
      helpers.read_params(again / "seed_0", STEPS),
      helpers.read_params(workdir / "seed_0", STEPS),
  )
  scores = (again / "scores.json").read_text()
  assert scores == (workdir / "scores.json").read_text()


def test_a_run_embeds_as_it_was_trained(trained):
  _, workdir = trained
  model = open_run(workdir)
  text = "we the people"
  expected = model.embed([text], layer=1, pooling="max")
  np.testing.assert_array_equal(model.embed([text]), expected)
  assert not np.allclose(model.embed([text], layer=-1), expected, atol=1e-3)
  scores = helpers.read_json(workdir / "scores.json")["seeds"]["0"]
  assert set(scores) == {
      f"embedding/dev/{name}" for name in ("recall_at_1", "recall_at_10", "mrr")
  }
  assert evaluate(workdir) == pytest.approx(scores)
  path = workdir / "seed_0/predictions/embedding_dev.jsonl"
  for record in helpers.read_records(path):
    one, other = model.embed([record["text"], record["other_text"]])
    assert record["cosine"] == pytest.approx(float(one @ other), abs=1e-4)
  with pytest.raises(UserError, match=r"vectors of texts .* electra-jax embed"):
    parse_inputs(model.task(), [text])


def test_one_text_a_batch_is_scored(start, tokenizer):
  config = config_of(start, **{"train.eval_batch_size": 1})
  (task,) = find_tasks(config)
  encoder = find_encoder(config).encoder
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  predictor = TaskPredictor(config, encoder, tokenizer, mesh)
  features = predictor.features(task, task.read(source_of(config), "dev"))
  batches = list(predictor.batches(task, features).in_order())
  assert len(batches) == 12
  assert {len(batch.texts.starts) for batch in batches} == {2}


@pytest.mark.slow
def test_made_up_texts_are_learned_by_the_shipped_recipe(tmp_path):
  config = helpers.finetune_config("embedding", **{"train.num_epochs": 4.0})
  result = finetune.finetune(config, tmp_path / "run", quiet=True)
  assert result.summary["median"]["embedding/dev/recall_at_10"] > 0
  assert (tmp_path / "run/scores.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding.layer": 7}, "config.embedding.layer is 7 .* 2 layers"),
        ({"embedding.dimensions": (8, 65)}, "dimensions is 65 .* 64 numbers"),
        ({"embedding.dimensions": (0, 8)}, r"\(0, 8\), and a prefix of"),
        (
            {"embedding.dimensions": (8,), "embedding.projection": True},
            r"dimensions=\(8,\) are prefixes .*projection=false",
        ),
        (
            {"embedding.method": "pairs", "table.other_text": ""},
            "method is 'pairs' and config.table.other_text is empty",
        ),
        (
            {"train.accumulation_steps": 2},
            "accumulation_steps=2 has no meaning",
        ),
        ({"data.windows": "mean"}, "data.windows=mean has no meaning"),
        ({"task": "embedding+sst"}, "learn task=embedding by itself"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    start, tmp_path, changes, message
):
  config = config_of(start, **changes)
  with pytest.raises(UserError, match=message):
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


def test_diffcse_needs_a_generator(trained, start, tmp_path):
  _, workdir = trained
  asked = {"embedding.method": "diffcse", "init_from": str(workdir)}
  with pytest.raises(UserError, match="starts from a run without generator"):
    finetune.finetune(config_of(start, **asked), tmp_path / "a", quiet=True)
  asked = {"embedding.method": "diffcse", "random_init": True}
  with pytest.raises(UserError, match="starts from random weights"):
    finetune.finetune(config_of(start, **asked), tmp_path / "a", quiet=True)

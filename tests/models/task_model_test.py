import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from electra_jax.finetuning import losses as finetuning
from electra_jax.interop.names import released_name
from electra_jax.models.config import encoder_config
from electra_jax.models.task_heads import HeadConfig
from electra_jax.models.task_model import TaskModel
from electra_jax.tasks import packing
from electra_jax.trees import path_names
from tests import helpers

pytestmark = pytest.mark.golden

HEADS = {
    "mnli": HeadConfig("mnli", "classification", 3),
    "sts": HeadConfig("sts", "regression", 1),
    "chunk": HeadConfig("chunk", "tagging", 5),
    "squad": HeadConfig("squad", "questions", 0),
}
TOLERANCE = 5e-5  # Suggested with the golden arrays, for float32.


@functools.cache
def golden():
  arrays = np.load(helpers.TINY / "heads.npz")
  return {name: arrays[name] for name in arrays.files}


def model(*names):
  config = encoder_config(1966, 2, 128, 32)
  return TaskModel(config, tuple(HEADS[name] for name in names))


def arguments(batch, names, *, search=False):
  """What the model is called with, for golden rows in any placement."""
  rows = len(batch.starts)
  places = jnp.zeros((rows, 8), jnp.int32)
  starts = jnp.zeros(rows, jnp.int32)
  if rows == 6:
    places = jnp.asarray(golden()["tag_positions"])
    starts = jnp.asarray(golden()["qa_start_positions"])
  return (
      tuple(jnp.asarray(x) for x in batch),
      {
          "word_places": {"chunk": places} if "chunk" in names else {},
          "answer_starts": None if search else {"squad": starts},
      },
  )


def golden_batch(placement=packing.one_text_a_row):
  arrays = golden()
  totals = arrays["input_mask"].sum(1)
  first_lengths = totals - arrays["segment_ids"].sum(1)
  texts = [row[:n] for row, n in zip(arrays["input_ids"], totals, strict=True)]
  length = arrays["input_ids"].shape[1]
  starts, rows = placement(totals, length)
  return packing.pack(texts, first_lengths, starts, rows, length, 0)


@functools.cache
def golden_params(*names):
  weights = dict(np.load(helpers.TINY / "weights.npz"))
  prefix = "weights/"
  weights |= {
      name.removeprefix(prefix): value
      for name, value in golden().items()
      if name.startswith(prefix)
  }
  some = model(*names)
  args, kwargs = arguments(golden_batch(), names)
  abstract = jax.eval_shape(
      lambda: some.init(jax.random.key(0), *args, **kwargs)["params"]
  )
  leaves = [
      jnp.asarray(weights[released_name(name)]).reshape(leaf.shape)
      for name, leaf in path_names(abstract)
  ]
  return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def run(name, batch, *, params=None, search=False, seeds=None):
  args, kwargs = arguments(batch, (name,), search=search)
  params = {"params": params or golden_params(name)}
  return model(name).apply(params, *args, **kwargs, dropout_seeds=seeds)[name]


def close(actual, expected, tolerance=TOLERANCE):
  np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)


class GoldenTest(parameterized.TestCase):

  def test_classification(self):
    logits = run("mnli", golden_batch())
    close(logits, golden()["cls_logits"])
    labels = jnp.asarray(golden()["cls_label_ids"])
    loss = finetuning.classification_loss(logits, labels)
    close(loss, golden()["cls_loss"])
    np.testing.assert_array_equal(
        logits.argmax(-1), golden()["cls_predictions"]
    )

  def test_regression(self):
    rating = run("sts", golden_batch())
    close(rating[:, 0], golden()["reg_predictions"])
    targets = jnp.asarray(golden()["reg_targets"])
    close(finetuning.regression_loss(rating, targets), golden()["reg_loss"])

  def test_tagging(self):
    logits = run("chunk", golden_batch())
    close(logits, golden()["tag_logits"])
    loss = finetuning.tagging_loss(
        logits,
        jnp.asarray(golden()["tag_labels"]),
        jnp.asarray(golden()["tag_labels_mask"]),
    )
    close(loss, golden()["tag_loss"])

  def test_span_training_branch(self):
    arrays = golden()
    logits = run("squad", golden_batch())
    real = arrays["input_mask"] == 1  # Logits of padding mean nothing.
    for actual, expected in (
        (logits.start, arrays["qa_start_logits"]),
        (logits.end, arrays["qa_train_end_logits"]),
    ):
      # A float32 near -1000 has steps of 6e-5.
      np.testing.assert_allclose(
          np.asarray(actual)[real], expected[real], atol=TOLERANCE, rtol=2e-7
      )
    close(logits.impossible, arrays["qa_answerable_logit"])
    loss = finetuning.span_loss(
        *logits,
        starts=jnp.asarray(arrays["qa_start_positions"]),
        ends=jnp.asarray(arrays["qa_end_positions"]),
        is_impossible=jnp.asarray(arrays["qa_is_impossible"]),
        answerable_weight=0.5,
    )
    close(loss, arrays["qa_train_loss"])

  def test_span_search(self):
    arrays = golden()
    beam = run("squad", golden_batch(), search=True)
    inside = arrays["qa_start_top_log_probs"] > -500
    self.assertGreater(inside.mean(), 0.5)
    close(
        np.asarray(beam.start_log_probs)[inside],
        arrays["qa_start_top_log_probs"][inside],
    )
    np.testing.assert_array_equal(
        np.asarray(beam.start_index)[inside],
        arrays["qa_start_top_index"][inside],
    )
    inside = inside[:, :, None] & (arrays["qa_end_top_log_probs"] > -500)
    close(
        np.asarray(beam.end_log_probs)[inside],
        arrays["qa_end_top_log_probs"][inside],
    )
    np.testing.assert_array_equal(
        np.asarray(beam.end_index)[inside], arrays["qa_end_top_index"][inside]
    )


class PackingTest(parameterized.TestCase):

  def test_packs_the_golden_texts(self):
    packed = golden_batch(packing.place_texts)
    self.assertLess(len(packed.input_ids), 6)

  @parameterized.parameters("mnli", "chunk", "squad")
  def test_changes_no_output_even_under_dropout(self, name):
    seeds = jnp.arange(6, dtype=jnp.uint32)
    for dropout_seeds in (None, seeds):
      apart = run(name, golden_batch(), seeds=dropout_seeds)
      together = run(
          name, golden_batch(packing.place_texts), seeds=dropout_seeds
      )
      lengths = golden_batch().lengths[:, 1]
      for one, other in zip(
          jax.tree.leaves(apart), jax.tree.leaves(together), strict=True
      ):
        if one.shape == (6, 64):  # Logits of padding mean nothing.
          real = np.arange(64)[None] < lengths[:, None]
          one, other = np.asarray(one)[real], np.asarray(other)[real]
        close(one, other, 1e-4 if name == "squad" else 1e-5)

  @pytest.mark.slow
  def test_changes_no_gradient_even_under_dropout(self):
    seeds = jnp.arange(6, dtype=jnp.uint32)
    labels = jnp.asarray(golden()["cls_label_ids"])

    def gradient(batch):
      def loss(params):
        logits = run("mnli", batch, params=params, seeds=seeds)
        return jnp.sum(finetuning.classification_loss(logits, labels))

      return jax.jit(jax.grad(loss))(golden_params("mnli"))

    apart = gradient(golden_batch())
    together = gradient(golden_batch(packing.place_texts))
    for (name, one), (_, other) in zip(
        path_names(apart), path_names(together), strict=True
    ):
      largest = max(float(jnp.abs(one).max()), 1e-3)
      np.testing.assert_allclose(
          one, other, atol=1e-5 * largest, rtol=0, err_msg=name
      )

  def test_dropout_does_something(self):
    plain = run("mnli", golden_batch())
    dropped = run("mnli", golden_batch(), seeds=jnp.arange(6, dtype=jnp.uint32))
    self.assertGreater(float(jnp.abs(plain - dropped).max()), 1e-3)


class HeadsTest(absltest.TestCase):

  def test_summed_losses_are_the_released(self):
    expected = helpers.read_json(helpers.TINY / "heads.json")
    labels = jnp.asarray(golden()["cls_label_ids"])
    logits = run("mnli", golden_batch())
    total = float(jnp.sum(finetuning.classification_loss(logits, labels)))
    self.assertAlmostEqual(
        total, expected["classification"]["summed_loss"], places=4
    )

  def test_gradient_norm_is_the_released_dense_norm(self):
    expected = helpers.read_json(helpers.TINY / "heads.json")
    labels = jnp.asarray(golden()["cls_label_ids"])

    def loss(params):
      logits = run("mnli", golden_batch(), params=params)
      return jnp.sum(finetuning.classification_loss(logits, labels))

    grads = jax.jit(jax.grad(loss))(golden_params("mnli"))
    norm = float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))))
    self.assertAlmostEqual(
        norm / expected["classification"]["global_norm_dense"], 1, places=4
    )

  def test_several_heads_stand_beside_each_other(self):
    names = tuple(HEADS)
    args, kwargs = arguments(golden_batch(), names)
    outputs = model(*names).apply(
        {"params": golden_params(*names)}, *args, **kwargs
    )
    self.assertEqual(set(outputs), set(names))
    close(outputs["mnli"], golden()["cls_logits"])
    close(outputs["sts"][:, 0], golden()["reg_predictions"])


if __name__ == "__main__":
  absltest.main()

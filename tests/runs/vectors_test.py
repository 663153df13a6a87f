"""Vectors of a run's texts: of the right states, whatever stands beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.api import open_run
from electra_jax.errors import UserError
from electra_jax.models.electra import Electra
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.runs import vectors
from tests.exporting.workdirs import pretrained

TEXTS = [
    "we the people",
    "a " * 70,
    "the Senate",
    "",
    "of the",
    "we the people",
]


@pytest.fixture(scope="module", name="model")
def a_run_with_rows_of_32_tokens(
    tmp_path_factory, tokenizer
) -> PretrainedModel:
  workdir = tmp_path_factory.mktemp("vectors") / "run"
  return open_run(pretrained(workdir, tokenizer, **{"model.num_layers": 2}))


def own_states(model: PretrainedModel, text: str):
  """States of every layer for a text of one row, by the run's own network."""
  special = model.tokenizer.special
  ids = [special.cls, *model.tokenizer.encode(text), special.sep]
  ids = jnp.asarray([ids], jnp.int32)
  networks = Electra(model._model.config)
  output = networks.apply(
      {"params": model.params},
      ids,
      jnp.ones_like(ids),
      jnp.zeros_like(ids),
      method="discriminate",
  )
  return jax.device_get((*output.layers, output.sequence))


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2])
def test_a_vector_is_the_mean_of_a_layers_states(model, layer):
  states = own_states(model, "the Senate")
  found = model.embed(["the Senate"], layer=layer, normalized=False)
  np.testing.assert_allclose(found[0], states[layer][0].mean(0), atol=1e-5)


def test_neighbours_and_padding_change_nothing(model):
  together = model.embed(TEXTS)
  alone = np.concatenate([model.embed([text]) for text in TEXTS])
  np.testing.assert_allclose(together, alone, atol=1e-5)
  np.testing.assert_array_equal(together[0], together[5])
  np.testing.assert_array_equal(together[3], np.zeros(together.shape[1]))
  norms = np.linalg.norm(together, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 1, 0, 1, 1], atol=1e-6)


def test_a_long_text_is_the_mean_of_its_parts(model):
  parts = ["a " * 30, "a " * 30, "a " * 10]
  vectors_of_parts = model.embed(parts, normalized=False)
  for windows, expected in (
      ("mean", vectors_of_parts.mean(0)),
      ("max", vectors_of_parts.max(0)),
      ("first", vectors_of_parts[0]),
  ):
    (whole,) = model.embed(["a " * 70], normalized=False, windows=windows)
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_dimensions_are_the_first_ones(model):
  whole = model.embed(["we the people"], normalized=False)
  short = model.embed(["we the people"], dimensions=5)
  expected = whole[:, :5] / np.linalg.norm(whole[:, :5])
  np.testing.assert_allclose(short, expected, atol=1e-6)


def test_texts_come_in_chunks_and_in_their_order(model, monkeypatch):
  whole = model.embed(TEXTS)
  monkeypatch.setattr(vectors, "_CHUNK_TEXTS", 2)
  chunks = list(model.embedder().stream(iter(TEXTS)))
  assert [texts for texts, _ in chunks] == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
  found = np.concatenate([part for _, part in chunks])
  np.testing.assert_allclose(found, whole, atol=1e-5)
  assert model.embed([]).shape == (0, whole.shape[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 3}, "--layer is 3 and this model has 2 layers"),
        ({"dimensions": 65}, "--dimensions is 65 .* have 64 numbers"),
        ({"pooling": "sum"}, "--pooling is 'sum'; choose of mean, cls, max"),
        ({"windows": "all"}, "--windows is 'all'; choose of mean, max, first"),
    ],
)
def test_options_that_do_not_fit_are_told(model, options, message):
  with pytest.raises(UserError, match=message):
    model.embedder(**options)

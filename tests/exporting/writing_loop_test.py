"""The loop that exported folders carry writes what `decoding` does."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.generate import generate
from electra_jax.exporting import writing_loop
from tests.decoding import toy

SOURCES = tuple(range(5, 25))


def loop_text(config, source):
  """Writes by the loop; what is kept of each text is the state of the toy."""

  def step(kept, texts):
    newest = np.array([[toy.IDS.begin, *text][-1] for text in texts])
    states = toy.next_state(kept["state"], newest)
    return toy._TABLE[states], {"state": states}

  how = dataclasses.asdict(config) | {
      "end": toy.IDS.end,
      "never": [toy.IDS.begin, toy.IDS.pad],
  }
  write = writing_loop.beam if config.method == "beam" else writing_loop.greedy
  return write(step, {"state": np.array([source])}, how)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            DecodingConfig("greedy", max_length=7, length_penalty=0.6),
            marks=pytest.mark.slow,
        ),
        DecodingConfig("greedy", max_length=7, min_length=4, no_repeat_ngram=2),
        pytest.param(
            DecodingConfig("beam", 1, max_length=7, length_penalty=0.0),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            DecodingConfig("beam", 3, max_length=7, length_penalty=0.6),
            marks=pytest.mark.slow,
        ),
        DecodingConfig(
            "beam", 4, max_length=7, length_penalty=2.0, no_repeat_ngram=1
        ),
        pytest.param(
            DecodingConfig("beam", 9, max_length=3, min_length=2),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_texts_and_scores_are_those_of_the_package(config):
  numbers = jnp.asarray(SOURCES, jnp.int32)
  model = toy.Toy(SOURCES, config.beams, config.max_length)
  written = generate(model.step, model.kept, numbers, config, toy.IDS)
  lengths = set()
  for row, source in enumerate(SOURCES):
    text, score = loop_text(config, source)
    length = int(written.lengths[row])
    assert text == written.tokens[row, :length].tolist()
    assert score == pytest.approx(float(written.scores[row]), abs=1e-4)
    lengths.add(length)
  assert len(lengths) > 1 or config.max_length == 3

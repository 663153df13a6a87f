"""A fine-tuned model of random weights, exported to Hugging Face's format."""

import jax
import jax.numpy as jnp
from etils import epath

from electra_jax.devices import sharding
from electra_jax.finetuning.task_predictor import TaskPredictor, head_of
from electra_jax.finetuning.trainer import init_params
from electra_jax.interop import convert
from electra_jax.interop.model import FinetunedState
from electra_jax.models.config import encoder_config
from electra_jax.tasks.task import Task
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers

TEXTS = (
    "The Senate and the House of Representatives",
    "don't re-do it; CAFÉ naïve, [SEP] 日本",
    "We the people, in order to form a more perfect union",
    "a",
    "1865-04-15 cost $3.50 at www.example.com",
)


def tokenizers():
  return {
      "wordpiece": load_tokenizer(helpers.GOLDEN / "vocab.txt"),
      "cased": load_tokenizer(helpers.GOLDEN / "vocab.txt", lowercase=False),
      "sentencepiece": Tokenizer(
          "sentencepiece", helpers.sentencepiece_model()
      ),
  }


class Model:
  """A fine-tuned model of random weights, and its exported folder."""

  def __init__(
      self, folder, tokenizer, kind, labels=(), head="released", **options
  ):
    self.task = Task(
        "t", kind, (), lambda source, split: [], tuple(labels), **options
    )
    encoder = encoder_config(
        tokenizer.vocab_size, 1, 64, 32, max_position_embeddings=64
    )
    heads = [head_of(self.task, head)]
    abstract = jax.eval_shape(lambda: init_params(encoder, heads, 0))
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.asarray(
            # A segment is felt as strongly as a word. Two layers make logits
            # of hundreds, whose last digits differ, unless they are tamer.
            x * (0.4 if head == "released" else 0.2)
            + (1 if path[-1].key == "scale" else 0)
        ),
        helpers.random_tree(abstract),
    )
    state = FinetunedState(encoder, (self.task,), params, 0, 64, head)
    folder.mkdir()
    convert.write_hugging_face(epath.Path(folder), state, tokenizer)
    # Lengths are those of questions for all.
    config = helpers.finetune_config("squad", **{"model.head": head})
    mesh = sharding.make_mesh(devices=jax.local_devices()[:1])
    self._predictor = TaskPredictor(config, encoder, tokenizer, mesh)
    self.params = params
    self.folder = str(folder)

  def predict(self, examples):
    answers = self._predictor.predict(self.params, self.task, examples)
    return answers.records

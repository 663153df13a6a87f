"""Fine-tuned models as Hugging Face's classes, which have other heads.

Their sequence classifier is two layers with a GELU between them and ours is one
linear layer. Since gelu(z) - gelu(-z) = z, their two hold ours without a
difference: the first makes z and -z of each class, the second subtracts. Their
span head takes the end without knowing the start and has no classifier of
answerable questions, so the released one has no place there. A model that was
fine-tuned with config.model.head=huggingface has their heads, and goes out as
it is. One with a bottleneck goes out with its mean, which is such a head.

Tokens of a sentence to tag are all of segment 1 here, as released, and of
segment 0 by every tokenizer there. An exported tagger's segment table has
segment 1 in both places, so that it answers alike whatever it is given, and
segment 0 behind them, so that nothing is lost; config.json says so.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from electra_jax.errors import UserError
from electra_jax.interop.huggingface_config import SEGMENTS
from electra_jax.interop.huggingface_files import CONFIG_FILE
from electra_jax.interop.names import hugging_face_from_params
from electra_jax.models.bottleneck import fold_bottlenecks
from electra_jax.shapes import Params
from electra_jax.tasks.task import Task

_TABLE = "electra.embeddings.token_type_embeddings.weight"
_TAGGING_SEGMENTS = (1, 1, 0)  # Ours, by the number that they have there.
_PROBLEMS = {  # transformers, modeling_electra.py and its pipeline.
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
RATING = "rating"  # What their pipeline calls the one output of a regression.


class Head(NamedTuple):
  """A fine-tuned model in their terms.

  Attributes:
    class_name: of transformers.
    settings: what config.json says of the head.
    tensors: of the whole model.
  """

  class_name: str
  settings: dict[str, Any]
  tensors: dict[str, np.ndarray]


def export_head(tasks: tuple[Task, ...], params: Params) -> Head:
  """Returns a fine-tuned model as transformers' class of its task.

  Args:
    tasks: of the model; there must be one.
    params: of the encoder and its head.

  Raises:
    UserError: Hugging Face has no such head.
  """
  if len(tasks) != 1:
    told = ", ".join(f"{task.name} ({task.kind})" for task in tasks)
    raise UserError(
        f"the model has learned {told}, and each of Hugging Face's classes holds"
        " one task; convert to google, or fine-tune on one task alone"
    )
  (task,) = tasks
  if task.kind == "embedding":
    raise UserError(
        f"the model has learned vectors of texts ({task.name}), for which Hugging"
        " Face has no class of ELECTRA's; export it by electra-jax export"
        " --to onnx"
    )
  params = fold_bottlenecks(params)
  own = params["task_specific"][task.name]
  if task.kind == "questions":
    if "qa_outputs" not in own:
      raise UserError(
          f"the model has learned {task.name} with the released head, whose end"
          " knows the start and which judges unanswerable questions apart;"
          " Hugging Face's does neither: fine-tune with"
          " --config.model.head=huggingface, or convert to google"
      )
    tensors = hugging_face_from_params(params)
    return Head("ElectraForQuestionAnswering", {}, tensors)
  labels = [RATING] if task.kind == "regression" else list(task.labels)
  settings = {
      "classifier_dropout": 0.0,
      "id2label": {str(i): label for i, label in enumerate(labels)},
      "label2id": {label: i for i, label in enumerate(labels)},
  }
  if task.kind == "tagging":
    tensors = hugging_face_from_params(params)
    tensors[_TABLE] = tensors[_TABLE][list(_TAGGING_SEGMENTS)]
    settings["type_vocab_size"] = len(_TAGGING_SEGMENTS)
    settings[SEGMENTS] = list(_TAGGING_SEGMENTS)
    return Head("ElectraForTokenClassification", settings, tensors)
  if "out_proj" in own:
    tensors = hugging_face_from_params(params)
    _put_on_scale(task, tensors)
  else:
    encoder = {n: x for n, x in params.items() if n != "task_specific"}
    tensors = hugging_face_from_params(encoder)
    tensors |= _classifier(task, own["dense"])
  settings["problem_type"] = _PROBLEMS[task.kind]
  return Head("ElectraForSequenceClassification", settings, tensors)


def in_our_segments(
    folder: epath.Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
  """Returns config.json and tensors with the segment table as it was here.

  Args:
    folder: for messages.
    config: of config.json; one that we did not write is returned as it is.
    tensors: by the names of Hugging Face's ELECTRA.

  Raises:
    UserError: what config.json says of the segments is not the table's.
  """
  order = config.get(SEGMENTS)
  if order is None:
    return config, tensors
  rows = tensors.get(_TABLE)
  if order != list(_TAGGING_SEGMENTS) or rows is None or len(rows) != 3:
    raise UserError(
        f"{folder / CONFIG_FILE} says {SEGMENTS} {order!r}, which is not what"
        " was written or not of this segment table; copy the folder again"
    )
  ours = [order.index(segment) for segment in range(2)]
  return (
      {**config, "type_vocab_size": len(ours)},
      {**tensors, _TABLE: rows[ours]},
  )


def _classifier(task: Task, dense: Params) -> dict[str, np.ndarray]:
  kernel, bias = np.asarray(dense["kernel"]), np.asarray(dense["bias"])
  width, size = kernel.shape
  if 2 * size > width:
    raise UserError(
        f"{task.name} has {size:,} classes, and Hugging Face's classifier of a"
        f" model {width} wide has room for {width // 2:,} of the released head's;"
        " fine-tune with --config.model.head=huggingface, or convert to google"
    )
  first = np.zeros((width, width), np.float32)
  first[:size], first[size : 2 * size] = kernel.T, -kernel.T
  first_bias = np.zeros(width, np.float32)
  first_bias[:size], first_bias[size : 2 * size] = bias, -bias
  last = np.zeros((size, width), np.float32)
  last[range(size), range(size)] = 1.0
  last[range(size), range(size, 2 * size)] = -1.0
  tensors = {
      "classifier.dense.weight": first,
      "classifier.dense.bias": first_bias,
      "classifier.out_proj.weight": last,
      "classifier.out_proj.bias": np.zeros(size, np.float32),
  }
  _put_on_scale(task, tensors)
  return tensors


def _put_on_scale(task: Task, tensors: dict[str, np.ndarray]) -> None:
  """Gives ratings, which are learned from 0 to 1, the scale of the data."""
  if task.kind != "regression":
    return
  low, high = task.label_range
  weight, bias = (f"classifier.out_proj.{name}" for name in ("weight", "bias"))
  tensors[weight] = np.asarray(tensors[weight] * (high - low), np.float32)
  tensors[bias] = np.asarray(tensors[bias] * (high - low) + low, np.float32)

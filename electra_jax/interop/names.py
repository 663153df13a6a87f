"""THE name table: our parameter paths, the released and Hugging Face's names."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from electra_jax.errors import UserError
from electra_jax.shapes import Params
from electra_jax.trees import path_names


class Name(NamedTuple):
  r"""One row; \1 and \2 are what the groups of the first column matched.

  Attributes:
    path: our path.
    released: the variable of the released checkpoints. Kernels are [in, out]
      on both sides. None where the release has no such layer.
    hugging_face: the tensor of the network that the parameter belongs to,
      which is a model of its own there; kernels are [out, in]. None where
      Hugging Face has no such layer.
  """

  path: str
  released: str | None
  hugging_face: str | None


_LAYER = r"(\w+)/layer_(\d+)/"
_RELEASED_LAYER = r"\1/encoder/layer_\2/"
_HF_LAYER = r"electra.encoder.layer.\2."


def _masked_lm_head(path: str, released: str) -> tuple[Name, ...]:
  return (
      Name(
          rf"{path}/layer_norm/(\w+)",
          rf"{released}/LayerNorm/\1",
          r"generator_predictions.LayerNorm.\1",
      ),
      Name(
          rf"{path}/dense/(\w+)",
          rf"{released}/dense/\1",
          r"generator_predictions.dense.\1",
      ),
      Name(
          rf"{path}/output_bias",
          rf"{released}/output_bias",
          r"generator_lm_head.bias",
      ),
  )


NAMES = (
    Name(
        r"embeddings/layer_norm/(\w+)",
        r"electra/embeddings/LayerNorm/\1",
        r"electra.embeddings.LayerNorm.\1",
    ),
    Name(
        r"embeddings/(\w+)/embedding",
        r"electra/embeddings/\1",
        r"electra.embeddings.\1.weight",
    ),
    Name(
        r"generator_embeddings/layer_norm/(\w+)",
        r"generator/embeddings/LayerNorm/\1",
        r"electra.embeddings.LayerNorm.\1",
    ),
    Name(
        r"generator_embeddings/(\w+)/embedding",
        r"generator/embeddings/\1",
        r"electra.embeddings.\1.weight",
    ),
    Name(
        r"(\w+)/embeddings_project/(\w+)",
        r"\1/embeddings_project/\2",
        r"electra.embeddings_project.\2",
    ),
    Name(
        _LAYER + r"attention/output/(\w+)",
        _RELEASED_LAYER + r"attention/output/dense/\3",
        _HF_LAYER + r"attention.output.dense.\3",
    ),
    Name(
        _LAYER + r"attention/(query|key|value)/(\w+)",
        _RELEASED_LAYER + r"attention/self/\3/\4",
        _HF_LAYER + r"attention.self.\3.\4",
    ),
    Name(
        _LAYER + r"attention_layer_norm/(\w+)",
        _RELEASED_LAYER + r"attention/output/LayerNorm/\3",
        _HF_LAYER + r"attention.output.LayerNorm.\3",
    ),
    Name(
        _LAYER + r"output_layer_norm/(\w+)",
        _RELEASED_LAYER + r"output/LayerNorm/\3",
        _HF_LAYER + r"output.LayerNorm.\3",
    ),
    Name(
        _LAYER + r"(intermediate|output)/(\w+)",
        _RELEASED_LAYER + r"\3/dense/\4",
        _HF_LAYER + r"\3.dense.\4",
    ),
    Name(
        r"discriminator_head/dense/(\w+)",
        r"discriminator_predictions/dense/\1",
        r"discriminator_predictions.dense.\1",
    ),
    Name(
        r"discriminator_head/prediction/(\w+)",
        r"discriminator_predictions/dense_1/\1",
        r"discriminator_predictions.dense_prediction.\1",
    ),
    *_masked_lm_head("generator_head", "generator_predictions"),
    # The release has no such head; this scope is ours.
    *_masked_lm_head("token_head", "token_predictions"),
    Name(
        r"cloze_head/layer_norm/(\w+)", r"cloze_predictions/LayerNorm/\1", None
    ),
    Name(r"cloze_head/(.+)", r"cloze_predictions/\1", None),
    # Heads of tasks; the release numbers a span head's layers.
    Name(r"(task_specific/\w+)/dense/(\w+)", r"\1/dense/\2", r"classifier.\2"),
    Name(r"(task_specific/\w+)/start/(\w+)", r"\1/dense/\2", None),
    Name(r"(task_specific/\w+)/end_hidden/(\w+)", r"\1/qa_hidden/\2", None),
    Name(r"(task_specific/\w+)/end/(\w+)", r"\1/dense_1/\2", None),
    Name(
        r"(task_specific/\w+)/answerable_hidden/(\w+)", r"\1/dense_2/\2", None
    ),
    Name(r"(task_specific/\w+)/answerable/(\w+)", r"\1/dense_3/\2", None),
    # Heads of Hugging Face's shape.
    Name(r"task_specific/\w+/hidden/(\w+)", None, r"classifier.dense.\1"),
    Name(r"task_specific/\w+/out_proj/(\w+)", None, r"classifier.out_proj.\1"),
    Name(r"task_specific/\w+/qa_outputs/(\w+)", None, r"qa_outputs.\1"),
)

# What Hugging Face's BERT calls the same layers of ELECTRA's generator, and
# what older files call the weights of a LayerNorm.
BERT_NAMES = (
    (r"bert\.(.+)", r"electra.\1"),
    (r"cls\.predictions\.transform\.(.+)", r"generator_predictions.\1"),
    (r"cls\.predictions\.decoder\.(.+)", r"generator_lm_head.\1"),
    (r"cls\.predictions\.bias", r"generator_lm_head.bias"),
)
_OLD_LEAVES = {"gamma": "weight", "beta": "bias"}


def released_name(path: str) -> str:
  """Returns the released variable name of one of our parameter paths.

  Raises:
    UserError: the table has no entry for the path.

  Source: names of the released checkpoints, model/modeling.py.
  """
  name = re.sub(r"^discriminator/", "electra/", _look_up(path, "released"))
  if "LayerNorm" in name:
    name = name.replace("/scale", "/gamma").replace("/bias", "/beta")
  return name


def hugging_face_name(path: str) -> str:
  """Returns the name that Hugging Face's model of its network gives a path.

  Raises:
    UserError: the table has no entry for the path.

  Source: names of transformers' ElectraForPreTraining, ElectraForMaskedLM,
  ElectraForSequenceClassification, ElectraForTokenClassification and
  ElectraForQuestionAnswering.
  """
  name = _look_up(path, "hugging_face")
  return re.sub(r"\.(kernel|scale)$", ".weight", name)


def electra_name(name: str) -> str:
  """Returns the name in Hugging Face's ELECTRA of a tensor of its BERT."""
  for pattern, replacement in BERT_NAMES:
    name = re.sub(f"^{pattern}$", replacement, name)
  stem, _, leaf = name.rpartition(".")
  return f"{stem}.{_OLD_LEAVES.get(leaf, leaf)}"


def params_from_released(
    abstract_params: Any,
    variables: Mapping[str, np.ndarray],
    slot: str = "",
) -> Any:
  """Arranges released variables as our parameters.

  Args:
    abstract_params: the tree to fill, of arrays or shapes.
    variables: arrays by released name, of one slot alone.
    slot: what follows the names: "/adam_m", say, or nothing for the
      parameters themselves.

  Raises:
    UserError: a variable is missing, unused, or of another shape.
  """
  variables = {n: x for n, x in variables.items() if n != "global_step"}
  return _arrange(
      abstract_params,
      variables,
      lambda path: released_name(path) + slot,
      lambda path, array: array,
  )


def params_from_hugging_face(
    abstract_params: Any, tensors: Mapping[str, np.ndarray]
) -> Any:
  """Arranges the tensors of one of Hugging Face's models as our parameters.

  Args:
    abstract_params: the part of our parameters that the model holds.
    tensors: arrays by the names of `hugging_face_name`.

  Raises:
    UserError: a tensor is missing, unused, or of another shape.
  """
  return _arrange(abstract_params, tensors, hugging_face_name, _transposed)


def released_from_params(params: Params) -> dict[str, np.ndarray]:
  """Returns parameters by their released names."""
  return {released_name(p): np.asarray(x) for p, x in path_names(params)}


def hugging_face_from_params(params: Params) -> dict[str, np.ndarray]:
  """Returns the parameters of one network as Hugging Face's tensors."""
  return {
      hugging_face_name(path): np.ascontiguousarray(
          _transposed(path, np.asarray(leaf))
      )
      for path, leaf in path_names(params)
  }


def _look_up(path: str, column: str) -> str:
  for row in NAMES:
    match = re.fullmatch(row.path, path)
    if match and getattr(row, column):
      return match.expand(getattr(row, column))
  raise UserError(
      f"parameter {path!r} has no {column} name; add it to names.py"
  )


def _transposed(path: str, array: np.ndarray) -> np.ndarray:
  return array.T if path.endswith("/kernel") else array


def _arrange(
    abstract: Any,
    variables: Mapping[str, np.ndarray],
    name_of: Callable[[str], str],
    to_ours: Callable[[str, np.ndarray], np.ndarray],
) -> Any:
  leaves, unused = [], set(variables)
  for path, leaf in path_names(abstract):
    name = name_of(path)
    if name not in variables:
      raise UserError(
          f"the checkpoint has no variable {name!r} for {path!r}; give a whole"
          " one"
      )
    array = to_ours(path, variables[name])
    if array.shape != leaf.shape:
      raise UserError(
          f"variable {name!r} has shape {variables[name].shape}, the model"
          f" expects {leaf.shape} for {path!r}; the variables of the checkpoint"
          " do not belong together, copy it again"
      )
    leaves.append(array)
    unused.discard(name)
  if unused:
    raise UserError(
        f"the model has no place for {len(unused)} variables of the"
        f" checkpoint, {sorted(unused)[0]!r} among them; give one of a plain"
        " ELECTRA or BERT"
    )
  return jax.tree.unflatten(jax.tree.structure(abstract), leaves)

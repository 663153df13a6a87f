"""THE name table: our parameter paths and the released variable names."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from electra_jax.errors import UserError
from electra_jax.trees import path_names

# (our path, released name); \1 and \2 are what the groups matched. Kernels
# are [in, out] on both sides, so nothing is transposed.
RELEASED_NAMES = (
    (r"embeddings/layer_norm/(\w+)", r"electra/embeddings/LayerNorm/\1"),
    (r"embeddings/(\w+)/embedding", r"electra/embeddings/\1"),
    (
        r"generator_embeddings/layer_norm/(\w+)",
        r"generator/embeddings/LayerNorm/\1",
    ),
    (r"generator_embeddings/(\w+)/embedding", r"generator/embeddings/\1"),
    (r"(\w+)/embeddings_project/(\w+)", r"\1/embeddings_project/\2"),
    (
        r"(\w+)/(layer_\d+)/attention/output/(\w+)",
        r"\1/encoder/\2/attention/output/dense/\3",
    ),
    (
        r"(\w+)/(layer_\d+)/attention/(query|key|value)/(\w+)",
        r"\1/encoder/\2/attention/self/\3/\4",
    ),
    (
        r"(\w+)/(layer_\d+)/attention_layer_norm/(\w+)",
        r"\1/encoder/\2/attention/output/LayerNorm/\3",
    ),
    (
        r"(\w+)/(layer_\d+)/output_layer_norm/(\w+)",
        r"\1/encoder/\2/output/LayerNorm/\3",
    ),
    (
        r"(\w+)/(layer_\d+)/(intermediate|output)/(\w+)",
        r"\1/encoder/\2/\3/dense/\4",
    ),
    (
        r"discriminator_head/dense/(\w+)",
        r"discriminator_predictions/dense/\1",
    ),
    (
        r"discriminator_head/prediction/(\w+)",
        r"discriminator_predictions/dense_1/\1",
    ),
    (
        r"generator_head/layer_norm/(\w+)",
        r"generator_predictions/LayerNorm/\1",
    ),
    (r"generator_head/dense/(\w+)", r"generator_predictions/dense/\1"),
    (r"generator_head/output_bias", r"generator_predictions/output_bias"),
    # Heads of tasks; the release numbers a span head's layers.
    (r"(task_specific/\w+)/dense/(\w+)", r"\1/dense/\2"),
    (r"(task_specific/\w+)/start/(\w+)", r"\1/dense/\2"),
    (r"(task_specific/\w+)/end_hidden/(\w+)", r"\1/qa_hidden/\2"),
    (r"(task_specific/\w+)/end/(\w+)", r"\1/dense_1/\2"),
    (r"(task_specific/\w+)/answerable_hidden/(\w+)", r"\1/dense_2/\2"),
    (r"(task_specific/\w+)/answerable/(\w+)", r"\1/dense_3/\2"),
)


def released_name(path: str) -> str:
  """Returns the released variable name of one of our parameter paths.

  Raises:
    UserError: the table has no entry for the path.

  Source: names of the released checkpoints, model/modeling.py.
  """
  for pattern, replacement in RELEASED_NAMES:
    match = re.fullmatch(pattern, path)
    if match:
      name = match.expand(replacement)
      name = re.sub(r"^discriminator/", "electra/", name)
      if "LayerNorm" in name:
        name = name.replace("/scale", "/gamma").replace("/bias", "/beta")
      return name
  raise UserError(
      f"parameter {path!r} has no released name; add it to names.py"
  )


def params_from_released(
    abstract_params: Any, variables: Mapping[str, np.ndarray]
) -> Any:
  """Arranges released variables as our parameters.

  Args:
    abstract_params: the tree to fill, of arrays or shapes.
    variables: arrays by released name, without optimizer slots.

  Raises:
    UserError: a variable is missing, unused, or of another shape.
  """
  leaves, unused = [], set(variables) - {"global_step"}
  for path, leaf in path_names(abstract_params):
    name = released_name(path)
    if name not in variables:
      raise UserError(f"the checkpoint has no variable {name!r} for {path!r}")
    if variables[name].shape != leaf.shape:
      raise UserError(
          f"variable {name!r} has shape {variables[name].shape}, the model"
          f" expects {leaf.shape}; choose the size of the checkpoint"
      )
    leaves.append(variables[name])
    unused.discard(name)
  if unused:
    raise UserError(
        f"the model has no place for {len(unused)} variables of the"
        f" checkpoint, {sorted(unused)[0]!r} among them; choose its size"
    )
  return jax.tree.unflatten(jax.tree.structure(abstract_params), leaves)

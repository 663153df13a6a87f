"""Parameters are addressed by path.

A path is the names from the root to a leaf joined by "/", as in
"discriminator/layer_0/attention/query/kernel". One first-match rule list
serves sharding, weight decay, layer-wise rates, partial loading and
conversion; a path without a rule is an error.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from electra_jax.errors import UserError

Rules = Sequence[tuple[str, Any]]


def path_names(tree: Any) -> list[tuple[str, Any]]:
  """Returns the (path, leaf) pairs of a tree in JAX's own leaf order."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [
      (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
      for path, leaf in leaves
  ]


def first_match(rules: Rules, name: str, purpose: str) -> Any:
  """Returns the value of the first rule whose pattern matches a whole path.

  Args:
    rules: (regular expression, value) pairs in order of precedence.
    name: the path of a leaf.
    purpose: what the rules decide, for the message.

  Raises:
    UserError: no rule matches.
  """
  for pattern, value in rules:
    if re.fullmatch(pattern, name):
      return value
  raise UserError(
      f"parameter {name!r} matches none of the {len(rules)} {purpose} rules;"
      " add a rule for it"
  )


def match_rules(rules: Rules, tree: Any, purpose: str) -> Any:
  """Maps every leaf to the value of its first matching rule.

  Args:
    rules: (regular expression, value) pairs; each must match a whole path.
    tree: any tree of arrays or shapes.
    purpose: what the rules decide ("sharding", "weight decay"), for messages.

  Returns:
    A tree like `tree` with the rules' values as leaves.

  Raises:
    UserError: a leaf matches no rule.
  """
  values = [first_match(rules, name, purpose) for name, _ in path_names(tree)]
  return jax.tree.unflatten(jax.tree.structure(tree), values)


def count_parameters(tree: Any) -> int:
  """Returns the number of scalars in a tree of arrays or shapes."""
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def parameter_table(params: Any) -> str:
  """Formats path, shape and size of every parameter, one a line."""
  rows = [
      (name, "x".join(map(str, leaf.shape)), int(np.prod(leaf.shape)))
      for name, leaf in path_names(params)
  ]
  width = max(len(name) for name, _, _ in rows)
  lines = [
      f"{name:<{width}}  {shape:>14}  {size:>12,}" for name, shape, size in rows
  ]
  total = count_parameters(params)
  return "\n".join([*lines, f"{'total':<{width}}  {'':>14}  {total:>12,}"])

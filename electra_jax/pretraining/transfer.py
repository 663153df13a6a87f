"""Parameters of one run for another: parts chosen, rows matched.

The source is first brought to whole networks, each with tables and encoder of
its own; the new run then takes the parts that it needs. So every shape of
sharing can start from every other, and a masked-LM network becomes both the
generator and the discriminator of the second stage of two-stage training.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from electra_jax.errors import UserError
from electra_jax.models.config import ElectraConfig
from electra_jax.models.electra import discriminator_embeddings, own_embeddings
from electra_jax.shapes import Array, Float, Params
from electra_jax.trees import path_names

# Of an encoder, what its parameters and their meaning depend on.
SHAPES = (
    "num_layers",
    "hidden_size",
    "embedding_size",
    "num_heads",
    "head_width",
    "intermediate_size",
)
_GENERATORS = ("generator", "generator_ltr", "generator_rtl")
_BY_POSITION = "position_embeddings/embedding"
_BY_TOKEN = ("word_embeddings/embedding", "output_bias")


def resized_positions(
    table: Float[Array, "P E"], num_positions: int
) -> Float[Array, "Q E"]:
  """Cuts a position table, or repeats it from its start.

  Source: Beltagy et al., "Longformer" (2020), §5.
  """
  return table[np.arange(num_positions) % table.shape[0]]


def matched_rows(
    known: Float[Array, "V ..."],
    fresh: Float[Array, "W ..."],
    rows: np.ndarray,
) -> Float[Array, "W ..."]:
  """Takes the rows that were found; the others stay fresh."""
  is_found = (rows >= 0).reshape(-1, *(1,) * (fresh.ndim - 1))
  return jnp.where(is_found, known[np.maximum(rows, 0)], fresh)


def whole_networks(params: Params, config: ElectraConfig) -> Params:
  """Gives every network the tables and the encoder that it works with.

  Args:
    params: of a run.
    config: its networks.

  Returns:
    params with the embeddings as the discriminator sees them, with
    "generator_embeddings" always, and with "generator" where one encoder
    serves both networks.
  """
  whole = dict(params)
  whole["embeddings"] = discriminator_embeddings(params, config)
  whole.setdefault("generator_embeddings", whole["embeddings"])
  if config.has_generator_head and config.generator is None:
    whole["generator"] = params["discriminator"]
  return whole


def carried_over(
    params: Params,
    fresh: Params,
    *,
    source: ElectraConfig,
    target: ElectraConfig,
    taken: Collection[str],
    rows: np.ndarray | None,
) -> Params:
  """Puts the source's parts in place of fresh ones; run it under jit.

  Args:
    params: of the source.
    fresh: of the new run.
    source: the source's networks.
    target: the new run's.
    taken: of `choose_parts`.
    rows: of `match_tokens`, or None for the same vocabulary.
  """
  whole, result = whole_networks(params, source), dict(fresh)
  for name in set(taken) - {"embeddings"}:
    result[name] = _fitted(whole[name], fresh[name], rows)
  if "embeddings" in taken:
    # What the discriminator would see where no row is matched.
    seen = discriminator_embeddings(result, target)
    seen = _fitted(whole["embeddings"], seen, rows)
    result["embeddings"] = own_embeddings(seen, result, target)
  return result


def choose_parts(
    params: Params,
    wanted: Params,
    source: ElectraConfig,
    target: ElectraConfig,
    *,
    fresh: Collection[str],
    unused: Collection[str],
    place: str,
) -> frozenset[str]:
  """Decides which parts of the new run come from the source.

  Args:
    params: shapes of the source's parameters.
    wanted: shapes of the new run's.
    source: the source's networks.
    target: the new run's.
    fresh: parts that the user lets start fresh.
    unused: parts of the source that the user leaves out.
    place: the source's name, for messages.

  Raises:
    UserError: a part is missing, has other shapes or no place, and is not
      listed; or is listed and should not be. The message has the flags.
  """
  whole = jax.eval_shape(lambda x: whole_networks(x, source), params)
  _check_listed(params, wanted, fresh, unused, place)
  offered = set(wanted) & set(whole) - set(unused) - set(fresh)
  misfits = {}
  for name in sorted(offered):
    if reason := _misfit(name, whole, wanted, source, target):
      misfits[name] = reason
  taken = frozenset(offered - set(misfits))
  lacking = set(wanted) - taken - set(fresh)
  left_out = set(params) - taken - set(unused)
  if not lacking and not left_out:
    return taken
  problems = [f"has another {name} ({misfits[name]})" for name in misfits]
  if absent := sorted(lacking - set(misfits)):
    problems.append(f"gives no {', '.join(absent)}")
  if extra := sorted(left_out - set(misfits)):
    problems.append(f"has {', '.join(extra)} without a place here")
  advice = _advice(source, target) if set(_GENERATORS) & set(misfits) else ""
  flags = [
      f"--config.init.{option}={','.join(sorted(names))}"
      for option, names in (
          ("fresh", lacking | set(fresh)),
          ("unused", left_out | set(unused)),
      )
      if names
  ]
  raise UserError(
      f"the run in {place} {'; '.join(problems)}; {advice}let these parts start"
      f" fresh or leave them out by {' '.join(flags)}"
  )


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every array by its path."""
  return {name: tuple(leaf.shape) for name, leaf in path_names(tree)}


def _check_listed(params, wanted, fresh, unused, place) -> None:
  for name in fresh:
    if name not in wanted:
      raise UserError(
          f"config.init.fresh names {name!r}, which is no part of this run;"
          f" there are {', '.join(sorted(wanted))}"
      )
    if name in params and name not in unused:
      raise UserError(
          f"config.init.fresh names {name!r}, which the run in {place} has;"
          " take it off that list, or leave the run's own out by"
          f" --config.init.unused={','.join(sorted({*unused, name}))}"
      )
  for name in unused:
    if name not in params:
      raise UserError(
          f"config.init.unused names {name!r}, which is no part of the run in"
          f" {place}; there are {', '.join(sorted(params))}"
      )


def _misfit(name, whole, wanted, source, target) -> str | None:
  """Says why a part of the source cannot be taken as it is, if it cannot."""
  if name in _GENERATORS:
    theirs = source.generator or source.discriminator
    for field in SHAPES:
      a, b = getattr(theirs, field), getattr(target.generator, field)
      if a != b:
        return f"of {field} {a}, here {b}"
  theirs, ours = shapes_of(whole[name]), shapes_of(wanted[name])
  for path in sorted(theirs.keys() | ours.keys()):
    a, b = theirs.get(path), ours.get(path)
    is_resized = path.endswith((*_BY_TOKEN, _BY_POSITION))
    if a is None or b is None or a[is_resized:] != b[is_resized:]:
      return f"{path} of shape {a}, here {b}"
  return None


def _advice(source: ElectraConfig, target: ElectraConfig) -> str:
  theirs, whole = source.generator or source.discriminator, target.discriminator
  flags = []
  for option, name in (("width", "hidden_size"), ("depth", "num_layers")):
    if getattr(theirs, name) != getattr(target.generator, name):
      ratio = getattr(theirs, name) / getattr(whole, name)
      flags.append(f"--config.model.generator_{option}_ratio={ratio:.10g}")
  return f"set {' '.join(flags)}, or " if flags else ""


def _fitted(part: Params, fresh: Params, rows: np.ndarray | None) -> Params:
  def fit(path, leaf, fresh_leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.endswith(_BY_POSITION):
      return resized_positions(leaf, fresh_leaf.shape[0])
    if rows is not None and name.endswith(_BY_TOKEN):
      return matched_rows(leaf, fresh_leaf, rows)
    return leaf

  return jax.tree_util.tree_map_with_path(fit, part, fresh)

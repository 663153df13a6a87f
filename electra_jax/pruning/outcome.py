"""What is to go of a run, and what came of it."""

import dataclasses
from collections.abc import Mapping

from electra_jax.compress.importance import Importance
from electra_jax.compress.pruning import Kept, pruned_config, pruned_params
from electra_jax.models.config import EncoderConfig
from electra_jax.shapes import Params

PART = "discriminator"  # The network that is pruned.


@dataclasses.dataclass(frozen=True)
class Pruning:
  """What was pruned; pairs are of before and after.

  Attributes:
    folder: of the new run.
    step: updates done before.
    encoders: shapes.
    num_parameters: of all that the run has.
    origin: what importance was measured on, "" where it was not.
    losses: means over that, in nats; None where it was not.
    scores: of a fine-tuning's dev splits, by name.
  """

  folder: str
  step: int
  encoders: tuple[EncoderConfig, EncoderConfig]
  num_parameters: tuple[int, int]
  origin: str
  losses: tuple[float, float] | None
  scores: Mapping[str, tuple[float, float]]

  def table(self) -> str:
    """Lays before and after out."""
    before, after = self.encoders
    rows = [("", "before", "after")]
    rows += [
        (name, f"{getattr(before, key):,}", f"{getattr(after, key):,}")
        for name, key in (
            ("layers", "num_layers"),
            ("heads of a layer", "num_heads"),
            ("columns of a layer", "intermediate_size"),
        )
    ]
    rows.append(("parameters", *(f"{n:,}" for n in self.num_parameters)))
    if self.losses is not None:
      losses = (f"{loss:.4f}" for loss in self.losses)
      rows.append((f"loss of {self.origin}", *losses))
    for name, pair in self.scores.items():
      rows.append((name, *(f"{score:.2f}" for score in pair)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {old:>{widths[1]}}  {new:>{widths[2]}}"
        for name, old, new in rows
    )


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is to stay of an encoder, and why.

  Attributes:
    encoder: shapes before.
    kept: what stays.
    importance: of heads and columns of the layers that stay, or None.
    losses: before and after, or None.
    origin: what both were measured on.
  """

  encoder: EncoderConfig
  kept: Kept
  importance: Importance | None = None
  losses: tuple[float, float] | None = None
  origin: str = ""

  @property
  def pruned(self) -> EncoderConfig:
    """Shapes after."""
    return pruned_config(self.encoder, self.kept)

  def take(self, params: Params) -> Params:
    """Takes what stays of all networks."""
    part = pruned_params(params[PART], self.encoder, self.kept)
    return {**params, PART: part}

  def removed(self) -> str:
    """Says in words what goes."""
    before, after, parts = self.encoder, self.pruned, []
    if gone := sorted(set(range(before.num_layers)) - set(self.kept.layers)):
      parts.append(f"layers {', '.join(map(str, gone))} of {before.num_layers}")
    for name, key in (("heads", "num_heads"), ("columns", "intermediate_size")):
      old, new = getattr(before, key), getattr(after, key)
      if old != new:
        parts.append(f"{old - new} of {old} {name} a layer")
    return f"a pruning by {' and '.join(parts)}"

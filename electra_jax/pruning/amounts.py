"""How many heads and columns, and which layers, are to go."""

import math
from collections.abc import Sequence

from electra_jax.errors import UserError
from electra_jax.models.config import EncoderConfig

Amount = int | float  # A number, or a share from 0 to below 1.


def left_over(
    encoder: EncoderConfig, heads: Amount, columns: Amount
) -> tuple[int, int]:
  """Returns how many heads and columns of each layer stay.

  Args:
    encoder: of which they go.
    heads: to remove of each layer: a number, or a share, which is rounded down
      to whole heads.
    columns: the same of the feed-forward columns.

  Raises:
    UserError: an amount is out of range, or leaves none.
  """
  whole = encoder.num_heads, encoder.intermediate_size
  asked = ("--remove-heads", heads), ("--remove-columns", columns)
  names = ("heads", "heads"), ("columns", "feed-forward columns")
  return tuple(
      total - _number(amount, total, flag, *what)
      for total, (flag, amount), what in zip(whole, asked, names, strict=True)
  )


def check_layers(encoder: EncoderConfig, layers: Sequence[int]) -> None:
  """Checks the numbers of layers to remove.

  Raises:
    UserError: there is no such layer, or none would stay.
  """
  count = encoder.num_layers
  for layer in layers:
    if type(layer) is not int or not 0 <= layer < count:
      raise UserError(
          f"--remove-layers names {layer}, and the run has the layers 0 to"
          f" {count - 1}; choose of these"
      )
  if len(set(layers)) == count:
    raise UserError(
        f"--remove-layers names all {count} layers of the run; keep one at least"
    )


def _number(
    amount: Amount, total: int, flag: str, short: str, long: str
) -> int:
  is_share = isinstance(amount, float)
  is_number = isinstance(amount, int | float) and type(amount) is not bool
  if not is_number or not 0 <= amount < (1 if is_share else math.inf):
    raise UserError(
        f"{flag} {amount} is neither a share from 0 to below 1 nor a whole"
        f" number of {short}; give 0.5 for half of those of each layer, or 1 for"
        " one of them"
    )
  # A third of three is one, whatever its rounding.
  number = int(amount * total + 1e-9) if is_share else amount
  if number >= total:
    fix = f"give {total - 1:,} or less" if total > 1 else "leave it out"
    raise UserError(
        f"{flag} {amount} would leave none of the {total:,} {long} of a layer;"
        f" {fix}"
    )
  if amount and not number:
    fix = f"give {1 / total:.2g} or more" if total > 1 else "leave it out"
    raise UserError(
        f"{flag} {amount} of the {total:,} {long} of a layer is less than one;"
        f" {fix}"
    )
  return number

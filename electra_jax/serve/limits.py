"""What a service takes at most, and for how long it lets anyone wait."""

import dataclasses

from electra_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
  """Limits of a service; each is told to the page and in `GET /models`.

  Attributes:
    characters: of all texts of one input together.
    tokens: of one text; what is longer than a row is read in several.
    inputs: of one request.
    places: that the generator is asked about in one input.
    candidates: that it names for each place.
    body_bytes: of one request.
    queue: inputs that wait; a request that finds no room is refused.
    batch: inputs that are answered together.
    wait_secs: for which the first of a batch waits for others.
    timeout_secs: after which a request is given up.
  """

  characters: int = 10_000
  tokens: int = 2_000
  inputs: int = 32
  places: int = 32
  candidates: int = 20
  body_bytes: int = 1_000_000
  queue: int = 256
  batch: int = 16
  wait_secs: float = 0.004
  timeout_secs: float = 30.0

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if name != "wait_secs" and value <= 0:
        raise UserError(f"the limit {name} is {value}; it must be positive")

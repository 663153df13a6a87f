"""How a text is written."""

import dataclasses

from electra_jax.errors import UserError

METHODS = ("greedy", "beam", "sample")


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
  """The knobs of decoding.

  Attributes:
    method: "greedy": the likeliest token each time; "beam": several texts at
      a time, of which the best is kept; "sample": tokens are drawn.
    beam_size: K, texts at a time; for "beam" alone.
    max_length: most tokens of a text, its end token among them.
    min_length: fewest tokens before the end token.
    length_penalty: alpha; a text's score is its log-probability over
      ((5 + tokens) / 6)^alpha, its end token among the tokens.
    no_repeat_ngram: n; no n tokens stand twice in a text. 0 for no limit.
    temperature: divides logits before a draw; for "sample" alone, as are the
      two below.
    top_k: how many tokens a draw is between; 0 for all.
    top_p: a draw is between the likeliest tokens that have this share of the
      probability together, 1 for all.
  """

  method: str = "beam"
  beam_size: int = 4
  max_length: int = 64
  min_length: int = 0
  length_penalty: float = 0.6
  no_repeat_ngram: int = 0
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    if self.method not in METHODS:
      raise UserError(
          f"config.generation.method is {self.method!r}; it must be one of"
          f" {', '.join(METHODS)}"
      )
    for name, is_right, rule in (
        ("beam_size", self.beam_size >= 1, "be at least 1"),
        ("max_length", self.max_length >= 1, "be at least 1"),
        (
            "min_length",
            0 <= self.min_length < self.max_length,
            f"be from 0 to below max_target_length, {self.max_length}",
        ),
        ("length_penalty", self.length_penalty >= 0, "not be negative"),
        ("no_repeat_ngram", self.no_repeat_ngram >= 0, "not be negative"),
        ("temperature", self.temperature > 0, "be positive"),
        ("top_k", self.top_k >= 0, "not be negative"),
        ("top_p", 0 < self.top_p <= 1, "be above 0 and at most 1"),
    ):
      if not is_right:
        value = getattr(self, name)
        raise UserError(f"config.generation.{name} is {value}; it must {rule}")

  @property
  def beams(self) -> int:
    """How many texts are written at a time for one source."""
    return self.beam_size if self.method == "beam" else 1

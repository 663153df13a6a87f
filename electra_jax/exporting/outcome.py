"""What an export tells of itself."""

import dataclasses

from electra_jax.exporting.findings import Finding
from electra_jax.exporting.manifest import ModelFile


@dataclasses.dataclass(frozen=True)
class Export:
  """What was exported.

  Attributes:
    folder: that appeared.
    target: one of TARGETS.
    network: "discriminator", "generator", "embedder" or "encoder-decoder".
    step: updates done.
    origin: of the rows that the files were tried on, in words.
    own: what the run's own model answers on them.
    files: with what was found.
  """

  folder: str
  target: str
  network: str
  step: int
  origin: str
  own: Finding
  files: tuple[ModelFile, ...]

  def table(self) -> str:
    """Lays out size and answers of every file."""
    scores = sorted(self.own.scores)
    rows = [("", "MB", "largest difference", "other answers", *scores)]
    rows.append(
        (
            "the run itself",
            *("", "", ""),
            *(f"{self.own.scores[name]:.2f}" for name in scores),
        )
    )
    rows += [
        (
            file.name,
            f"{file.size / 1e6:.2f}",
            f"{file.found.largest:.2g}",
            *_answers(file.found, scores),
        )
        for file in self.files
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"Tried on {self.origin}:", *lines])


def _answers(found: Finding, scores: list[str]) -> list[str]:
  """Returns the cells of answers; empty ones of a file that gives none."""
  if not found.answers:
    return ["", *("" for _ in scores)]
  other = f"{found.differing:,} of {found.answers:,}"
  return [other, *(f"{found.scores[name]:.2f}" for name in scores)]

"""What a conversion tells of itself, and how its folder appears."""

import contextlib
import dataclasses
from collections.abc import Iterator

from etils import epath

from electra_jax.disk.scratch import open_scratch
from electra_jax.files import writing

PRECISION = (
    "the run answers in {dtype} here and the folder in float32 there, so that"
    " probabilities may differ by some hundredths"
)
ROUNDED = (
    "the run was trained with {quantization} weights and rounds here, and the"
    " folder does not round there, so that its answers differ"
)


@dataclasses.dataclass(frozen=True)
class Conversion:
  """What was converted.

  Attributes:
    source_format: one of FORMATS.
    num_parameters: scalars in the networks.
    step: updates done by then.
    has_moments: whether the optimizer's moments went along.
    fresh: parts that the source lacks, freshly initialised.
    left_out: parts of the source that the target lacks, for want of a place.
    notes: what else differs, a sentence each.
  """

  source_format: str
  num_parameters: int
  step: int
  has_moments: bool
  fresh: tuple[str, ...]
  left_out: tuple[str, ...]
  notes: tuple[str, ...] = ()


@contextlib.contextmanager
def whole_folder(target: epath.Path) -> Iterator[epath.Path]:
  """Gives a folder that becomes the target if all goes well."""
  with open_scratch(target) as scratch:
    with writing(target):
      yield scratch.folder
    scratch.publish()

"""Text out of tensorflow-datasets."""

import contextlib
import re
import types
from collections.abc import Iterator
from typing import Any

from electra_jax.errors import UserError
from electra_jax.text.streams import missing_extra

TFDS_PREFIX = "tfds:"

_TFDS = re.compile(
    r"tfds:(?P<name>[\w/.-]+(:\d+\.\d+\.\d+)?)(\[(?P<split>.+)\])?"
)


@contextlib.contextmanager
def tfds_for(source: str) -> Iterator[types.ModuleType]:
  """Imports tensorflow-datasets, and turns its errors into sentences."""
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise missing_extra(source, "tfds") from error
  try:
    yield tfds
  except (ValueError, OSError, tfds.core.DatasetNotFoundError) as error:
    reason = str(error).strip().split("\n")[0]
    raise UserError(
        f"cannot open {source}: {reason}; check name, version and split"
    ) from error


def open_tfds(
    tfds: types.ModuleType, source: str, field: str
) -> tuple[Any, str]:
  """Fetches a data set if need be; returns its builder and the split's name."""
  name, split = parse_tfds(source)
  builder = tfds.builder(name)
  builder.download_and_prepare()
  features = list(builder.info.features)
  if field not in features:
    raise UserError(
        f"{source} has no field {field!r}, only {features}; name the one that"
        " holds the text by --field"
    )
  return builder, split


def tfds_texts(
    tfds: types.ModuleType, builder: Any, split: Any, field: str
) -> Iterator[str]:
  """Reads the text of a split, the same one every time.

  Raises:
    UserError: the field holds no text.
  """
  examples = builder.as_dataset(split=split, shuffle_files=False)
  for example in tfds.as_numpy(examples):
    text = example[field]
    if not isinstance(text, bytes):
      raise UserError(
          f"the field {field!r} holds a {type(text).__name__}, not text; name"
          " the one that holds the text by --field"
      )
    yield text.decode("utf-8", "replace")


def parse_tfds(source: str) -> tuple[str, str]:
  """Returns the name of a data set and its split, out of a source.

  Raises:
    UserError: it is not written so.
  """
  match = _TFDS.fullmatch(source)
  if not match:
    raise UserError(
        f"{source!r} is not tfds:NAME/CONFIG:VERSION[SPLIT]; write for example"
        " tfds:wiki40b/en:1.3.0[train]"
    )
  return match["name"], match["split"] or "train"

"""The verb `embed`: a file of texts to a file of vectors."""

import os
from typing import Any, NamedTuple

from etils import epath

from electra_jax.embedding.files import check_output, read_texts, write_vectors
from electra_jax.runs import workdir as workdirs


class Embedded(NamedTuple):
  """What was written.

  Attributes:
    count: vectors.
    dimensions: numbers of each.
  """

  count: int
  dimensions: int


def embed(
    workdir: epath.PathLike,
    source: str | os.PathLike | None,
    output: str | os.PathLike,
    *,
    field: str = "text",
    seed: int | None = None,
    **options: Any,
) -> Embedded:
  """Turns the texts of a file into a file of vectors, in their order.

      embed("run", "texts.txt", "vectors.npy", layer=-2)

  A few thousand texts are held at a time. For texts that are at hand there is
  `open_run(workdir).embed(texts)`.

  Args:
    workdir: of a pretrain or finetune run, or "tiny-en".
    source: a text on each line; or .jsonl, .csv, .tsv or .parquet; or None for
      lines of standard input.
    output: a local file, in place of one that is there: .npy, an array of one
      row for each text, or .jsonl or .parquet, with the texts.
    field: key or column of the text.
    seed: finetune: whose model, or None for the best.
    **options: `layer`, `pooling`, `dimensions`, `normalized` and `windows`, as
      of `electra_jax.runs.vectors.VectorOptions`; by default what the run was
      trained for.

  Returns:
    How many vectors there are, and of how many numbers.

  Raises:
    UserError: a file, the run or an option is at fault; nothing is written
      then.
  """
  output = os.fspath(output)
  path = None if source is None else os.fspath(source)
  check_output(output, path)
  embedder = _open(workdir, seed).embedder(**options)
  chunks = embedder.stream(read_texts(path, field))
  count = write_vectors(output, chunks, embedder.dimensions)
  return Embedded(count, embedder.dimensions)


def _open(workdir: epath.PathLike, seed: int | None):
  run = workdirs.load(workdir)
  if run.kind is workdirs.FINETUNING:
    from electra_jax.finetuning.model import FinetunedModel

    return FinetunedModel(workdir, seed=seed)
  from electra_jax.pretraining.model import PretrainedModel

  workdirs.check_not_given(run, seed=seed)
  return PretrainedModel(workdir)

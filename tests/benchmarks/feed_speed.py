"""Measures how fast the feed delivers shuffled rows from a local disk.

  python tests/benchmarks/feed_speed.py [--store STORE]

Without a store it makes one of random ids in a temporary folder. Prints JSON:
rows per second and process out of `Feed.iterate` (read ahead in a thread) and
`Feed.batch` (in the caller), for some sizes of batch; seconds until the first
batch of step 0 and of a step far away.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np

from electra_jax.store.feed import Feed
from electra_jax.store.reader import Split, open_store
from electra_jax.store.writer import StoreWriter
from electra_jax.text.lost_text import LostText
from electra_jax.text.tokenizer import Tokenizer

FAR_STEP = 1_000_000


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--store", help="a token store; made up if left out")
  parser.add_argument("--rows", type=int, default=1_000_000, help="made up")
  parser.add_argument("--length", type=int, default=128, help="made up")
  parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 2048])
  parser.add_argument("--secs", type=float, default=3.0, help="per measurement")
  parser.add_argument("--process-count", type=int, default=1)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    path = args.store or make_store(
        pathlib.Path(folder) / "store", args.rows, args.length
    )
    split = open_store(path).split("train")
    results = {"rows": split.num_rows, "length": split.length}
    for size in args.batch_sizes:
      results[f"batch_{size}"] = measure(
          split, size, args.process_count, args.secs
      )
  print(json.dumps(results, indent=1))


def measure(
    split: Split, batch_size: int, process_count: int, secs: float
) -> dict[str, float]:
  """Returns rates in rows per second and waits in seconds."""
  make = lambda: Feed(  # noqa: E731
      split,
      seed=0,
      global_batch_size=batch_size,
      process_count=process_count,
  )
  waits = {}
  for step in (0, FAR_STEP):
    start = time.perf_counter()
    make().batch(step)
    waits[step] = time.perf_counter() - start
  batches = make().iterate()
  iterated = _rate(lambda: next(batches), batch_size // process_count, secs)
  batches.close()
  steps = iter(range(1 << 60))
  feed = make()
  called = _rate(
      lambda: feed.batch(next(steps)), batch_size // process_count, secs
  )
  return {
      "iterate_rows_per_second": round(iterated),
      "batch_rows_per_second": round(called),
      "first_batch_secs": round(waits[0], 4),
      "far_batch_secs": round(waits[FAR_STEP], 4),
  }


def make_store(path: pathlib.Path, rows: int, length: int) -> pathlib.Path:
  """Writes a store of random ids."""
  words = [f"w{i}" for i in range(30_000)]
  pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
  tokenizer = Tokenizer("wordpiece", "\n".join(pieces).encode())
  rng = np.random.default_rng(0)
  with StoreWriter(path, tokenizer=tokenizer, length=length) as writer:
    for _ in range(0, rows, 8192):
      block = rng.integers(5, len(pieces), (8192, length + 2), dtype=np.uint16)
      block[:, length:] = length // 2, length
      writer.add("train", block)
    writer.finish(
        unigram_counts=np.zeros(tokenizer.vocab_size, np.int64),
        packing="full",
        seed=0,
        sources=("random",),
        validation_percent=0.0,
        duplicates_dropped=None,
        tokens_read=rows * length,
        tokens_kept=rows * length,
        lost=LostText(),
        passed_over={},
    )
  return path


def _rate(take, rows: int, secs: float) -> float:
  take()
  count = 0
  start = time.perf_counter()
  while (elapsed := time.perf_counter() - start) < secs:
    take()
    count += rows
  return count / elapsed


if __name__ == "__main__":
  main()

"""Sentences written per second, beside transformers on the same model.

  python tests/benchmarks/generate_speed.py --json FILE

A random encoder-decoder of transformers, two towers of BERT's layers with one
set of embeddings, is read by `interop.huggingface_seq2seq`. Both programs write
the same number of tokens for the same sources, by the likeliest token and by
beams, in alternating rounds of one process: ours in one compiled loop, the
peer by its own `generate` under inference_mode with keys and values kept. The
end token is too unlikely to come, so that all texts are of the same length,
and there is no length penalty, in which the two differ. All threads of the
process share `--cores` of the machine, and torch has as many threads: on cores
that other work keeps busy its threads wait for each other at a great expense,
so that one core is the default. Seconds of the clock and of the processor are
given; compiling is told apart. Needs torch and transformers.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax.decoding.config import DecodingConfig
from electra_jax.decoding.texts import make_generate
from electra_jax.interop.huggingface_seq2seq import read_encoder_decoder
from electra_jax.models.seq2seq import Seq2Seq
from tests.interop import golden_seq2seq

PAD, BEGIN, END = 0, 1, 2
UNLIKELY = -100.0  # Bias of the three.
PACKAGES = ("jax", "torch", "transformers")


class Seconds(NamedTuple):
  """Of writing a batch once."""

  clock: float
  processor: float


def make_sources(args) -> tuple[np.ndarray, np.ndarray]:
  """Returns ids and mask of sources, every other one half as long."""
  rng = np.random.default_rng(0)
  ids = rng.integers(3, args.vocab_size, (args.batch_size, args.source))
  lengths = np.full(args.batch_size, args.source)
  lengths[::2] //= 2
  mask = (np.arange(args.source)[None] < lengths[:, None]).astype(np.int32)
  return (ids * mask).astype(np.int32), mask


def make_peer(args):
  """Returns transformers' model."""
  model = golden_seq2seq.make_model(
      args.architecture,
      vocab_size=args.vocab_size,
      hidden_size=args.hidden_size,
      num_hidden_layers=args.num_layers,
      num_attention_heads=max(1, args.hidden_size // 64),
      intermediate_size=4 * args.hidden_size,
      max_position_embeddings=max(args.source, args.target) + 1,
  )
  with torch.no_grad():
    model.decoder.cls.predictions.bias[[PAD, BEGIN, END]] = UNLIKELY
  return model


def peer_side(model, args, beams):
  """Returns a function that writes the batch with the peer."""
  ids, mask = (torch.from_numpy(x).long() for x in make_sources(args))

  def write():
    with torch.inference_mode():
      written = model.generate(
          input_ids=ids,
          attention_mask=mask,
          max_new_tokens=args.target,
          num_beams=beams,
          do_sample=False,
          length_penalty=0.0,
          decoder_start_token_id=BEGIN,
          pad_token_id=PAD,
          eos_token_id=END,
      )
    return written[:, 1:].numpy()

  return write


def our_side(model, params, args, beams):
  """Returns a function that writes the batch with this package."""
  config = DecodingConfig(
      "beam" if beams > 1 else "greedy",
      beam_size=beams,
      max_length=args.target,
      length_penalty=0.0,
  )
  generate = make_generate(
      model, config, begin_id=BEGIN, end_id=END, pad_id=PAD
  )
  given = (*map(jnp.asarray, make_sources(args)), jnp.arange(args.batch_size))

  def write():
    return np.asarray(generate(params, *given).tokens)

  return write


def timed(write) -> Seconds:
  """Times one batch."""
  began = time.perf_counter(), time.process_time()
  write()
  return Seconds(time.perf_counter() - began[0], time.process_time() - began[1])


def compare(ours, theirs, beams, args) -> dict:
  """Writes with both in turn and returns what was found."""
  first = timed(ours)
  texts, other = ours(), theirs()
  rounds = [(timed(ours), timed(theirs)) for _ in range(args.rounds)]
  record = {
      "beams": beams,
      "equal_texts": float((texts == other).all(axis=1).mean()),
      "equal_tokens": float((texts == other).mean()),
      "first_call_secs": first.clock,
  }
  for kind in Seconds._fields:
    seconds = [
        [getattr(side, kind) for side in sides]
        for sides in zip(*rounds, strict=True)
    ]
    ours_secs, their_secs = map(statistics.median, seconds)
    ratios = [y / x for x, y in zip(*seconds, strict=True)]
    record[kind] = {
        "ours_sentences_per_sec": args.batch_size / ours_secs,
        "theirs_sentences_per_sec": args.batch_size / their_secs,
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "seconds": seconds,
    }
    print(
        f"{beams} beams, {kind}: ours {args.batch_size / ours_secs:.1f}, peer"
        f" {args.batch_size / their_secs:.1f} sentences/s, ratio"
        f" {record[kind]['ratio']:.2f} (least {min(ratios):.2f}), equal texts"
        f" {record['equal_texts']:.0%}, tokens {record['equal_tokens']:.1%}"
    )
  return record


def parse_args():
  """Returns the command line's."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--architecture", default="separate")
  for name, default in (
      ("vocab-size", 8000),
      ("hidden-size", 256),
      ("num-layers", 4),
      ("batch-size", 16),
      ("source", 64),
      ("target", 48),
      ("rounds", 5),
      ("cores", 1),
  ):
    parser.add_argument(f"--{name}", type=int, default=default)
  parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
  parser.add_argument("--json", help="where to write what was found")
  return parser.parse_args()


def main() -> None:
  """Compares the two and prints a line for each number of beams and clock."""
  args = parse_args()
  cores = sorted(os.sched_getaffinity(0))[-args.cores :]
  os.sched_setaffinity(0, cores)  # Before any thread has been started.
  torch.set_num_threads(args.cores)
  peer = make_peer(args)
  with tempfile.TemporaryDirectory() as folder:
    peer.save_pretrained(folder)
    read = read_encoder_decoder(folder)
  model = Seq2Seq(read.encoder, read.architecture)
  params = jax.tree.map(jnp.asarray, read.params)
  records = [
      compare(
          our_side(model, params, args, beams),
          peer_side(peer, args, beams),
          beams,
          args,
      )
      for beams in args.beams
  ]
  if args.json:
    found = {
        "args": vars(args),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "load": os.getloadavg()[0],
        "records": records,
    }
    Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()

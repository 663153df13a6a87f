r"""One training step of ours against the same step in PyTorch, in one run.

Before anything is timed, every peer gets our parameters and must give the same
logits of both networks. Rounds of all sides alternate, and a ratio is one of
seconds of the same round, so that it holds when the machine's speed drifts. A
side that needs too much memory, or that torch.compile cannot compile, becomes
a row that says so. On a GPU products in float32 are TF32 on both sides.

  python tests/benchmarks/peer_step.py --size small --batch-size 16
  python tests/benchmarks/peer_step.py --size base --batch-size 256 \
      --modes eager compile --dtypes bfloat16 float32 --json base_128.json
"""

import argparse
import functools
import itertools
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence

# Both sides share one GPU, so that neither may take all of it at the start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from electra_jax.devices import sharding
from electra_jax.files import write_whole
from electra_jax.models.electra import Electra
from electra_jax.objectives.masking import unpack_rows
from electra_jax.pretraining.trainer import init_params_of, make_trainer
from electra_jax.runs import workdir
from electra_jax.runs.networks import Vocabulary, electra_config
from electra_jax.shapes import Params
from tests.benchmarks import rounds
from tests.benchmarks.peer_torch import (
    MODES,
    SPECIAL,
    VOCAB_SIZE,
    Case,
    PeerStep,
)

TORCH_DEVICES = {"gpu": "cuda", "cpu": "cpu"}  # By jax's backend.
CHECKED_ROWS, TOLERANCE = 2, 1e-4


class OurStep:
  """The program that `electra-jax pretrain` runs."""

  def __init__(self, case: Case):
    self.mesh = sharding.make_mesh(devices=jax.devices()[:1])
    trainer = make_trainer(
        case.config(), Vocabulary(VOCAB_SIZE, SPECIAL), self.mesh
    )
    self.state, self.train_step = trainer.init(), trainer.train_step
    self.batch = case.batch()

  def run(self, steps: int) -> float:
    """Takes steps, waits for the last one and returns its loss."""
    for _ in range(steps):
      batch = sharding.to_global(self.mesh, self.batch)
      self.state, sums = self.train_step(self.state, batch)
    jax.block_until_ready(self.state)
    return float(sums["loss"][0])


def initial_params(case: Case) -> Params:
  """Returns the parameters that a run of the case starts from."""
  config = case.config()
  model = Electra(electra_config(config, VOCAB_SIZE))
  init = jax.jit(init_params_of, static_argnums=(0, 1))
  return jax.device_get(init(model, config.seed))


def check(case: Case, params: Params, peer: PeerStep) -> float:
  """Gives a peer our parameters and returns how far its logits are from ours.

  Raises:
    AssertionError: it is not the same network.
  """
  config = case._replace(dtype="float32").config()
  model = Electra(electra_config(config, VOCAB_SIZE))
  rows = unpack_rows(*(jnp.asarray(x[:CHECKED_ROWS]) for x in case.batch()))
  positions = np.tile(np.arange(1, 4, dtype=np.int32), (len(rows[0]), 1))
  with jax.default_matmul_precision("highest"):
    ours = jax.jit(model.apply)({"params": params}, *rows, positions)
  peer.load(params)
  mlm, rtd = (
      np.abs(a - b) for a, b in zip(ours, peer.logits(positions), strict=True)
  )
  furthest = float(max(mlm.max(), rtd[rows.input_mask > 0].max()))
  assert furthest < TOLERANCE, f"{case}: logits differ by {furthest:g}"
  return furthest


def make_sides(args: argparse.Namespace) -> list[rounds.Side]:
  """Returns a row of ours and rows of the peer for every dtype."""
  sides, params = [], None
  for dtype in args.dtypes:
    case = Case(
        size=args.size,
        batch_size=args.batch_size,
        length=args.length,
        dtype=dtype,
        overrides=tuple(args.override),
        full_rows=args.full_rows,
        device=args.device,
    )
    if params is None:
      params = initial_params(case)
    ours = rounds.Side("electra_jax", case, functools.partial(OurStep, case))
    sides.append(ours)
    for mode, attention in itertools.product(args.modes, args.attention):
      theirs, facts = case._replace(mode=mode, attention=attention), {}
      sides.append(
          rounds.Side(
              f"torch {mode}, {attention} attention",
              theirs,
              functools.partial(_checked_peer, theirs, params, facts),
              reference=ours,
              compiles=bool(MODES[mode]),
              facts=facts,
          )
      )
  return sides


def _checked_peer(case: Case, params: Params, facts: dict) -> PeerStep:
  peer = PeerStep(case)
  facts["largest_difference_of_logits"] = check(case, params, peer)
  return peer


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--size", default="small")
  parser.add_argument("--batch-size", type=int, default=16)
  parser.add_argument("--length", type=int, default=128)
  parser.add_argument(
      "--dtypes",
      nargs="+",
      default=["float32"],
      choices=("float32", "bfloat16"),
  )
  parser.add_argument("--modes", nargs="+", default=["eager"], choices=MODES)
  parser.add_argument(
      "--attention",
      nargs="+",
      default=["sdpa"],
      choices=("sdpa", "eager"),
      help="the peer's, as transformers names it",
  )
  parser.add_argument(
      "--full-rows",
      action="store_true",
      help="rows without padding: the peer gets no mask",
  )
  parser.add_argument(
      "--override",
      nargs="+",
      default=[],
      metavar="KEY=VALUE",
      help="values of the config, such as model.num_layers=2",
  )
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--steps", type=int, default=2, help="timed per round")
  parser.add_argument(
      "--processor-time",
      action="store_true",
      help="count seconds of the processor, for a CPU with other work; needs"
      " OMP_NUM_THREADS=1 taskset -c 0 before the command",
  )
  parser.add_argument("--json", help="file for all figures")
  args = parser.parse_args(argv)
  args.device = TORCH_DEVICES.get(jax.default_backend())
  if args.device is None:
    parser.error(f"PyTorch has no {jax.default_backend()}; use a GPU or a CPU")
  if args.device == "cuda" and not torch.cuda.is_available():
    parser.error(f"torch {torch.__version__} sees no GPU and jax does")
  is_alone = args.device == "cpu" and len(os.sched_getaffinity(0)) == 1
  if args.processor_time and not is_alone:
    parser.error("--processor-time is for one core of a CPU; use taskset -c 0")
  return args


def main(argv: Sequence[str] | None = None) -> None:
  args = parse(argv)
  if args.device == "cuda":  # As XLA's default there; on a CPU both are exact.
    torch.set_float32_matmul_precision("high")
  load = [os.getloadavg()[0]]
  sides = make_sides(args)
  clock = time.process_time if args.processor_time else time.perf_counter
  rounds.measure(sides, args.rounds, args.steps, clock)
  records = [side.record() for side in sides]
  device = jax.devices()[0].device_kind
  print(f"{device}: {args.size}, {args.batch_size} rows of {args.length}")
  print(rounds.table(records))
  if args.json:
    environment = workdir.environment()
    environment["packages"] |= {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    figures = {
        "rows": records,
        "rounds": args.rounds,
        "steps_per_round": args.steps,
        "clock": clock.__name__,
        "float32_products": torch.get_float32_matmul_precision(),
        "load_average": [*load, os.getloadavg()[0]],  # Before and after.
        "environment": environment,
    }
    write_whole(args.json, [json.dumps(figures, indent=1) + "\n"])


if __name__ == "__main__":
  main()

"""What accelerator.py measures, and in which order."""

import argparse
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Shape(NamedTuple):
  """A size at a length.

  Attributes:
    size: of configs/pretrain.py.
    length: tokens of a row.
    rows: of a step and device, the most that 80 GB may hold first.
    peer_rows: the same where two programs share the device.
    target_mfu: model FLOPs utilisation to be reached on one device, or None.
  """

  size: str
  length: int
  rows: tuple[int, ...]
  peer_rows: tuple[int, ...]
  target_mfu: float | None = None


class Variant(NamedTuple):
  """What to change.

  Attributes:
    overrides: of the config, "KEY=VALUE" each.
    share: of the rows that the shape itself is measured with.
    xla_flags: added to the environment's.
    platforms: where it makes a difference.
  """

  overrides: tuple[str, ...] = ()
  share: float = 1.0
  xla_flags: str = ""
  platforms: tuple[str, ...] = ("cpu", "gpu", "tpu")


SHAPES = {
    "base_128": Shape("base", 128, (512, 256, 128, 64), (256, 128, 64), 0.40),
    "base_512": Shape("base", 512, (128, 64, 32, 16), (64, 32, 16), 0.40),
    # On an H100 16,500 rows a second.
    "small_128": Shape("small", 128, (2048, 1024, 512), (512, 256, 128), 0.15),
    "large_512": Shape("large", 512, (64, 32, 16, 8), (16, 8, 4)),
}
VARIED = ("base_128", "base_512")
VARIANTS = {
    # Each way to compute attention, where "auto" has a choice.
    "attention_fused": Variant(("model.attention=fused",), platforms=("gpu",)),
    "attention_xla": Variant(
        ("model.attention=xla",), platforms=("gpu", "tpu")
    ),
    # What dropout costs, and where: paths without it can gain no more.
    "no_attention_dropout": Variant(("model.attention_dropout=0.0",)),
    "no_dropout": Variant(
        ("model.attention_dropout=0.0", "model.hidden_dropout=0.0")
    ),
    "half_rows": Variant(share=0.5),
    "remat_dots": Variant(("model.remat=dots",)),
    "no_triton_gemm": Variant(
        xla_flags="--xla_gpu_enable_triton_gemm=false", platforms=("gpu",)
    ),
}
PEERS = {
    "bfloat16": ("--modes", "eager", "compile", "--dtypes", "bfloat16"),
    "full_rows": (
        *("--modes", "eager", "compile", "--dtypes", "bfloat16"),
        "--full-rows",
    ),
    "float32": ("--modes", "eager", "compile", "--dtypes", "float32"),
    "cudagraphs": ("--modes", "cudagraphs", "--dtypes", "bfloat16"),
}
# The most telling first: a lease may end at any time.
ORDER = (
    *("base_128", "base_512", "small_128", "peer/base_128/bfloat16"),
    *("large_512", "peer/base_512/bfloat16", "peer/small_128/bfloat16"),
    *(f"{shape}/{variant}" for variant in VARIANTS for shape in VARIED),
    *("peer/large_512/bfloat16", "peer/small_128/cudagraphs"),
    *("peer/base_128/full_rows", "peer/base_512/full_rows"),
    "peer/base_128/float32",
)
SMOKE_ORDER = (
    *("base_128", "large_512", "base_128/half_rows"),
    "peer/base_128/bfloat16",
)
SMOKE_OVERRIDES = (
    "model.num_layers=1",
    "model.hidden_size=64",
    "model.embedding_size=32",
)
REFERENCE_GIB = 70  # What the rows of SHAPES are meant for.


class Job(NamedTuple):
  """One thing to measure.

  Attributes:
    name: of the shape, "SHAPE/VARIANT" or "peer/SHAPE/KIND".
    attempts: (rows, command) each, tried until one fits into the memory; the
      command is one of Python's, in the repository's folder.
    is_peer: whether it compares with PyTorch.
    share: of the rows of the shape itself, where those are known by then.
    xla_flags: added to the environment's.
  """

  name: str
  attempts: tuple[tuple[int, tuple[str, ...]], ...]
  is_peer: bool = False
  share: float = 1.0
  xla_flags: str = ""


def plan(args: argparse.Namespace, device: Mapping[str, Any]) -> Iterator[Job]:
  """Yields the jobs, the most telling first."""
  variants = dict(VARIANTS)
  names = list(SMOKE_ORDER if args.smoke else ORDER)
  for overrides in args.override:
    own = " ".join(overrides)
    variants[own] = Variant(tuple(overrides))
    names[2:2] = [f"{shape}/{own}" for shape in VARIED]  # Asked for: soon.
  for name in names:
    if args.only and not any(fnmatch.fnmatchcase(name, x) for x in args.only):
      continue
    if not name.startswith("peer/"):
      shape, _, variant_name = name.partition("/")
      variant = variants.get(variant_name, Variant())
      if device["platform"] in variant.platforms:
        yield _ours(args, device, name, SHAPES[shape], variant)
    elif device["platform"] != "tpu":  # PyTorch has no TPU to be compared on.
      yield _peer(args, device, name)


def _ours(args, device, name: str, shape: Shape, variant: Variant) -> Job:
  shape = _shape(args, shape)
  attempts = []
  for rows in _fitting(shape.rows, device):
    rows = max(1, int(rows * variant.share)) * device["count"]
    overrides = [
        f"data.length={shape.length}",
        f"train.batch_size={rows}",
        f"train.eval_batch_size={rows}",
        *(SMOKE_OVERRIDES if args.smoke else ()),
        *variant.overrides,
    ]
    command = [
        *("-m", "electra_jax", "benchmark"),
        *("--config", f"configs/pretrain.py:{shape.size}"),
        *(f"--config.{override}" for override in overrides),
        *("--steps", "2" if args.smoke else str(args.steps)),
    ]
    if args.peak_tflops is not None:
      command += ["--peak-tflops", str(args.peak_tflops)]
    attempts.append((rows, tuple(command)))
  return Job(
      name,
      tuple(attempts),
      share=variant.share,
      xla_flags=variant.xla_flags,
  )


def _peer(args, device, name: str) -> Job:
  _, shape_name, kind = name.split("/")
  shape = _shape(args, SHAPES[shape_name])
  rows = _fitting(shape.peer_rows, device)[0]
  command = (
      "tests/benchmarks/peer_step.py",
      *("--size", shape.size, "--length", str(shape.length)),
      *("--batch-size", str(rows), *PEERS[kind]),
      *("--rounds", "2" if args.smoke else "7"),
      *("--steps", "1" if args.smoke else "10"),
      *(("--override", *SMOKE_OVERRIDES) if args.smoke else ()),
  )
  return Job(name, ((rows, command),), is_peer=True)


def _shape(args, shape: Shape) -> Shape:
  if args.smoke:
    return shape._replace(length=shape.length // 4, rows=(8, 4), peer_rows=(4,))
  return shape


def _fitting(rows: tuple[int, ...], device) -> tuple[int, ...]:
  """Leaves out what a device of less memory cannot hold; each try costs."""
  if device["memory_bytes"] is None:
    return rows
  most = rows[0] * device["memory_bytes"] / 2**30 / REFERENCE_GIB
  return tuple(x for x in rows if x <= most) or rows[-1:]

"""The formats that `export` knows: who writes, opens and shrinks their files."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Sequence

from electra_jax.errors import UserError
from electra_jax.exporting import litert_file, onnx_file, stablehlo_file
from electra_jax.exporting.networks import Network
from electra_jax.exporting.runtimes import (
    Runtime,
    open_litert,
    open_onnx,
    open_stablehlo,
)


@dataclasses.dataclass(frozen=True)
class Target:
  """One format.

  Attributes:
    file: that holds the network; {} is for the network's name.
    packages: needed, by the names of their distributions and of their modules.
    extra: that installs them.
    write: writes a network to a path, for rows of some lengths.
    open: opens a file of the folder.
    quantize: makes a small file of the float32 one: (source, target, dtype).
    small_files: its name by the dtype of its weights, for all that it makes.
    int8_packages: as `packages`, of what `quantize` needs.
    has_lengths: whether rows have fixed lengths.
    weights: file of the parameters, where `file` does not hold them.
  """

  file: str
  packages: dict[str, str]
  extra: str
  write: Callable[[pathlib.Path, Network, Sequence[int]], None]
  open: Callable[[pathlib.Path, Network, Sequence[int]], Runtime]
  quantize: Callable[[pathlib.Path, pathlib.Path, str], None] | None = None
  small_files: dict[str, str] = dataclasses.field(default_factory=dict)
  int8_packages: dict[str, str] = dataclasses.field(default_factory=dict)
  has_lengths: bool = False
  weights: str = ""

  def needs(self, is_small: bool) -> dict[str, str]:
    """Returns the packages of its files; of those with small weights, too."""
    return self.packages | (self.int8_packages if is_small else {})


_ONNX = Target(
    "model.onnx",
    {"onnx": "onnx", "onnxruntime": "onnxruntime"},
    "deploy",
    lambda path, network, _: onnx_file.write_onnx(path, network),
    lambda path, *_: open_onnx(path),
    lambda source, target, _: onnx_file.quantize_onnx(source, target),
    {"int8": "model.int8.onnx"},
)
TARGETS = {
    "onnx": _ONNX,
    "litert": Target(
        "model.tflite",
        {
            "litert-converter": "litert_converter",
            "ai-edge-litert": "ai_edge_litert",
        },
        "deploy",
        litert_file.write_litert,
        open_litert,
        litert_file.quantize_litert,
        {"int8": "model.int8.tflite", "int4": "model.int4.tflite"},
        {"ai-edge-quantizer": "ai_edge_quantizer"},
        has_lengths=True,
    ),
    "web": dataclasses.replace(
        _ONNX,
        file="{}.onnx",
        small_files={"int8": "{}.int8.onnx"},
        extra="web",
    ),
    "stablehlo": Target(
        stablehlo_file.PROGRAM,
        {"safetensors": "safetensors"},
        "deploy",
        lambda path, network, _: stablehlo_file.write_stablehlo(
            path.parent, network
        ),
        lambda path, *_: open_stablehlo(path.parent),
        weights=stablehlo_file.WEIGHTS,
    ),
}


def find_target(to: str, small: Sequence[str]) -> Target:
  """Returns a format whose packages are there.

  Args:
    to: its name.
    small: dtypes of weights, beside float32, that are asked for.

  Raises:
    UserError: there is no such format, or a package is missing.
  """
  if to not in TARGETS:
    raise UserError(f"--to {to} is not one of {', '.join(TARGETS)}")
  target = TARGETS[to]
  for dtype in small:
    if dtype not in target.small_files:
      able = [name for name, x in TARGETS.items() if dtype in x.small_files]
      kept = " or ".join(["float32", *target.small_files])
      raise UserError(
          f"--{dtype} has no meaning for --to {to}, whose parameters are"
          f" {kept}; choose --to {' or '.join(able)}, or leave it out"
      )
  missing = [
      name
      for name, module in target.needs(bool(small)).items()
      if importlib.util.find_spec(module) is None
  ]
  if missing:
    raise UserError(
        f"--to {to} needs {' and '.join(missing)}; install"
        f" electra-jax[{target.extra}], for example with pip install"
        f" 'electra-jax[{target.extra}]'"
    )
  return target

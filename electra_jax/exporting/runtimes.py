"""Exported files run as their users run them: arrays in, arrays out by name."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from electra_jax.exporting.litert_file import signature
from electra_jax.exporting.networks import LENGTH, POSITIONS, Network
from electra_jax.exporting.stablehlo_file import PROGRAM, WEIGHTS

Arrays = Mapping[str, np.ndarray]
Runtime = Callable[[Arrays], dict[str, np.ndarray]]


def open_onnx(path: pathlib.Path, *, threads: int = 0) -> Runtime:
  """Opens a file of ONNX in onnxruntime.

  Args:
    path: of the file.
    threads: that compute; as many as there are cores, if 0.
  """
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  options.log_severity_level = 3  # Errors alone.
  session = onnxruntime.InferenceSession(
      str(path), options, providers=["CPUExecutionProvider"]
  )
  names = [output.name for output in session.get_outputs()]

  def run(inputs: Arrays) -> dict[str, np.ndarray]:
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))

  return run


def open_stablehlo(folder: pathlib.Path) -> Runtime:
  """Opens the program of a folder in JAX, on the CPU."""
  import jax
  import safetensors.numpy
  from jax import export

  exported = export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
  device = jax.local_devices(backend="cpu")[0]
  params = jax.device_put(safetensors.numpy.load_file(folder / WEIGHTS), device)

  def run(inputs: Arrays) -> dict[str, np.ndarray]:
    inputs = jax.device_put(dict(inputs), device)
    return jax.device_get(exported.call(params, inputs))

  return run


def open_litert(
    path: pathlib.Path,
    network: Network,
    lengths: Sequence[int],
    *,
    threads: int | None = None,
) -> Runtime:
  """Opens a file of LiteRT, which takes one row of a fixed length at a time.

  Each row goes to the shortest program that holds it.

  Args:
    path: of the file.
    network: that it holds.
    lengths: of its programs.
    threads: that compute.
  """
  from ai_edge_litert.interpreter import Interpreter

  interpreter = Interpreter(str(path), num_threads=threads)
  programs = {
      length: interpreter.get_signature_runner(signature(length))
      for length in lengths
  }
  cut = [port.name for port in network.outputs if LENGTH in port.shape]

  def run_row(inputs: Arrays, row: int) -> dict[str, np.ndarray]:
    width = inputs["input_ids"].shape[1]
    needed = int(inputs["input_mask"][row].sum())
    program_length = min(n for n in programs if n >= needed)
    program = programs[program_length]
    rows = {name: x[row : row + 1] for name, x in inputs.items()}
    positions = rows.pop(POSITIONS, None)
    rows = {name: _of_length(x, program_length) for name, x in rows.items()}
    if positions is None:
      outputs = program(**rows)
    else:
      calls = [
          program(**rows, **{POSITIONS: positions[:, i : i + 1]})
          for i in range(positions.shape[1])
      ]
      outputs = {
          name: np.concatenate([call[name] for call in calls], axis=1)
          for name in calls[0]
      }
    return outputs | {name: _of_length(outputs[name], width) for name in cut}

  def run(inputs: Arrays) -> dict[str, np.ndarray]:
    rows = [run_row(inputs, row) for row in range(len(inputs["input_ids"]))]
    return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}

  return run


def _of_length(x: np.ndarray, length: int) -> np.ndarray:
  """Cuts [1, L, …] or fills it up with zeros."""
  x = x[:, :length]
  missing = [(0, 0)] * x.ndim
  missing[1] = (0, length - x.shape[1])
  return np.pad(x, missing)

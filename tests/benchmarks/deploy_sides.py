"""One side of `deploy.py`: a process that opens a model and times its calls.

  python tests/benchmarks/deploy_sides.py SIDE MODEL ROWS LOGITS THREADS
  python tests/benchmarks/deploy_sides.py write FOLDER FILE

Loads the rows of the .npz ROWS, writes the logits of its single row to LOGITS,
prints a line, and then answers each line of standard input, the name of an
array of rows and a number of calls, with the seconds of each call in JSON.
"write" exports the transformers model in FOLDER to ONNX.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

LENGTH, VOCABULARY, BATCH = 128, 30_522, 32
NAMES = ("input_ids", "input_mask", "segment_ids")
THEIR_NAMES = ("input_ids", "attention_mask", "token_type_ids")
Logits = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class Side(NamedTuple):
  """What is compared.

  Attributes:
    title: for the table.
    file: of the model; None: it has none.
    is_peer: whether PyTorch or what it wrote runs.
  """

  title: str
  file: str | None
  is_peer: bool = False


SIDES = {
    "jax": Side("JAX, jitted", None),
    "onnx": Side("ONNX float32", "model.onnx"),
    "onnx_int8": Side("ONNX int8", "model.int8.onnx"),
    "litert": Side("LiteRT float32", "model.tflite"),
    "litert_int8": Side("LiteRT int8", "model.int8.tflite"),
    "torch": Side("PyTorch, eager", "torch/discriminator", True),
    "torch_onnx": Side("PyTorch's ONNX", "torch.onnx", True),
}


def main() -> None:
  """Serves one side, or writes the peer's ONNX."""
  if sys.argv[1] == "write":
    write_peer_onnx(*map(pathlib.Path, sys.argv[2:4]))
    return
  side, model, rows_file, logits_file, threads = sys.argv[1:6]
  # As many cores as threads, before a library starts any.
  cores = sorted(os.sched_getaffinity(0))[: int(threads)]
  os.sched_setaffinity(0, cores)
  rows_of = np.load(rows_file)
  rows = {
      batch: {name: rows_of[f"{batch}_{name}"] for name in NAMES}
      for batch in ("single", "batch")
  }
  run = OPENERS[side](model, int(threads))
  np.save(logits_file, run(rows["single"]))
  if side == "jax":  # Compiles for each shape.
    run(rows["batch"])
  print(json.dumps({"pid": os.getpid()}), flush=True)
  for line in sys.stdin:
    batch, calls = line.split()
    cpu, wall = [], []
    for _ in range(int(calls)):
      began = time.process_time(), time.perf_counter()
      run(rows[batch])
      cpu.append(time.process_time() - began[0])
      wall.append(time.perf_counter() - began[1])
    print(json.dumps({"cpu": cpu, "wall": wall}), flush=True)


def network_of(size: str) -> tuple:
  """Returns a shipped size's networks, and parameters as lively as trained."""
  import jax

  from electra_jax.config_files import load_config
  from electra_jax.runs.config import read_pretrain_config
  from electra_jax.runs.networks import electra_config
  from tests import helpers

  config = load_config(f"pretrain:{size}", {"model.dtype": "float32"})
  config = electra_config(read_pretrain_config(config), VOCABULARY)
  # Twice the deviation of fresh weights, so that logits differ from each other.
  params = jax.tree_util.tree_map_with_path(
      lambda path, x: 0.04 * x + (1 if path[-1].key == "scale" else 0),
      helpers.random_params(config),
  )
  return config, params


def open_jax(size: str, threads: int) -> Logits:
  """Opens our own model; threads are as many as there are cores."""
  del threads
  import jax

  from electra_jax.models.electra import Electra

  config, params = network_of(size)
  params = {n: tree for n, tree in params.items() if "generator" not in n}
  params = jax.device_put(params)
  model = Electra(config)

  @jax.jit
  def logits(params, *rows):
    return model.apply(
        {"params": params}, *rows, method="replaced_token_logits"
    )

  return lambda rows: np.asarray(logits(params, *rows.values()))


def open_onnx(path: str, threads: int) -> Logits:
  """Opens a file of ours in onnxruntime."""
  session = _session(path, threads)
  return lambda rows: session.run(["logits"], dict(rows))[0]


def open_peer_onnx(path: str, threads: int) -> Logits:
  """Opens a file that PyTorch wrote in onnxruntime."""
  session = _session(path, threads)
  names = [x.name for x in session.get_inputs()]

  def run(rows):
    theirs = dict(zip(THEIR_NAMES, rows.values(), strict=True))
    inputs = {name: theirs[name].astype(np.int64) for name in names}
    return session.run(None, inputs)[0]

  return run


def _session(path: str, threads: int):
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  options.log_severity_level = 3
  return onnxruntime.InferenceSession(
      path, options, providers=["CPUExecutionProvider"]
  )


def open_litert(path: str, threads: int) -> Logits:
  """Opens a file of LiteRT, which takes the rows of a batch one by one."""
  from ai_edge_litert.interpreter import Interpreter

  interpreter = Interpreter(path, num_threads=threads)
  program = interpreter.get_signature_runner(f"length_{LENGTH}")

  def run(rows):
    count = len(rows["input_ids"])
    return np.concatenate(
        [
            program(**{name: x[i : i + 1] for name, x in rows.items()})[
                "logits"
            ]
            for i in range(count)
        ]
    )

  return run


def open_torch(folder: str, threads: int) -> Logits:
  """Opens the model of transformers."""
  import torch

  torch.set_num_threads(threads)
  model = _peer(folder)

  def run(rows):
    inputs = {
        name: torch.from_numpy(x).long()
        for name, x in zip(THEIR_NAMES, rows.values(), strict=True)
    }
    with torch.inference_mode():
      return model(**inputs).logits.numpy()

  return run


OPENERS = {
    "jax": open_jax,
    "onnx": open_onnx,
    "onnx_int8": open_onnx,
    "litert": open_litert,
    "litert_int8": open_litert,
    "torch": open_torch,
    "torch_onnx": open_peer_onnx,
}


def write_peer_onnx(folder: pathlib.Path, path: pathlib.Path) -> None:
  """Exports a transformers model by torch.onnx, of any batch and length."""
  import torch

  model = _peer(folder)
  # Of their own each: equal tensors would become one input.
  rows = {
      name: torch.ones((2, LENGTH), dtype=torch.long) for name in THEIR_NAMES
  }
  axes = {
      0: torch.export.Dim("batch", min=1),
      1: torch.export.Dim("length", min=4, max=512),
  }
  torch.onnx.export(
      model,
      kwargs=rows,
      f=path,
      dynamo=True,
      dynamic_shapes=dict.fromkeys(THEIR_NAMES, axes),
      external_data=False,
  )


def _peer(folder: str | pathlib.Path):
  import transformers

  model = transformers.ElectraForPreTraining.from_pretrained(folder)
  return model.eval()


if __name__ == "__main__":
  sys.path[:0] = [str(pathlib.Path(__file__).parents[2])]
  main()

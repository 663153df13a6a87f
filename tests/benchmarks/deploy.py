"""Measures exported discriminators against the jitted model that they come of.

  python tests/benchmarks/deploy.py [--sizes tiny small base] [--json FILE]

Random weights of the sizes of the shipped configs and 30,522 pieces. Of the
model in JAX and of each exported file: MB, CPU milliseconds of one row of 128
tokens on one core (the least of many calls, in turns), the same over JAX's,
and the largest difference of a logit beside the deviation of the logits.
CPU time, as other work on the machine stretches any other.
"""

import argparse
import json
import os
import pathlib
import platform
import tempfile
import time
from importlib import metadata

ROUNDS, CALLS = 6, 10  # Of each side.
LENGTH, VOCABULARY = 128, 30_522
PACKAGES = (
    "jax",
    "onnx",
    "onnxruntime",
    "litert-converter",
    "ai-edge-litert",
    "ai-edge-quantizer",
)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--sizes", nargs="+", default=["tiny", "small", "base"])
  parser.add_argument("--json", type=pathlib.Path, help="write figures there")
  args = parser.parse_args()
  # Before anything starts its threads: one core, one thread each.
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  os.environ["JAX_PLATFORMS"] = "cpu"
  records = []
  for size in args.sizes:
    with tempfile.TemporaryDirectory() as folder:
      records += measure(size, pathlib.Path(folder))
  print(table(records))
  if args.json:
    facts = {
        "machine": platform.machine(),
        "load": os.getloadavg(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "records": records,
    }
    args.json.write_text(json.dumps(facts, indent=1) + "\n")


def measure(size: str, folder: pathlib.Path) -> list[dict]:
  import jax
  import numpy as np

  from electra_jax.config_files import load_config
  from electra_jax.exporting import litert_file, onnx_file, runtimes
  from electra_jax.exporting.networks import network_of_pretraining
  from electra_jax.interop.model import PretrainedState
  from electra_jax.models.electra import Electra
  from electra_jax.runs.config import read_pretrain_config
  from electra_jax.runs.networks import electra_config
  from electra_jax.trees import count_parameters
  from tests import helpers

  config = read_pretrain_config(
      load_config(f"pretrain:{size}", {"model.dtype": "float32"})
  )
  config = electra_config(config, VOCABULARY)
  params = helpers.lively_params(config)
  network = network_of_pretraining(
      PretrainedState(config, params), "discriminator", LENGTH
  )
  model = Electra(config)
  program = jax.jit(
      lambda params, *rows: model.apply(
          {"params": params}, *rows, method="replaced_token_logits"
      )
  )
  rng = np.random.default_rng(0)
  rows = {
      "input_ids": rng.integers(5, VOCABULARY, (1, LENGTH), np.int32),
      "input_mask": np.ones((1, LENGTH), np.int32),
      "segment_ids": np.zeros((1, LENGTH), np.int32),
  }
  whole, small = folder / "model.onnx", folder / "model.int8.onnx"
  light, lighter = folder / "model.tflite", folder / "model.int8.tflite"
  onnx_file.write_onnx(whole, network)
  onnx_file.quantize_onnx(whole, small)
  litert_file.write_litert(light, network, [LENGTH])
  litert_file.quantize_litert(light, lighter)

  def in_jax(rows):
    return {"logits": np.asarray(program(params, *rows.values()))}

  def in_litert(path):
    return runtimes.open_litert(path, network, [LENGTH], threads=1)

  sides = {
      "JAX, jitted": (in_jax, None),
      "ONNX float32": (runtimes.open_onnx(whole, threads=1), whole),
      "ONNX int8": (runtimes.open_onnx(small, threads=1), small),
      "LiteRT float32": (in_litert(light), light),
      "LiteRT int8": (in_litert(lighter), lighter),
  }
  secs = {name: [] for name in sides}
  outputs = {name: run(rows)["logits"] for name, (run, _) in sides.items()}
  for _ in range(ROUNDS):
    for name, (run, _) in sides.items():
      for _ in range(CALLS):
        began = time.process_time()
        run(rows)
        secs[name].append(time.process_time() - began)
  own, least = outputs["JAX, jitted"], min(secs["JAX, jitted"])
  return [
      {
          "size": size,
          "side": name,
          "parameters": count_parameters(network.params),
          "bytes": file and file.stat().st_size,
          "cpu_ms": 1e3 * min(secs[name]),
          "over_jax": min(secs[name]) / least,
          "largest_difference": float(np.abs(outputs[name] - own).max()),
          "deviation_of_logits": float(own.std()),
      }
      for name, (_, file) in sides.items()
  ]


def table(records: list[dict]) -> str:
  lines = [
      f"{'size':<7}{'side':<16}{'MB':>8}{'CPU ms':>9}{'over JAX':>10}"
      f"{'difference':>12}{'deviation':>11}"
  ]
  for r in records:
    size = f"{r['bytes'] / 1e6:.2f}" if r["bytes"] else ""
    lines.append(
        f"{r['size']:<7}{r['side']:<16}{size:>8}{r['cpu_ms']:>9.2f}"
        f"{r['over_jax']:>10.2f}{r['largest_difference']:>12.2g}"
        f"{r['deviation_of_logits']:>11.2f}"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  main()

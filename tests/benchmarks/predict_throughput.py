"""Texts a second: `predict`, transformers' pipeline and onnxruntime, one run.

  python tests/benchmarks/predict_throughput.py RUN TEXTS [--json FILE]

RUN is a finetune workdir of one task that classifies texts, TEXTS a file with
one on each line. Needs torch, transformers and the extra `deploy` beside the
package. The peers read RUN as `convert --to huggingface` and `export --to
onnx` write it. All sides take turns in one process; the figures are medians
over the rounds. CPU time is told beside, as other work on the machine
stretches any other. Ours is timed from the file of texts to the file of
answers, the peers from lists to lists; loading and compiling is no one's.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from importlib import metadata

ONE_SHARE = 8  # Sides of one text at a time get this part of the texts.
PACKAGES = ("jax", "onnxruntime", "tokenizers", "torch", "transformers")
BATCH = 32


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("run", type=pathlib.Path)
  parser.add_argument("texts", type=pathlib.Path)
  parser.add_argument("--count", type=int, default=512, help="of texts (512)")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", type=pathlib.Path, help="write figures there")
  args = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  lines = args.texts.read_text(encoding="utf-8").splitlines()
  texts = [line for line in lines if line.strip()][: args.count]
  with tempfile.TemporaryDirectory() as folder:
    found = measure(args.run, texts, pathlib.Path(folder), args.rounds)
  print(table(found))
  if args.json:
    facts = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "texts": len(texts),
        "rounds": args.rounds,
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "sides": found,
    }
    args.json.write_text(json.dumps(facts, indent=1) + "\n")


def measure(
    run: pathlib.Path, texts: list[str], folder: pathlib.Path, rounds: int
) -> list[dict]:
  import electra_jax

  electra_jax.convert(run, folder / "huggingface", to="huggingface")
  electra_jax.export(run, folder / "onnx", to="onnx")
  few = texts[: max(len(texts) // ONE_SHARE, 1)]
  session = open_session(folder / "onnx")
  pipeline = open_pipeline(folder / "huggingface", session.length)
  sides = {
      "predict --output": (open_predict(run, folder), texts),
      "open_run, one text at a time": (open_single(run), few),
      "transformers, one at a time": (lambda some: pipeline(some, 1), few),
      f"transformers, batches of {BATCH}": (
          lambda some: pipeline(some, BATCH),
          texts,
      ),
      "onnxruntime, one at a time": (lambda some: session(some, 1), few),
      f"onnxruntime, batches of {BATCH}": (
          lambda some: session(some, BATCH),
          texts,
      ),
      f"onnxruntime, sorted, batches of {BATCH}": (
          lambda some: session(some, BATCH, is_sorted=True),
          texts,
      ),
  }
  answers = {name: ask(some) for name, (ask, some) in sides.items()}
  wall, cpu = ({name: [] for name in sides} for _ in range(2))
  for _ in range(rounds):
    for name, (ask, some) in sides.items():
      began = time.perf_counter(), time.process_time()
      ask(some)
      ended = time.perf_counter(), time.process_time()
      wall[name].append((ended[0] - began[0]) / len(some))
      cpu[name].append((ended[1] - began[1]) / len(some))
  return [record(name, wall, cpu, answers) for name in sides]


def record(name, wall, cpu, answers) -> dict:
  """What was found of a side; ratios are its time over `predict --output`'s."""
  ours = "predict --output"
  pairs = list(zip(answers[name], answers[ours], strict=False))
  return {
      "side": name,
      "texts_per_sec": 1 / statistics.median(wall[name]),
      "cpu_ms": 1e3 * statistics.median(cpu[name]),
      "wall_over_ours": ratio(wall[name], wall[ours]),
      "cpu_over_ours": ratio(cpu[name], cpu[ours]),
      "other_labels": sum(a[0] != b[0] for a, b in pairs),
      "largest_difference": max(abs(a[1] - b[1]) for a, b in pairs),
  }


def ratio(theirs, ours) -> float:
  return statistics.median(x / y for x, y in zip(theirs, ours, strict=True))


def open_predict(run, folder):
  """All of `predict --output` but loading and compiling."""
  from electra_jax.bulk import predicting
  from electra_jax.bulk.lines import Lines
  from electra_jax.bulk.output import open_output
  from electra_jax.progress import Progress

  answers = predicting._open_answers(run, None, None, None, None, False)
  source, output = folder / "texts.txt", folder / "answers.jsonl"

  def ask(texts):
    source.write_text("\n".join(texts) + "\n")
    output.unlink(missing_ok=True)
    with open_output(output, {}) as opened:
      predicting._answer_all(
          Lines([source]), answers, opened, False, Progress(quiet=True)
      )
      opened.publish()
    found = map(json.loads, output.read_text().splitlines())
    return [(x["label"], x["probability"]) for x in found]

  return ask


def open_single(run):
  import electra_jax
  from electra_jax.tasks.examples import TextExample

  model = electra_jax.open_run(run)

  def ask(texts):
    found = []
    for text in texts:
      (x,) = model.predict([TextExample("", text, None, None)]).records
      found.append((x["label"], x["probability"]))
    return found

  return ask


def open_pipeline(folder, length):
  import transformers

  ask = transformers.pipeline(
      "text-classification", model=str(folder), device="cpu"
  )

  def run(texts, batch_size):
    found = ask(
        texts, batch_size=batch_size, truncation=True, max_length=length
    )
    return [(x["label"], x["score"]) for x in found]

  return run


class open_session:  # noqa: N801  # Used as a function.
  """Asks the exported file as its example does, batch by batch.

  Attributes:
    length: tokens of a text at most.
  """

  def __init__(self, folder: pathlib.Path):
    import onnxruntime
    import tokenizers

    manifest = json.loads((folder / "manifest.json").read_text())
    self.length = manifest["lengths"]["trained"]
    self._labels = manifest["tasks"][0]["labels"]
    self._tokenizer = tokenizers.Tokenizer.from_file(
        str(folder / "tokenizer.json")
    )
    self._tokenizer.enable_truncation(self.length)
    self._session = onnxruntime.InferenceSession(folder / "model.onnx")

  def __call__(self, texts, batch_size, *, is_sorted=False):
    import numpy as np

    rows = self._tokenizer.encode_batch(texts)
    order = list(range(len(rows)))
    if is_sorted:
      order.sort(key=lambda i: len(rows[i].ids))
    found = [None] * len(rows)
    for start in range(0, len(rows), batch_size):
      numbers = order[start : start + batch_size]
      width = max(len(rows[i].ids) for i in numbers)
      ids = np.zeros((len(numbers), width), np.int32)
      mask = np.zeros_like(ids)
      for place, i in enumerate(numbers):
        ids[place, : len(rows[i].ids)] = rows[i].ids
        mask[place, : len(rows[i].ids)] = 1
      inputs = {
          "input_ids": ids,
          "input_mask": mask,
          "segment_ids": np.zeros_like(ids),
      }
      (logits,) = self._session.run(None, inputs)
      shares = np.exp(logits - logits.max(-1, keepdims=True))
      shares /= shares.sum(-1, keepdims=True)
      for i, row in zip(numbers, shares, strict=True):
        found[i] = self._labels[row.argmax()], float(row.max())
    return found


def table(found: list[dict]) -> str:
  lines = [
      f"{'side':<36}{'texts/s':>9}{'CPU ms':>8}{'time/ours':>11}"
      f"{'CPU/ours':>10}{'other labels':>14}{'difference':>12}"
  ]
  lines += [
      f"{x['side']:<36}{x['texts_per_sec']:>9.0f}{x['cpu_ms']:>8.2f}"
      f"{x['wall_over_ours']:>11.2f}{x['cpu_over_ours']:>10.2f}"
      f"{x['other_labels']:>14}{x['largest_difference']:>12.2g}"
      for x in found
  ]
  return "\n".join(lines)


if __name__ == "__main__":
  main()

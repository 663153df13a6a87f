"""Peak memory of `prepare` against the shape of its input.

  python tests/benchmarks/prepare_memory.py --megabytes 17 --json FILE

Writes the same text in files of several shapes, prepares each in a process of
its own with one worker, and prints the most memory that the process had.
"""

import argparse
import csv
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pyarrow
import pyarrow.parquet

VOCABULARY = pathlib.Path(__file__).parents[1] / "golden" / "vocab.txt"
LINE = "the people of the states and the congress of the union in a year of war"
# The peak since exec; getrusage's would be that of this process, if larger.
PEAK = """
import sys
from electra_jax.api import prepare
manifest = prepare(
    [sys.argv[1]], sys.argv[2], tokenizer=sys.argv[3], packing="full",
    num_workers=1, progress=False,
)
[peak] = [x.split()[1] for x in open("/proc/self/status") if "VmHWM" in x]
print(peak, manifest.num_documents)
"""


def write_shapes(folder: pathlib.Path, size: int) -> list[pathlib.Path]:
  """Writes the same text in files of all shapes; returns their paths."""
  count = size // len(LINE)
  lines = [f"{LINE} ." for _ in range(count)]
  documents = ["\n".join(lines[i : i + 20]) for i in range(0, count, 20)]
  texts = {
      "many documents.txt": "\n\n".join(documents),
      "one document.txt": "\n".join(lines),
      "one line.txt": " ".join(lines),
      "many objects.jsonl": "\n".join(
          json.dumps({"text": d}) for d in documents
      ),
      "one object.jsonl": json.dumps({"text": "\n".join(lines)}),
      "one object of one line.jsonl": json.dumps({"text": " ".join(lines)}),
      "many objects.json": json.dumps([{"text": d} for d in documents]),
  }
  paths = []
  for name, text in texts.items():
    paths.append(folder / name)
    paths[-1].write_text(text)
  for name, cells in (("many", documents), ("one", [" ".join(lines)])):
    paths.append(folder / f"{name} cells.csv")
    with paths[-1].open("w", newline="") as file:
      csv.writer(file).writerows([["text"], *([cell] for cell in cells)])
    paths.append(folder / f"{name} cells.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": cells}), paths[-1])
  return paths


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--megabytes", type=int, default=17)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  result = {"megabytes": args.megabytes, "peak_mb": {}}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for path in write_shapes(folder, args.megabytes * 10**6):
      ended = subprocess.run(
          [sys.executable, "-c", PEAK, path, folder / "store", VOCABULARY],
          check=True,
          capture_output=True,
          text=True,
      )
      shutil.rmtree(folder / "store")
      peak, documents = map(int, ended.stdout.split())
      result["peak_mb"][path.name] = round(peak / 1024)
      print(f"{path.name:<30} {peak / 1024:6,.0f} MB  {documents:,} documents")
  if args.json:
    args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
  main()

"""example.py of a folder that writes text; it needs no package of this one."""

import inspect

from electra_jax.exporting import writing_loop
from electra_jax.exporting.text_network import TextNetwork

_HEAD = '''"""Writes a text from a text. Needs: pip install onnxruntime tokenizers numpy

Usage: python example.py {usage}
"""

import json
import pathlib
import re
import sys

import numpy as np
import onnxruntime
import tokenizers

ENDING = ".onnx"  # Or .int8.onnx, where such files lie beside the others.
folder = pathlib.Path(__file__).parent
manifest = json.loads((folder / "manifest.json").read_text())
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.encode_special_tokens = True  # As in training.
special = manifest["tokenizer"]["special_ids"]
DECODER, HOW = manifest["decoder"], manifest["decoding"]


def load(name):
  file = pathlib.Path(manifest[name]["file"]).with_suffix(ENDING)
  session = onnxruntime.InferenceSession(folder / file)
  names = [output.name for output in session.get_outputs()]
  return lambda inputs: dict(zip(names, session.run(names, inputs)))


encode, decode = load("encoder"), load("decoder")

'''
_TAIL = """

def source_of(text, other_text):
  first, second = (
      tokenizer.encode(x, add_special_tokens=False).ids
      for x in (text, other_text)
  )
  room = manifest["lengths"]["source"] - (3 if second else 2)
  while len(first) + len(second) > room:  # The longer loses its end.
    (first if len(first) > len(second) else second).pop()
  sep = [special["sep"]]
  ids = [special["cls"], *first, *sep, *second, *(sep if second else [])]
  return {
      "source_ids": np.array([ids], np.int32),
      "source_mask": np.ones((1, len(ids)), np.int32),
      "source_segments": np.array(
          [[int(i >= len(first) + 2) for i in range(len(ids))]], np.int32
      ),
  }


def in_words(ids):
  how, words = manifest["words"], []
  for piece in (tokenizer.id_to_token(i) for i in ids if i != HOW["end"]):
    goes_on = piece.startswith(how["mark"]) != how["marks_start"]
    piece = piece.removeprefix(how["mark"])
    if words and goes_on:
      words[-1] += piece
    else:
      words.append(piece)
  text = " ".join(words)
  for pattern, joined in how["joins"]:
    text = re.sub(pattern, joined, text)
  return text


def answer(text, other_text=""):
  row = source_of(text, other_text)
  found = {**row, **encode(row)}
  memory = {name: found[name] for name in DECODER["memory"]}
  shapes = {port["name"]: port["shape"] for port in DECODER["inputs"]}
  kept = {}  # What the decoder keeps, before the first token.
  for name in DECODER["kept"]:
    shape = [{"batch": 1, "past": 0}.get(n, n) for n in shapes[name]]
    kept[name] = found.get(name, np.zeros(shape, np.float32))

  def step(kept, texts):
    newest = [[HOW["begin"], *text][-1] for text in texts]
    outputs = decode({
        "tokens": np.array(newest, np.int32),
        "place": np.array([len(texts[0])], np.int32),
        **{n: np.repeat(x, len(texts), axis=0) for n, x in memory.items()},
        **kept,
    })
    later = {n: outputs[other] for n, other in DECODER["kept"].items()}
    return outputs["logits"], later

  write = beam if HOW["method"] == "beam" else greedy
  ids, score = write(step, kept, HOW)
  return {manifest["task"]["name"]: {"written": in_words(ids), "score": score}}


if __name__ == "__main__":
  print(json.dumps(answer(*sys.argv[1].split("\\t", 1)), ensure_ascii=False))
"""


def text_example(network: TextNetwork) -> str:
  """Returns the text of example.py, whose loop is `writing_loop`'s.

  It defines `answer`, whose texts are those of `electra-jax predict`, by beam
  search if the run has that, else greedily.

  Args:
    network: that was exported.
  """
  loop = inspect.getsource(writing_loop).partition("import numpy as np\n")[2]
  usage = '"a text"'
  if network.task.takes_pairs:
    usage = "$'a text\\\\tanother'"
  return _HEAD.format(usage=usage) + loop.lstrip() + _TAIL

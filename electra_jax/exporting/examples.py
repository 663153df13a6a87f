"""example.py: a folder's model asked in a few lines, without this package."""

from electra_jax.exporting.networks import (
    DETECTION,
    EMBEDDING,
    MASKED_LM,
    Network,
)

EXAMPLE_FILE = "example.py"

_START = '''"""Asks the model in this folder. Needs: pip install {packages}

Usage: python example.py {usage}
"""

import json
import pathlib
import sys

import numpy as np
import tokenizers
{imports}

folder = pathlib.Path(__file__).parent
manifest = json.loads((folder / "manifest.json").read_text())
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
{tokenizer}
'''
_PACKAGES = {
    "onnx": "onnxruntime",
    "litert": "ai-edge-litert",
    "stablehlo": "jax safetensors",
}
_IMPORTS = {
    "onnx": "import onnxruntime",
    "litert": "from ai_edge_litert.interpreter import Interpreter",
    "stablehlo": "import safetensors.numpy\nfrom jax import export",
}
_LOAD = {
    "onnx": """session = onnxruntime.InferenceSession(folder / "model.onnx")


def run(inputs):
  values = session.run(None, inputs)
  return {o.name: x for o, x in zip(session.get_outputs(), values)}
""",
    "litert": """model = Interpreter(str(folder / "model.tflite"))


def run(inputs):
  needed = inputs["input_mask"].shape[1]
  length = min(n for n in manifest["lengths"]["fixed"] if n >= needed)
  for name in ("input_ids", "input_mask", "segment_ids"):
    inputs[name] = np.pad(inputs[name], [(0, 0), (0, length - needed)])
  return model.get_signature_runner(f"length_{length}")(**inputs)
""",
    "stablehlo": """program = export.deserialize(
    bytearray((folder / "model.jax_export").read_bytes())
)
params = safetensors.numpy.load_file(folder / "model.safetensors")


def run(inputs):
  outputs = program.call(params, inputs)
  return {name: np.asarray(x) for name, x in outputs.items()}
""",
}
_TEXT = """

row = tokenizer.encode(*sys.argv[1].split("\\t"))
inputs = {
    "input_ids": np.array([row.ids], np.int32),
    "input_mask": np.array([row.attention_mask], np.int32),
    "segment_ids": np.array([row.type_ids], np.int32),
}
"""
_DETECT = """logits = run(inputs)["logits"][0]
for token, logit in zip(row.tokens, logits):
  print(f"{token:<16}{1 / (1 + np.exp(-logit)):.3f}")
"""
_GUESS = """for place in np.flatnonzero(inputs["input_ids"][0] == MASK):
  inputs["positions"] = np.array([[place]], np.int32)
  logits = run(dict(inputs))["logits"][0, 0]
  best = np.argsort(-logits)[:5]
  print(place, [tokenizer.id_to_token(int(i)) for i in best])
""".replace("MASK", 'manifest["tokenizer"]["special_ids"]["mask"]')
_TASK = """
outputs = run(inputs)
for task in manifest["tasks"]:
  logits = outputs[task["outputs"]["logits"]][0]
"""
_CLASSES = """  shares = np.exp(logits - logits.max())
  shares /= shares.sum()
  best = int(logits.argmax())
  print(task["name"], task["labels"][best], f"{shares[best]:.3f}")
"""
_LABELS = """  odds = dict(zip(task["labels"], 1 / (1 + np.exp(-logits))))
  print(task["name"], {k: f"{p:.3f}" for k, p in odds.items() if p > 0.5})
"""
_RATING = """  low, high = task["label_range"]
  print(task["name"], f"{low + float(logits[0]) * (high - low):.3f}")
"""
_TAGS = """
words = sys.argv[1].split()
pieces = [tokenizer.encode(w, add_special_tokens=False).ids for w in words]
special = manifest["tokenizer"]["special_ids"]
pieces = [ids or [special["unk"]] for ids in pieces]
ids = [special["cls"], *(i for word in pieces for i in word), special["sep"]]
firsts = np.cumsum([1, *map(len, pieces)])[:-1]
inputs = {
    "input_ids": np.array([ids], np.int32),
    "input_mask": np.ones((1, len(ids)), np.int32),
    "segment_ids": np.ones((1, len(ids)), np.int32),  # All of segment 1.
}
outputs = run(inputs)
for task in manifest["tasks"]:
  tags = outputs[task["outputs"]["logits"]][0, firsts].argmax(-1)
  print(task["name"], [(w, task["labels"][t]) for w, t in zip(words, tags)])
"""
_ANSWER = """
row = tokenizer.encode(sys.argv[1], sys.argv[2])
width = max(len(row.ids), manifest["lengths"]["shortest"])
inputs = {
    "input_ids": np.array([row.ids], np.int32),
    "input_mask": np.array([row.attention_mask], np.int32),
    "segment_ids": np.array([row.type_ids], np.int32),
}
for name, x in inputs.items():  # A search keeps as many places as it asks for.
  inputs[name] = np.pad(x, [(0, 0), (0, width - x.shape[1])])
outputs = run(inputs)
for task in manifest["tasks"]:
  found = {n: outputs[o][0] for n, o in task["outputs"].items()}
  total = found["start_log_probs"][:, None] + found["end_log_probs"]
  starts = np.broadcast_to(found["start_index"][:, None], total.shape)
  length = found["end_index"] - starts + 1
  is_span = (length > 0) & (length <= task["max_answer_length"])
  is_span &= (starts > 0) & (found["end_index"] < len(row.ids) - 1)
  best = np.where(is_span, total, -np.inf).argmax()
  start, end = starts.flat[best], found["end_index"].flat[best]
  first, last = row.offsets[start][0], row.offsets[end][1]
  print(task["name"], repr(sys.argv[2][first:last]), "log-odds of no answer:",
        f"{float(found['impossible']):.3f}")
"""
_COMPARE = """

def embed(text):
  row = tokenizer.encode(text)
  inputs = {
      "input_ids": np.array([row.ids], np.int32),
      "input_mask": np.array([row.attention_mask], np.int32),
      "segment_ids": np.array([row.type_ids], np.int32),
  }
  vector = run(inputs)["vectors"][0]
  return vector / np.linalg.norm(vector)


one, other = embed(sys.argv[1]), embed(sys.argv[2])
print(f"cosine {float(one @ other):.4f}")
"""
_SHOW = {
    EMBEDDING: _COMPARE,
    DETECTION: _TEXT + _DETECT,
    MASKED_LM: _TEXT + _GUESS,
    "classification": _TEXT + _TASK + _CLASSES,
    "multilabel": _TEXT + _TASK + _LABELS,
    "regression": _TEXT + _TASK + _RATING,
    "tagging": _TAGS,
    "questions": _ANSWER,
}
_USAGE = {
    EMBEDDING: '"a text" "another"',
    "tagging": '"some words"',
    "questions": '"a question" "a context"',
}
# What the runtimes share: a name written out in a text is text, as in training.
_TOKENIZER = "tokenizer.encode_special_tokens = {splits}  # As in training."
_CUT = '\ntokenizer.enable_truncation(manifest["lengths"]["example"]{how})'
_HOW = ', strategy="only_second"'


def example_of(target: str, network: Network) -> str:
  """Returns the text of example.py.

  Of several tasks it asks those of the first one's kind.

  Args:
    target: "onnx", "litert" or "stablehlo".
    network: that was exported.
  """
  kind = network.heads[0].kind
  splits = _TOKENIZER.format(splits=kind != MASKED_LM)
  if kind != "tagging":
    splits += _CUT.format(how=_HOW if kind == "questions" else "")
  packages = f"{_PACKAGES[target]} tokenizers numpy"
  start = _START.format(
      packages=packages,
      usage=_USAGE.get(kind, '"a text"'),
      imports=_IMPORTS[target],
      tokenizer=splits,
  )
  show = _SHOW[kind]
  if len({head.kind for head in network.heads}) > 1:
    show = show.replace(
        'manifest["tasks"]:',
        f'[t for t in manifest["tasks"] if t["kind"] == "{kind}"]:',
    )
  return start + _LOAD[target] + show

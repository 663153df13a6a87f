"""example.py: a folder's model asked in a few lines, without this package."""

from electra_jax.exporting.networks import (
    DETECTION,
    EMBEDDING,
    MASKED_LM,
    Network,
)

EXAMPLE_FILE = "example.py"

_START = """\"""Asks the model in this folder. Needs: pip install {packages}

Usage: python example.py {usage}
\"""

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
"""
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
    "onnx": """MODEL = "model.onnx"  # Or model.int8.onnx, where it lies beside it.
session = onnxruntime.InferenceSession(folder / MODEL)


def run(inputs):
  values = session.run(None, inputs)
  return {o.name: x for o, x in zip(session.get_outputs(), values)}
""",
    "litert": """MODEL = "model.tflite"  # Or model.int8.tflite, where it lies beside it.
model = Interpreter(str(folder / MODEL))


def run(inputs):
  needed = inputs["input_mask"].sum()
  length = min(n for n in manifest["lengths"]["fixed"] if n >= needed)
  for name in ("input_ids", "input_mask", "segment_ids"):
    row = inputs[name][:, :length]
    inputs[name] = np.pad(row, [(0, 0), (0, length - row.shape[1])])
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

row = tokenizer.encode(*sys.argv[1].split("\\t", 1))
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
_ASK = """

special = manifest["tokenizer"]["special_ids"]
CLS, SEP, UNK = special["cls"], special["sep"], special["unk"]
lengths, TASKS = manifest["lengths"], manifest["tasks"]


def encode(text):
  return tokenizer.encode(text, add_special_tokens=False)


def ask(ids, segments):
  row = np.zeros((3, 1, max(len(ids), lengths["shortest"])), np.int32)
  row[:, 0, : len(ids)] = ids, np.ones(len(ids)), segments
  return run(dict(zip(("input_ids", "input_mask", "segment_ids"), row)))
"""
_PAIR = """

def answer(text, other_text=""):
  first, second = encode(text).ids, encode(other_text).ids
  room = lengths["example"] - (3 if second else 2)
  while len(first) + len(second) > room:  # The longer loses its end.
    (first if len(first) > len(second) else second).pop()
  ids = [CLS, *first, SEP, *second, *([SEP] if second else [])]
  segments = (np.arange(len(ids)) >= len(first) + 2).astype(int)
  outputs, found = ask(ids, segments), {}
  for task in TASKS:
    logits = outputs[task["outputs"]["logits"]][0].astype(float)
    found[task["name"]] = decode(task, logits)
  return found
"""
_CLASSES = """

def decode(task, logits):
  shares = np.exp(logits - logits.max())
  best = int(logits.argmax())
  probability = float(shares[best] / shares.sum())
  return {"label": task["labels"][best], "probability": probability}
"""
_LABELS = """

def decode(task, logits):
  odds = dict(zip(task["labels"], (1 / (1 + np.exp(-logits))).tolist()))
  chosen = [label for label, p in odds.items() if p > 0.5]
  return {"labels": chosen, "probabilities": odds}
"""
_RATING = """

def decode(task, logits):
  low, high = task["label_range"]
  return {"rating": low + float(logits[0]) * (high - low)}
"""
_TAGS = """

def rows_of(words):
  # A sentence that is too long becomes several rows, cut between words.
  room, ids, firsts = lengths["example"] - 2, [], []
  for word in words:
    pieces = (encode(word).ids or [UNK])[:room]
    if len(ids) + len(pieces) > room:
      yield ids, firsts
      ids, firsts = [], []
    firsts.append(1 + len(ids))  # Where the tag of the word will stand.
    ids += pieces
  yield ids, firsts


def answer(words):
  found = {task["name"]: {"words": words, "tags": []} for task in TASKS}
  for ids, firsts in rows_of(words):
    ids = [CLS, *ids, SEP]
    outputs = ask(ids, np.ones(len(ids)))  # All of segment 1.
    for task in TASKS:
      best = outputs[task["outputs"]["logits"]][0, firsts].argmax(-1)
      found[task["name"]]["tags"] += [task["labels"][i] for i in best]
  for task in TASKS:
    tags = found[task["name"]]["tags"]
    found[task["name"]]["tags"] = in_scheme(tags, task["tag_letters"])
  return found


def split(text):
  pattern = tokenizers.Regex(TASKS[0]["word_pattern"])
  words = tokenizers.pre_tokenizers.Split(pattern, "removed", invert=True)
  return [word for word, _ in words.pre_tokenize_str(text)]
"""
_SCHEME = """

def spans_of(tags):
  spans, before = [], ("O", "")
  for i, tag in enumerate(tags):
    letter, _, kind = tag.partition("-")
    if letter != "O":
      starts = letter in "BS" or before[0] in "OES" or kind != before[1]
      spans.append((i if starts else spans.pop()[0], i + 1, kind))
    before = letter, kind
  return spans


def in_scheme(tags, letters):
  # The model has learnt BIOES; its data may be written otherwise.
  if letters is None:
    return tags
  begin, inside, end, single, parts_neighbours = letters
  spans, found = spans_of(tags), ["O"] * len(tags)
  edges = {(start, kind) for start, _, kind in spans}
  behind = {(stop, kind) for _, stop, kind in spans}
  for start, stop, kind in spans:
    marks = [inside] * (stop - start)
    if parts_neighbours:
      if begin != inside and (start, kind) in behind:
        marks[0] = begin
      if end != inside and (stop, kind) in edges:
        marks[-1] = end
    elif len(marks) == 1:
      marks = [single]
    else:
      marks[0], marks[-1] = begin, end
    for i, mark in enumerate(marks, start):
      found[i] = f"{mark}-{kind}" if kind else mark
  return found
"""
_QUESTIONS = """

def windows_of(size, room, stride):
  step = min(stride, room)
  begins = range(0, max(size - room, 0) + step, step)
  return [(begin, min(begin + room, size)) for begin in begins]


def best_of(windows, place):
  # The window that shows most around a piece of the context.
  def shown(window):
    begin, end = window
    return min(place - begin, end - 1 - place) + 0.01 * (end - begin)

  return max((w for w in windows if w[0] <= place < w[1]), key=shown)


def spans_of(task, outputs, offset, window, windows):
  found = {n: outputs[name][0] for n, name in task["outputs"].items()}
  ends = found["end_index"] - offset
  for (i, j), end in np.ndenumerate(ends):
    start = found["start_index"][i] - offset
    if not 0 <= start <= end < window[1] - window[0]:
      continue
    if end - start >= task["max_answer_length"]:
      continue
    if best_of(windows, window[0] + start) == window:
      odds = float(found["start_log_probs"][i])
      odds += float(found["end_log_probs"][i, j])
      yield odds, window[0] + start, window[0] + end


def answer_one(task, question, context):
  asked = encode(question).ids[: task["max_query_length"]]
  pieces = encode(context)
  room = lengths["example"] - len(asked) - 3
  windows = windows_of(len(pieces.ids), room, task["doc_stride"])
  spans, null_odds = [], float("inf")
  for window in windows:
    ids = [CLS, *asked, SEP, *pieces.ids[slice(*window)], SEP]
    offset = len(asked) + 2
    outputs = ask(ids, (np.arange(len(ids)) >= offset).astype(int))
    spans += spans_of(task, outputs, offset, window, windows)
    impossible = float(outputs[task["outputs"]["impossible"]][0])
    null_odds = min(null_odds, impossible)
  text, start, end = "", 0, 0
  if spans:
    _, first, last = max(spans, key=lambda span: span[0])
    start, end = pieces.offsets[first][0], pieces.offsets[last][1]
    text = context[start:end]
  # Past the threshold there is no answer; the best span is told all the same.
  is_null = task["may_lack_answer"] and null_odds > task["null_threshold"]
  return {
      "answer": "" if is_null else text,
      "text": text,
      "start": start,
      "end": end,
      "null_odds": null_odds,
  }


def answer(question, context):
  return {t["name"]: answer_one(t, question, context) for t in TASKS}
"""
_MAIN = """

if __name__ == "__main__":
  print(json.dumps(answer({arguments}), ensure_ascii=False))
"""
_OF_TEXT = _MAIN.format(arguments='*sys.argv[1].split("\\t", 1)')
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
    "classification": _PAIR + _CLASSES + _OF_TEXT,
    "multilabel": _PAIR + _LABELS + _OF_TEXT,
    "regression": _PAIR + _RATING + _OF_TEXT,
    "tagging": _SCHEME + _TAGS + _MAIN.format(arguments="split(sys.argv[1])"),
    "questions": _QUESTIONS + _MAIN.format(arguments="*sys.argv[1:3]"),
}
_USAGE = {
    EMBEDDING: '"a text" "another"',
    "tagging": '"some words"',
    "questions": '"a question" "a context"',
}
# What the runtimes share: a name written out in a text is text, as in training.
_TOKENIZER = "tokenizer.encode_special_tokens = {splits}  # As in training."
_CUT = '\ntokenizer.enable_truncation(manifest["lengths"]["example"])'


def example_of(target: str, network: Network) -> str:
  """Returns the text of example.py.

  Of a fine-tuned model it defines `answer`, whose results are those of
  `electra-jax predict --json`; of several tasks it asks those of the first
  one's kind. Of a long text to classify it reads the beginning, whatever
  `config.data.windows` says.

  Args:
    target: "onnx", "litert" or "stablehlo".
    network: that was exported.
  """
  kind = network.heads[0].kind
  is_task = network.heads[0].task is not None
  splits = _TOKENIZER.format(splits=kind != MASKED_LM)
  packages = f"{_PACKAGES[target]} tokenizers numpy"
  start = _START.format(
      packages=packages,
      usage=_USAGE.get(kind, '"a text"'),
      imports=_IMPORTS[target],
      tokenizer=splits if is_task else splits + _CUT,
  )
  if not is_task:
    return start + _LOAD[target] + _SHOW[kind]
  ask = _ASK
  if len({head.kind for head in network.heads}) > 1:
    # Two tasks of different kinds are asked in different ways.
    ask += f"""

TASKS = [task for task in TASKS if task["kind"] == "{kind}"]
"""
  return start + _LOAD[target] + ask + _SHOW[kind]

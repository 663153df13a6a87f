"""A text token by token, in numpy: for one source, greedy or by beam search.

example.py of an exported folder holds a copy of these functions, so that they
use numpy alone. `how` is "decoding" of manifest.json; a step takes the texts so
far, as lists of ids, and what has been kept of them, and returns logits [n, V]
and what is kept now, arrays whose first axis is n.

Source: `electra_jax.decoding`, which does the same in batches.
"""

import numpy as np

NEVER = -1e9  # Of a token that may not come.


def allowed(logits, texts, how):
  """Lowers the logits of tokens that may not come."""
  logits = logits.copy()
  logits[:, how["never"]] = NEVER
  if len(texts[0]) < how["min_length"]:
    logits[:, how["end"]] = NEVER
  size = how["no_repeat_ngram"]
  for row, text in zip(logits, texts, strict=True):
    for start in range(len(text) - size + 1 if size else 0):
      *words, last = text[start : start + size]
      if words == text[len(text) - size + 1 :]:
        row[last] = NEVER
  return logits


def log_total(logits):
  """Returns what turns logits into log-probabilities when subtracted."""
  largest = logits.max(-1, keepdims=True)
  return largest + np.log(np.exp(logits - largest).sum(-1, keepdims=True))


def penalty(length, how):
  """Returns what a text's log-probability is divided by."""
  return ((5 + length) / 6) ** how["length_penalty"]


def greedy(step, kept, how):
  """Writes the likeliest token each time; returns ids and their score."""
  text, total = [], 0.0
  while len(text) < how["max_length"] and how["end"] not in text:
    logits, kept = step(kept, [text])
    best = int(allowed(logits, [text], how)[0].argmax())
    total += float(logits[0, best] - log_total(logits)[0, 0])
    text = [*text, best]
  return text, total / penalty(len(text), how)


def beam(step, kept, how):
  """Goes on with several texts; returns ids and score of the best."""
  size, end = how["beam_size"], how["end"]
  live, finished = [(0.0, [])], []  # Of a total and ids; of a score and ids.
  best_penalty = penalty(how["max_length"], how)
  while len(live[0][1]) < how["max_length"]:
    texts = [text for _, text in live]
    logits, kept = step(kept, texts)
    totals = np.array([[total] for total, _ in live])
    totals = totals + allowed(logits, texts, how) - log_total(logits)
    order = np.argsort(-totals.ravel(), kind="stable")[: 2 * size]
    parents, tokens = np.divmod(order, logits.shape[1])
    totals = totals.ravel()[order]
    for i in range(len(order))[:size]:  # Of the others an end does not count.
      if tokens[i] == end and totals[i] > NEVER / 2:
        text = [*texts[parents[i]], end]
        finished.append((float(totals[i]) / penalty(len(text), how), text))
    finished = sorted(finished, key=lambda pair: -pair[0])[:size]
    going = [i for i, token in enumerate(tokens) if token != end][:size]
    live = [
        (float(totals[i]), [*texts[parents[i]], int(tokens[i])]) for i in going
    ]
    kept = {name: x[parents[going]] for name, x in kept.items()}
    best = live[0][0]
    if best < NEVER / 2:
      break
    if len(finished) == size and finished[-1][0] > best / best_penalty:
      break
  if finished:
    return finished[0][1], finished[0][0]
  return live[0][1], live[0][0] / best_penalty

"""Workdirs made of files alone: what a run would have left, with odd texts."""

import json
import math
import pathlib

HOSTILE = "<script>alert('x')</script>"


def write(path: pathlib.Path, value) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value))


def write_lines(path: pathlib.Path, records) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(record) + "\n" for record in records))


def pretrain_run(folder: pathlib.Path, rate=1e-3, steps=1000, **changes):
  """A workdir of a pretrain run of 1,000 steps, or of its beginning."""
  config = {
      "seed": 0,
      "data": {"store": str(folder / "gone"), "length": 128},
      "train": {"num_steps": 1000, "batch_size": 64},
      "optimizer": {"learning_rate": rate},
      "objective": {"name": "electra"},
  }
  write(folder / "store.json", {"start": "random weights", "rows_digest": "",
        "unigram_entropy": 6.0})  # fmt: skip
  write(folder / "config.json", config)
  write(folder / "environment.json", {"electra_jax": "0.1.0", "python": "3.11",
        "command": ["electra-jax", "pretrain"], "packages": {"jax": "0.10.2"},
        "devices": ["cpu:0"], "device_kind": "cpu"})  # fmt: skip
  networks = {"embeddings": 194_048, "discriminator": 396_544}
  write(folder / "parameters.json", {"networks": networks, "arrays": {}})
  write_lines(
      folder / "history.jsonl",
      [
          {"step": 0, "command": ["electra-jax"], "device_kind": "cpu",
           "num_devices": 1, "config": config},
          {"step": 500, "command": ["electra-jax", HOSTILE],
           "device_kind": "cpu", "num_devices": 1,
           "changes": {"train.batch_size": [32, 64]}},
      ],
  )  # fmt: skip
  records = [_train(step, rate) for step in range(10, steps + 1, 10)]
  records += [_held_out(step, rate) for step in range(200, steps + 1, 200)]
  write_lines(folder / "metrics.jsonl", records)
  write_lines(
      folder / "samples.jsonl",
      [_sample(step) for step in range(200, steps + 1, 200)],
  )
  for name, content in changes.items():
    path = folder / name.replace("_json", ".json")
    path.write_text(content)
  return folder


def _train(step, rate):
  done = 1 - math.exp(-step * rate)
  wave = 0.05 * math.sin(step * 1.7)
  return {
      "step": step, "group": "train", "loss": 15 - 8 * done + wave,
      "mlm_loss": 7 - 4 * done + wave, "rtd_loss": 0.5 - 0.2 * done + wave / 9,
      "rtd_accuracy": 0.85 + 0.1 * done, "mlm_accuracy": 0.4 * done,
      "rtd_precision": None if step < 100 else 0.6 + 0.2 * done,
      "rtd_recall": 0.5 * done, "replaced_share": 0.13,
      "grad_norm": 1 + abs(wave) * 40, "rows_per_sec": 2000 + 100 * wave,
      "learning_rate": rate * min(step / 100, (1000 - step) / 900),
  }  # fmt: skip


def _held_out(step, rate):
  record = _train(step, rate)
  for name in ("grad_norm", "rows_per_sec", "learning_rate"):
    del record[name]
  auc = 0.5 + 0.45 * (1 - math.exp(-step * rate))
  return record | {"group": "validation", "rtd_auc": auc}


def _sample(step):
  sure = step / 1000
  words = ["[CLS]", "the", "film", HOSTILE, "##s", "was", "good", "[SEP]"]
  return {
      "step": step,
      "group": "validation",
      "rows": [{
          "tokens": words,
          "replaced": {"2": "bana\u202ena", "6": "<img src=x onerror=alert(1)>"},
          "probabilities": [0.0, 0.02, 0.95 * sure, 0.6, 0.1, 0.3, 0.4, 0.0],
          "left_out": 3,
      }],
      "calibration": [
          {"tokens": 900, "predicted": 0.04, "observed": 0.05},
          {"tokens": 100, "predicted": 0.7, "observed": 0.6},
      ],
      "bands": [{"name": "rank 1 to 10", "kept": 80, "kept_right": 79,
                 "replaced": 20, "found": 15}],
  }  # fmt: skip


def finetune_run(folder: pathlib.Path, seeds=(70.0, 72.5, 71.0)):
  """A workdir of a finetune run on four made-up tasks."""
  tasks = {
      "reviews": "accuracy",
      "ner": "f1",
      "squad": "f1",
      "stars": "pearson",
  }
  names = {f"{task}/dev/{metric}": metric for task, metric in tasks.items()}
  by_seed = {
      str(i): {name: value + 2 * j for j, name in enumerate(names)}
      for i, value in enumerate(seeds)
  }
  write(folder / "task.json", {"start": "weights of step 4,000 in run",
        "tasks": [], "examples": {"reviews": {"train": 1000, "dev": 40}}})  # fmt: skip
  write(folder / "config.json", {"task": "+".join(tasks), "seeds": len(seeds)})
  write(folder / "scores.json", {"best_seed": 1, "selected_by": list(names),
        "seeds": by_seed, "median": by_seed["0"]})  # fmt: skip
  for seed in range(len(seeds)):
    records = [_train(step, 2e-3) for step in range(20, 401, 20)]
    write_lines(folder / f"seed_{seed}/metrics.jsonl", records)
  place = folder / "seed_1/predictions"
  write_lines(place / "reviews_dev.jsonl", _reviews())
  write_lines(place / "ner_dev.jsonl", _sentences())
  write_lines(place / "squad_dev.jsonl", _questions())
  write_lines(place / "stars_dev.jsonl", _stars())
  return folder


def _reviews():
  for i in range(40):
    is_good, is_wrong = i % 2 == 0, i % 7 == 3
    said = "good" if is_good != is_wrong else "bad"
    text = f"a film {i} of {HOSTILE}" if i == 3 else f"film number {i}"
    p = 0.99 - i / 100
    yield {"id": str(i), "text": text, "gold": "good" if is_good else "bad",
           "label": said, "probability": p,
           "probabilities": {said: p}}  # fmt: skip


def _sentences():
  words = ["Ada", "Lovelace", "lived", "in", "London", "."]
  gold = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
  said = ["B-PER", "I-PER", "O", "O", "B-PER", "O"]
  yield {"words": words, "tags": said, "gold": gold,
         "probabilities": [0.9, 0.9, 0.99, 0.99, 0.7, 0.99]}  # fmt: skip
  yield {"words": words, "tags": gold, "gold": gold, "probabilities": [0.9] * 6}


def _questions():
  context = "In 1843 Ada Lovelace wrote the first program, in London, by hand."
  yield {"question": "Who wrote it?", "context": context, "answer": "Ada",
         "start": 8, "end": 11, "probability": 0.8,
         "gold": ["Ada Lovelace"]}  # fmt: skip
  yield {"question": "Where?", "context": context, "answer": "London",
         "start": 49, "end": 55, "probability": 0.9, "gold": ["london"]}  # fmt: skip


def _stars():
  for i in range(30):
    yield {"text": f"text {i}", "rating": 1 + (i * 7 % 40) / 10,
           "gold": float(1 + i * 7 % 40 // 10)}  # fmt: skip


def sweep(folder: pathlib.Path):
  """The output of a sweep of three points and two seeds."""
  trials = {f"rate={r},seed={s}": [] for r in (1, 2, 4) for s in (0, 1)}
  write(folder / "sweep.json", {"sweep": "sweeps/rates.py", "goal": "max",
        "metric": "validation/rtd_auc", "trials": trials})  # fmt: skip
  write_lines(
      folder / "results.jsonl",
      [
          {"trial": f"rate={r},seed={s}", "state": "finished", "seed": s,
           "optimizer.learning_rate": r / 1000,
           "validation/rtd_auc": 0.7 + 0.03 * r * (4 - r) + s / 100}
          for r in (1, 2) for s in (0, 1)
      ]
      + [{"trial": "rate=4,seed=0", "state": "failed", "seed": 0,
          "optimizer.learning_rate": 0.004, "validation/rtd_auc": None,
          "note": HOSTILE}],
  )  # fmt: skip
  return folder

"""In the place of `electra-jax`: leaves what a trial would, in no time.

  python trial.py FOLDER -m electra_jax pretrain --config … --workdir … …

Does what the first line of FOLDER/acts/TRIAL says, and takes it away: finish
(also where there is none), die, mistake, quit, wait or ignore. Every call adds
a line to FOLDER/starts.
"""

import json
import math
import os
import pathlib
import signal
import sys
import time

NUM_STEPS = 20  # Of configs/pretrain.py:tiny,runlocal.


def main(folder: pathlib.Path, words: list[str]) -> None:
  workdir = pathlib.Path(words[words.index("--workdir") + 1])
  with open(folder / "starts", "a") as file:
    file.write(json.dumps(words) + "\n")
  is_whole = (workdir.parent / "sweep.json").exists()
  trial = (workdir if is_whole else workdir.parent).name
  acts = folder / "acts" / trial
  act, *later = [*(acts.read_text().split() if acts.exists() else ()), "finish"]
  if later:
    acts.write_text(" ".join(later[:-1]))
  print("I begin", flush=True)
  if act == "die":
    os.kill(os.getpid(), signal.SIGKILL)
  elif act == "mistake":
    print("electra-jax: the loss is nan\n")
    sys.exit(2)
  elif act == "quit":
    print("I leave")
  elif act in ("wait", "ignore"):
    ends = {"wait": lambda *_: sys.exit(143), "ignore": lambda *_: None}
    signal.signal(signal.SIGTERM, ends[act])
    (folder / f"waits {trial}").write_text(str(os.getpid()))
    time.sleep(60)
    raise AssertionError("nobody has stopped this")
  else:
    time.sleep(0.05)  # So that two at a time meet.
    workdir.mkdir(parents=True, exist_ok=True)
    leave = leave_scores if "finetune" in words else leave_metrics
    leave(workdir, values_of(words))


def values_of(words: list[str]) -> dict[str, str]:
  return dict(
      word.removeprefix("--config.").split("=", 1)
      for word in words
      if word.startswith("--config.")
  )


def leave_metrics(workdir: pathlib.Path, values: dict[str, str]) -> None:
  weight = float(values.get("objective.disc_weight", 20))
  auc = 0.7 - 0.05 * abs(math.log10(weight / 20))
  auc += 0.01 * int(values.get("seed", 0))
  records = [
      {"step": NUM_STEPS, "group": "validation", "rtd_auc": auc, "loss": None},
      {"step": NUM_STEPS, "group": "train", "loss": 9.5},
  ]
  text = "".join(json.dumps(record) + "\n" for record in records)
  (workdir / "metrics.jsonl").write_text(text)
  (workdir / "checkpoints" / str(NUM_STEPS)).mkdir(parents=True)


def leave_scores(workdir: pathlib.Path, values: dict[str, str]) -> None:
  rate = float(values.get("optimizer.learning_rate", 1e-4))
  main, other = "rte/dev/accuracy", "rte/dev/loss"
  seeds = {
      str(seed): {main: 60 + seed - abs(math.log10(rate / 1e-4)), other: 0.5}
      for seed in range(int(values.get("seeds", 1)))
  }
  median = seeds[str(len(seeds) // 2)]
  summary = {"seeds": seeds, "median": median, "selected_by": [main]}
  (workdir / "scores.json").write_text(json.dumps(summary))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]), sys.argv[2:])

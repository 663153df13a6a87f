"""Trials in processes: some at a time, skipped, killed, resumed, stopped."""

import fcntl
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from electra_jax.errors import UserError
from electra_jax.sweeps import runner
from tests import helpers, processes
from tests.sweeps.stand_ins import TRIAL, WEIGHTS, Trials, load_command


@pytest.fixture
def trials(tmp_path, monkeypatch) -> Trials:
  """The stand-ins, started in the place of this interpreter."""
  made = Trials(tmp_path)
  monkeypatch.setattr(sys, "executable", str(made.program))
  return made


def sweep(trials, *arguments, status=0, text=WEIGHTS):
  """Runs launch/sweep.py in this process."""
  with pytest.raises(SystemExit) as ended:
    load_command().main([
        *("--sweep", trials.sweep(text), "--output", str(trials.output)),
        *arguments,
    ])  # fmt: skip
  assert ended.value.code == status


def start(trials, *arguments):
  """Starts it as a process whose trials are the stand-ins."""
  script = helpers.ROOT / "launch/sweep.py"
  code = (
      f"import runpy, sys; sys.executable = {str(trials.program)!r};"
      f" sys.argv[0] = {str(script)!r};"
      f" runpy.run_path({str(script)!r}, run_name='__main__')"
  )
  return subprocess.Popen(
      [
          *(real_python(), "-c", code),
          *("--sweep", trials.sweep(), "--output", str(trials.output)),
          *arguments,
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )


def real_python() -> str:
  return str(pathlib.Path(sys.prefix) / "bin/python")


def records(trials):
  return helpers.read_records(trials.output / "results.jsonl")


def test_all_trials_are_run_and_told(trials, capsys):
  sweep(trials, "--jobs", "2", "--", "--config.train.log_every_steps=2")
  out = capsys.readouterr().out
  assert "[8/8] " in out and "disc_weight=50,seed=1 is finished" in out
  *_, files, page = out.splitlines()
  assert files.endswith("results.txt, results.jsonl, results.png")
  assert page.startswith("report") and page.endswith("report.html")
  assert "8 of 8 trials finished" in (trials.output / "report.html").read_text()
  best = next(line for line in out.splitlines() if line.startswith("best"))
  assert best.split() == ["best", "20", "0.7050", "0.7000", "0.7100", "2"]
  assert len(trials.calls()) == len(records(trials)) == 8
  for words in trials.calls():
    assert words[:3] == ["-m", "electra_jax", "pretrain"]
    assert "--config.train.log_every_steps=2" in words
  assert (trials.output / "results.png").stat().st_size > 10_000
  log = trials.output / TRIAL / "log.txt"
  assert log.read_text() == "I begin\n"


def test_no_more_than_jobs_run_at_a_time(trials, monkeypatch):
  most, begin = [], runner._Runner._begin

  def counted_begin(self, trial):
    begin(self, trial)
    most.append(len(self._running))

  monkeypatch.setattr(runner._Runner, "_begin", counted_begin)
  sweep(trials, "--jobs", "3")
  assert max(most) == 3


def test_what_is_finished_is_not_run_again(trials, capsys):
  sweep(trials, "--share", "1/2")
  assert len(trials.calls()) == 4
  assert not (trials.output / "results.txt").exists()
  sweep(trials, "--jobs", "2")
  assert len(trials.calls()) == 8
  sweep(trials)
  assert len(trials.calls()) == 8
  assert len(records(trials)) == 8
  # What a plan adds is run, the rest is there.
  sweep(trials, text=WEIGHTS.replace("seeds=2", "seeds=3"))
  assert len(trials.calls()) == 12
  capsys.readouterr()


def test_what_died_is_resumed(trials, capsys):
  trials.act(TRIAL, "die", "quit")
  sweep(trials, "--jobs", "2", "--retries", "2")
  assert len(trials.calls(TRIAL)) == 3
  first, *later = trials.calls(TRIAL)
  assert later == [first, first]
  out = capsys.readouterr().out
  assert f"{TRIAL} ended with status -9 after" in out
  assert f"{TRIAL} ended with status 0 after" in out and ": I leave" in out
  assert re.search(rf"{TRIAL} pretrain begins as process \d+, attempt 3\n", out)
  assert (trials.output / TRIAL / "log.txt").read_text().count("I begin") == 3


def test_what_keeps_failing_does_not_stop_the_others(trials, capsys):
  trials.act(TRIAL, "quit", "quit", "quit")
  other = "disc_weight=1,seed=0"
  trials.act(other, "mistake")
  sweep(trials, "--retries", "1", status=1)
  # The same command would make the same mistake.
  assert (len(trials.calls(TRIAL)), len(trials.calls(other))) == (2, 1)
  assert len(trials.calls()) == 6 + 2 + 1
  out = capsys.readouterr().out
  assert f"{other} failed; it ended with status 2" in out
  assert "failed: I leave" in out
  assert "failed: electra-jax: the loss is nan" in out
  states = {record["trial"]: record["state"] for record in records(trials)}
  assert states.pop(TRIAL) == states.pop(other) == "failed"
  assert set(states.values()) == {"finished"} and len(states) == 6
  sweep(trials, "--retries", "1")  # And on with what is left: quit, then fine.
  assert {record["state"] for record in records(trials)} == {"finished"}


def test_a_judged_trial_is_fine_tuned_once_it_is_trained(trials, capsys):
  text = (
      'Sweep("configs/pretrain.py:tiny,runlocal",'
      ' grid({"objective.disc_weight": (1.0, 50.0)}),'
      ' judges=("configs/finetune.py:task=rte,runlocal",))'
  )
  trials.act("disc_weight=1,seed=0", "finish", "die")
  sweep(
      trials,
      "--judge.seeds=3",
      "--judge.optimizer.learning_rate=0.0001",
      text=text,
  )
  verbs = [words[2] for words in trials.calls("disc_weight=1,")]
  assert verbs == ["pretrain", "finetune", "finetune"]
  assert [words[2] for words in trials.calls("disc_weight=50")] == verbs[:2]
  assert {record["dev_score"] for record in records(trials)} == {61.0}
  assert re.search(
      r"=1,seed=0 rte begins as process \d+, attempt 2", capsys.readouterr().out
  )


def test_flags_reach_the_trials(trials, capsys):
  sweep(trials, "--distributed", "--compilation-cache", "gs://b/c")
  for words in trials.calls():
    assert words[-3:] == ["--distributed", "--compilation-cache", "gs://b/c"]
  (log,) = (trials.output / TRIAL).glob("log*")
  assert log.name.startswith("log_") and log.name.endswith("_0.txt")
  capsys.readouterr()


def test_a_late_file_server_is_waited_for(trials, monkeypatch, capsys):
  """Of several processes another one writes, and its node may be another."""
  trials.act(TRIAL, "quit")
  folder = trials.output / TRIAL

  def finish():
    processes.wait_until(lambda: len(trials.calls(TRIAL)) == 1)
    time.sleep(0.3)
    words = [str(trials.program), *trials.calls(TRIAL)[0]]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

  late = threading.Thread(target=finish)
  late.start()
  sweep(trials, "--distributed", "--retries", "0")
  late.join()
  assert len(trials.calls(TRIAL)) == 2 and (folder / "checkpoints/20").exists()
  monkeypatch.setattr(runner, "_LATE_SECS", 0.1)
  other = WEIGHTS.replace("seeds=2", "seeds=3")
  trials.act("disc_weight=1,seed=2", "quit")
  sweep(trials, "--distributed", "--retries", "0", status=1, text=other)
  capsys.readouterr()


def test_logs_are_kept_on_gs(trials, monkeypatch, capsys):
  """Where nothing can be appended to."""

  class OnGs(type(epath.Path("/"))):

    def __str__(self):
      text = super().__str__()
      return text if "/disc_weight" in text else f"gs:/{text}"

  trials.act(TRIAL, "die")
  made = trials.plan()
  trials.output.mkdir()
  (trials.output / "sweep.json").touch()
  run = runner._Runner(OnGs(trials.output), runner.Options(), 8)
  assert not run._is_local
  with run:
    result = run.run(made.trials)
  assert not result.states
  log = trials.output / TRIAL / "log.txt"
  assert log.read_text() == "I begin\nI begin\n"
  assert not (trials.output / TRIAL / "lock").exists()
  capsys.readouterr()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_trial_and_all_can_go_on(number, trials):
  others = "disc_weight=10,seed=0"
  trials.act(TRIAL, "wait")
  trials.act(others, "wait")
  running = start(trials, "--jobs", "2")
  processes.wait_until(lambda: trials.waits(TRIAL) and trials.waits(others))
  running.send_signal(number)
  out, _ = running.communicate(timeout=60)
  assert running.returncode == 128 + number, out
  assert f"{TRIAL} is sent SIGTERM" in out
  assert f"{others} stopped after" in out
  assert out.endswith("stopped; the same command goes on\n")
  assert len(trials.calls()) == 4
  again = start(trials)
  out, _ = again.communicate(timeout=60)
  assert again.returncode == 0, out
  assert len(trials.calls()) == 4 + 6 and len(records(trials)) == 8


def test_a_second_signal_kills(trials):
  first = "disc_weight=1,seed=0"
  trials.act(first, "ignore")
  running = start(trials)
  processes.wait_until(lambda: trials.waits(first))
  running.send_signal(signal.SIGTERM)
  assert f"{first} pretrain begins" in running.stdout.readline()
  assert "is sent SIGTERM" in running.stdout.readline()
  running.send_signal(signal.SIGTERM)
  out, _ = running.communicate(timeout=60)
  assert running.returncode == 143, out
  assert f"{first} is sent SIGKILL" in out


def test_two_sweeps_never_run_the_same_trial(trials):
  """One that was killed has left a trial behind, which goes on."""
  first = "disc_weight=1,seed=0"
  trials.act(first, "wait")
  killed = start(trials)
  processes.wait_until(lambda: trials.waits(first))
  killed.kill()
  killed.communicate()
  second = start(trials, "--jobs", "2")
  out, _ = second.communicate(timeout=60)
  assert second.returncode == 1
  assert f"{first} is run by another process; it is left to that" in out
  assert "running: I begin" in out
  assert len(trials.calls(first)) == 1 and len(trials.calls()) == 8
  os.kill(trials.waits(first), signal.SIGTERM)

  def is_free():
    with (trials.output / first / "lock").open("r+") as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        return False
    return True

  processes.wait_until(is_free)
  third = start(trials)
  third.communicate(timeout=60)
  assert third.returncode == 0
  assert len(trials.calls(first)) == 2


def test_list_and_dry_run_start_nothing(trials, capsys):
  sweep(trials, "--list")
  assert (
      capsys.readouterr().out.splitlines()[-1] == "0 of 8 trials are finished"
  )
  sweep(trials, "--dry-run", "--share", "2/8", "--config.train.num_steps=5")
  (line,) = capsys.readouterr().out.splitlines()
  folder = trials.output / "disc_weight=1,seed=1"
  assert shlex.split(line) == [
      *(str(trials.program), "-m", "electra_jax", "pretrain", "--config"),
      f"{helpers.ROOT}/configs/pretrain.py:tiny,runlocal",
      *("--workdir", str(folder), "--config.train.num_steps=5"),
      *("--config.objective.disc_weight=1.0", "--config.seed=1"),
  ]
  assert not trials.output.exists() and not trials.calls()
  sweep(trials, "--share", "1/4")
  sweep(trials, "--list")
  out = capsys.readouterr().out
  assert (
      "finished     disc_weight=1,seed=0\nnot started  disc_weight=1,seed=1\n"
      in out
  )
  sweep(trials, "--results", status=1)
  assert len(trials.calls()) == 2
  assert "not started" in (trials.output / "results.txt").read_text()


def test_a_table_does_without_its_plot(trials, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  sweep(trials)
  assert "matplotlib is not installed" in capsys.readouterr().err
  assert (trials.output / "results.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs must be above 0"),
        (["--retries", "-1"], "--retries not below"),
        (["--distributed", "--jobs", "2"], "one trial at a time"),
        (["--share", "3/2"], "--share 3/2 is not I/K"),
        (["--share", "0/2"], "--share 0/2 is not I/K"),
        (["--share", "half"], "--share half is not I/K"),
        (["--share", "slurm/2"], "SLURM has told this process none"),
        (["--on", "slurm", "--share", "1/2"], "makes shares itself"),
        (["--on", "moon"], "invalid choice: 'moon'"),
        (["--config.x"], "unknown argument '--config.x'"),
        (["--jops=2"], "unknown argument '--jops=2'"),
        (["--list", "--results"], "not allowed with"),
        (["--config.train.num_stepz=2"], "num_steps"),
        (["--on", "tpu_vm"], "give one on gs://"),
    ],
)  # fmt: skip
def test_mistakes_end_with_status_2(arguments, message, trials, capsys):
  sweep(trials, *arguments, status=2)
  error = capsys.readouterr().err
  assert message in error.splitlines()[-1] and "Traceback" not in error
  assert not trials.calls()


@pytest.mark.parametrize(
    ("jobs", "variables", "files", "shares"),
    [
        (1, {"CUDA_VISIBLE_DEVICES": "0,1"}, 2, [None]),
        (2, {}, 0, [None, None]),
        (2, {}, 4, ["0,1", "2,3"]),
        (2, {"CUDA_VISIBLE_DEVICES": "3,5"}, 8, ["3", "5"]),
        (2, {"CUDA_VISIBLE_DEVICES": ""}, 8, [None, None]),
        (3, {"JAX_PLATFORMS": "cpu"}, 8, [None] * 3),
    ],
)
def test_no_two_trials_share_a_gpu(jobs, variables, files, shares):
  names = [f"nvidia{i}" for i in range(files)]
  found = runner.gpu_shares(jobs, variables, names)
  assert [share.get("CUDA_VISIBLE_DEVICES") for share in found] == shares


def test_gpus_that_do_not_divide_are_named(trials, monkeypatch, capsys):
  with pytest.raises(UserError, match="--jobs 3 does not divide the 8 GPUs"):
    runner.gpu_shares(3, {}, ["gpu"] * 8)
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
  sweep(trials, "--jobs", "2", status=2)
  assert "--jobs 2 does not divide the 3 GPUs" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_of_two_trials_that_meet_end(tmp_path, store):
  """As when one host has given a trial up that another one tries again."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  both = [
      processes.start(
          *("pretrain", "--config", "configs/pretrain.py:tiny,runlocal"),
          *("--workdir", tmp_path / f"trial_{i}", "--num-processes=2"),
          *("--config.data.synthetic=False", f"--config.data.store={store}"),
          *(f"--coordinator=localhost:{port}", f"--process-id={i}"),
      )
      for i in range(2)
  ]
  try:
    out = [process.communicate(timeout=300)[0] for process in both]
  finally:
    for process in both:
      process.kill()
  assert all(process.returncode not in (0, None) for process in both)
  assert any("checked" in text and "mismatch" in text for text in out)
  assert not list(tmp_path.glob("*/config.json"))


@pytest.mark.slow
def test_eight_real_trials_of_which_one_is_killed(tmp_path):
  """Two at a time, on made-up text; the killed one loses no step."""
  output, said = tmp_path / "sweep", tmp_path / "said"
  with said.open("w") as file:
    running = subprocess.Popen(
        [
            *(sys.executable, str(helpers.ROOT / "launch/sweep.py")),
            *("--sweep", Trials(tmp_path).sweep(), "--output", str(output)),
            *("--jobs", "2", "--config.train.num_steps=400"),
            *("--config.model.hidden_size=32", "--config.train.log_every_steps=1"),
            *("--config.model.embedding_size=32", "--config.train.eval_every_steps=0"),
            "--config.train.checkpoint_every_steps=100",
        ],
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        stdout=file,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
  metrics = output / TRIAL / "metrics.jsonl"
  try:
    processes.wait_until(
        lambda: running.poll() is not None
        or (metrics.exists() and '"step": 150,' in metrics.read_text())
    )
    begun = re.search(
        rf"{TRIAL} pretrain begins as process (\d+)", said.read_text()
    )
    os.kill(int(begun[1]), signal.SIGKILL)
    assert running.wait(timeout=600) == 0, said.read_text()
  finally:
    running.terminate()
  out = said.read_text()
  assert f"{TRIAL} ended with status -9 after" in out
  assert re.search(rf"{TRIAL} pretrain begins as process \d+, attempt 2", out)
  found = helpers.read_records(output / "results.jsonl")
  assert len(found) == 8
  assert {record["state"] for record in found} == {"finished"}
  assert all(0 < record["validation/rtd_auc"] < 1 for record in found)
  table = (output / "results.txt").read_text().splitlines()
  assert len(table) == 5 and table[1].startswith("best")
  assert (output / "results.png").stat().st_size > 10_000
  metrics = helpers.read_metrics(output / TRIAL, "train")
  assert [record["step"] for record in metrics] == list(range(1, 401))

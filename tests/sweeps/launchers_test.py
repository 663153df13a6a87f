"""Shares of a sweep under SLURM and on TPU VMs, with stand-ins for both."""

import pathlib
import shlex
import shutil
import subprocess

import pytest

from electra_jax.errors import UserError
from electra_jax.sweeps import launchers
from tests import helpers
from tests.launch import launching
from tests.launch.launch_run_test import SCONTROL, SRUN
from tests.sweeps.stand_ins import TRIAL, Trials, load_command

# Starts the tasks of an array at the same time, and ends with them.
SBATCH = """
while [[ "$1" == --* ]]; do
  case "$1" in
    --array=*) tasks="${1##*-}" ;;
    --ntasks-per-node=*) export SLURM_NTASKS_PER_NODE="${1#*=}" ;;
    --chdir=*) cd "${1#*=}" ;;
  esac
  shift
done
export SLURM_NTASKS="$SLURM_NTASKS_PER_NODE" SLURM_ARRAY_JOB_ID=40
cp "$1" "$HERE/slurm_script"
shift
pids=()
for ((task = 1; task <= tasks; task++)); do
  # The last task of an array has the array's number.
  SLURM_JOB_ID="$((40 + task % tasks))" SLURM_ARRAY_TASK_ID="$task" \\
    bash "$HERE/slurm_script" "$@" >"$HERE/task_$task" 2>&1 &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || true; done
"""
# The interpreter of a node's environment, whose own trials are stand-ins.
PYTHON = """
exec "$PYTHON" -c '
import runpy, sys
sys.executable = "PROGRAM"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""
SWEEP = "configs/sweeps/ours.py"


@pytest.fixture
def trials(tmp_path) -> Trials:
  return Trials(tmp_path)


@pytest.fixture
def repository(tmp_path, trials, monkeypatch) -> pathlib.Path:
  """A repository with launch/ and a sweep, and nothing else to be found."""
  root = tmp_path / "repository"
  shutil.copytree(helpers.ROOT / "launch", root / "launch")
  (root / "configs/sweeps").mkdir(parents=True)
  shutil.copy(trials.sweep(), root / SWEEP)
  monkeypatch.setattr(launchers, "ROOT", root)
  monkeypatch.chdir(root)
  for name, value in launching.environment(tmp_path).items():
    monkeypatch.setenv(name, value)
  return root


def write_env(folder, **values):
  """Writes the user's env file."""
  lines = (
      f"{name}=({shlex.join(value)})\n"
      if isinstance(value, list)
      else f"{name}={shlex.quote(value)}\n"
      for name, value in (launching.VALUES | values).items()
  )
  (folder / "env").write_text("".join(lines))


def sweep(output, *arguments, status=0):
  with pytest.raises(SystemExit) as ended:
    load_command().main(["--sweep", SWEEP, "--output", str(output), *arguments])
  assert ended.value.code == status


def values_of(env: str, root) -> dict[str, list[str]]:
  """What bash finds in an env file."""
  text = (
      f'source {env}; printf \'%s\\0\' "$RUN_NAME" "${{#COMMAND[@]}}"'
      ' "${COMMAND[@]}" "${SBATCH_OPTIONS[@]}"'
  )
  done = subprocess.run(
      ["bash", "-c", text], cwd=root, capture_output=True, text=True, check=True
  )
  name, count, *words = done.stdout.split("\0")[:-1]
  return {
      "RUN_NAME": name,
      "COMMAND": words[: int(count)],
      "SBATCH_OPTIONS": words[int(count) :],
  }


def test_slurm_is_given_an_array(repository, tmp_path, capfd):
  write_env(tmp_path)
  sweep(tmp_path / "a sweep", "--on", "slurm", "--jobs", "3", "--retries", "2",
        "--compilation-cache", "gs://b/c", "--judge.seeds=2", "--dry-run",
        status=2)  # fmt: skip
  assert "--judge.seeds=2 has no meaning" in capfd.readouterr().err
  sweep(tmp_path / "a sweep", "--on", "slurm", "--jobs", "3", "--retries", "2",
        "--compilation-cache", "gs://b/c", "--dry-run",
        "--config.data.store=a store")  # fmt: skip
  told, made, queued = map(shlex.split, capfd.readouterr().out.splitlines())
  env = told[0].removeprefix("ENV=")
  assert told[1:] == ["bash", "launch/slurm.sh", "--dry-run", "submit"]
  assert made == ["mkdir", "-p", "runs"]
  assert queued[0] == "sbatch" and "--nodes=2" in queued
  # The later of two options wins.
  assert queued.index("--output=runs/%x-%a.log") > queued.index(
      "--output=runs/try-1.log"
  )
  assert "--array=1-3" in queued
  start = queued.index("launch/slurm_job.sh")
  assert queued[start + 1 :] == [
      *("venv/bin/python", "launch/sweep.py", "--sweep", SWEEP),
      *("--output", str(tmp_path / "a sweep"), "--share", "slurm/3"),
      *("--retries", "2", "--config.data.store=a store"),
      *("--compilation-cache", "gs://b/c", "--distributed"),
  ]
  values = values_of(env, repository)
  assert values["SBATCH_OPTIONS"][:2] == [
      "--partition=gpu",
      "--comment=two words",
  ]
  assert not (tmp_path / "a sweep").exists()


def test_an_array_runs_every_trial_once(trials, repository, tmp_path, capfd):
  launching.install(
      tmp_path, sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL,
      python=PYTHON.replace("PROGRAM", str(trials.program)),
  )  # fmt: skip
  (tmp_path / "state").write_text("RUNNING")
  write_env(
      tmp_path, VENV=str(tmp_path), NODES="1", GPUS_PER_NODE="1",
      SBATCH_OPTIONS=[],
  )  # fmt: skip
  trials.act(TRIAL, "die")
  for _ in range(2):
    sweep(trials.output, "--on", "slurm", "--jobs", "3", "--retries", "0")
  out = capfd.readouterr().out
  # The second array has found what was left of the first.
  assert len(trials.calls()) == 8 + 1 and len(trials.calls(TRIAL)) == 2
  assert all(words[-1] == "--distributed" for words in trials.calls())
  for task in (1, 2, 3):
    assert "1/" in (tmp_path / f"task_{task}").read_text()
  # Told by its last line, word for word.
  words = shlex.split(out.splitlines()[-1])
  assert words[:2] == ["python", "launch/sweep.py"]
  with pytest.raises(SystemExit) as ended:
    load_command().main(words[2:])
  assert ended.value.code == 0
  assert len(helpers.read_records(trials.output / "results.jsonl")) == 8
  assert not launching.calls(tmp_path, "scontrol requeue")


def test_a_task_that_is_stopped_is_queued_again_by_itself(
    trials, repository, tmp_path, capfd
):
  launching.install(
      tmp_path, sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL,
      python='[[ "$SLURM_ARRAY_TASK_ID" == 1 ]] || exit 143',
  )  # fmt: skip
  (tmp_path / "state").write_text("RUNNING")
  write_env(
      tmp_path, VENV=str(tmp_path), NODES="1", GPUS_PER_NODE="1",
      SBATCH_OPTIONS=[],
  )  # fmt: skip
  sweep(trials.output, "--on", "slurm", "--jobs", "3")
  again = sorted(launching.calls(tmp_path, "scontrol requeue"))
  assert again == ["scontrol requeue 40_2", "scontrol requeue 40_3"]
  capfd.readouterr()


def test_every_share_gets_a_tpu_vm(repository, tmp_path, capfd, monkeypatch):
  write_env(tmp_path)
  sweep("gs://buck/a-sweep", "--on", "tpu_vm", "--jobs", "2", "--dry-run",
        "--config.data.store=gs://buck/store")  # fmt: skip
  lines = capfd.readouterr().out.splitlines()
  told = [shlex.split(line) for line in lines if line.startswith("ENV=/")]
  told = [words for words in told if "--dry-run" in words]
  assert [words[-1] for words in told] == ["queue", "keep"] * 2
  for share, words in ((1, told[0]), (2, told[2])):
    env = words[0].removeprefix("ENV=")
    assert env == f"{repository}/build/sweeps/gs_buck_a-sweep/share_{share}.env"
    values = values_of(env, repository)
    assert values["RUN_NAME"] == f"try-1-{share}"
    command = [
        *("launch/sweep.py", "--sweep", SWEEP, "--output", "gs://buck/a-sweep"),
        *("--share", f"{share}/2", "--retries", "1"),
        "--config.data.store=gs://buck/store",
    ]
    assert values["COMMAND"] == command
    # tpu_vm.sh's own words: the machine, and what its workers will run.
    (asked,) = [
        line for line in lines
        if f"queued-resources create try-1-{share} " in line
    ]  # fmt: skip
    assert "--accelerator-type=v5p-32" in asked
    (saved,) = [
        line
        for line in lines
        if line.endswith(f"try-1-{share}/run.sh") and line.startswith("printf")
    ]
    assert launching.words_of(shlex.split(saved)[-3]) == command
    load_command().parse([*command[1:], "--distributed"])
  assert any(
      line.startswith("gcloud compute tpus queued-resources delete")
      for line in lines
  )


def order(**values):
  common = {"sweep": SWEEP, "output": "gs://b/s", "shares": 3, "words": ()}
  return launchers.Order(**common | values)


def test_machines_are_kept_until_their_shares_end(repository, tmp_path, capfd):
  write_env(tmp_path)
  (repository / "launch/tpu_vm.sh").write_text(
      'source "$ENV"; echo "$1 $RUN_NAME" >>"$OUT"\n'
      '[[ "$1 $RUN_NAME" != "$FAILS" ]]\n'
  )
  (tmp_path / "out").touch()

  def run(fails, is_open):
    (tmp_path / "out").unlink()
    with pytest.MonkeyPatch.context() as patch:
      patch.setenv("OUT", str(tmp_path / "out"))
      patch.setenv("FAILS", fails)
      status = launchers.run_on_tpu_vms(order(), is_open, dry_run=False)
    return status, sorted((tmp_path / "out").read_text().splitlines())

  every = [f"{verb} try-1-{i}" for verb in ("keep", "queue") for i in (1, 2, 3)]
  assert run("", lambda share: True) == (0, every)
  assert run("", lambda share: share == 2) == (0, [every[1], every[4]])
  assert "share 3 is finished" in capfd.readouterr().out
  assert run("keep try-1-2", lambda share: True) == (1, every)
  without = [line for line in every if line != "keep try-1-3"]
  assert run("queue try-1-3", lambda share: True) == (1, without)
  assert "share 3 could not be queued (status 1)" in capfd.readouterr().err


def test_ctrl_c_ends_the_looking_after_alone(
    repository, tmp_path, capfd, monkeypatch
):
  write_env(tmp_path)
  (repository / "launch/tpu_vm.sh").write_text("exit 0\n")
  wait = subprocess.Popen.wait

  def interrupted(self, timeout=None):
    if "keep" in self.args:
      raise KeyboardInterrupt
    return wait(self, timeout)

  monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
  sweep_order = order(shares=1)
  with pytest.raises(KeyboardInterrupt):
    launchers.run_on_tpu_vms(sweep_order, lambda share: True, dry_run=False)
  out = capfd.readouterr().out
  assert "the machines go on" in out and f"{repository}/build/sweeps" in out


def test_a_worker_runs_a_script_with_python(tmp_path):
  (tmp_path / "base/code").mkdir(parents=True)
  launching.install(tmp_path, python="exit 0", gcloud='[[ "$2" != cat ]]')
  (tmp_path / "base/venv").mkdir()
  (tmp_path / "base/venv/bin").symlink_to(tmp_path / "bin")
  (tmp_path / "base/run.sh").write_text(
      "FOLDER=gs://b/f\nCOMMAND=(launch/sweep.py --share 1/2)\n"
  )
  done = subprocess.run(
      ["bash", helpers.ROOT / "launch/tpu_worker.sh", "loop"],
      env=launching.environment(tmp_path) | {"BASE": f"{tmp_path}/base"},
      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert launching.calls(tmp_path, "python") == [
      "python launch/sweep.py --share 1/2 --distributed"
  ]


@pytest.mark.parametrize("place", ["slurm", "tpu_vm"])
def test_a_missing_env_file_is_named(place, repository, tmp_path, capfd):
  sweep("gs://b/s", "--on", place, "--dry-run", status=2)
  assert f"there is no {tmp_path}/env; copy" in capfd.readouterr().err


def test_a_sweep_of_elsewhere_is_refused(trials, repository, tmp_path):
  write_env(tmp_path)
  with pytest.raises(UserError, match=r"lies outside of .*repository"):
    launchers.submit_to_slurm(order(sweep=trials.sweep()), dry_run=True)


def test_the_task_of_an_array_says_which_share(monkeypatch):
  monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
  assert launchers.parse_share("slurm/4") == (2, 4)
  assert launchers.parse_share("4/4") == (4, 4)
  monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
  with pytest.raises(UserError, match="--share slurm/4 is not I/K"):
    launchers.parse_share("slurm/4")

"""The launchers at work, with stand-ins for the cloud and for SLURM."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest

from tests import helpers, processes
from tests.launch import launching

# A bucket in a folder; machines are two files with names, and `states` says
# how a request stands each time that somebody asks.
GCLOUD = """
bucket="$HERE/bucket" words="$*"
case "$words" in
  "storage cat "* | "storage ls "*) cat "$bucket/outcome" ;;
  "storage rm "*) rm "$bucket/outcome" ;;
  "storage cp - "*) cat >"$bucket/outcome" ;;
  "storage cp gs://"*" .") cp "$bucket"/code.bundle "$bucket"/*.sh . ;;
  "storage cp "*) cp "${@:3:$#-3}" "$bucket" ;;
  *" list "*) cat "$HERE/$3" ;;
  *" create "*) echo try-1 >"$HERE/queued-resources" ;;
  *" delete "*) : >"$HERE/$3" ;;
  *" describe "*)
    sed -n 1p "$HERE/states"
    sed -i 1d "$HERE/states"
    [[ -s "$HERE/states" ]] || cp "$HERE/last" "$bucket/outcome"
    ;;
esac
"""
# In the place of uv's: its uv makes an environment that has our command.
INSTALLER = """
cat >uv <<'UV'
#!/usr/bin/env bash
[[ "$1" == pip ]] || { mkdir -p venv/bin && cp ../bin/electra-jax venv/bin; }
UV
chmod +x uv
"""
CURL = """
if [[ "$*" == *install.sh ]]; then cat "$HERE/installer"; else
  [[ "$*" == *attributes/electra-jax-folder ]] && echo gs://buck/launch/try-1
fi
"""
# As a job's step: one process for every task, the highest status.
SRUN = """
[[ "$1" == --kill-on-bad-exit=0 ]] || exit 99
shift
pids=()
for ((i = 0; i < SLURM_NTASKS; i++)); do
  env SLURM_PROCID="$i" SLURM_LOCALID="$((i % SLURM_NTASKS_PER_NODE))" \
    SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_NODES=1 "$@" &
  pids+=($!)
done
echo "${pids[@]}" >"$HERE/pids"
highest=0
for pid in "${pids[@]}"; do
  status=0
  wait "$pid" || status=$?
  ((status <= highest)) || highest="$status"
done
exit "$highest"
"""
# Waits for the job, which the real one does not, and ends as it does.
SBATCH = """
while [[ "$1" == --* ]]; do
  case "$1" in
    --nodes=*) nodes="${1#*=}" ;;
    --ntasks-per-node=*) export SLURM_NTASKS_PER_NODE="${1#*=}" ;;
    --cpus-per-task=*) export SLURM_CPUS_PER_TASK="${1#*=}" ;;
    --chdir=*) cd "${1#*=}" ;;
  esac
  shift
done
export SLURM_JOB_ID="$(cat "$HERE/job")"
export SLURM_NTASKS="$((nodes * SLURM_NTASKS_PER_NODE))"
cp "$1" "$HERE/slurm_script" # Its folder is not the repository's.
shift
exec bash "$HERE/slurm_script" "$@"
"""
SCONTROL = """
[[ "$1" == requeue ]] || echo "JobId=$3 JobState=$(cat "$HERE/state") Reason=None"
"""
TRAIN = [
    *("pretrain", "--config", "configs/pretrain.py:tiny,runlocal"),
    *("--config.model.hidden_size=32", "--config.model.embedding_size=32"),
    *("--config.train.eval_every_steps=0", "--config.train.log_every_steps=1"),
    "--config.train.checkpoint_every_steps=0",
]


@pytest.fixture
def repository(tmp_path) -> pathlib.Path:
  """A committed repository that has nothing but launch/."""
  root = tmp_path / "repository"
  shutil.copytree(helpers.ROOT / "launch", root / "launch")
  for command in (
      ["init", "--quiet"],
      ["add", "."],
      ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "A"],
  ):
    subprocess.run(["git", *command], cwd=root, check=True)
  return root


@pytest.fixture
def cloud(tmp_path) -> pathlib.Path:
  """A folder with gcloud and nothing in the cloud yet."""
  (tmp_path / "bucket").mkdir()
  for name in ("queued-resources", "tpu-vm", "states"):
    (tmp_path / name).touch()
  launching.install(tmp_path, gcloud=GCLOUD)
  return tmp_path


def worker(folder, *arguments) -> subprocess.CompletedProcess:
  """Runs a worker's script, as it lies in the bucket."""
  return subprocess.run(
      ["bash", folder / "bucket/tpu_worker.sh", *arguments],
      env=launching.environment(folder)
      | {"BASE": f"{folder}/base", "UNIT": f"{folder}/unit"},
      capture_output=True,
      text=True,
      timeout=60,
  )


def electra_jax(statuses: str) -> str:
  """A stand-in that ends with these statuses, one after the other."""
  return f"""
  runs="$(grep -c '^electra-jax ' "$HERE/calls")"
  statuses=({statuses})
  exit "${{statuses[runs - 1]}}"
  """


# --- TPU VM ---


@pytest.mark.parametrize(("last", "status"), [("finished", 0), ("failed", 1)])
def test_keep_asks_anew_and_deletes_at_the_end(last, status, cloud, repository):
  (cloud / "states").write_text("WAITING\nACTIVE\nSUSPENDED\nFAILED\nACTIVE\n")
  (cloud / "last").write_text(f"{last} as it is\n")
  done = launching.launch("tpu_vm.sh", "keep", folder=cloud, root=repository)
  assert done.returncode == status, done.stderr
  request = "gcloud compute tpus queued-resources "
  words = [line.split()[4] for line in launching.calls(cloud, request)]
  changes = [word for word in words if word in ("create", "delete")]
  assert changes == ["create", *("delete", "create") * 2, "delete"]
  assert f"{last} as it is" in done.stdout
  assert "nothing named try-1 is left" in done.stdout


def test_an_error_is_not_taken_for_an_empty_zone(cloud, repository):
  launching.install(cloud, gcloud="exit 1")
  done = launching.launch("tpu_vm.sh", "delete", folder=cloud, root=repository)
  assert done.returncode == 2
  assert "cannot list the queued-resources of zone-a" in done.stderr
  assert "is left" not in done.stdout


def test_delete_deletes_a_machine_without_a_request(cloud, repository):
  (cloud / "tpu-vm").write_text("try-10\ntry-1\n")
  (cloud / "queued-resources").write_text("try-10\n")
  done = launching.launch("tpu_vm.sh", "delete", folder=cloud, root=repository)
  assert done.returncode == 0, done.stderr
  deleted = [c for c in launching.calls(cloud) if " delete " in c]
  assert len(deleted) == 1 and "tpu-vm delete try-1 " in deleted[0]


def test_a_worker_gets_the_commit_and_the_command(cloud, repository):
  (repository / "launch/env.example").write_text("not committed\n")
  (cloud / "bucket/outcome").write_text("finished\n")  # Of an earlier run.
  done = launching.launch("tpu_vm.sh", "setup", folder=cloud, root=repository)
  assert done.returncode == 0, done.stderr
  assert "without what is not committed" in done.stderr
  assert not (cloud / "bucket/outcome").exists()

  launching.install(
      cloud, curl=CURL, systemctl="", electra_jax=electra_jax("143 134 0")
  )
  (cloud / "installer").write_text(INSTALLER)
  started = worker(cloud)
  assert started.returncode == 0, started.stderr
  example = (cloud / "base/code/launch/env.example").read_text()
  assert "not committed" not in example
  assert (
      f"ExecStart=/usr/bin/env bash {cloud}/base/tpu_worker.sh loop"
      in (cloud / "unit").read_text()
  )
  assert launching.calls(cloud, "systemctl")[-1] == (
      "systemctl restart electra-jax"
  )
  before = launching.calls(cloud)
  assert worker(cloud).returncode == 0  # A later boot.
  assert launching.calls(cloud) == before

  ended = worker(cloud, "loop")
  assert ended.returncode == 0, ended.stderr
  assert launching.calls(cloud, "electra-jax") == 3 * [
      f"electra-jax {' '.join(launching.WORDS)} --distributed"
  ]
  assert (cloud / "bucket/outcome").read_text() == "finished\n"


@pytest.mark.parametrize(
    ("statuses", "runs", "status", "outcome"),
    [
        ("2", 1, 2, "failed with status 2 on "),
        ("1 134 143 1 1 1 134 134 0", 8, 134, "failed with status 134 on "),
        ("143 143 143 143 143 143 0", 7, 0, "finished"),
    ],
)
def test_the_loop_resumes_what_may_end_otherwise(
    statuses, runs, status, outcome, cloud
):
  shutil.copy(helpers.ROOT / "launch/tpu_worker.sh", cloud / "bucket")
  launching.install(cloud, electra_jax=electra_jax(statuses))
  (cloud / "base/code").mkdir(parents=True)
  (cloud / "base/venv").mkdir()
  (cloud / "base/venv/bin").symlink_to(cloud / "bin")
  (cloud / "base/run.sh").write_text("FOLDER=gs://b/f\nCOMMAND=(pretrain)\n")
  ended = worker(cloud, "loop")
  assert ended.returncode == status, ended.stderr
  assert (cloud / "bucket/outcome").read_text().startswith(outcome)
  assert len(launching.calls(cloud, "electra-jax")) == runs
  # What another worker has noted holds for this one.
  assert worker(cloud, "loop").returncode == 0
  assert len(launching.calls(cloud, "electra-jax")) == runs


# --- SLURM ---


@pytest.fixture
def cluster(tmp_path) -> pathlib.Path:
  """A folder with sbatch, srun and scontrol; a job that is running."""
  launching.install(tmp_path, sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL)
  (tmp_path / "job").write_text(str(free_job()))
  (tmp_path / "state").write_text("RUNNING")
  return tmp_path


def free_job() -> int:
  """A job's number: from it jax takes the port where processes meet."""
  for job in range(os.getpid(), os.getpid() + 4096):
    with socket.socket() as probe:
      try:
        probe.bind(("localhost", job % 4096 + 61440))
      except OSError:
        continue
      return job
  raise AssertionError("no port is free")


def installed(folder: pathlib.Path) -> str:
  """Returns a VENV whose electra-jax is the one under test."""
  launching.install(folder, electra_jax='exec "$PYTHON" -m electra_jax "$@"')
  return str(folder)


@pytest.mark.parametrize(
    ("statuses", "state", "requeued"),
    [
        ("143 143", "RUNNING", True),
        ("143 143", "CANCELLED", False),
        ("2 2", "RUNNING", False),
        ("1 134", "RUNNING", False),
        ("0 0", "RUNNING", False),
    ],
)
def test_only_a_job_that_was_stopped_is_queued_again(
    statuses, state, requeued, cluster, repository
):
  launching.install(
      cluster,
      electra_jax=f"""
      statuses=({statuses})
      echo "$SLURM_PROCID of $SLURM_NTASKS, $SLURM_LOCALID, $SRUN_CPUS_PER_TASK"
      exit "${{statuses[SLURM_PROCID]}}"
      """,
  )
  (cluster / "state").write_text(state)
  done = launching.launch(
      "slurm.sh", "submit", folder=cluster, root=repository, VENV=str(cluster),
      NODES="2", GPUS_PER_NODE="1", SBATCH_OPTIONS=["--cpus-per-task=3"],
  )  # fmt: skip
  assert done.returncode == max(map(int, statuses.split())), done.stderr
  assert sorted(done.stdout.split("\n")[:2]) == ["0 of 2, 0, 3", "1 of 2, 0, 3"]
  assert launching.calls(cluster, "electra-jax") == 2 * [
      f"electra-jax {' '.join(launching.WORDS)} --distributed"
  ]
  job = (cluster / "job").read_text()
  again = launching.calls(cluster, "scontrol requeue")
  assert again == requeued * [f"scontrol requeue {job}"]


@pytest.mark.slow
def test_slurm_trains_stops_and_resumes(cluster):
  run = cluster / "run"
  values = {
      "COMMAND": [*TRAIN, f"--workdir={run}", "--config.train.num_steps=8"],
      "VENV": installed(cluster),
      "NODES": "1",
      "GPUS_PER_NODE": "2",
      "SBATCH_OPTIONS": [],
      "folder": cluster,
  }
  first = launching.start("slurm.sh", "submit", **values)
  # The processes have met and are compiling.
  processes.wait_until(
      lambda: first.poll() is not None or (run / "config.json").exists()
  )
  # As SLURM does before the time limit: to every process, not to the script.
  for pid in (cluster / "pids").read_text().split():
    os.kill(int(pid), signal.SIGTERM)
  out, err = first.communicate(timeout=processes.TIMEOUT_SECS)
  assert first.returncode == 143, out + err
  assert "stopped by signal 15 after step " in out
  assert len(launching.calls(cluster, "scontrol requeue")) == 1

  done = launching.launch("slurm.sh", "submit", **values)
  assert done.returncode == 0, done.stdout + done.stderr
  environment = helpers.read_json(run / "environment.json")
  assert (environment["processes"], len(environment["devices"])) == (2, 2)
  steps = [record["step"] for record in helpers.read_metrics(run, "train")]
  assert steps == list(range(1, 9))


# --- One machine ---


def test_signals_reach_the_processes(tmp_path, repository):
  launching.install(
      tmp_path,
      electra_jax="""
      trap 'exit 143' TERM
      : >"$HERE/ready_${*: -1}"
      while true; do sleep 0.1; done
      """,
  )
  started = launching.start(
      "local.sh", folder=tmp_path, root=repository, VENV=str(tmp_path)
  )
  processes.wait_until(lambda: len(list(tmp_path.glob("ready_*"))) == 2)
  started.send_signal(signal.SIGTERM)
  started.communicate(timeout=60)
  assert started.returncode == 143


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failing_process_ends_the_others(failing, tmp_path, repository):
  launching.install(
      tmp_path,
      electra_jax=f"""
      [[ "${{*: -1}}" != {failing} ]] || exit 3
      trap '' TERM
      exec sleep 1000
      """,
  )
  done = launching.launch(
      "local.sh", folder=tmp_path, root=repository, VENV=str(tmp_path)
  )
  assert done.returncode == 3


@pytest.mark.slow
def test_two_processes_train_here(tmp_path):
  run = tmp_path / "a run"
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  done = launching.launch(
      "local.sh", folder=tmp_path, PORT=str(port), VENV=installed(tmp_path),
      COMMAND=[*TRAIN, "--workdir", str(run), "--config.train.num_steps=2"],
      DEVICES_PER_PROCESS="2",
  )  # fmt: skip
  assert done.returncode == 0, done.stdout + done.stderr
  environment = helpers.read_json(run / "environment.json")
  assert (environment["processes"], len(environment["devices"])) == (2, 4)
  assert (run / "checkpoints/2").exists()

"""The launchers: what they would do, what they refuse, and the manifest."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from electra_jax.cli import main as cli
from tests import helpers, processes
from tests.launch import launching

LAUNCH = helpers.ROOT / "launch"
# What the lines below have in common.
PARTS = {
    "WHERE": "--project=proj --zone=zone-a",
    "MACHINE": (
        "--project=proj --zone=zone-a --accelerator-type=v5p-32"
        " --scopes=https://www.googleapis.com/auth/cloud-platform --spot"
    ),
    "BUILD": "build/launch/try-1",
    "FOLDER": "gs://buck/launch/try-1",
    "PODS": "jobset.sigs.k8s.io/jobset-name=try-1",
    "KUBECTL": "kubectl --context=gke_proj_europe-west4_clus",
    "ELECTRA_JAX": shlex.join(["venv/bin/electra-jax", *launching.WORDS]),
    "ROOT": helpers.ROOT,
}
UPLOAD = r"""
mkdir -p {BUILD}
git bundle create --quiet {BUILD}/code.bundle HEAD
gcloud storage cp {BUILD}/code.bundle {BUILD}/run.sh launch/tpu_worker.sh \
    {FOLDER}/
gcloud storage rm {FOLDER}/outcome
"""
DELETE = r"""
gcloud compute tpus queued-resources delete try-1 {WHERE} --force --quiet
gcloud compute tpus tpu-vm delete try-1 {WHERE} --quiet
"""
COMMANDS = {
    "tpu_vm.sh create": r"""
gcloud compute tpus tpu-vm create try-1 {MACHINE} --version=v2-alpha
""",
    "tpu_vm.sh queue": UPLOAD + r"""
gcloud compute tpus queued-resources create try-1 --node-id=try-1 {MACHINE} \
    --runtime-version=v2-alpha --metadata=electra-jax-folder={FOLDER} \
    --metadata-from-file=startup-script=launch/tpu_worker.sh
""",
    "tpu_vm.sh keep": r"""
gcloud storage cat {FOLDER}/outcome
gcloud compute tpus queued-resources describe try-1 {WHERE} \
    '--format=value(state.state)'
""" + DELETE,
    "tpu_vm.sh setup": UPLOAD + r"""
gcloud compute tpus tpu-vm ssh try-1 {WHERE} --worker=all \
    --command='gcloud storage cp {FOLDER}/tpu_worker.sh /tmp/tpu_worker.sh && \
sudo bash /tmp/tpu_worker.sh setup {FOLDER}'
""",
    "tpu_vm.sh run": r"""
gcloud compute tpus tpu-vm ssh try-1 {WHERE} --worker=all \
    --command='sudo bash /opt/electra_jax/tpu_worker.sh start'
""",
    "tpu_vm.sh logs": r"""
gcloud compute tpus tpu-vm ssh try-1 {WHERE} --worker=0 \
    --command='sudo journalctl --unit=electra-jax --lines=200 --follow'
""",
    "tpu_vm.sh status": r"""
gcloud compute tpus queued-resources list {WHERE}
gcloud compute tpus tpu-vm list {WHERE}
gcloud storage cat {FOLDER}/outcome
""",
    "tpu_vm.sh delete": DELETE,
    "gke.sh build": r"""
docker build --platform=linux/amd64 --file=launch/Dockerfile \
    --tag=place/electra-jax:1 .
docker push place/electra-jax:1
""",
    "gke.sh apply": "{KUBECTL} apply --filename=- '<<MANIFEST'",
    "gke.sh logs": r"""
{KUBECTL} logs --follow --tail=200 \
    --selector={PODS},batch.kubernetes.io/job-completion-index=0
""",
    "gke.sh status": r"""
{KUBECTL} get jobset try-1
{KUBECTL} get pods --selector={PODS} --output=wide
""",
    "gke.sh delete": "{KUBECTL} delete jobset try-1 --ignore-not-found",
    "slurm.sh submit": r"""
mkdir -p runs
sbatch --job-name=try-1 --chdir={ROOT} --output=runs/try-1.log \
    --open-mode=append --requeue --time=1:00:00 --signal=TERM@120 --nodes=2 \
    --ntasks-per-node=4 --gpus-per-node=4 --partition=gpu \
    '--comment=two words' launch/slurm_job.sh {ELECTRA_JAX} --distributed
""",
    "slurm.sh logs": "tail -n 200 -F runs/try-1.log",
    "slurm.sh status": "squeue --me --name=try-1",
    "slurm.sh cancel": "scancel --me --name=try-1",
    "local.sh run": r"""
env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=3 {ELECTRA_JAX} \
    --coordinator 127.0.0.1:8476 --num-processes 2 --process-id 0
env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=3 {ELECTRA_JAX} \
    --coordinator 127.0.0.1:8476 --num-processes 2 --process-id 1
""",
}  # fmt: skip

NEEDED = {
    "tpu_vm.sh delete": "RUN_NAME COMMAND PROJECT ZONE BUCKET",
    "tpu_vm.sh create": (
        "ACCELERATOR_TYPE RUNTIME_VERSION PRICE_PER_CHIP_HOUR SPOT"
    ),
    "tpu_vm.sh keep": "ACCELERATOR_TYPE",
    "gke.sh build": "IMAGE",
    "gke.sh delete": "PROJECT CLUSTER CLUSTER_LOCATION",
    "gke.sh apply": (
        "CLUSTER IMAGE TPU_ACCELERATOR TOPOLOGY CHIPS_PER_NODE SPOT"
        " PRICE_PER_CHIP_HOUR"
    ),
    "slurm.sh submit": "NODES GPUS_PER_NODE TIME_LIMIT CHECKPOINT_SECS VENV",
    "local.sh run": "PROCESSES DEVICES_PER_PROCESS PORT VENV",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_dry_run_prints_what_would_be_run(command, tmp_path):
  script, verb = command.split()
  done = launching.launch(script, "--dry-run", verb, folder=tmp_path)
  assert done.returncode == 0, done.stderr
  printed = done.stdout.split("\napiVersion")[0].split("\ntry-1 costs")[0]
  lines = [
      shlex.split(line)
      for line in printed.splitlines()
      if not line.startswith("printf ")
  ]
  expected = COMMANDS[command].replace("\\\n", "").strip().splitlines()
  assert lines == [
      shlex.split(line.format(**PARTS)) for line in expected if line
  ]


def test_what_dry_run_would_write_is_the_command(tmp_path):
  done = launching.launch("tpu_vm.sh", "--dry-run", "queue", folder=tmp_path)
  (line,) = [
      line for line in done.stdout.splitlines() if line.startswith("printf ")
  ]
  *_, text, sign, file = shlex.split(line)
  assert (sign, file) == (">", f"{PARTS['BUILD']}/run.sh")
  assert launching.words_of(text) == launching.WORDS


@pytest.mark.parametrize(
    ("command", "name"),
    [(key, name) for key, names in NEEDED.items() for name in names.split()],
)
def test_a_missing_variable_is_named(command, name, tmp_path, monkeypatch):
  script, verb = command.split()
  monkeypatch.setenv(name, "exported")  # The file alone counts.
  done = launching.launch(
      script, "--dry-run", verb, folder=tmp_path, **{name: None}
  )
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == (
      f"{script}: {name} is not set in {tmp_path}/env; launch/env.example says"
      " what it is\n"
  )


@pytest.mark.parametrize(
    ("script", "arguments", "values", "message"),
    [
        ("tpu_vm.sh", ["destroy"], {}, "'destroy' is not one of --dry-run, queue"),
        ("tpu_vm.sh", ["run", "logs"], {}, "'logs' is not one of"),
        ("tpu_vm.sh", [], {}, "say what to do: queue, keep, create"),
        ("local.sh", ["run"], {"RUN_NAME": "Try_1"}, "RUN_NAME 'Try_1' in {env}"),
        ("tpu_vm.sh", ["create"], {"SPOT": "yes"}, "SPOT 'yes' in {env} is neither"),
        ("tpu_vm.sh", ["create"], {"PRICE_PER_CHIP_HOUR": "1,2"}, "'1,2' in {env} is not a number"),
        ("tpu_vm.sh", ["create"], {"ACCELERATOR_TYPE": "v5p"}, "ACCELERATOR_TYPE 'v5p' in {env}"),
        ("gke.sh", ["apply"], {"TOPOLOGY": "16"}, "TOPOLOGY '16' in {env}"),
        ("gke.sh", ["apply"], {"CHIPS_PER_NODE": "3"}, "has 16 chips, which CHIPS_PER_NODE 3"),
        ("slurm.sh", ["submit"], {"NODES": "0"}, "NODES '0' in {env} is not a whole number"),
        ("local.sh", [], {"PROCESSES": "two"}, "PROCESSES 'two' in {env}"),
    ],
)  # fmt: skip
def test_wrong_values_end_with_one_sentence(
    script, arguments, values, message, tmp_path
):
  done = launching.launch(
      script, "--dry-run", *arguments, folder=tmp_path, **values
  )
  assert done.returncode == 2
  assert done.stderr.startswith(f"{script}: ")
  assert message.format(env=tmp_path / "env") in done.stderr
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "verb", "tool"),
    [
        ("tpu_vm.sh", "create", "gcloud"),
        ("gke.sh", "apply", "kubectl"),
        ("gke.sh", "build", "docker"),
        ("slurm.sh", "submit", "venv/bin/electra-jax"),
        ("local.sh", "run", "venv/bin/electra-jax"),
    ],
)
def test_a_missing_program_is_named(script, verb, tool, tmp_path):
  done = launching.launch(script, verb, folder=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith(f"{script}: there is no {tool}; ")


def test_a_missing_env_file_is_named(tmp_path):
  done = subprocess.run(
      ["bash", LAUNCH / "local.sh", "--dry-run"],
      env=os.environ | {"ENV": "nowhere/env"},
      cwd=tmp_path,
      capture_output=True,
      text=True,
  )
  assert done.returncode == 2
  assert f"there is no {tmp_path}/nowhere/env; copy" in done.stderr


def test_the_cost_and_how_to_end_it_come_last(tmp_path):
  for script, verb in (("tpu_vm.sh", "queue"), ("gke.sh", "apply")):
    done = launching.launch(script, "--dry-run", verb, folder=tmp_path)
    cost, delete = done.stdout.splitlines()[-2:]
    assert "16 chips x 1.25 = 20.00 an hour, 480.00 a day" in cost
    assert delete == f"ENV={tmp_path}/env bash launch/{script} delete"


def test_help_is_the_head_of_the_script():
  done = subprocess.run(
      ["bash", LAUNCH / "tpu_vm.sh", "--help"], capture_output=True, text=True
  )
  assert done.returncode == 0
  verbs = re.findall(r"^ +([a-z]+)   +", done.stdout, re.MULTILINE)
  known = {command.split()[1] for command in COMMANDS if "tpu_vm" in command}
  assert set(verbs) == known


def test_the_example_names_what_the_scripts_read():
  def names(path):
    return set(re.findall(r"\b[A-Z][A-Z_]+\b", path.read_text()))

  example = set(
      re.findall(r"^([A-Z_]+)=", (LAUNCH / "env.example").read_text(), re.M)
  )
  scripts = ("lib.sh", "tpu_vm.sh", "gke.sh", "slurm.sh", "local.sh")
  read = set.union(*(names(LAUNCH / script) for script in scripts))
  assert example <= read, "a knob that nobody reads"
  assert example == launching.VALUES.keys(), "a knob that no test sets"


def test_shellcheck_finds_nothing():
  subprocess.run(
      [
          pathlib.Path(sys.executable).parent / "shellcheck",
          *LAUNCH.glob("*.sh"),
      ],
      check=True,
  )


@pytest.mark.parametrize("spot", ["true", "false"])
def test_the_manifest_is_a_job_set(spot, tmp_path):
  done = launching.launch(
      "gke.sh", "--dry-run", "apply", folder=tmp_path, SPOT=spot
  )
  text = done.stdout.partition("\n")[2].partition("\nMANIFEST\n")[0]
  assert "{{" not in text
  manifest = yaml.safe_load(text)
  launching.check(manifest, launching.JOB_SET, "manifest")
  job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 4
  pod = job["template"]["spec"]
  assert pod["nodeSelector"] == {
      "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
      "cloud.google.com/gke-tpu-topology": "2x2x4",
  } | ({"cloud.google.com/gke-spot": "true"} if spot == "true" else {})
  # Kubernetes reads $$( as $(, and would replace $(HOME).
  words = [word.replace("$(", "$$(") for word in launching.WORDS]
  assert pod["containers"][0]["args"] == [*words, "--distributed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator=localhost"], "needs --num-processes"),
        (["--coordinator=localhost", "--num-processes=1", "--process-id=0"], "no port"),
        (["--process-id=0"], "need --coordinator HOST:PORT"),
        (["--distributed", "--num-processes=2"], "need --coordinator HOST:PORT"),
    ],
)  # fmt: skip
def test_half_told_processes_end_with_one_sentence(arguments, message, capsys):
  config = f"{helpers.ROOT}/configs/pretrain.py:tiny,runlocal"
  with pytest.raises(SystemExit) as stop:
    cli.main(
        ["pretrain", "--config", config, "--workdir", "unused", *arguments]
    )
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1


def test_processes_that_cannot_join_end_with_one_sentence(tmp_path):
  command = ("pretrain", "--config=configs/pretrain.py:tiny,runlocal")
  command += (f"--workdir={tmp_path}/run",)
  alone = processes.start(*command, "--distributed")
  third = processes.start(
      *command,
      *("--coordinator=localhost:1", "--num-processes=2", "--process-id=2"),
  )
  assert "finds neither a TPU pod nor a SLURM" in processes.finish(alone, 2)
  assert "--process-id 2 is not one of" in processes.finish(third, 2)
  assert not (tmp_path / "run").exists()

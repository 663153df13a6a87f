"""The quickstart: what it calls, and what the table of few labels says."""

import importlib.util
import json
import os
import pathlib
import subprocess

import pytest

from tests import helpers

SCRIPT = helpers.ROOT / "launch/quickstart.sh"
# Writes its words down, and what the real one would leave.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$HERE/calls"
case "$1" in
  prepare) mkdir -p "$4" && touch "$4/manifest.json" ;;
  pretrain) mkdir -p "${!#}" && touch "${!#}/report.html" ;;
esac
"""


@pytest.fixture(name="few_labels", scope="module")
def the_module():
  path = helpers.ROOT / "launch/few_labels.py"
  spec = importlib.util.spec_from_file_location("few_labels", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def quickstart(here: pathlib.Path, workdir: pathlib.Path) -> tuple[list, str]:
  bin_folder = here / "venv/bin"
  bin_folder.mkdir(parents=True, exist_ok=True)
  for name in ("electra-jax", "python"):
    (bin_folder / name).write_text(STAND_IN)
    (bin_folder / name).chmod(0o755)
  (here / "calls").unlink(missing_ok=True)
  done = subprocess.run(
      ["bash", str(SCRIPT), str(workdir)],
      env=os.environ | {"HERE": str(here), "VENV": str(here / "venv")},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      check=False,
  )
  assert done.returncode == 0, done.stderr
  return (here / "calls").read_text().splitlines(), done.stdout


def test_it_goes_through_three_stages(tmp_path):
  calls, shown = quickstart(tmp_path, tmp_path / "run")
  verbs = [" ".join(call.split()[:2]) for call in calls]
  assert verbs == [
      "electra-jax predict",
      "electra-jax prepare",
      "electra-jax pretrain",
      "electra-jax predict",
      "python launch/few_labels.py",
  ]
  assert "--workdir tiny-en She opened the door" in calls[0]
  assert f"--config.data.store={tmp_path}/run_store" in calls[2]
  assert f"{tmp_path}/run/report.html" in shown
  # What it tells to type afterwards works as typed.
  assert f". {tmp_path}/venv/bin/activate" in shown
  assert f"--workdir {tmp_path}/run_few_labels/all_pre-trained" in shown


def test_it_goes_on_with_a_store_that_is_there(tmp_path):
  quickstart(tmp_path, tmp_path / "run")
  calls, _ = quickstart(tmp_path, tmp_path / "run")
  assert not [call for call in calls if " prepare " in call]


def test_tables_lie_in_each_other_and_share_no_review(few_labels, tmp_path):
  numbers = few_labels.write_tables(tmp_path)
  tables = {
      path.stem: path.read_text().splitlines()
      for path in tmp_path.glob("*.jsonl")
  }
  assert numbers == {
      "200": 200,
      "1000": 1_000,
      "all": len(tables["train_all"]),
  }
  for smaller, larger in (("200", "1000"), ("1000", "all")):
    rows = tables[f"train_{smaller}"]
    assert rows == tables[f"train_{larger}"][: len(rows)]
  assert not set(tables["dev"]) & set(tables["train_all"])
  labels = [json.loads(row)["label"] for row in tables["train_200"]]
  assert 70 < labels.count("positive") < 130


def test_the_table_tells_the_spread_and_the_gain(few_labels):
  starts = {
      "pre-trained": {"median": 61.25, "spread": 0.5},
      "random": {"median": 52.0, "spread": 2.04},
  }
  shown = few_labels.table_of([{"labels": 200, **starts}])
  assert shown.splitlines()[1].split() == (
      ["200", "61.2", "±", "0.5", "52.0", "±", "2.0", "+9.2"]
  )


def test_only_the_start_differs(few_labels, tmp_path, monkeypatch):
  asked = []

  def finetune(config, workdir, *, overrides, quiet):
    asked.append((config, overrides))
    raise KeyError

  monkeypatch.setattr(few_labels.electra_jax, "finetune", finetune)
  for start in few_labels.STARTS:
    with pytest.raises(KeyError):
      few_labels.measure(tmp_path, "200", start, 3)
  (config, ours), (other, random) = asked
  assert config == other
  assert ours | {"random_init": True} == random
  assert ours["random_init"] is False and ours["init_from"] == "tiny-en"

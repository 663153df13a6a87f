"""`doctor` tells what is here, whatever is missing."""

import re
import runpy
import subprocess
import sys
import unittest.mock

import jax
import pytest

from electra_jax.cli import main as cli
from electra_jax.runs import doctor
from tests import helpers


def told(capsys, code=0):
  with pytest.raises(SystemExit) as stop:
    cli.main(["doctor"])
  assert stop.value.code == code
  return capsys.readouterr()


def test_it_tells_in_ten_lines(capsys):
  out = told(capsys).out
  assert 9 <= out.count("\n") <= 11
  assert f"jax {jax.__version__}" in out
  assert "8 x cpu" in out and "GiB free here" in out
  assert "plain; there is no kernel for a cpu" in out


def test_all_that_is_missing_is_told_at_once(capsys, monkeypatch):
  absent = {"scipy", "uvicorn", "starlette", "apache-beam", "gcsfs"}
  absent |= {"tensorflow-datasets"}
  versions = {"scikit-learn": "1.0"}  # Too old.

  def version(name):
    return None if name in absent else versions.get(name, "99.0")

  monkeypatch.setattr(doctor, "_version", version)
  out = told(capsys).out
  assert "scores of finetune and evaluate (scikit-learn, scipy)" in out
  assert "demo (starlette, uvicorn)" in out
  assert "pip install 'electra-jax[finetune,serve,tfds,beam,gcs]'" in out
  absent.clear()
  versions.clear()
  assert "missing      nothing" in told(capsys).out


def test_where_jax_cannot_start_it_says_why(capsys, monkeypatch):
  def fail():
    raise RuntimeError("Unable to initialize\n  backend 'tpu'")

  monkeypatch.setattr(jax, "devices", fail)
  shown = told(capsys, code=2)
  assert "system" in shown.out and "disk" in shown.out
  assert shown.err.startswith("electra-jax doctor: jax cannot start")
  assert "Unable to initialize backend 'tpu'" in shown.err


def test_it_works_where_jax_cannot_be_imported():
  code = (
      "import sys; sys.modules['jax'] = None;"
      "from electra_jax.cli.main import main; main(['doctor'])"
  )
  done = subprocess.run(
      [sys.executable, "-c", code],
      capture_output=True,
      text=True,
      cwd=helpers.ROOT,
      check=False,
  )
  assert done.returncode == 2
  assert done.stdout.startswith("electra_jax ") and "packages" in done.stdout
  assert "Traceback" not in done.stderr and "jax cannot start" in done.stderr


def test_no_home_and_no_secret_is_told(capsys, monkeypatch):
  monkeypatch.setenv("HOME", "/home/somebody")
  monkeypatch.setenv("JAX_DUMP_IR_TO", "/home/somebody/dumps")
  monkeypatch.setenv("WANDB_API_KEY", "a-secret")
  out = told(capsys).out
  assert "JAX_DUMP_IR_TO=~/dumps" in out
  assert "/home/somebody" not in out and "a-secret" not in out


def test_the_extras_are_those_of_setup_py():
  # What setup.py would install, without installing.
  with unittest.mock.patch("setuptools.setup") as setup:
    runpy.run_path(str(helpers.ROOT / "setup.py"))
  extras = setup.call_args.kwargs["extras_require"]
  for name, (_, requirements) in doctor.EXTRAS.items():
    if name == "gcs":  # An extra of another package, which is made of this.
      assert extras[name] == ["etils[epath-gcs]>=1.9"]
    else:
      # Upper bounds and platforms aside.
      bare = (re.split("[,;]", extra)[0] for extra in extras[name])
      assert sorted(requirements) == sorted(bare)
  # Those of hardware and of development are told by what fails without them;
  # search is for scripts of one's own.
  others = {"gpu", "tpu", "quickstart", "notebooks", "search", "test"}
  assert set(extras) == set(doctor.EXTRAS) | others
  for _, requirements in doctor.EXTRAS.values():
    assert all(re.fullmatch(r"[\w-]+(>=[\d.]+)?", r) for r in requirements)

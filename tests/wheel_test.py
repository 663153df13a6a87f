"""A wheel, installed outside of the checkout: configs travel, verbs work."""

import os
import subprocess
import sys

import pytest

from tests import helpers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="installed")
def an_installed_wheel(tmp_path_factory):
  """A folder with the wheel's content, first on the path, and its home."""
  folder = tmp_path_factory.mktemp("wheel")
  pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
  subprocess.run(
      [*pip, "wheel", "--no-deps", str(helpers.ROOT), "-w", str(folder)],
      check=True,
  )
  (wheel,) = folder.glob("*.whl")
  site, home = folder / "site", folder / "home"
  subprocess.run(
      [*pip, "install", "--no-deps", "--target", str(site), str(wheel)],
      check=True,
  )
  home.mkdir()
  return site, home


def run(installed, *words) -> str:
  site, home = installed
  done = subprocess.run(
      [sys.executable, *words],
      cwd=home,
      env=os.environ | {"PYTHONPATH": str(site)},
      capture_output=True,
      text=True,
      check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_it_prepares_pretrains_and_finetunes(installed):
  site, home = installed
  program = ("-m", "electra_jax")
  place = run(
      installed, "-c", "import electra_jax; print(electra_jax.__file__)"
  )
  assert place.startswith(str(site))
  (home / "text.txt").write_text(
      (helpers.GOLDEN / "small_corpus.txt").read_text()
  )
  run(
      installed,
      *(*program, "prepare", "text.txt", "--output", "store"),
      *("--train-vocab", "400", "--length", "32", "--validation-percent", "10"),
  )
  run(
      installed,
      *(*program, "pretrain", "--config", "pretrain:tiny,runlocal"),
      *("--config.data.synthetic=false", "--config.data.store=store"),
      *("--config.train.num_steps=4", "--workdir", "run"),
  )
  run(
      installed,
      *(*program, "finetune", "--config", "finetune:task=sst,runlocal"),
      *("--config.train.num_epochs=0.5", "--workdir", "sst"),
  )
  assert (home / "sst/scores.json").exists()
  for name in ("run", "sst"):  # Templates and styles travel as well.
    assert "</html>" in (home / name / "report.html").read_text()


def test_the_page_travels(installed):
  site, _ = installed
  page = "electra_jax/serve/page"
  shipped = {path.name for path in (helpers.ROOT / page).iterdir()}
  assert {path.name for path in (site / page).iterdir()} == shipped
  assert {"index.html", "app.js"} <= shipped
  assert (site / "electra_jax/reporting/style.css").exists()


def test_a_shipped_config_can_be_copied(installed):
  _, home = installed
  program = ("-m", "electra_jax")
  text = run(installed, *program, "config", "pretrain:small")
  assert text == (helpers.ROOT / "configs/pretrain.py").read_text()
  (home / "mine.py").write_text(text)
  shown = run(installed, *program, "config", "mine.py:tiny", "--values")
  assert "--config.data.length=32  # Tokens per row" in shown


def test_the_shipped_model_travels_and_answers(installed):
  site, _ = installed
  words = ("predict", "--workdir", "tiny-en", "--json", "it was a [MASK] day")
  assert '"fills"' in run(installed, "-m", "electra_jax", *words)
  card = site / "electra_jax/shipped/tiny_en/README.md"
  assert "# tiny-en" in card.read_text()

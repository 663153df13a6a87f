"""The notebooks: their form, and that each runs from top to bottom.

All but the first run with the slow tests; sizes are small.
"""

import ast
import re

import pytest

from tests import helpers, notebook_runner

NAMES = notebook_runner.names()
EXPECTED = [
    "convert_and_share",
    "finetune_your_table",
    "pretraining_step_by_step",
    "quickstart",
    "sweep_and_compare",
    "tpu_pod",
]
# In place of the cell tagged `parameters`.
SMALL = {
    "convert_and_share": "STEPS = 2",
    "finetune_your_table": "REVIEWS = 400\nEPOCHS = 1\nSEEDS = 1",
    "pretraining_step_by_step": "REVIEWS = 400\nBATCH = 4\nSTEPS = 2",
    "quickstart": "REVIEWS = 400\nSTEPS = 3",
    "sweep_and_compare": (
        "REVIEWS = 400\nSTEPS = 2\nSEEDS = 1\nRATES = (1e-4, 1e-3)"
    ),
    "tpu_pod": "SIZE = 'tiny'\nBATCH = 8\nPRICE = 1.0",
}
MOST_BYTES = 100_000

each_notebook = pytest.mark.parametrize("name", NAMES)


def test_all_are_there():
  assert NAMES == EXPECTED == sorted(SMALL)
  readme = (notebook_runner.FOLDER / "README.md").read_text()
  for name in NAMES:
    assert f"({name}.ipynb)" in readme


@each_notebook
def test_it_begins_with_badge_install_and_parameters(name):
  cells = notebook_runner.read(name).cells
  head, install, parameters = cells[:3]
  assert head.source.startswith("# ") and "At the end" in head.source
  badge = re.search(r"\]\((https://colab\.\S+)\)\]?", head.source)
  assert badge and "colab-badge.svg" in head.source
  assert f"/electra_jax/blob/main/notebooks/{name}.ipynb)" in head.source
  assert "install" in notebook_runner.tags(install)
  assert "%pip install" in install.source
  assert "parameters" in notebook_runner.tags(parameters)
  tagged = [cell for cell in cells if notebook_runner.tags(cell)]
  assert len(tagged) == 2, "one install cell, one of parameters"
  assert "## Where to go next" in cells[-1].source
  for extra in re.findall(r"electra-jax\[([\w,]+)\]", install.source):
    for one in extra.split(","):
      assert f'"{one}": ' in (helpers.ROOT / "setup.py").read_text(), one


@each_notebook
def test_small_values_are_those_of_its_parameters(name):
  parameters = notebook_runner.read(name).cells[2].source
  assert assigned(SMALL[name]) == assigned(parameters)


def assigned(source: str) -> list[str]:
  return [node.targets[0].id for node in ast.parse(source).body]


@each_notebook
def test_outputs_are_kept_and_small(name):
  path = notebook_runner.FOLDER / f"{name}.ipynb"
  notebook = notebook_runner.read(name)
  assert path.stat().st_size < MOST_BYTES
  assert notebook_runner.cleaned(notebook) == notebook, "run the runner again"
  outputs = [
      output
      for cell in notebook.cells
      if cell.cell_type == "code"
      for output in cell.outputs
  ]
  assert outputs
  assert all(output.output_type != "error" for output in outputs)
  text = path.read_text(encoding="utf-8")
  assert not re.search(r"/(home|tmp|root|work|content|Users)/", text)


@each_notebook
def test_its_links_lead_somewhere(name):
  for cell in notebook_runner.read(name).cells:
    if cell.cell_type == "markdown":
      for link in re.findall(r"\]\((?!https:)([^)\s]+)\)", cell.source):
        assert (notebook_runner.FOLDER / link).exists(), link
      for path in re.findall(
          r"`((?:launch|docs|configs|objectives|training)/[\w./]+)`",
          cell.source,
      ):
        roots = (helpers.ROOT, helpers.ROOT / "electra_jax")
        is_here = any((root / path).exists() for root in roots)
        assert is_here or path == "launch/env", path  # The reader's own.


@pytest.mark.slow
@each_notebook
def test_it_runs_from_top_to_bottom(name, tmp_path):
  done = notebook_runner.run(
      notebook_runner.read(name),
      tmp_path,
      SMALL[name],
      {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": ""},
  )
  assert all(
      output.output_type != "error"
      for cell in done.cells
      if cell.cell_type == "code"
      for output in cell.outputs
  )


def test_the_account_is_named_in_every_place(tmp_path, monkeypatch):
  for path in notebook_runner.FOLDER.iterdir():
    if path.is_file():
      (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"))
  monkeypatch.setattr(notebook_runner, "FOLDER", tmp_path)
  notebook_runner.set_owner("somebody")
  for name in NAMES:
    text = (tmp_path / f"{name}.ipynb").read_text()
    assert text.count("/somebody/electra_jax") == 2, name
    assert "OWNER/" not in text

"""Runs the notebooks: in the tests with small sizes, or to keep their outputs.

  python -m tests.notebook_runner [NAME …]            # runs, and keeps outputs
  python -m tests.notebook_runner --owner ACCOUNT     # names the GitHub account

A cell tagged `install` is not run; one tagged `parameters` can be replaced.
"""

import argparse
import copy
import os
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat

from tests import helpers

FOLDER = helpers.ROOT / "notebooks"
TIMEOUT_SECS = 3600  # Of one cell: a machine may be busy.
# What stays of a cell's metadata; times of execution and the like go.
_KEPT = ("tags",)


def names() -> list[str]:
  """Returns the notebooks, without their ending."""
  return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> nbformat.NotebookNode:
  """Returns a notebook as it lies in the repository."""
  return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
  """Returns the tags of a cell."""
  return cell.metadata.get("tags", [])


def run(
    notebook: nbformat.NotebookNode,
    folder: pathlib.Path,
    parameters: str | None = None,
    environment: dict[str, str] | None = None,
) -> nbformat.NotebookNode:
  """Runs a notebook from top to bottom in a folder.

  Args:
    notebook: left as it is.
    folder: where it runs, an empty one.
    parameters: in place of the cell of that tag, or None.
    environment: further variables of its process.

  Returns:
    The notebook with its outputs.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell fails.
  """
  done = copy.deepcopy(notebook)
  installs = {}
  for index, cell in enumerate(done.cells):
    if "parameters" in tags(cell) and parameters is not None:
      cell.source = parameters
    if "install" in tags(cell):
      installs[index] = cell.source
      cell.source = ""
  # Kernels read the variables of the process that starts them.
  variables = {"PYTHONPATH": str(helpers.ROOT), **(environment or {})}
  before = {name: os.environ.get(name) for name in variables}
  os.environ.update(variables)
  try:
    nbclient.NotebookClient(
        done,
        timeout=TIMEOUT_SECS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
  finally:
    for name, value in before.items():
      os.environ.pop(name, None) if value is None else os.environ.update(
          {name: value}
      )
  for index, source in installs.items():
    done.cells[index].source = source
  return done


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
  """Returns a notebook that differs from run to run in its outputs alone."""
  notebook = copy.deepcopy(notebook)
  notebook.metadata = {
      "kernelspec": {
          "display_name": "Python 3",
          "language": "python",
          "name": "python3",
      },
      "language_info": {"name": "python"},
  }
  for cell in notebook.cells:
    cell.metadata = {k: v for k, v in cell.metadata.items() if k in _KEPT}
    if cell.cell_type == "code":
      cell.outputs = _joined(cell.outputs)
      cell.execution_count = None
      for output in cell.outputs:
        if "execution_count" in output:
          output.execution_count = None
  return notebook


def write(name: str, notebook: nbformat.NotebookNode) -> None:
  """Writes a notebook into the repository."""
  text = nbformat.writes(notebook, indent=1)
  (FOLDER / f"{name}.ipynb").write_text(text + "\n", encoding="utf-8")


def set_owner(owner: str) -> None:
  """Names the GitHub account in badges and install cells."""
  for path in (*FOLDER.glob("*.ipynb"), FOLDER / "README.md"):
    text = path.read_text(encoding="utf-8")
    text = re.sub(
        r"(github(?:\.com)?/)[\w-]+(/electra_jax)", rf"\1{owner}\2", text
    )
    path.write_text(text, encoding="utf-8")


def _joined(outputs):
  """Joins the parts in which one stream has come."""
  joined = []
  for output in outputs:
    last = joined[-1] if joined else {}
    if output.output_type == "stream" and last.get("name") == output.name:
      last.text += output.text
    else:
      joined.append(output)
  return joined


def main() -> None:
  """Runs notebooks and keeps their outputs, or names the account."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("names", nargs="*", metavar="NAME")
  parser.add_argument("--owner")
  args = parser.parse_args()
  if args.owner:
    set_owner(args.owner)
    return
  for name in args.names or names():
    with tempfile.TemporaryDirectory() as folder:
      print(name, file=sys.stderr, flush=True)
      write(name, cleaned(run(read(name), pathlib.Path(folder))))


if __name__ == "__main__":
  main()

"""The verb `report`: one page of a run, or of several laid over each other."""

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from etils import epath

from electra_jax import __version__
from electra_jax.errors import UserError
from electra_jax.files import write_whole, writing
from electra_jax.reporting import drawing, palette, records, sweep_table, views

PAGE = "report.html"
_HEAD_BYTES = 4096  # In which each of our files says that it is ours.


def report(
    runs: epath.PathLike | Sequence[epath.PathLike],
    output: epath.PathLike | None = None,
) -> epath.Path:
  """Writes a page of a run, or of several laid over each other.

      report(["run", "run_of_another_rate"], output="rates.html")

  It reads only: a run may be going on. Plots lie beside it, as SVG and PNG.

  Args:
    runs: workdirs of pretrain and finetune runs, outputs of sweeps.
    output: the page, "NAME.html"; by default report.html in the run's folder,
      or in the present one for several runs. Plots lie in the folder NAME.

  Returns:
    The page.

  Raises:
    UserError: a folder holds no run, a package is not installed, or the place
      cannot be written or holds what is not ours.
  """
  runs = [runs] if isinstance(runs, str | os.PathLike) else runs
  if not runs:
    raise UserError("no run is named; give the --workdir of one or several")
  drawing.check_packages()
  page = _page_of(runs, output)
  found = records.read_runs(runs)
  with drawing.style():
    shown = _views(found)
  sweeps = [
      sweep_table.read_sweep(run, f"sweep_{i}")
      for i, run in enumerate(found)
      if run.kind == records.SWEEP
  ]
  html = _render([run.name for run in found], shown, sweeps)
  folder = page.with_suffix("")
  files = {page: html.encode("utf-8", "replace")}
  for view in shown:
    for plot in view.plots:
      files[folder / f"{plot.name}.svg"] = plot.svg
      files[folder / f"{plot.name}.png"] = plot.png
  changed = [path for path in files if _held(path) != files[path]]
  with writing(page):
    for place in {path.parent for path in files}:
      place.mkdir(parents=True, exist_ok=True)
  for path in changed:
    write_whole(path, [files[path]])
  return page


def _page_of(
    runs: Sequence[epath.PathLike], output: epath.PathLike | None
) -> epath.Path:
  if output is None:
    return epath.Path(runs[0]) / PAGE if len(runs) == 1 else epath.Path(PAGE)
  page = epath.Path(output)
  if page.suffix.lower() not in (".html", ".htm"):
    raise UserError(
        f"--output {output} is no name of a page; give one that ends in .html"
    )
  return page


def _views(found: Sequence[records.RunRecord]) -> list[views.View]:
  shown = []
  for kind, lay_out in (
      (records.PRETRAIN, views.view_pretraining),
      (records.FINETUNE, views.view_finetuning),
  ):
    if of_kind := [run for run in found if run.kind == kind]:
      shown.append(lay_out(of_kind))
  return shown


def _render(names: Sequence[str], shown: Sequence[Any], sweeps) -> str:
  import jinja2
  import markupsafe

  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(palette.FOLDER),
      # Whatever stands in a run's files is text and never markup.
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
  )

  def own(name: str) -> markupsafe.Markup:
    return markupsafe.Markup((palette.FOLDER / name).read_text("utf-8"))

  script = own("page.js")
  digest = hashlib.sha256(str(script).encode()).digest()
  return environment.get_template("templates/page.html").render(
      title=" · ".join(names),
      views=shown,
      sweeps=sweeps,
      styles=own("style.css") + own("page.css"),
      script=script,
      script_digest=base64.b64encode(digest).decode(),
      made_by=drawing.MADE_BY,
      version=__version__,
  )


def _held(path: epath.Path) -> bytes | None:
  """Returns what a file holds that may be replaced; None if there is none.

  Raises:
    UserError: this verb has not written it, or it cannot be read.
  """
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    return None
  except OSError as error:
    raise UserError(
        f"{path} cannot be written over ({error.strerror or error}); give"
        " another --output"
    ) from error
  if drawing.MADE_BY.encode() not in content[:_HEAD_BYTES]:
    raise UserError(
        f"{path} was not made by this verb, and is not overwritten; give"
        " another --output, or move it"
    )
  return content

"""Drawings: what does not depend on the page around them."""

import pytest

from electra_jax.reporting import drawing, judged_plots, task_plots

RUNS = ("run", "a_run_with_rather_a_long_name")


@pytest.fixture(name="figures")
def drawn_figures(monkeypatch):
  """The figures that are drawn, in place of their files."""
  kept = []

  def save(made, *_):
    kept.append(made)
    return drawing.Plot("", b"", b"", "")

  monkeypatch.setattr(drawing, "save", save)
  with drawing.style():
    yield kept


def assert_legends_fit(figure) -> None:
  figure.draw_without_rendering()
  legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
  legends = [legend for legend in legends if legend is not None]
  assert legends
  for legend in legends:
    box = legend.get_window_extent()
    assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS])
def test_legends_of_several_runs_are_whole(figures, runs):
  band = judged_plots.Band("rank 10,001 to 100,000", 90, 0.8, 0.9, 0.1)
  judged_plots.draw_bands({run: [band] for run in runs})
  bin_ = judged_plots.Bin(20, 0.3, 0.4)
  judged_plots.draw_calibration({run: [bin_] for run in runs})
  for figure in figures:
    assert_legends_fit(figure)


@pytest.mark.parametrize(
    ("values", "goes_on"), [((100.0, 100.0), 101), ((97.0, 99.5), 101),
                            ((40.0, 60.0), 101), ((20.0, 160.0), 1000)],
)  # fmt: skip
def test_the_axis_of_scores_ends_at_100_percent(figures, values, goes_on):
  task_plots.draw_scores({"sst/dev/accuracy": {"run": values}})
  (axes,) = figures[0].axes
  low, high = axes.get_xlim()
  assert low < min(values) and max(values) < high < goes_on

import json

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.reporting import curves, records
from electra_jax.reporting.records import Series
from tests.reporting import made


def test_a_torn_line_and_odd_values_are_left_out(tmp_path):
  folder = made.pretrain_run(tmp_path / "run")
  with open(folder / "metrics.jsonl", "ab") as file:
    file.write(b'{"step": "five", "group": "train", "loss": 1}\n[]\nnull\n')
    file.write(b'{"step": 1010, "group": "train", "loss": true}\n')
    file.write(b'{"step": 1020, "group": "train", "loss": NaN}\n\xff\n')
    large = b"1" + b"0" * 400
    file.write(b'{"step": 1022, "group": "train", "loss": %b}\n' % large)
    file.write(b'{"step": %b, "group": "train", "loss": 1}\n' % large)
    file.write(b'{"step": 1030, "gro')  # A run that is writing.
  (run,) = records.read_runs([folder])
  assert run.curves["train", "loss"].steps[-1] == 1000
  assert run.last_step == 1000
  assert np.isnan(run.curves["train", "rtd_precision"].values[0])


@pytest.mark.parametrize("content", ["", "[]", "{", "nan", "[" * 100_000])
def test_broken_files_say_nothing(tmp_path, content):
  folder = made.pretrain_run(tmp_path / "run")
  for path in folder.iterdir():
    path.write_text(content)
  (run,) = records.read_runs([folder])
  assert not (run.config or run.curves or run.samples or run.environment)


def test_what_is_no_workdir_is_told_in_a_sentence(tmp_path):
  with pytest.raises(
      UserError, match=r"nothing does not exist: a report is of"
  ):
    records.read_runs([tmp_path / "nothing"])
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="is no workdir"):
    records.read_runs([tmp_path])


def test_names_are_the_shortest_that_differ(tmp_path):
  paths = [
      made.pretrain_run(tmp_path / name) for name in ("a/run", "b/run", "b/try")
  ]
  names = [run.name for run in records.read_runs(paths)]
  assert names == ["a/run", "b/run", "b/try"]
  assert [run.name for run in records.read_runs(paths[:1])] == ["run"]
  twice = [run.name for run in records.read_runs([paths[0], paths[0]])]
  assert len(set(twice)) == 2


def test_phases_are_runs_of_their_own(tmp_path):
  for name in ("phase_1", "phase_2"):
    made.pretrain_run(tmp_path / name)
  steps = {"phase_1": 1000, "phase_2": None, "phase_3": None}
  made.write(tmp_path / "phases.json", steps)
  names = [run.name for run in records.read_runs([tmp_path])]
  assert names == ["phase_1", "phase_2"]


def test_smoothing_neither_lags_nor_leans():
  line = np.arange(50.0)
  np.testing.assert_allclose(curves.moving_mean(line, 4), line)
  spike = np.zeros(9)
  spike[4] = 9.0
  np.testing.assert_allclose(
      curves.moving_mean(spike, 1), [0, 0, 0, 3, 3, 3, 0, 0, 0]
  )
  assert curves.moving_mean(spike, 3)[0] == spike[0]


def test_thinning_keeps_the_extremes():
  steps = np.arange(10_000)
  values = np.sin(steps / 500.0)
  values[1234], values[4321] = 7.0, -7.0
  values[99] = np.nan
  drawn = curves.prepare(Series(steps, values))
  assert drawn.is_thinned and len(drawn.raw.steps) <= 301  # And a gap.
  assert {7.0, -7.0} <= set(drawn.raw.values)
  assert drawn.line.steps[0] == 0 and drawn.line.steps[-1] == 9999
  short = curves.prepare(Series(steps[:10], values[:10]))
  assert short.window == 1 and not short.is_thinned


def test_where_a_figure_is_not_defined_the_line_breaks():
  steps = np.arange(8) * 10
  values = np.array([np.nan, 1, np.nan, np.nan, 2, 3, np.nan, 4])
  raw, line, *_ = curves.prepare(Series(steps, values))
  assert raw.steps.tolist() == [10, 20, 40, 50, 60, 70]
  np.testing.assert_array_equal(line.values, [1, np.nan, 2, 3, np.nan, 4])


def test_reading_changes_nothing(tmp_path):
  folder = made.pretrain_run(tmp_path / "run")
  (folder / "lock.json").write_text(json.dumps({"owner": "another"}))
  before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
  records.read_runs([folder])
  after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
  assert after == before

"""Finished or not, the metric, the ranking, the table and the plot."""

import dataclasses
import json
import math
import struct
import sys

import matplotlib.image
import numpy as np
import pytest
from etils import epath

from electra_jax.errors import UserError
from electra_jax.runs import weights
from electra_jax.sweeps import outcomes, plot, table
from electra_jax.sweeps import trials as plan
from electra_jax.sweeps.space import Sweep
from tests.sweeps.stand_ins import WEIGHTS, Trials

PRETRAIN = plan.Stage("pretrain", "c", (), end=20)
FINETUNE = plan.Stage("finetune", "c", (), end=2)
TINY = Sweep("configs/pretrain.py:tiny", [{}], metric="validation/rtd_auc")


@pytest.fixture
def trials(tmp_path):
  return Trials(tmp_path)


def leave(folder, step=20, group="validation", checkpoint=20, **figures):
  """What a pre-training leaves."""
  record = {"step": step, "group": group, **(figures or {"rtd_auc": 0.7})}
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "metrics.jsonl").open("a") as file:
    file.write(json.dumps(record) + "\n")
  if checkpoint is not None:
    (folder / "checkpoints" / str(checkpoint)).mkdir(
        parents=True, exist_ok=True
    )


def leave_scores(folder, *seeds, name="rte/dev/accuracy"):
  folder.mkdir(parents=True, exist_ok=True)
  scores = {
      str(i): {name: value, "x/dev/loss": 1.0} for i, value in enumerate(seeds)
  }
  median = {name: float(np.median(seeds)), "x/dev/loss": 1.0}
  text = {"seeds": scores, "median": median, "selected_by": [name]}
  (folder / "scores.json").write_text(json.dumps(text))


def trial(*stages, point=None, seed=0, name="t"):
  return plan.Trial(name, point or {}, seed, stages)


@pytest.mark.parametrize(
    ("left", "is_finished"),
    [
        ({}, True),
        ({"step": 10}, False),  # Stopped before its end.
        ({"checkpoint": 10}, False),  # Killed before its last checkpoint.
        ({"checkpoint": None}, False),
        ({"group": "train"}, False),  # Killed in its last evaluation.
        ({"step": 40, "checkpoint": 40}, False),  # Of another plan.
    ],
)
def test_a_pretraining_is_finished_with_its_last_step(
    left, is_finished, tmp_path
):
  folder = epath.Path(tmp_path)
  assert not outcomes.is_finished(PRETRAIN, folder)
  leave(tmp_path, **left)
  assert outcomes.is_finished(PRETRAIN, folder) == is_finished


def test_a_line_cut_off_by_a_kill_does_not_count(tmp_path):
  leave(tmp_path)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 30, "gro')
  assert outcomes.is_finished(PRETRAIN, epath.Path(tmp_path))


def test_a_checkpoint_on_gs_is_whole_with_its_note(tmp_path, monkeypatch):
  leave(tmp_path)

  class OnGs(type(epath.Path(tmp_path))):

    def __str__(self):
      return "gs://" + super().__str__()

  folder = OnGs(tmp_path)
  assert not outcomes.is_finished(PRETRAIN, folder)
  (tmp_path / "checkpoints/20/commit_success.txt").touch()
  assert outcomes.is_finished(PRETRAIN, folder)


def test_a_finetuning_is_finished_with_all_seeds(tmp_path):
  folder = epath.Path(tmp_path)
  assert not outcomes.is_finished(FINETUNE, folder)
  leave_scores(tmp_path, 60.0)
  assert not outcomes.is_finished(FINETUNE, folder)
  leave_scores(tmp_path, 60.0, 61.0)
  assert outcomes.is_finished(FINETUNE, folder)
  assert outcomes._SCORES == weights.SCORES


def test_a_staged_run_is_finished_with_its_last_phase(tmp_path):
  stage = dataclasses.replace(PRETRAIN, last_phase="phase_2")
  leave(tmp_path / "phase_1")
  assert not outcomes.is_finished(stage, epath.Path(tmp_path))
  leave(tmp_path / "phase_2", rtd_auc=0.8)
  found = outcomes.read_outcome(TINY, trial(stage), epath.Path(tmp_path))
  assert found.values == {0: 0.8}


def test_stages_follow_each_other(tmp_path):
  stages = [
      dataclasses.replace(PRETRAIN, folder="pretrain"),
      dataclasses.replace(FINETUNE, folder="rte"),
  ]
  folder = epath.Path(tmp_path)
  assert outcomes.next_stage(trial(*stages), folder) is stages[0]
  leave(tmp_path / "pretrain")
  assert outcomes.next_stage(trial(*stages), folder) is stages[1]
  leave_scores(tmp_path / "rte", 60.0, 61.0)
  assert outcomes.next_stage(trial(*stages), folder) is None


def test_the_metric_is_of_the_last_evaluation(tmp_path):
  leave(tmp_path, step=10, rtd_auc=0.9)
  leave(tmp_path, rtd_auc=0.7, loss=None)
  leave(tmp_path, group="train", rtd_auc=0.1)
  found = outcomes.read_outcome(
      TINY, trial(PRETRAIN, seed=3), epath.Path(tmp_path)
  )
  assert (found.state, found.values) == ("finished", {3: 0.7})
  assert math.isnan(found.figures[3]["loss"])
  wrong = dataclasses.replace(TINY, metric="train/rtd_auc")
  with pytest.raises(
      UserError, match=r"'train/rtd_auc' and .* validation/rtd_auc"
  ):
    outcomes.read_outcome(wrong, trial(PRETRAIN), epath.Path(tmp_path))


def test_a_finetuning_has_a_value_for_every_seed(tmp_path):
  leave_scores(tmp_path, 60.0, 64.0)
  sweep = Sweep("c", [{}], seeds=2)
  found = outcomes.read_outcome(sweep, trial(FINETUNE), epath.Path(tmp_path))
  assert found.values == {0: 60.0, 1: 64.0}
  assert found.figures[1]["rte/dev/accuracy"] == 64.0
  other = dataclasses.replace(sweep, metric="x/dev/loss")
  found = outcomes.read_outcome(other, trial(FINETUNE), epath.Path(tmp_path))
  assert found.values == {0: 1.0, 1: 1.0}


def test_judges_count_alike(tmp_path):
  leave(tmp_path / "pretrain")
  leave_scores(tmp_path / "rte", 60.0, 64.0)
  leave_scores(tmp_path / "sst", 90.0, 92.0, name="sst/dev/accuracy")
  stages = [dataclasses.replace(PRETRAIN, folder="pretrain")]
  stages += [dataclasses.replace(FINETUNE, folder=f) for f in ("rte", "sst")]
  sweep = Sweep("c", [{}], judges=("rte", "sst"))
  found = outcomes.read_outcome(sweep, trial(*stages), epath.Path(tmp_path))
  assert found.values == {0: (62.0 + 91.0) / 2}
  assert found.figures[0]["sst/dev/accuracy"] == 91.0
  named = dataclasses.replace(sweep, metric="sst/dev/accuracy")
  found = outcomes.read_outcome(named, trial(*stages), epath.Path(tmp_path))
  assert found.values == {0: 91.0}


def test_what_is_not_finished_says_why(tmp_path):
  folder = epath.Path(tmp_path / "t")
  found = outcomes.read_outcome(TINY, trial(PRETRAIN), folder)
  assert (found.state, found.note) == ("not started", "")
  leave(tmp_path / "t", step=10)
  (tmp_path / "t/log.txt").write_bytes(b"first\n\xff last \n\n")
  found = outcomes.read_outcome(TINY, trial(PRETRAIN), folder, "failed")
  assert (found.state, found.note) == ("failed", "\ufffd last")


def outcome(weight, seed, value=None, state="finished", note=""):
  point = {"objective.disc_weight": weight}
  values = {} if value is None else {seed: value}
  made = trial(PRETRAIN, point=point, seed=seed, name=f"w={weight},s={seed}")
  return outcomes.Outcome(
      made, state, values, {seed: {"rtd_auc": value or 0.0}}, note
  )


FOUND = [
    outcome(1.0, 0, 0.5),
    outcome(1.0, 1, 0.7),
    outcome(10.0, 0, 0.8),
    outcome(10.0, 1, state="failed", note="the loss is nan"),
    outcome(20.0, 0, float("nan")),
    outcome(50.0, 0, state="not started"),
]


@pytest.mark.parametrize(
    ("goal", "order"), [("max", [10, 1, 20, 50]), ("min", [1, 10, 20, 50])]
)
def test_points_are_ranked_by_their_seeds_median(goal, order, trials):
  made = trials.plan(WEIGHTS.replace("seeds=2", f'seeds=2, goal="{goal}"'))
  rows = outcomes.ranked(made, FOUND)
  assert [row.point["objective.disc_weight"] for row in rows] == order
  assert [row.is_best for row in rows] == [True, False, False, False]
  assert {row.median for row in rows if row.values[1:]} == {0.6}
  none = outcomes.ranked(made, FOUND[-1:])
  assert not none[0].is_best and math.isnan(none[0].median)


def test_the_table_tells_it_all(trials, tmp_path):
  made = trials.plan()
  text = table.write_results(made, FOUND, epath.Path(tmp_path))
  assert text == (tmp_path / "results.txt").read_text() == (
      "      disc_weight  validation/rtd_auc     min     max  seeds\n"
      "best           10              0.8000  0.8000  0.8000      1  failed: the loss is nan\n"
      "                1              0.6000  0.5000  0.7000      2\n"
      "               20                 nan     nan     nan      1\n"
      "               50                   -       -       -      0  not started\n"
  )  # fmt: skip
  lines = (tmp_path / "results.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert len(records) == len(FOUND)
  assert records[1] == {
      "trial": "w=1.0,s=1",
      "state": "finished",
      "seed": 1,
      "objective.disc_weight": 1.0,
      "validation/rtd_auc": 0.7,
      "figures": {"rtd_auc": 0.7},
  }
  assert records[3]["note"] == "the loss is nan"
  assert records[4]["validation/rtd_auc"] is None


def test_one_seed_needs_no_spread(trials):
  made = trials.plan()
  text = table.make_table(made, outcomes.ranked(made, FOUND[2:3]))
  assert "max" not in text and "seeds" not in text


def image_of(path):
  assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
  width, height = struct.unpack(">II", path.read_bytes()[16:24])
  image = matplotlib.image.imread(path)
  assert image.shape[:2] == (height, width)
  return image


def colours_of(image):
  return {
      tuple(c)
      for c in np.round(image[..., :3] * 255).reshape(-1, 3).astype(int)
  }


def test_the_plot_marks_the_best_and_what_has_no_result(trials, tmp_path):
  made = trials.plan()
  plot.write_plot(made, outcomes.ranked(made, FOUND), epath.Path(tmp_path))
  colours = colours_of(image_of(tmp_path / "results.png"))
  blue, red, gold = (31, 119, 180), (214, 39, 40), (255, 215, 0)
  assert {blue, red, gold} <= colours
  (panel,) = plot.make_figure(made, outcomes.ranked(made, FOUND)).axes
  assert panel.get_xscale() == "log"
  assert [text.get_text() for text in panel.get_xticklabels()] == [
      *("1", "10", "20", "50")
  ]
  assert panel.get_xlabel() == "objective.disc_weight"
  assert panel.get_ylabel() == "validation/rtd_auc, higher is better"
  legend = [text.get_text() for text in panel.get_legend().get_texts()]
  assert sorted(legend) == [
      *("best: 0.8000", "median, least, greatest", "no result")
  ]
  finished = outcomes.ranked(made, FOUND[:2])
  plot.write_plot(made, finished, epath.Path(tmp_path))
  assert red not in colours_of(image_of(tmp_path / "results.png"))


def test_the_plot_has_a_panel_for_every_key(trials, tmp_path):
  """Numbers and words, with the colours of the other key."""
  made = trials.plan(
      'Sweep("configs/pretrain.py:tiny,runlocal", grid({'
      '"optimizer.learning_rate": (1e-4, 1e-3),'
      '"model.remat": ("none", "dots", "layer"),'
      '"objective.disallow_correct": (True, False)}),'
      ' metric="validation/loss", goal="min")'
  )
  found = [
      outcomes.Outcome(t, "finished", {0: 9.0 + i % 5})
      for i, t in enumerate(made.trials)
  ]
  plot.write_plot(made, outcomes.ranked(made, found), epath.Path(tmp_path))
  figure = plot.make_figure(made, outcomes.ranked(made, found))
  assert [panel.get_xlabel() for panel in figure.axes] == [*made.keys]
  for panel in figure.axes:
    (low, high), (left, right) = panel.get_ylim(), panel.get_xlim()
    assert low < 9.0 and high > 13.0 and high - low < 8.0
    places = [line.get_xdata()[0] for line in panel.lines]
    assert left < min(places) <= max(places) < right
  words = [text.get_text() for text in figure.axes[1].get_xticklabels()]
  assert sorted(words) == ["dots", "layer", "none"]
  image = image_of(tmp_path / "results.png")
  orange, green = (255, 127, 14), (44, 160, 44)
  assert {orange, green} <= colours_of(image)


def test_the_metric_is_drawn_over_another_figure(trials, tmp_path):
  """Points are joined by colour in the order of that figure."""
  made = trials.plan(
      'Sweep("configs/finetune.py:sst,runlocal", grid({'
      '"bottleneck.dimensions": (4, 8), "bottleneck.beta": (0.1, 1.0)}),'
      ' against="rate", labels={"rate": "nats"})'
  )
  rates = ((30.0, 1.0), (20.0, 2.0))
  found = [
      outcomes.Outcome(
          t,
          "finished",
          {0: 80.0 + i, 1: 82.0 + i},
          {s: {"sst/dev/rate": rates[i // 2][i % 2] + s} for s in (0, 1)},
      )
      for i, t in enumerate(made.trials)
  ]
  rows = outcomes.ranked(made, found)
  assert [row.other_median for row in rows] == [2.5, 20.5, 1.5, 30.5]
  *_, panel = plot.make_figure(made, rows).axes
  assert panel.get_xlabel() == "nats" and panel.get_xscale() == "log"
  lines = {line.get_label(): line for line in panel.lines}
  np.testing.assert_array_equal(lines["4"].get_xdata(), [1.5, 30.5])
  np.testing.assert_array_equal(lines["4"].get_ydata(), [82.0, 81.0])
  np.testing.assert_array_equal(lines["8"].get_xdata(), [2.5, 20.5])
  text = table.make_table(made, rows).splitlines()
  assert text[0].split()[-1] == "rate" and text[1].split()[-1] == "2.5000"
  # Trials without the figure leave the panel empty, and nothing fails.
  none = [dataclasses.replace(x, figures={}) for x in found]
  rows = outcomes.ranked(made, none)
  plot.write_plot(made, rows, epath.Path(tmp_path))
  assert table.make_table(made, rows).splitlines()[1].split()[-1] == "-"


def test_a_sweep_of_seeds_alone_has_a_plot(trials, tmp_path):
  made = trials.plan(
      'Sweep("configs/pretrain.py:tiny,runlocal", [{}], seeds=2,'
      ' metric="validation/rtd_auc")'
  )
  found = [outcomes.Outcome(t, "finished", {t.seed: 0.5}) for t in made.trials]
  rows = outcomes.ranked(made, found)
  plot.write_plot(made, rows, epath.Path(tmp_path))
  image_of(tmp_path / "results.png")
  assert table.make_table(made, rows).splitlines()[1].split() == [
      *("best", "0.5000", "0.5000", "0.5000", "2")
  ]


def test_a_missing_matplotlib_is_named(trials, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  made = trials.plan()
  with pytest.raises(UserError, match=r"pip install 'electra-jax\[sweeps\]'"):
    plot.write_plot(made, outcomes.ranked(made, FOUND), epath.Path(tmp_path))

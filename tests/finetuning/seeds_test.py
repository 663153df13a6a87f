"""Scores of seeds: what is reported, which one is best, how it reads."""

import io
import json
import math

import pytest
import rich.console

from electra_jax.finetuning.seeds import as_text, make_tables, summarise

MAIN = ["rte/dev/accuracy"]


def scores_of(*values, name="rte/dev/accuracy", **others):
  return {
      seed: {name: float(value)} | others for seed, value in enumerate(values)
  }


def rendered(summary, width=160):
  text = io.StringIO()
  console = rich.console.Console(file=text, width=width)
  console.print(*make_tables(summary))
  return text.getvalue()


def cells(line):
  return [cell.strip() for cell in line.strip("│ \n").split("│")]


def test_median_and_spread():
  summary = summarise(scores_of(70, 60, 65, 69), MAIN)
  (name,) = MAIN
  assert summary["median"] == {name: 67.0}  # Between the two in the middle.
  assert summary["mean"] == {name: 66.0}
  assert summary["min"] == {name: 60.0}
  assert summary["max"] == {name: 70.0}
  # √((16 + 36 + 1 + 9) / 3): of a sample.
  spread = summary["standard_deviation"][name]
  assert spread == pytest.approx((62 / 3) ** 0.5)
  assert summary["best_seed"] == 0
  assert summary["selected_by"] == MAIN
  assert summarise(scores_of(70, 60, 62), MAIN)["median"] == {name: 62.0}


def test_a_seed_whose_score_is_not_defined_is_not_the_best():
  assert summarise(scores_of(60, math.nan, 65), MAIN)["best_seed"] == 2
  assert summarise(scores_of(math.nan, math.nan), MAIN)["best_seed"] == 0


def test_one_seed():
  summary = summarise({3: {"rte/dev/accuracy": 61.5}}, MAIN)
  assert summary["standard_deviation"] == {"rte/dev/accuracy": 0.0}
  for column in ("median", "mean", "min", "max"):
    assert summary[column] == {"rte/dev/accuracy": 61.5}
  assert summary["best_seed"] == 3


def test_the_first_of_equals_is_the_best():
  assert summarise(scores_of(60, 65, 65), MAIN)["best_seed"] == 1
  scores = scores_of(60, 65, 65)
  backwards = dict(reversed(scores.items()))
  summary = summarise(backwards, MAIN)
  assert summary["best_seed"] == 1
  assert list(summary["seeds"]) == ["0", "1", "2"]


def test_seeds_are_sorted_by_number():
  summary = summarise({10: {"a": 1.0}, 9: {"a": 1.0}, 2: {"a": 0.0}}, ["a"])
  assert list(summary["seeds"]) == ["2", "9", "10"]
  assert summary["best_seed"] == 9


def test_the_mean_of_the_main_metrics_selects():
  scores = {
      0: {"a": 90.0, "b": 50.0, "loss": 0.1},
      1: {"a": 80.0, "b": 70.0, "loss": 0.9},
      2: {"a": 10.0, "b": 99.0, "loss": 0.0},
  }
  assert summarise(scores, ["a", "b"])["best_seed"] == 1
  assert summarise(scores, ["a"])["best_seed"] == 0
  assert summarise(scores, ["b"])["best_seed"] == 2


def test_a_summary_is_fit_for_a_file():
  scores = scores_of(70, 60, loss=0.5)
  summary = summarise(scores, MAIN)
  read = json.loads(json.dumps(summary))
  assert read == summary
  assert read["seeds"]["1"] == {"rte/dev/accuracy": 60.0, "loss": 0.5}
  assert rendered(read) == rendered(summary)


def test_tables_of_several_seeds():
  summary = summarise(scores_of(70, 61.234, 65, **{"rte/dev/loss": 0.5}), MAIN)
  lines = [cells(line) for line in rendered(summary).splitlines()]
  for expected in (
      ["0 (best)", "70.00"],
      ["1", "61.23"],
      ["2", "65.00"],
      ["rte/dev/accuracy", "65.00", "4.40", "61.23", "70.00"],
      ["rte/dev/loss", "0.50", "0.00", "0.50", "0.50"],
  ):
    assert expected in lines
  header = rendered(summary)
  for title in ("seed", "score", "median", "standard deviation", "min", "max"):
    assert title in header


def test_the_table_of_one_seed():
  summary = summarise(scores_of(70, **{"rte/dev/loss": 0.25}), MAIN)
  assert len(make_tables(summary)) == 1
  text = rendered(summary)
  lines = [cells(line) for line in text.splitlines()]
  assert ["rte/dev/accuracy", "70.00"] in lines
  assert ["rte/dev/loss", "0.25"] in lines
  assert "value" in text and "median" not in text and "best" not in text


def test_the_text_is_plain_wherever_it_is_made(monkeypatch):
  summary = summarise({0: {"a/dev/f1": 12.5}}, ["a/dev/f1"])
  plain = as_text(summary)
  assert "12.50" in plain and "\x1b" not in plain
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
  assert as_text(summary) == plain

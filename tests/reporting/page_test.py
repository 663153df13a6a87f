import html.parser
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import electra_jax
from electra_jax.cli.main import main
from electra_jax.errors import UserError
from electra_jax.reporting import (
    at_end,
    gallery,
    judged_plots,
    palette,
    summaries,
    task_answers,
)
from electra_jax.reporting.page import report
from electra_jax.reporting.records import read_runs
from tests.reporting import made


class Reader(html.parser.HTMLParser):
  """Collects what a browser would: text, tags, and where they point."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.links, self.handlers, self.shown = [], [], [], []
    self._hidden = 0
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self._hidden += tag in ("style", "script")
    for name, value in attrs:
      if name in ("src", "href", "xlink:href"):
        self.links.append(value)
      if name.startswith("on"):
        self.handlers.append(name)

  def handle_endtag(self, tag):
    self._hidden -= tag in ("style", "script")

  def handle_data(self, data):
    if not self._hidden:
      self.shown.append(data)

  @property
  def text(self):
    return re.sub(r"\s+", " ", " ".join(self.shown))


def read(path):
  return Reader(path.read_text())


@pytest.fixture(scope="module")
def run_page(tmp_path_factory):
  folder = made.pretrain_run(tmp_path_factory.mktemp("runs") / "run")
  return report([folder])


@pytest.fixture(scope="module")
def finetune_page(tmp_path_factory):
  folder = made.finetune_run(tmp_path_factory.mktemp("runs") / "rte")
  return report([folder])


def test_the_page_tells_the_run(run_page):
  page = read(run_page)
  for told in (
      "finished at step 1,000",
      "guessing would 50%",
      "Generator: masked-LM loss",
      "nats per masked token",
      "Replaced-token AUC",
      "Gradient norm",
      "Faint: the records; line: the mean of 9 neighbours.",
      "Expected calibration error",
      "rank 1 to 10",
      "optimizer.learning_rate",
      "train.batch_size: 32 → 64",
      "590,592",
  ):
    assert told in page.text, told
  assert "is not a finished token store" in page.text  # It is gone.


def test_texts_are_shown_and_never_obeyed(run_page, finetune_page):
  for path in (run_page, finetune_page):
    page = read(path)
    assert made.HOSTILE in page.text
    assert page.tags.count("script") == 1  # Our own.
    assert "img" not in page.tags
    assert not page.handlers
  assert "bana\\u202ena" in read(run_page).text
  assert "default-src 'none'" in run_page.read_text()


def test_the_page_needs_no_network(run_page, finetune_page):
  for path in (run_page, finetune_page):
    links = read(path).links
    assert links and all(link.startswith("#") for link in links)
    assert "url(http" not in path.read_text()


def test_no_two_elements_have_one_id(tmp_path, run_page, finetune_page):
  sweeps = [made.sweep(tmp_path / name) for name in ("one", "other")]
  for folder in sweeps:
    (folder / "results.svg").write_text(
        '<svg viewBox="0 0 4 3"><g id="axes"/></svg>'
    )
  sweep_page = report(sweeps, tmp_path / "both.html")
  assert 'id="sweep_1-axes"' in sweep_page.read_text()
  for path in (run_page, finetune_page, sweep_page):
    ids = re.findall(r'\bid="([^"]+)"', path.read_text())
    assert len(ids) == len(set(ids))


def test_plots_follow_the_scheme_and_lie_beside_the_page(run_page):
  text = run_page.read_text()
  plots = re.findall(r'<svg class="plot".*?</svg>', text, re.DOTALL)
  assert len(plots) >= 10
  for plot in plots:
    assert "var(--" in plot
    assert not re.findall(r"(?:fill|stroke): #", plot)
  for name in ("mlm_loss", "rtd_auc", "calibration", "frequency"):
    folder = run_page.parent / "report"
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / f"{name}.svg").read_text()
    lines = [palette.light()[f"line-{i}"] for i in (1, 2)]
    assert any(line in svg for line in lines) and "var(" not in svg


def test_both_schemes_name_the_same_colours():
  text = (palette.FOLDER / "style.css").read_text()
  light, dark = text.split("@media (prefers-color-scheme: dark)")
  names = [re.findall(r"--([\w-]+):\s*#", part) for part in (light, dark)]
  assert set(names[1]) == set(names[0])
  colours = palette.light()
  assert len(set(colours.values())) >= len(colours) - 1  # line-1 is the accent.


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_from_what_is_behind_it(scheme):
  text = (palette.FOLDER / "style.css").read_text()
  part = text.split("@media")[scheme]
  of = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", part))
  words = ["ink", "muted", "accent", "good", "bad", "warn"]
  lines = [f"line-{i}" for i in range(1, 7)]
  for name in (*words, *lines):
    for behind in ("paper", "panel"):
      assert contrast(of[name], of[behind]) >= 4.5, (name, behind)
  for i in range(1, 6):
    assert contrast(of["on-shade"], of[f"p{i}"]) >= 4.5


def contrast(one, other):
  """The ratio of WCAG 2.2, 1.4.3."""
  light, dark = sorted((luminance(one), luminance(other)), reverse=True)
  return (light + 0.05) / (dark + 0.05)


def luminance(colour):
  parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
  linear = np.where(
      parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
  )
  return float(linear @ [0.2126, 0.7152, 0.0722])


def test_sentences_are_kept_for_every_evaluation(run_page):
  steps = re.findall(r'data-step="(\d+)"', run_page.read_text())
  assert steps == ["200", "400", "600", "800", "1000"]
  text = read(run_page).text
  assert "0 of 2 replaced tokens found, 1 false alarm" in text
  assert "1 of 2 replaced tokens found, 1 false alarm" in text


def test_of_many_evaluations_some_are_shown_the_last_among_them():
  samples = [made._sample(step) for step in range(1, 1001)]
  frames = gallery.frames_of(samples)
  assert len(frames) == 24
  assert frames[0].step == 1 and frames[-1].step == 1000


def test_verdicts_and_shades():
  (row,) = gallery.frames_of([made._sample(1000)])[0].rows
  told = [(p.text, p.verdict, p.shade, p.gap) for p in row.pieces]
  assert told[1] == ("the", "right", 0, True)
  assert told[2] == ("bana\\u202ena", "found", 5, True)
  assert told[3] == (made.HOSTILE, "alarm", 4, True)
  assert told[4] == ("s", "right", 1, False)
  assert told[6][1:3] == ("missed", 3)
  assert row.left_out == 3


def test_calibration_error_weighs_tokens():
  bins = judged_plots.calibration_of(made._sample(1000))
  error = judged_plots.calibration_error(bins)
  assert error == pytest.approx(0.9 * 0.01 + 0.1 * 0.1)
  assert judged_plots.calibration_error([]) is None
  assert judged_plots.calibration_of({"calibration": [{"tokens": "x"}]}) == []


def test_two_runs_show_their_differences_first(tmp_path):
  runs = [
      made.pretrain_run(tmp_path / "slow"),
      made.pretrain_run(tmp_path / "quick", rate=4e-3, steps=600),
  ]
  page = report(runs, tmp_path / "both.html")
  text = page.read_text()
  differences = text[text.index('id="pretrain-differences"') :]
  differences = Reader(differences[: differences.index("</section>")]).text
  assert "optimizer.learning_rate 0.001 0.004" in differences
  assert "train.num_steps" not in differences
  assert text.index("What differs") < text.index("Learning curves")
  assert "step 600 of 1,000 so far" in text
  assert "slow, held out" in text and "quick, held out" in text
  assert (tmp_path / "both/rtd_auc.svg").exists()


def test_what_is_not_recorded_is_said(tmp_path):
  made.write(tmp_path / "store.json", {})
  text = read(report([tmp_path])).text
  assert "no training is recorded here" in text
  assert text.count("Not recorded") >= 6
  assert "There was no evaluation yet" in text
  odd = {"rows": [{"tokens": 5}, 3, {"tokens": [1], "probabilities": [2]}]}
  made.write_lines(tmp_path / "samples.jsonl", [{"step": 3, **odd}])
  made.write(tmp_path / "config.json", {"train": 3, "data": {"store": [1]}})
  made.write_lines(tmp_path / "history.jsonl", [{"changes": {"a": 1}}, {}])
  made.write(tmp_path / "parameters.json", {"networks": {"a": "b"}})
  made.write(tmp_path / "environment.json", {"packages": 3, "devices": None})
  assert "Not recorded" in read(report([tmp_path])).text


def test_a_finetune_run_without_a_finished_seed(tmp_path):
  made.write(tmp_path / "task.json", {})
  made.write(tmp_path / "scores.json", {"best_seed": [], "selected_by": [1]})
  text = read(report([tmp_path])).text
  assert "No seed is finished yet" in text


def test_scores_and_mistakes_of_a_finetune_run(finetune_page):
  text = read(finetune_page).text
  assert "71.00 70.00 to 72.50 70.00, 72.50, 71.00" in text
  assert "6 of 40 examples are answered wrongly" in text
  assert "London B-PER, not B-LOC" in text
  assert "1 of 2 examples are answered wrongly" in text
  raw = finetune_page.read_text()
  assert '<mark class="both">Ada</mark>' in raw
  assert '<mark class="gold"> Lovelace</mark>' in raw


def test_mistakes_are_sorted_by_confidence(tmp_path):
  (run,) = read_runs([made.finetune_run(tmp_path / "rte")])
  reviews, ner, squad, stars = task_answers.answers_of(run)
  sure = [mistake.confidence for mistake in reviews.mistakes]
  assert sure == sorted(sure, reverse=True) and len(sure) == 6
  np.testing.assert_array_equal(reviews.confusion, [[17, 3], [3, 17]])
  assert ner.wrong == 1 and ner.kind == "tagging"
  assert squad.wrong == 1  # "London" is right: case does not count.
  none = {"answer": "", "probability": 0.9, "null_odds": 0.0}
  assert task_answers._confidence(none) == 0.5  # Not that of a text.
  off = [mistake.confidence for mistake in stars.mistakes]
  assert off == sorted(off, reverse=True)


def test_answers_of_another_shape_stop_no_page(tmp_path):
  folder = made.finetune_run(tmp_path / "run")
  answers = folder / "seed_1/predictions/stars_dev.jsonl"
  made.write_lines(answers, [{"rating": 1.0, "gold": 2.0}, {"gold": 2.0}])
  sets = [{"labels": ["a"], "gold": ["a"]}, {"gold": ["b"]}]
  made.write_lines(folder / "seed_1/predictions/ner_dev.jsonl", sets)
  text = read(report([folder])).text
  assert "1 examples." in text
  assert "1 of 2 examples are answered wrongly" in text


def test_a_trial_without_a_name_stops_no_page(tmp_path):
  folder = made.sweep(tmp_path / "sweep")
  with open(folder / "results.jsonl", "a", encoding="utf-8") as file:
    file.write('{"trial": [], "state": "finished"}\n')
  assert "of 6 trials finished" in read(report([folder])).text


def test_a_sweep_shows_its_points(tmp_path):
  text = read(report([made.sweep(tmp_path / "sweep")])).text
  assert "4 of 6 trials finished" in text
  assert "The best point so far: learning_rate 0.002, with" in text
  assert not (tmp_path / "sweep/report").exists()  # There is nothing for it.
  assert re.search(r"★ best 0.002 0.825 0.82 to 0.83, 2 seeds", text)
  assert f"failed: {made.HOSTILE}" in text


def test_the_same_run_gives_the_same_page(tmp_path, run_page):
  folder = made.pretrain_run(tmp_path / "run")
  (folder / "config.json").write_text(
      (run_page.parent / "config.json").read_text()
  )
  one, other = run_page.read_text(), report([folder]).read_text()
  config = (folder / "config.json").read_text()
  place = json.loads(config)["data"]["store"].removesuffix("/gone")
  assert one == other.replace(str(folder), place)


@pytest.mark.slow
def test_what_is_not_ours_is_not_overwritten(tmp_path):
  folder = made.pretrain_run(tmp_path / "run")
  (folder / "report.html").write_text("my notes")
  with pytest.raises(UserError, match="was not made by this verb"):
    report([folder])
  assert (folder / "report.html").read_text() == "my notes"
  assert not (folder / "report").exists()
  (folder / "report.html").unlink()
  page = report([folder])
  before = os.stat(page).st_mtime_ns
  report([folder])  # What would not change is left alone.
  assert os.stat(page).st_mtime_ns == before
  page.write_text(page.read_text() + "<!-- edited -->")
  assert "edited" not in report([folder]).read_text()  # Its own is replaced.
  with pytest.raises(UserError, match="ends in"):
    report([folder], tmp_path / "page")


def test_missing_packages_are_told_and_spoil_no_run(tmp_path, monkeypatch):
  folder = made.pretrain_run(tmp_path / "run")
  told = []
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  at_end.report_at_end(folder, told.append)
  (line,) = told
  assert "needs jinja2 and matplotlib, which are not installed; run" in line
  assert "pip install 'electra-jax[report]'" in line
  assert f"electra-jax report {folder}" in line
  assert not (folder / "report.html").exists()


def test_whatever_is_wrong_with_a_page_spoils_no_run(tmp_path, monkeypatch):
  told = []
  monkeypatch.setattr(
      at_end, "report", lambda folders: (_ for _ in ()).throw(KeyError("x"))
  )
  at_end.report_at_end(tmp_path, told.append)
  assert told == ["no report    KeyError: 'x'"]


@pytest.mark.parametrize(
    ("auc", "word"),
    [(0.5, "is guessing"), (0.6, "has begun"), (0.95, "ones well")],
)
def test_the_sentence_goes_by_the_figures(auc, word):
  assert word in summaries._meaning(auc, 5.0, 6.0)


def test_a_page_needs_no_jax(tmp_path):
  folder = made.pretrain_run(tmp_path / "run")
  program = (
      "import sys; from electra_jax.cli.main import main\n"
      "try: main(['report', sys.argv[1]])\n"
      "except SystemExit as ended: assert not ended.code\n"
      "assert 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
  assert (folder / "report.html").exists()


def test_the_command_tells_a_mistake_in_a_sentence(tmp_path, capsys):
  with pytest.raises(SystemExit) as ended:
    main(["report", str(tmp_path)])
  assert ended.value.code == 2
  assert "electra-jax report: " in capsys.readouterr().err


def test_the_face(tmp_path):
  folder = made.pretrain_run(tmp_path / "run")
  assert electra_jax.report(folder, output=tmp_path / "x.html").exists()
  # The verb stays a function after its room has been imported.
  assert callable(electra_jax.report)

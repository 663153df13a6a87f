"""What `predict` prints: typed order, numbers of lines, nothing that bites."""

import io
import json
import re
import types

import pytest

from electra_jax.cli import display, typed
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.pretraining.judging import Detection
from electra_jax.pretraining.model import Fill, Score
from electra_jax.runs import workdir
from electra_jax.tasks.predictions import Predictions
from electra_jax.tasks.task import Task
from electra_jax.text.visible import visible
from tests import helpers

TASK = Task("t", "classification", ("accuracy",), lambda *_: [], ("no", "yes"))
TYPED = ["b [MASK]", "", "a b", "  ", "c [MASK]", "d"]


class Pretrained:
  """Answers without a network."""

  def __init__(self, workdir):
    del workdir

  def detect(self, texts, *, corrupted=False, seed=0):
    del corrupted, seed
    if not texts:
      raise UserError("there is no text to predict on; give some")
    return [
        Detection(t.split(), t.split(), [0.25] * len(t.split())) for t in texts
    ]

  def detect_held_out(self, count, *, seed):
    del seed
    tokens = ["[CLS]", "old", "dog", "##s", "[SEP]"]
    return [Detection(tokens, tokens, [0.5] * 5)] * count

  def fill(self, text):
    return [Fill([text[0]], [0.5])]

  def score(self, texts):
    return [Score(list(t), [0.0], -float(len(t))) for t in texts]


class Finetuned:
  """Answers "yes" to everything."""

  def __init__(self, workdir, *, seed=None):
    del workdir, seed

  def task(self, name):
    del name
    return TASK

  def predict(self, examples, name):
    del name
    records = [
        {"id": e.id, "text": e.text, "label": "yes", "probability": 1.0}
        for e in examples
    ]
    return Predictions(["yes"] * len(examples), records)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
  monkeypatch.setattr(display, "PretrainedModel", Pretrained)
  monkeypatch.setattr(display, "FinetunedModel", Finetuned)


def printed(capsys):
  return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_detections_and_fills_come_in_the_order_typed(capsys):
  display.print_detections("", TYPED, as_json=True)
  records = printed(capsys)
  assert [(r["index"], r["text"]) for r in records] == [
      (0, "b [MASK]"),
      (2, "a b"),
      (4, "c [MASK]"),
      (5, "d"),
  ]
  assert [r["fills"][0]["tokens"] for r in records[::2]] == [["b"], ["c"]]
  assert [r["tokens"] for r in records[1::2]] == [["a", "b"], ["d"]]
  display.print_detections("", TYPED)
  lines = [
      line for line in capsys.readouterr().out.splitlines() if ": " in line
  ]
  starts = [line[:3] for line in lines if line[0].isdigit()]
  assert starts == ["0: ", "2: ", "4: ", "5: "]


def test_scores_come_in_the_order_typed_with_their_rank(capsys):
  display.print_scores("", ["long text", "", "a", "two"], as_json=True)
  records = printed(capsys)
  found = [(r["index"], r["text"], r["rank"], r["total"]) for r in records]
  assert found == [(0, "long text", 3, -9), (2, "a", 1, -1), (3, "two", 2, -3)]
  display.print_scores("", ["long", "a"], as_json=True, by_rank=True)
  assert [r["index"] for r in printed(capsys)] == [1, 0]
  display.print_scores("", ["long", "a"])
  first, second = capsys.readouterr().out.splitlines()
  assert "rank   2  0: long" in first and "rank   1  1: a" in second


def test_answers_tell_their_line(capsys):
  display.print_answers("", ["x", "", '{"id": "q", "text": "y"}'], as_json=True)
  assert [(r["index"], r["id"]) for r in printed(capsys)] == [
      (0, "0"),
      (2, "q"),
  ]
  with pytest.raises(UserError, match=r"^line 3 is a pair"):
    display.print_answers("", ["x", "", "a\tb"])


def test_held_out_rows_tell_their_text(capsys):
  display.print_detections("", [], held_out=2, as_json=True)
  found = [(r["index"], r["text"]) for r in printed(capsys)]
  assert found == [(0, "old dogs"), (1, "old dogs")]


OWN = Detection(
    ["[CLS]", "a", "big", "##ger", "dog", "'", "s", "bone", ".", "[SEP]"],
    ["[CLS]", "a", "big", "##ger", "dog", "'", "s", "bone", ".", "[SEP]"],
    [0.9, 0.01, 0.3, 0.6, 0.8, 0.2, 0.0, 0.1, 0.09, 0.99],
)


def shown(monkeypatch, answers, **environment):
  """What a terminal of 200 columns gets."""
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("TERM", "xterm-256color")
  monkeypatch.setenv("COLUMNS", "200")
  monkeypatch.delenv("NO_COLOR", raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  stream = io.StringIO()
  monkeypatch.setattr("sys.stdout", stream)
  display._print_judged(dict(enumerate(["text"] * len(answers))), answers)
  return stream.getvalue()


def test_ones_own_text_has_shades_and_a_legend_that_tells_them(monkeypatch):
  told = shown(monkeypatch, [OWN])
  assert "probability of having been replaced" in told
  assert "over 75%" in told and "under 10%" in told
  assert "what stood there" not in told
  sentence = display.render_detection(OWN)
  assert sentence.plain == "a bigger(60%) dog(80%)'s bone."
  styles = {
      sentence.plain[span.start : span.end]: str(span.style)
      for span in sentence.spans
  }
  shades = [style for _, style in display.SHADES]
  strong = [styles[token] for token in ("dog", "ger", "big", "'")]
  assert strong == shades
  assert "a" not in styles and "." not in styles


def test_replaced_text_has_its_own_legend(monkeypatch):
  changed = OWN._replace(tokens=[*OWN.tokens[:4], "cat", *OWN.tokens[5:]])
  told = shown(monkeypatch, [changed])
  assert "replaced and found" in told and "what stood there" in told
  assert "probability of having been" not in told
  assert "cat(dog 80%)'s" in display.render_detection(changed).plain


def test_what_is_piped_has_neither_colour_nor_legend(capsys):
  display._print_judged({0: "text"}, [OWN])
  out = capsys.readouterr().out
  assert "probability of" not in out and "\x1b" not in out
  assert out.startswith("\na bigger(60%) dog(80%)'s bone.")
  assert "most suspicious: dog 80%, ##ger 60%" in out


def test_no_color_is_heeded(monkeypatch):
  told = shown(monkeypatch, [OWN], NO_COLOR="1")
  assert not re.search(r"\x1b\[[\d;]*38", told)


def test_a_word_in_place_of_a_comma_has_a_space():
  originals = ["[CLS]", "a", "dog", ",", "un", "##like", "you", "[SEP]"]
  tokens = ["[CLS]", "a", "dog", "fox", "un", "!", ".", "[SEP]"]
  detection = Detection(tokens, originals, [0.1] * 8)
  assert display.render_detection(detection).plain == (
      "a dog fox(, 10%) un!(##like 10%) .(you 10%)".replace("##", "")
  )


def test_spaces_of_sentencepiece():
  tokens = ["[CLS]", "▁un", "re", "lent", "ing", "▁bad", "[SEP]"]
  detection = Detection(tokens, tokens, [0.0] * 7)
  assert display.render_detection(detection).plain == "unrelenting bad"


BITING = "a\x1b[31mred\x1b[0m \x9b2J \u202eevil :smile: [bold]x[/]"


@pytest.mark.parametrize("show", ["answers", "detections", "scores", "fills"])
def test_a_terminal_obeys_nothing_that_was_typed(capsys, show):
  text = BITING + (" [MASK]" if show == "fills" else "")
  show = "detections" if show == "fills" else show
  getattr(display, f"print_{show}")("", [text, "b"])
  out = capsys.readouterr().out
  assert not {"\x1b", "\x9b", "\u202e"} & set(out)
  whole = "".join(out.split())
  assert "\\x1b[31mred\\x1b[0m" in whole and "\\u202eevil" in whole
  assert ":smile:" in whole and "[bold]x[/]" in whole
  getattr(display, f"print_{show}")("", [text, "b"], as_json=True)
  out = capsys.readouterr().out
  assert not {"\x1b", "\x9b", "\u202e"} & set(out)
  assert json.loads(out.splitlines()[0])["text"] == text


def test_visible_text():
  assert visible("a\tb\n\x7f\ud800") == r"a\tb\n\x7f\ud800"
  kept = "\u0928\u0947 \u200d\u200c \U0001f600 \u0627\u200f caf\u00e9"
  assert visible(kept) == kept


# --- What is typed ---


def test_a_file_with_blank_lines(capsys):
  path = helpers.ROOT / "tests/cases/predict-blank-lines/texts.txt"
  lines = typed.read_typed([], str(path))
  display.print_answers("", lines, as_json=True)
  assert [(r["index"], r["text"]) for r in printed(capsys)] == [
      (0, "the young cook"),
      (2, "the old river"),
      (4, "the tall dog"),
  ]


def test_lines_of_a_file(tmp_path):
  path = tmp_path / "texts.txt"
  path.write_bytes("\ufeffone\r\n\r\ntwo\u2028half\n \nthree".encode())
  lines = typed.read_typed([], str(path))
  assert typed.by_index(lines) == {0: "one", 2: "two\u2028half", 4: "three"}
  path.write_bytes("one\n\nŌtwo".encode("utf-16"))
  assert typed.read_typed([], str(path)) == ["one", "", "Ōtwo"]
  path.write_bytes("one".encode("utf-16") + b"\n")
  with pytest.raises(UserError, match=r"texts.txt:\d is not UTF-16"):
    typed.read_typed([], str(path))
  path.write_bytes(b"one\ntw\xff\n")
  with pytest.raises(UserError, match=r"texts.txt:2 is not UTF-8"):
    typed.read_typed([], str(path))
  with pytest.raises(UserError, match=r"cannot read --file .*: No such file"):
    typed.read_typed([], str(tmp_path / "gone"))
  with pytest.raises(UserError, match=r"--file gone and 2 texts"):
    typed.read_typed(["a", "b"], "gone")
  with pytest.raises(UserError, match="text 1 of the command line is not UTF"):
    typed.read_typed(["a", "\udcff"], None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sort", "a"], "--sort needs --pseudo-log-likelihood"),
        (["--pseudo-log-likelihood", "--corrupt", "a"], "--corrupt do not go"),
        (["--held-out", "2", "a"], "--held-out 2 takes its texts"),
        (["--held-out", "0"], "--held-out is 0"),
        (["--seed", "3", "a"], "--seed 3 has no meaning without --corrupt"),
    ],
)
def test_flags_that_do_not_go_together(monkeypatch, capsys, flags, message):
  run = types.SimpleNamespace(kind=workdir.PRETRAINING)
  monkeypatch.setattr(workdir, "load", lambda _: run)
  monkeypatch.setattr(workdir, "check_not_given", lambda *_, **__: None)
  with pytest.raises(SystemExit) as stop:
    cli.main(["predict", "--workdir", "run", *flags])
  assert stop.value.code == 2 and message in capsys.readouterr().err


def test_flags_of_the_other_kind_of_run_are_named_as_typed():
  run = types.SimpleNamespace(kind=workdir.FINETUNING)
  check = workdir.check_not_given
  check = getattr(check, "__wrapped__", check)  # Without type checks.
  for given, message in (
      (
          {"pseudo_log_likelihood": True},
          "--pseudo-log-likelihood has no meaning",
      ),
      ({"held_out": 0}, "--held-out 0 has no meaning for a finetune run"),
  ):
    with pytest.raises(UserError, match=message):
      check(run, **given)
  check(run, corrupt=False, held_out=None)


def test_a_mistake_is_told_without_biting(capsys, tmp_path):
  with pytest.raises(SystemExit):
    cli.main(["predict", "--workdir", f"{tmp_path}/\x1b[2J"])
  error = capsys.readouterr().err
  assert "\x1b" not in error and "\\x1b[2J" in error

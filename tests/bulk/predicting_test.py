"""The loop of `predict` on many lines, with a model that needs no device."""

import io
import json
import tracemalloc
import types

import pytest

from electra_jax.bulk import lines as bulk_lines
from electra_jax.bulk import predicting
from electra_jax.bulk.answers import Answers
from electra_jax.bulk.predicting import predict
from electra_jax.cli import typed
from electra_jax.cli.arguments import make_parser
from electra_jax.errors import UserError
from electra_jax.progress import Progress


class Lengths(Answers):
  """Answers with the length of a text; "bad" is a bad line."""

  depends_on = "lengths"

  def __init__(self):
    self.computed = 0
    self.deadly = None

  def read(self, line):
    fields = line.fields()
    text = fields if isinstance(fields, str) else fields["text"]
    if text == "bad":
      raise UserError(f"{line.place} is bad; mend it")
    return text

  def prepare(self, asked):
    return [len(text) for text in asked]

  def compute(self, prepared, on_share):
    on_share(0.5)
    if self.deadly is not None and self.computed >= self.deadly:
      raise KeyboardInterrupt
    self.computed += len(prepared)
    on_share(1.0)
    return prepared

  def records(self, asked, prepared, computed):
    assert prepared is computed
    return [
        {"text": text, "length": length}
        for text, length in zip(asked, computed, strict=True)
    ]


@pytest.fixture(autouse=True, name="model")
def a_model(monkeypatch):
  model = Lengths()
  monkeypatch.setattr(predicting, "_open_answers", lambda *_: model)
  monkeypatch.setattr(bulk_lines, "WINDOW_LINES", 10)
  return model


def write(path, count=45, **changed):
  lines = ["x" * (i % 7 + 1) for i in range(count)]
  for number, text in changed.items():
    lines[int(number[1:])] = text
  path.write_text("\n".join(lines) + "\n")
  return path


def records(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_come_in_the_order_of_the_lines(tmp_path):
  source = write(tmp_path / "a.txt", l7="", l8="  ")
  done = predict("run", source, tmp_path / "out")
  found = [(r["index"], r["length"]) for r in records(tmp_path / "out")]
  lines = source.read_text().split("\n")
  assert found == [(i, len(x)) for i, x in enumerate(lines) if x.strip()]
  assert (done.lines, done.answers, done.resumed) == (43, 43, 0)


def test_several_files_are_named(tmp_path):
  first, second = write(tmp_path / "a.txt", 2), write(tmp_path / "b.txt", 1)
  predict("run", [first, second], tmp_path / "out")
  found = [(r["file"], r["index"]) for r in records(tmp_path / "out")]
  assert found == [(str(first), 0), (str(first), 1), (str(second), 0)]


@pytest.mark.parametrize("deadly", [0, 10, 30, 40])
def test_what_is_done_is_not_done_again(tmp_path, model, deadly):
  source, whole = write(tmp_path / "a.txt"), tmp_path / "whole"
  predict("run", source, whole)
  model.computed, model.deadly = 0, deadly
  output = tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    predict("run", source, output)
  assert not output.exists()
  model.deadly = None
  done = predict("run", source, output)
  assert done.resumed == deadly and model.computed == done.lines == 45
  assert output.read_bytes() == whole.read_bytes()


def test_a_changed_input_is_refused(tmp_path, model):
  source, output = write(tmp_path / "a.txt"), tmp_path / "out"
  model.deadly = 20
  with pytest.raises(KeyboardInterrupt):
    predict("run", source, output)
  kept = (tmp_path / "out.part").read_bytes()
  model.deadly = None
  for change in ({"l3": "other"}, {"l40": "other"}, {"count": 46}):
    write(source, **change)
    with pytest.raises(UserError, match="begun with another input than this"):
      predict("run", source, output)
  write(source)
  with pytest.raises(UserError, match="begun with another --question"):
    predict("run", source, output, question="who")
  model.depends_on = "other weights"
  with pytest.raises(UserError, match="begun with another model"):
    predict("run", source, output)
  assert (tmp_path / "out.part").read_bytes() == kept


def test_bad_lines_are_told_before_anything_is_answered(tmp_path, model):
  source = write(tmp_path / "a.txt", l12="bad", l30="bad")
  with pytest.raises(UserError) as caught:
    predict("run", source, tmp_path / "out")
  assert str(caught.value) == (
      f"{source}:13 is bad; mend it (2 of 45 lines are bad); or leave bad"
      " lines out by --skip-bad-lines"
  )
  assert not model.computed and list(tmp_path.iterdir()) == [source]
  done = predict("run", source, tmp_path / "out", skip_bad_lines=True)
  assert (done.lines, done.answers) == (45, 43)
  found = records(tmp_path / "out")
  assert found[12] == {"index": 12, "error": f"{source}:13 is bad; mend it"}
  assert [r["index"] for r in found] == list(range(45))


def test_bad_lines_alone_are_no_reason_to_fail(tmp_path):
  source = tmp_path / "a.txt"
  source.write_text("bad\n" * 25)
  predict("run", source, tmp_path / "out", skip_bad_lines=True)
  assert len(records(tmp_path / "out")) == 25


def test_a_mended_stream_goes_on(tmp_path, model, monkeypatch):
  def give(content):
    buffer = io.BufferedReader(io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=buffer))

  source, output = write(tmp_path / "a.txt", l25="bad"), tmp_path / "out"
  give(source.read_bytes())
  with pytest.raises(UserError, match=r"^standard input:26 is bad; mend it"):
    predict("run", [], output)
  assert model.computed == 20
  give(write(source, l3="other").read_bytes())
  with pytest.raises(UserError, match="standard input is not what"):
    predict("run", [], output)
  give(write(source).read_bytes())
  assert predict("run", [], output).resumed == 20
  predict("run", source, tmp_path / "whole")
  assert output.read_bytes() == (tmp_path / "whole").read_bytes()


def test_no_text_is_refused(tmp_path):
  source = tmp_path / "a.txt"
  source.write_text("\n  \n")
  with pytest.raises(UserError, match="no text to predict on"):
    predict("run", source, tmp_path / "out")
  assert list(tmp_path.iterdir()) == [source]


def test_memory_does_not_grow_with_the_number_of_lines(tmp_path):
  peaks = []
  for count in (200, 1200):
    source = tmp_path / f"{count}.txt"
    source.write_text(f"{'x' * 1000}\n" * count)
    tracemalloc.start()
    predict("run", source, tmp_path / f"{count}.jsonl")
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  assert peaks[1] < 1.5 * peaks[0] < source.stat().st_size


def test_progress_tells_rate_and_end(tmp_path):
  told = io.StringIO()
  source = write(tmp_path / "a.txt")
  predict("run", source, tmp_path / "out", progress=Progress(stream=told))
  first, *_, last = told.getvalue().splitlines()
  assert first.startswith("line 5/45 | ") and "texts/s" in first
  assert "out: 45 answers; " in last and last.endswith("texts/s")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "o", "text"], "texts on the command line do not go"),
        (["--output", "o", "--corrupt"], "--corrupt do not go together"),
        (["--output", "o", "--held-out", "2"], "--held-out 2 do not go"),
        (["--file", "a", "b"], "--file names 2 files; give --output"),
        (["--file", "a", "--field", "x"], "--field x needs --output"),
        (["--skip-bad-lines", "a"], "--skip-bad-lines needs --output"),
        (["--quiet", "a"], "--quiet needs --output"),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
  args = make_parser().parse_args(["predict", "--workdir", "run", *flags])
  with pytest.raises(UserError, match=message):
    typed.check_predict(args, True)

"""The appended output: whole or resumable, killed at any instant."""

import json
import os

import pytest

from electra_jax.bulk import output as outputs
from electra_jax.bulk.output import open_output
from electra_jax.errors import UserError

ASKED = {"input": "i", "model": "m"}
WINDOWS = [["a\n", "b\n"], ["c\n"], ["d\n", "é\n"]]
WHOLE = "a\nb\nc\nd\né\n".encode()


class Killed(BaseException):
  """Ends a run as a signal does: nothing is cleaned up."""


def run(path, asked=ASKED):
  """Appends what is left of WINDOWS, as `predict` does."""
  with open_output(path, asked) as output:
    lines = 0
    for window in WINDOWS:
      lines += len(window)
      if lines > output.progress.lines:
        output.append(window, len(window), lines, f"digest {lines}")
    output.publish()


def names(path):
  return sorted(x.name for x in path.parent.iterdir())


def killed_at(monkeypatch, path, instant):
  """Runs, and is killed at the n-th call of the system; False if it ends."""
  left = instant

  def deadly(call, half=None):
    def wrapped(*args, **kwargs):
      nonlocal left
      left -= 1
      if left == 0 and half:
        half(*args)
      if left <= 0:  # What is called on the way out does nothing either.
        raise Killed
      return call(*args, **kwargs)

    return wrapped

  with monkeypatch.context() as patch:
    write, fsync, rename = os.write, os.fsync, os.rename
    half = lambda file, content: write(file, content[: len(content) // 2])  # noqa: E731
    patch.setattr(os, "write", deadly(write, half))
    patch.setattr(os, "fsync", deadly(fsync))
    patch.setattr(os, "rename", deadly(rename))
    patch.setattr(outputs, "write_whole", deadly(outputs.write_whole))
    patch.setattr(outputs.Output, "close", lambda self: os.close(self._file))
    try:
      run(path)
    except Killed:
      return True
  return False


def test_a_run_killed_anywhere_goes_on_to_the_same_file(monkeypatch, tmp_path):
  instant = 0
  while True:
    instant += 1
    path = tmp_path / str(instant) / "out.jsonl"
    path.parent.mkdir()
    if not killed_at(monkeypatch, path, instant):
      break
    assert not path.exists()
    killed_at(monkeypatch, path, 3)  # And once more, early.
    if not path.exists():
      run(path)
    assert path.read_bytes() == WHOLE
    assert names(path) == ["out.jsonl"]
  assert instant > 10  # Of all calls.


def unfinished(path):
  with pytest.raises(KeyboardInterrupt), open_output(path, ASKED) as output:
    output.append(WINDOWS[0], 2, 2, "digest 2")
    raise KeyboardInterrupt


def test_what_was_asked_otherwise_is_refused(tmp_path):
  path = tmp_path / "out.jsonl"
  unfinished(path)
  kept = (tmp_path / "out.jsonl.part").read_bytes()
  with pytest.raises(UserError, match="begun with another input than this"):
    run(path, {**ASKED, "input": "j"})
  with pytest.raises(UserError, match="begun with another model than this"):
    run(path, {**ASKED, "model": "n"})
  assert (tmp_path / "out.jsonl.part").read_bytes() == kept == b"a\nb\n"
  run(path)
  assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("content", [b"a\n", b"a\nX\n", b"a\nX\nc\n"])
def test_a_changed_output_is_refused(tmp_path, content):
  path = tmp_path / "out.jsonl"
  unfinished(path)
  part = tmp_path / "out.jsonl.part"
  part.write_bytes(content)
  with pytest.raises(UserError, match="is not what was written"):
    run(path)
  assert part.read_bytes() == content


def test_what_is_there_is_never_written_over(tmp_path):
  path, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
  path.write_text("mine")
  with pytest.raises(UserError, match="exists and is complete, or another's"):
    run(path)
  path.unlink()
  part.write_text("mine")
  with pytest.raises(UserError, match="is in the way and has no record"):
    run(path)
  assert part.read_text() == "mine" and names(path) == ["out.jsonl.part"]
  part.unlink()
  record = tmp_path / "out.jsonl.part.json"
  record.write_text(json.dumps({"mine": 1}))
  with pytest.raises(UserError, match=r"part\.json is damaged"):
    run(path)
  assert json.loads(record.read_text()) == {"mine": 1}
  record.unlink()
  path.symlink_to(tmp_path / "elsewhere")
  with pytest.raises(UserError, match="is a symbolic link"):
    run(path)
  with pytest.raises(UserError, match="not a local file"):
    run("gs://bucket/out.jsonl")
  with pytest.raises(UserError, match=r"gone.*cannot be written"):
    run(tmp_path / "gone/out.jsonl")


def test_two_processes_do_not_write_one_output(tmp_path):
  path = tmp_path / "out.jsonl"
  with open_output(path, ASKED) as output:
    output.append(WINDOWS[0], 2, 2, "digest 2")
    with pytest.raises(UserError, match="written by another process"):
      run(path)
    assert (tmp_path / "out.jsonl.part").read_bytes() == b"a\nb\n"
    output.publish()
  assert path.read_bytes() == b"a\nb\n" and names(path) == ["out.jsonl"]


def test_an_output_without_answers_leaves_nothing(tmp_path):
  with pytest.raises(UserError), open_output(tmp_path / "out", ASKED):
    raise UserError("a bad line")
  assert not list(tmp_path.iterdir())

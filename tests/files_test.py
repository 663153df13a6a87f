"""Files that are whole, and what a disk's refusals are turned into."""

import ast
import errno
import json
import os
import pathlib

import pytest

import electra_jax
from electra_jax.errors import UserError
from electra_jax.files import to_json, write_whole, writing


def lines_of_an_error():
  yield "half"
  raise RuntimeError


def test_an_error_leaves_the_file_as_it_was(tmp_path):
  path = tmp_path / "file"
  write_whole(path, ["old\n"])
  with pytest.raises(RuntimeError):
    write_whole(path, lines_of_an_error())
  assert path.read_text() == "old\n"
  assert os.listdir(tmp_path) == ["file"]


def test_nothing_beside_is_written_over(tmp_path):
  for name in ("file.partial", ".file", "file.tmp"):
    (tmp_path / name).write_text("mine")
  write_whole(tmp_path / "file", ["new"])
  assert {p.read_text() for p in tmp_path.iterdir()} == {"mine", "new"}


def test_a_file_takes_the_place_of_a_link(tmp_path):
  (tmp_path / "mine").write_text("mine")
  (tmp_path / "file").symlink_to(tmp_path / "mine")
  write_whole(tmp_path / "file", ["new"])
  assert (tmp_path / "mine").read_text() == "mine"
  assert (tmp_path / "file").read_text() == "new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_what_is_no_file_stays_what_it_is(tmp_path):
  pipe = tmp_path / "pipe"
  os.mkfifo(pipe)
  end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
  write_whole(pipe, ["told"])
  assert os.read(end, 9) == b"told" and pipe.is_fifo()
  os.close(end)
  # A link, so that a fault of ours would not harm the device.
  (tmp_path / "full").symlink_to("/dev/full")
  with pytest.raises(UserError, match="No space left"):
    write_whole(tmp_path / "full", ["told"])
  assert pathlib.Path("/dev/full").is_char_device()


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="of Unix")
def test_an_open_file_is_written_to_by_its_number(tmp_path):
  with open(tmp_path / "file", "w") as file:
    write_whole(f"/dev/fd/{file.fileno()}", ["told"])
  assert (tmp_path / "file").read_text() == "told"


def test_the_usual_permissions_are_given(tmp_path):
  write_whole(tmp_path / "file", ["new"])
  (tmp_path / "other").write_text("")
  modes = {(tmp_path / x).stat().st_mode for x in ("file", "other")}
  assert len(modes) == 1


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"No space left on device\); make room"),
        (errno.EACCES, r"Permission denied\); give yourself permission"),
        (errno.EROFS, r"Read-only file system\); choose a place"),
        (errno.EIO, r"Input/output error\); check the path"),
    ],
)
def test_refusals_are_one_sentence(number, message):
  with pytest.raises(UserError, match=message), writing("there"):
    raise OSError(number, os.strerror(number))


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(UserError, match="No such file or directory"):
    write_whole(tmp_path / "none" / "file", ["new"])


# --- JSON ---

PACKAGE = pathlib.Path(electra_jax.__file__).parent
# Rooms whose JSON holds figures, which may be NaN. `synthetic` makes texts.
ROOMS = ("cli", "finetuning", "performance", "tasks")


def test_json_that_every_reader_takes():
  odd = {"a": float("nan"), "b": [1.5, -float("inf")], "c": ({"d": float("inf")},)}  # fmt: skip
  text = to_json(odd, ensure_ascii=False)
  assert json.loads(text, parse_constant=pytest.fail) == {
      "a": None,
      "b": [1.5, None],
      "c": [{"d": None}],
  }
  text = to_json("\ud800 \x9b \u2028 é", ensure_ascii=False)
  assert text == '"\\ud800 \\u009b \\u2028 é"'
  assert text.encode("utf-8")


@pytest.mark.parametrize("room", ROOMS)
def test_figures_are_written_in_one_way(room):
  for path in (PACKAGE / room).glob("*.py"):
    if path.stem == "synthetic":
      continue
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Attribute):
        assert ast.unparse(node) not in ("json.dumps", "json.dump"), path

"""JSON of another shape is one sentence: file, key, wanted and found."""

import dataclasses
from typing import Any, NamedTuple

import pytest

from electra_jax.disk.json_files import parse_json, read_json
from electra_jax.errors import UserError


class Ids(NamedTuple):
  pad: int
  mask: int = 4


@dataclasses.dataclass(frozen=True)
class Part:
  file: str
  rows: int


@dataclasses.dataclass(frozen=True)
class Whole:
  ids: Ids
  parts: tuple[Part, ...]
  share: float
  seen: bool
  left: int | None = None
  more: dict[str, Any] = dataclasses.field(default_factory=dict)


TEXT = (
    '{"ids": {"pad": 0}, "parts": [{"file": "a", "rows": 3}], "share": 1,'
    ' "seen": true, "more": {"x": [1]}}'
)


def parse(text, kind=Whole):
  return parse_json(text, kind, "a/file.json", "make it again")


def test_what_fits_is_read():
  expected = Whole(Ids(0), (Part("a", 3),), 1.0, True, None, {"x": [1]})
  assert parse(TEXT) == expected
  assert isinstance(parse(TEXT).share, float)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"pad": 0',
            '"pad": "0"',
            r"'ids.pad' must be a whole number and is \"0\"",
        ),
        ('"pad": 0', '"pad": true', r"'ids.pad' must be a whole .* is true"),
        ('"rows": 3', '"rows": 3.5', r"'parts\[0\].rows' must be a whole"),
        ('"rows": 3', '"rows": 3, "b": 1', r"file, rows and is one with 'b'"),
        (', "rows": 3', "", r"'parts\[0\]' must be an object with 'rows'"),
        ('"share": 1', '"share": []', r"'share' must be a number and is \[\]"),
        ('"seen": true', '"seen": 1', "'seen' must be true or false and is 1"),
        ('"seen": true', '"seen": true, "left": "x"', "'left' must be a whole"),
        (
            '[{"file": "a", "rows": 3}]',
            "{}",
            r"'parts' must be a list and is {}",
        ),
        ('{"x": [1]}', "null", "'more' must be an object and is null"),
    ],
)
def test_what_does_not_is_named(old, new, message):
  with pytest.raises(UserError, match=r"a/file.json is damaged: .*; make it"):
    parse(TEXT.replace(old, new))
  with pytest.raises(UserError, match=message):
    parse(TEXT.replace(old, new))


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n",
        "{",
        "null",
        "[]",
        "{}",
        "3",
        '"x"',
        "garbage",
        TEXT[:40],
        b"\xff\xfe",
        b"\0" * 9,
        "[" * 99_999,
        "9" * 9_999,
    ],
)
def test_any_content_is_one_sentence(tmp_path, content):
  path = tmp_path / "file.json"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(
      UserError, match=r"file.json is damaged: .*; make it"
  ) as e:
    read_json(path, Whole, "make it again")
  assert len(str(e.value)) < 500 and "\n" not in str(e.value)


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
  with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
    read_json(tmp_path, Whole, "make it again")
  with pytest.raises(FileNotFoundError):
    read_json(tmp_path / "none", Whole, "make it again")

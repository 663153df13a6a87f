"""Scratch folders: whole targets, and nothing of others touched."""

import dataclasses
import json
import os
import pathlib

import pytest
from etils import epath

from electra_jax.disk import scratch
from electra_jax.disk.owner import Owner
from electra_jax.errors import UserError

DEAD = dataclasses.replace(Owner.here(), started="1")


def build(target, content="new", replace=False):
  with scratch.open_scratch(target) as made:
    (made.folder / "file").write_text(content)
    made.publish(replace=replace)


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def leave(target, overrides=()) -> pathlib.Path:
  """What a killed process leaves."""
  root = target.with_name(f"{target.name}.scratch-0123456789abcdef")
  (root / "content").mkdir(parents=True)
  (root / "content" / "file").write_text("half")
  record = json.loads(scratch._marker(epath.Path(root), epath.Path(target)))
  record |= {"owner": DEAD.to_json(), **dict(overrides)}
  (root / scratch.MARKER).write_text(json.dumps(record))
  return root


def test_a_target_appears_whole(tmp_path):
  target = tmp_path / "deep" / "target"
  with scratch.open_scratch(target) as made:
    (made.folder / "file").write_text("new")
    assert not target.exists()
    made.publish()
  assert names(tmp_path / "deep") == ["target"]
  assert (target / "file").read_text() == "new"


def test_an_error_leaves_nothing(tmp_path):
  with pytest.raises(RuntimeError), scratch.open_scratch(tmp_path / "target"):
    raise RuntimeError
  assert names(tmp_path) == []


def test_a_target_is_replaced_on_request_only(tmp_path):
  target = tmp_path / "target"
  target.mkdir()
  build(target, "first")  # An empty folder holds nothing.
  with pytest.raises(UserError, match="is not overwritten"):
    build(target, "second")
  assert (target / "file").read_text() == "first"
  build(target, "third", replace=True)
  assert (target / "file").read_text() == "third"
  assert names(tmp_path) == ["target"]


def test_what_a_killed_process_left_is_removed(tmp_path):
  root = leave(tmp_path / "target")
  build(tmp_path / "target")
  assert not root.exists()


@pytest.mark.parametrize(
    "overrides",
    [
        {"owner": Owner.here().to_json()},
        {"owner": dataclasses.replace(DEAD, host="elsewhere").to_json()},
        {"owner": None},
        {"program": "other"},
        {"target": "another"},
        {"folder": "copied from here"},
        {"more": 1},
    ],
    ids=lambda x: next(iter(x)),
)
def test_what_is_not_a_dead_process_scratch_stays(tmp_path, overrides):
  root = leave(tmp_path / "target", overrides)
  build(tmp_path / "target")
  assert (root / "content" / "file").read_text() == "half"


@pytest.mark.parametrize("marker", [None, "", "null", "[]", "{}", "{" * 9999])
@pytest.mark.parametrize(
    "name",
    [
        "target.scratch-0123456789abcdef",
        "target.partial",
        "target.partial-notes",
        "target.replaced-old",
    ],
)
def test_a_name_makes_no_folder_ours(tmp_path, name, marker):
  (tmp_path / name).mkdir()
  (tmp_path / name / "notes").write_text("mine")
  if marker is not None:
    (tmp_path / name / scratch.MARKER).write_text(marker)
  before = names(tmp_path / name)
  build(tmp_path / "target")
  assert names(tmp_path / name) == before


def test_files_with_such_names_stay(tmp_path):
  (tmp_path / "target.scratch-0").write_text("mine")
  build(tmp_path / "target")
  assert (tmp_path / "target.scratch-0").read_text() == "mine"


def test_what_others_put_into_scratch_stays(tmp_path):
  root = leave(tmp_path / "target")
  (root / "notes").write_text("mine")
  build(tmp_path / "target")
  assert names(root) == ["notes"]


def test_no_link_is_followed(tmp_path):
  mine = tmp_path / "mine"
  mine.mkdir()
  (mine / "file").write_text("mine")
  root = leave(tmp_path / "target")
  (root / "content" / "link").symlink_to(mine)
  moved = tmp_path / "moved"
  other = leave(tmp_path / "other")
  other.rename(moved)
  other.symlink_to(moved)
  build(tmp_path / "target")
  build(tmp_path / "other")
  assert not root.exists()
  assert (mine / "file").read_text() == "mine"
  assert (other / "content" / "file").read_text() == "half"


def test_a_marker_behind_a_link_is_none(tmp_path):
  root = leave(tmp_path / "target")
  marker = root / scratch.MARKER
  marker.rename(tmp_path / "marker")
  marker.symlink_to(tmp_path / "marker")
  build(tmp_path / "target")
  assert (root / "content" / "file").exists()


def test_killed_between_two_renames_the_old_one_is_given_back(tmp_path):
  root = leave(tmp_path / "target")
  (root / "replaced").mkdir()
  (root / "replaced" / "file").write_text("old")
  scratch.remove_leftovers(tmp_path / "target")
  assert (tmp_path / "target" / "file").read_text() == "old"
  assert not root.exists()


def test_a_link_in_the_targets_place_is_refused(tmp_path):
  (tmp_path / "link").symlink_to(tmp_path)
  with pytest.raises(UserError, match=r"link is a symbolic link to .*TARGET"):
    scratch.check_no_link(tmp_path / "link", "TARGET")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(
      UserError,
      match=r"cannot be written \(File exists, at .*a place whose parents",
  ):
    build(tmp_path / "file" / "target")
  assert os.path.isfile(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "OUTPUT is empty"),
        ("there", "there exists; choose another OUTPUT"),
        ("link", "is a symbolic link to .* as OUTPUT"),
    ],
)
def test_a_new_folder_takes_no_place_that_is_taken(
    name, message, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "there").mkdir()
  (tmp_path / "link").symlink_to("nowhere")
  with pytest.raises(UserError, match=message):
    scratch.new_folder(name, "OUTPUT")
  assert str(scratch.new_folder("new", "OUTPUT")) == "new"
  assert not (tmp_path / "new").exists()

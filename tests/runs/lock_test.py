"""Locks of a workdir: one holder, the dead ones' taken over and told."""

import dataclasses
import json
import subprocess
import sys
import threading

import pytest
from etils import epath

from electra_jax.disk.owner import Owner
from electra_jax.errors import UserError
from electra_jax.runs import lock
from tests import processes

HOLD = """
import sys, time
from electra_jax.runs.lock import locked
with locked(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(lock, "_BEAT_SECS", 0.05)
  monkeypatch.setattr(lock, "_PATIENCE_SECS", 0.5)
  monkeypatch.setattr(lock, "_SETTLING_SECS", 0.2)


@pytest.fixture(params=["local", "remote"])
def place(request, tmp_path, monkeypatch):
  """A workdir, also as one where no link can be made."""
  if request.param == "remote":
    monkeypatch.setattr(lock, "is_remote", lambda path: True)
  return tmp_path / "workdir"


def leave(workdir, **changes):
  """What a process leaves that did not end by itself."""
  owner = dataclasses.replace(Owner.here(), **changes).to_json()
  workdir.mkdir(exist_ok=True)
  held = lock._Lock("a" * 32, owner, ["electra-jax", "pretrain"])
  (workdir / lock.LOCK_FILE).write_text(lock._text(held))


def assert_refused(workdir, message):
  with pytest.raises(UserError, match=message), lock.locked(workdir):
    pass


def test_one_holds_it_and_leaves_nothing(place):
  with lock.locked(place) as check:
    check()
    assert_refused(place, r"in use by process \d+ on .*--workdir")
    check()
  assert list(place.iterdir()) == []
  with lock.locked(place):
    pass


def test_a_killed_holders_lock_is_taken_over_at_once(place, caplog):
  child = subprocess.Popen(
      [sys.executable, "-c", HOLD, place], stdout=subprocess.PIPE, text=True
  )
  assert child.stdout.readline() == "held\n"
  assert_refused(place, f"in use by process {child.pid} on")
  child.kill()
  child.communicate()
  with lock.locked(place) as check:
    check()
  assert f"was left by process {child.pid} on" in caplog.text


def test_a_holder_elsewhere_is_known_by_its_beat(place, caplog):
  leave(place, host="elsewhere")
  with lock.locked(place):
    pass
  assert "held by process" in caplog.text and "elsewhere" in caplog.text
  assert "which has ended; taking over" in caplog.text


def test_a_living_holder_elsewhere_is_left_alone(place):
  with lock.locked(place):
    record = json.loads((place / lock.LOCK_FILE).read_text())
    owner = record["owner"] | {"host": "elsewhere"}
    stop = threading.Event()
    own = lock._Lock(record["token"], owner, ["elsewhere"])
    beating = threading.Thread(
        target=lock._beat, args=(epath.Path(place) / lock.LOCK_FILE, own, stop)
    )
    beating.start()
    try:
      processes.wait_until(
          lambda: '"elsewhere"' in (place / lock.LOCK_FILE).read_text()
      )
      assert_refused(place, "in use by")
    finally:
      stop.set()
      beating.join()


def test_of_many_only_one_takes_a_dead_lock_over(tmp_path, monkeypatch):
  leave(tmp_path, started="1")
  held, refused = [], []
  done = threading.Barrier(9)

  def take():
    try:
      with lock.locked(tmp_path):
        held.append(1)
        done.wait(timeout=60)
    except UserError as error:
      refused.append(str(error))
      done.wait(timeout=60)

  threads = [threading.Thread(target=take) for _ in range(8)]
  for thread in threads:
    thread.start()
  done.wait(timeout=60)
  for thread in threads:
    thread.join()
  assert len(held) == 1 and len(refused) == 7


def test_a_holder_that_was_taken_for_dead_ends(place):
  with lock.locked(place) as check:
    leave(place, host="elsewhere")
    with pytest.raises(UserError, match="was taken over by process"):
      check()
    (place / lock.LOCK_FILE).unlink()
    with pytest.raises(UserError, match="is gone, so this run ends"):
      check()


@pytest.mark.parametrize("content", ["", "null", "{}", "mine", '{"token": 1}'])
def test_what_is_no_lock_stays(tmp_path, content):
  (tmp_path / lock.LOCK_FILE).write_text(content)
  assert_refused(tmp_path, "is no lock of this program")
  assert (tmp_path / lock.LOCK_FILE).read_text() == content


def test_a_link_in_its_place_is_not_followed(tmp_path):
  (tmp_path / lock.LOCK_FILE).symlink_to(tmp_path / "none")
  assert_refused(tmp_path, "is no lock of this program")
  assert not (tmp_path / "none").exists()

"""Processes told apart: the living, the dead and those of elsewhere."""

import dataclasses
import os
import subprocess
import sys

import pytest

from electra_jax.disk import owner
from electra_jax.disk.owner import Owner
from tests import processes


def test_this_process_lives():
  here = Owner.here()
  assert here.pid == os.getpid() and here.is_alive() is True
  assert Owner.from_json(here.to_json()) == here
  assert str(os.getpid()) in str(here)


def test_a_process_that_took_over_a_number_is_another():
  assert dataclasses.replace(Owner.here(), started="1").is_alive() is False


@pytest.mark.parametrize("field", ["host", "boot", "pid_space"])
def test_other_machines_are_not_seen(field):
  assert dataclasses.replace(Owner.here(), **{field: "x"}).is_alive() is None


def test_a_killed_process_is_dead_before_it_is_waited_for():
  child = subprocess.Popen(
      [sys.executable, "-c", "import time; time.sleep(600)"]
  )
  started = owner._started(child.pid)
  there = dataclasses.replace(Owner.here(), pid=child.pid, started=started)
  assert there.is_alive() is True
  child.kill()
  processes.wait_until(lambda: there.is_alive() is False)
  child.wait()
  assert there.is_alive() is False


@pytest.mark.parametrize(
    "record",
    [None, [], {}, {"host": "a"}, "x", {**Owner.here().to_json(), "pid": "1"}],
)
def test_what_is_no_owner(record):
  assert Owner.from_json(record) is None

"""Ctrl-C, once, twice and while modules are imported."""

import os
import signal
import subprocess
import sys

import pytest

from electra_jax.cli.interrupts import Interrupts


def test_only_the_first_raises(capfd):
  before = signal.getsignal(signal.SIGINT)
  try:
    with Interrupts():
      with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
      os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # Nothing is left to end.
  finally:
    signal.signal(signal.SIGINT, before)
  assert "cleaning up" in capfd.readouterr().err


def test_it_waits_while_held():
  before, done = signal.getsignal(signal.SIGINT), []
  try:
    with (
        Interrupts() as interrupts,
        pytest.raises(KeyboardInterrupt),
        interrupts.held(),
    ):
      os.kill(os.getpid(), signal.SIGINT)
      done.append(True)
  finally:
    signal.signal(signal.SIGINT, before)
  assert done


def test_without_one_nothing_changes():
  before = signal.getsignal(signal.SIGINT)
  with Interrupts():
    assert signal.getsignal(signal.SIGINT) != before
  assert signal.getsignal(signal.SIGINT) == before


def test_the_third_ends_at_once():
  code = """
import os, signal
from electra_jax.cli.interrupts import Interrupts
with Interrupts() as interrupts, interrupts.held():
  for _ in range(3):
    os.kill(os.getpid(), signal.SIGINT)
"""
  ended = subprocess.run([sys.executable, "-c", code], capture_output=True)
  assert (ended.returncode, ended.stderr) == (130, b"")

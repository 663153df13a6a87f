"""Until the first step the garbage collector rests, and only until then."""

import gc
import importlib

import pytest

from electra_jax.cli import main as cli
from electra_jax.training import loop


@pytest.fixture(autouse=True)
def collector_as_at_first():
  gc.unfreeze()
  yield
  gc.unfreeze()
  gc.enable()


@pytest.mark.parametrize("error", [None, ImportError])
def test_it_rests_while_a_verb_is_imported(monkeypatch, error):
  seen = []

  def import_module(name):
    seen.append((name, gc.isenabled(), gc.get_freeze_count()))
    if error:
      raise error

  monkeypatch.setattr(importlib, "import_module", import_module)
  monkeypatch.setitem(cli._MODULES, "new_verb", "new_room.new_verb")
  if error:
    with pytest.raises(error):
      cli._import_verb("new_verb")
  else:
    cli._import_verb("new_verb")
  assert seen == [("electra_jax.new_room.new_verb", False, 0)]
  assert gc.isenabled() and gc.get_freeze_count()


def test_a_verb_that_is_there_is_left_alone(monkeypatch):
  monkeypatch.setitem(cli._MODULES, "old_verb", "cli.main")
  cli._import_verb("old_verb")
  assert not gc.get_freeze_count()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_it_rests_while_a_step_is_traced(is_enabled):
  if not is_enabled:
    gc.disable()
  with pytest.raises(ValueError), loop._collector_at_rest():
    assert not gc.isenabled()
    raise ValueError
  assert gc.isenabled() == is_enabled

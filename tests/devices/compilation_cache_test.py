"""The folder of compiled programs: which one, and that results ignore it."""

import os
import pathlib
import stat

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache as of_jax

from electra_jax.cli import main as cli
from electra_jax.devices import compilation_cache
from electra_jax.errors import UserError
from electra_jax.pretraining.pretrain import pretrain
from tests import helpers

HIT = "/jax/compilation_cache/cache_hits"
SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(name="untold", autouse=True)
def jax_that_was_told_nothing(monkeypatch, tmp_path):
  """As in a user's process: no folder, an empty cache folder of the user's."""
  before = {name: getattr(jax.config, name) for name in SETTINGS}
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
  monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
  jax.config.update("jax_compilation_cache_dir", None)
  of_jax.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  of_jax.reset_cache()


@pytest.fixture(name="hits", scope="module")
def programs_read() -> list[str]:
  """Grows by one for every program that is read, not compiled."""
  events = []
  jax.monitoring.register_event_listener(
      lambda event, **_: events.append(event) if event == HIT else None
  )
  return events


def compile_something(number: int) -> None:
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.jit(lambda x: x + number)(jnp.zeros(3))


def entries(folder) -> list[pathlib.Path]:
  return sorted(pathlib.Path(folder).rglob("*-cache"))


def test_the_folder_is_the_users_and_of_this_processor(tmp_path, monkeypatch):
  folder = compilation_cache.enable()
  assert folder.startswith(str(tmp_path / "user/electra_jax/xla"))
  assert jax.config.jax_compilation_cache_dir == folder
  compile_something(1)
  assert entries(folder)
  monkeypatch.setattr("platform.processor", lambda: "another")
  assert compilation_cache.default_folder() != folder
  monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  assert compilation_cache.default_folder().startswith(
      str(tmp_path / "home/.cache/electra_jax/xla")
  )


def test_what_jax_has_been_told_stays(tmp_path):
  told = str(tmp_path / "told")
  jax.config.update("jax_compilation_cache_dir", told)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 7)
  assert compilation_cache.enable() == told
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 7
  assert not (tmp_path / "user").exists()


def test_a_named_folder_goes_before_it_and_may_be_changed(tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "told"))
  for number, name in enumerate(("first", "second"), start=2):
    assert compilation_cache.enable(tmp_path / name) == str(tmp_path / name)
    compile_something(number)
    assert entries(tmp_path / name)
  assert not (tmp_path / "told").exists()
  assert compilation_cache.enable("gs://bucket/xla") == "gs://bucket/xla"


@pytest.mark.parametrize("folder", ["", "none"])
def test_it_can_be_switched_off(tmp_path, folder):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "told"))
  assert compilation_cache.enable(folder) is None
  compile_something(4)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path, caplog, monkeypatch, named
):
  file = tmp_path / "file"
  file.touch()
  monkeypatch.setenv("XDG_CACHE_HOME", str(file))
  assert compilation_cache.enable(file / "cache" if named else None) is None
  compile_something(5)
  [record] = caplog.records
  assert "cannot be written (Not a directory)" in record.getMessage()
  assert str(file) in record.getMessage()


def test_what_was_used_longest_ago_makes_way(monkeypatch):
  folder = pathlib.Path(compilation_cache.enable())
  for age in range(5):
    path = folder / f"program_{age}-cache"
    path.write_bytes(bytes(100))
    os.utime(path, (1e9 - age, 1e9 - 10))
  jax.config.update("jax_compilation_cache_dir", None)
  space = sum(p.stat().st_size for p in folder.iterdir()) - 150
  monkeypatch.setattr(compilation_cache, "_LIMIT_BYTES", space)
  compilation_cache.enable()
  assert [p.name for p in entries(folder)] == [
      f"program_{age}-cache" for age in range(3)
  ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "--workdir", "w"],
        ["finetune", "--workdir", "w"],
        ["benchmark"],
        ["evaluate", "--workdir", "w"],
        ["predict", "--workdir", "w", "text"],
    ],
)
def test_every_verb_that_compiles_enables_it(arguments, monkeypatch, capsys):
  def enable(folder):
    raise UserError(f"told {folder}")

  monkeypatch.setattr(compilation_cache, "enable", enable)
  if arguments[0] in ("pretrain", "finetune", "benchmark"):
    config = helpers.ROOT / "configs/pretrain.py:tiny"
    arguments = [*arguments, "--config", str(config)]
  for flags, folder in (([], None), (["--compilation-cache", "X"], "X")):
    with pytest.raises(SystemExit):
      cli.main([*arguments, *flags])
    assert f"told {folder}" in capsys.readouterr().err


@pytest.mark.slow
def test_parameters_do_not_depend_on_it(tmp_path, store, hits):
  config = helpers.store_config(store, **{"train.num_steps": 3})
  compilation_cache.enable()
  read, states = [], []
  for name in ("compiled", "from_disk"):
    jax.clear_caches()
    before = len(hits)
    pretrain(config, tmp_path / name, quiet=True)
    read.append(len(hits) - before)
    states.append(helpers.read_params(tmp_path / name, 3))
  assert read[0] == 0 and read[1] >= 3  # Initialise, train, evaluate.
  helpers.assert_equal_trees(states[1], states[0])


def test_a_damaged_program_is_compiled_again(tmp_path):
  folder = compilation_cache.enable(tmp_path)
  compile_something(6)
  for path in entries(folder):
    path.write_bytes(path.read_bytes()[:-20])
  jax.clear_caches()
  with pytest.warns(UserWarning, match="persistent compilation cache"):
    compile_something(6)


@pytest.mark.parametrize("mode", [0o775, 0o707, 0o1777])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_folder_that_others_may_write_is_refused(tmp_path, mode, is_told):
  folder = tmp_path / "shared"
  folder.mkdir()
  folder.chmod(mode)
  if is_told:
    jax.config.update("jax_compilation_cache_dir", str(folder))
  with pytest.raises(UserError, match="may be written by others") as told:
    compilation_cache.enable(None if is_told else folder)
  assert f"chmod go-w {folder}" in str(told.value)
  folder.chmod(0o755)
  assert compilation_cache.enable(folder) == str(folder)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_new_folder_is_private_whatever_the_umask(tmp_path, is_told):
  folder = tmp_path / "new"
  if is_told:
    jax.config.update("jax_compilation_cache_dir", str(folder))
  before = os.umask(0o002)
  try:
    compilation_cache.enable(None if is_told else folder)
    compile_something(8)
  finally:
    os.umask(before)
  assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
  folder = tmp_path / "theirs"
  folder.mkdir(mode=0o755)
  other = folder.stat().st_uid + 1
  monkeypatch.setattr("os.getuid", lambda: other)
  if folder.stat().st_uid:
    with pytest.raises(UserError, match="belongs to user"):
      compilation_cache.enable(folder)
  else:  # What the administrator owns is trusted.
    assert compilation_cache.enable(folder)


def test_a_new_folder_is_private(tmp_path):
  before = os.umask(0)
  try:
    folder = compilation_cache.enable(tmp_path / "new/cache")
  finally:
    os.umask(before)
  assert pathlib.Path(folder).stat().st_mode & 0o777 == 0o700

"""Completion: the scripts parse, and bash offers what there is."""

import shutil
import subprocess

import pytest

from electra_jax import config_files
from electra_jax.cli import main as cli
from electra_jax.cli.arguments import make_parser
from electra_jax.cli.completion import script, shown_configs

_TRY = """
source "$1"
COMP_LINE="$2"; COMP_POINT=${#2}; COMPREPLY=()
_electra_jax
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module", name="file")
def a_script(tmp_path_factory):
  path = tmp_path_factory.mktemp("completion") / "electra-jax.bash"
  path.write_text(script(make_parser(), "bash"))
  return path


def completed(file, line, folder) -> list[str]:
  done = subprocess.run(
      ["bash", "-c", _TRY, "bash", str(file), line],
      cwd=folder,
      capture_output=True,
      text=True,
      check=True,
  )
  assert done.stderr == ""
  return sorted(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("electra-jax fin", ["finetune"]),
        ("electra-jax predict --wo", ["--workdir"]),
        ("electra-jax completion ", ["bash", "fish", "zsh"]),
        ("electra-jax prepare x --packing f", ["full"]),
        ("electra-jax pretrain --config pretrain:s", ["small", "small_pp"]),
        ("electra-jax pretrain --config mi", ["mine.py"]),
        (
            "electra-jax finetune --config finetune:task=rte,size=b",
            ["base"],
        ),
        ("electra-jax demo ru", ["run"]),
        ("electra-jax evaluate --workdir r", ["run"]),
        ("electra-jax evaluate --workdir tin", ["tiny-en"]),
        ("electra-jax export ru", ["run"]),
        ("electra-jax export run ph", ["phone"]),
        ("electra-jax export run phone --texts mi", ["mine.py", "mine.txt"]),
    ],
)
def test_bash_offers_what_there_is(file, tmp_path, line, offered):
  for name in ("run", "phone"):
    (tmp_path / name).mkdir()
  (tmp_path / "mine.py").touch()
  (tmp_path / "mine.txt").touch()
  assert completed(file, line, tmp_path) == offered


def test_bash_offers_every_verb(file, tmp_path):
  assert completed(file, "electra-jax ", tmp_path) == sorted(cli.VERBS)


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "config"])
def test_every_config_that_is_offered_exists(verb):
  for name in shown_configs(verb):
    config_files.load_config(name)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_verb_prints_a_script_that_parses(shell, tmp_path, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(["completion", shell])
  assert stop.value.code == 0
  shown = capsys.readouterr().out
  assert "pretrain:small" in shown and "demo" in shown
  if shutil.which(shell):
    (tmp_path / "script").write_text(shown)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)

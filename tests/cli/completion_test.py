"""Completion: the scripts parse, and every shell offers what there is."""

import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from electra_jax import config_files
from electra_jax.cli import main as cli
from electra_jax.cli.arguments import make_parser
from electra_jax.cli.completion import script, shown_configs

_LINES = [
    ("electra-jax fin", ["finetune"]),
    ("electra-jax predict --wo", ["--workdir"]),
    ("electra-jax completion ", ["bash", "fish", "zsh"]),
    ("electra-jax prepare x --packing f", ["full"]),
    (
        "electra-jax pretrain --config pretrain:s",
        ["pretrain:small", "pretrain:small_pp"],
    ),
    (
        "electra-jax finetune --config finetune:task=table,size=b",
        ["finetune:task=table,size=base"],
    ),
    (
        "electra-jax finetune --config finetune:task=embedding,size=b",
        ["finetune:task=embedding,size=base"],
    ),
    ("electra-jax embed run --input mi", ["mine.py", "mine.txt"]),
    ("electra-jax embed run --output mi", ["mine.py", "mine.txt"]),
    ("electra-jax predict --output mi", ["mine.py", "mine.txt"]),
    ("electra-jax evaluate --output ph", ["phone"]),
    ("electra-jax benchmark --config mi", ["mine.py"]),
    ("electra-jax demo ru", ["run"]),
    ("electra-jax evaluate --workdir r", ["run"]),
    ("electra-jax evaluate --workdir tin", ["tiny-en"]),
    ("electra-jax export run ph", ["phone"]),
    ("electra-jax export run phone --texts mi", ["mine.py", "mine.txt"]),
    ("electra-jax ", sorted(cli.VERBS)),
]
# Every word that zsh is about to offer is noted in a file.
_ZSH = r"""
PROMPT=; unsetopt zle_bracketed_paste prompt_sp; stty -echo
fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D
compadd() {{
  if [[ ${{@[1,(i)(-|--)]}} != *-(O|A|D)\ * ]]; then
    local -a hits
    builtin compadd -A hits "$@"
    print -rl -- $hits >> {folder}/offered
  fi
  builtin compadd "$@"
}}
bindkey '^I' list-choices
print -r -- BE''GIN
"""
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


@pytest.fixture(name="things")
def a_folder_with_things(tmp_path):
  folder = tmp_path / "here"
  for name in ("run", "phone"):
    (folder / name).mkdir(parents=True)
  for name in ("mine.py", "mine.txt"):
    (folder / name).touch()
  return folder


def needs(shell):
  return pytest.mark.skipif(
      shutil.which(shell) is None, reason=f"{shell} is not installed"
  )


def read_until(shell, word) -> str:
  """Reads what a shell on a terminal shows."""
  shown = b""
  while word.encode() not in shown:
    ready, _, _ = select.select([shell], [], [], 60)
    assert ready, f"{word!r} does not come: {shown!r}"
    shown += os.read(shell, 4096)
  return shown.decode()


def wait_for(path, secs=60.0) -> None:
  end = time.monotonic() + secs
  while not path.exists():
    assert time.monotonic() < end, f"{path.name} does not come"
    time.sleep(0.02)


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


@pytest.mark.parametrize(("line", "offered"), _LINES)
def test_bash_offers_what_there_is(file, things, line, offered):
  # bash replaces what stands behind the last colon or equal sign.
  short = [name.replace("=", ":").rpartition(":")[2] for name in offered]
  assert completed(file, line, things) == short


@needs("fish")
def test_fish_offers_what_there_is(things, tmp_path):
  path = tmp_path / "electra-jax.fish"
  path.write_text(script(make_parser(), "fish"))
  ask = "source $argv[1]; for line in $argv[2..]; complete -C $line; echo; end"
  done = subprocess.run(
      ["fish", "--no-config", "-c", ask, path, *(line for line, _ in _LINES)],
      cwd=things,
      env=os.environ | {"HOME": str(tmp_path)},
      capture_output=True,
      text=True,
      check=True,
  )
  assert done.stderr == ""
  blocks = done.stdout.split("\n\n")
  for (line, offered), block in zip(_LINES, blocks, strict=False):
    names = [row.split("\t")[0].rstrip("/") for row in block.splitlines()]
    if "mine.py" in offered:  # fish sorts by suffix and drops nothing.
      assert names[0] == "mine.py"
    else:
      assert sorted(names) == offered, line


@needs("zsh")
def test_zsh_offers_what_there_is(things, tmp_path):
  path = tmp_path / "_electra-jax"
  path.write_text(script(make_parser(), "zsh"))
  process, shell = pty.fork()
  if process == 0:
    os.chdir(things)
    os.environ.update(TERM="dumb", COLUMNS="200", LC_ALL="C.UTF-8")
    os.execlp("zsh", "zsh", "-f", "-i")
  try:
    os.write(shell, _ZSH.format(folder=tmp_path).encode())
    read_until(shell, "BEGIN")
    for number, (line, offered) in enumerate(_LINES):
      os.write(shell, f"{line}\t".encode())
      wait_for(tmp_path / "offered")
      # The line is deleted, and another one tells that it is done.
      os.write(shell, f"\x15print -r -- EN''D_{number}_\n".encode())
      read_until(shell, f"END_{number}_")
      words = (tmp_path / "offered").read_text().split()
      assert sorted({word.rstrip("/") for word in words}) == offered, line
      (tmp_path / "offered").unlink()
  finally:
    os.close(shell)
    os.waitpid(process, 0)


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

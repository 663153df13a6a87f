"""Completion scripts for shells, made by shtab from the parser.

They are printed once and stay with the shell: completing starts no Python.
"""

import argparse
import importlib.util
import shlex
from collections.abc import Sequence

from electra_jax.config_files import SHIPPED
from electra_jax.runs import shipped
from electra_jax.tasks import table, text_pairs
from electra_jax.tasks.registry import TASKS

# Arguments by what stands in their place.
_FILES = ("tokenizer", "file", "input", "json", "sources", "source", "texts")
_FOLDERS = (
    *("output", "store", "folder", "profile", "target", "runtime"),
    "compilation_cache",
)
_WRITE_FILES = ("predict", "embed")  # Verbs whose --output is no folder.
_MODELS = ("workdir", "runs")
_CONFIGS = {
    "pretrain": ("pretrain",),
    "finetune": ("finetune",),
    "distill": ("distill",),
    "plan": ("pretrain",),
    "benchmark": ("pretrain",),
    "convert": ("pretrain",),
    "config": ("pretrain", "finetune", "distill"),
}
# bash cuts words at colons and equal signs; shtab wants them whole.
_WHOLE_WORDS = r"""
_electra_jax() {
  local line="${COMP_LINE:0:COMP_POINT}" last tail cut i
  local -a COMP_WORDS
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *[[:space:]] ]] && COMP_WORDS+=("")
  local COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  last="${COMP_WORDS[COMP_CWORD]}"
  _shtab_electra_jax
  tail="${last##*[:=]}"
  cut=$((${#last} - ${#tail}))
  for i in "${!COMPREPLY[@]}"; do
    COMPREPLY[i]="${COMPREPLY[i]:cut}"
  done
}

complete -o bashdefault -F _electra_jax electra-jax
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
  """Returns the script of a shell.

  Args:
    parser: of the command.
    shell: "bash", "zsh" or "fish".
  """
  import shtab

  (verbs,) = parser._subparsers._group_actions
  for verb, of_verb in verbs.choices.items():
    for action in of_verb._actions:
      if shell == "zsh" and isinstance(action.metavar, str):
        # What stands behind a colon would be run to complete the word.
        action.metavar = action.metavar.replace(":", r"\:")
      if action.dest == "config" and verb in _CONFIGS:
        action.complete = _choose(f"configs_of_{verb}", shown_configs(verb))
      elif action.dest in _MODELS:
        # shtab's bash tells folders by this end of a function's name.
        models = shipped.names()
        action.complete = _choose("models_dir", models, folders=True)
      elif action.dest in _FILES or (
          action.dest == "output" and verb in _WRITE_FILES
      ):
        action.complete = shtab.FILE
      elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY
  made = shtab.complete(parser, shell=shell, root_prefix="electra_jax").rstrip()
  return made + _WHOLE_WORDS if shell == "bash" else made


def shown_configs(verb: str) -> list[str]:
  """Returns names of shipped configs that a verb takes, with their sizes."""
  names = []
  for kind in _CONFIGS[verb]:
    path = SHIPPED / f"{kind}.py"
    spec = importlib.util.spec_from_file_location(f"electra_jax_{kind}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if kind != "finetune":
      names += [f"{kind}:{size}" for size in module.SIZES]
    else:
      names += [
          f"finetune:task={task},size={size}"
          for task in (*TASKS, table.NAME, text_pairs.NAME)
          for size in module.SIZES
      ]
  return names


def _choose(
    what: str, names: Sequence[str], *, folders: bool = False
) -> dict[str, object]:
  """Returns functions of every shell that offer names, and paths beside them."""
  function = f"_electra_jax_{what}"
  words = " ".join(map(shlex.quote, names))
  paths = {
      "bash": "compgen -d" if folders else "compgen -f -X '!*.py'",
      "zsh": "_files -/" if folders else "_files -g '*.py'",
      "fish": (
          "__fish_complete_directories (commandline -ct)"
          if folders
          else "__fish_complete_suffix .py"
      ),
  }
  offered = {"zsh": "", "fish": ""}
  if words:
    offered = {
        "zsh": f"compadd -- {words}; ",
        "fish": f"printf '%s\\n' {words}; ",
    }
  listed = shlex.quote(" ".join(names))
  return {
      "bash": function,
      "zsh": function,
      "fish": f"({function})",
      "preamble": {
          "bash": (
              f"{function}() {{\n"
              f'  compgen -W {listed} -- "$1"\n'
              f'  {paths["bash"]} -- "$1"\n'
              "}"
          ),
          "zsh": f"{function}() {{ {offered['zsh']}{paths['zsh']}; }}",
          "fish": (
              f"function {function}; {offered['fish']}{paths['fish']}; end"
          ),
      },
  }

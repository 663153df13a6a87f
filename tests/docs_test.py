"""The documentation: its commands parse, keys and links exist, code compiles.

`docs_run_test.py` runs the pages.
"""

import ast
import functools
import importlib
import importlib.util
import re
import shutil
import subprocess
import warnings

import pytest

from electra_jax import config_files
from electra_jax.cli import main as cli
from electra_jax.cli.arguments import make_parser
from electra_jax.errors import UserError
from electra_jax.runs.config import read_pretrain_config
from electra_jax.runs.finetune_config import read_finetune_config
from tests import helpers, pages

DOCS = pages.all_pages()
ALL = pages.all_pages(with_launch=True)
LANGUAGES = ("bash", "python", "text")

_PATH = re.compile(r"(electra_jax|configs|launch|tests|docs)/[\w./-]*")
_KEY = re.compile(r"--config\.([a-z_0-9.]*[a-z_0-9])(?![a-z_0-9.…]*[A-Z…])")
_NAME = re.compile(r"electra_jax(\.\w+)+")

each_page = pytest.mark.parametrize("page", ALL, ids=pages.name_of)


@functools.cache
def sweep():
  """launch/sweep.py as a module."""
  path = helpers.ROOT / "launch/sweep.py"
  spec = importlib.util.spec_from_file_location("launch_sweep", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@functools.cache
def verb_flags(verb: str) -> set[str]:
  actions = make_parser()._subparsers._group_actions
  parser = actions[0].choices[verb]
  return {name for action in parser._actions for name in action.option_strings}


@functools.cache
def known_keys() -> set[str]:
  """All keys of the shipped configs, and their sections."""
  keys = {"help"}
  for name in (
      "pretrain:base,staged",
      "finetune:rte",
      "distill:small",
      "distill:small,task=rte",
  ):
    for key, _ in config_files._flat(config_files.load_config(name)):
      parts = key.split(".")
      keys |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
  return keys


def check_electra_jax(words: list[str], *, fails: bool) -> None:
  """Parses a command and reads its config."""
  if ">" in words:
    words = words[: words.index(">")]
  parser = make_parser()
  try:
    args, rest = parser.parse_known_args(words)
  except SystemExit as end:
    # --help and --version end so, too.
    assert end.code == 0, f"{words} does not parse"
    return
  prefix = cli.PREFIXES.get(args.verb, ())
  for word in rest:
    assert word.startswith(prefix), f"{words}: unknown argument {word}"
  config = getattr(args, "config", None)
  if config is None:
    return
  overrides = [word for word in rest if word != "--config.help"]
  loaded = config_files.load_config(config, overrides)
  is_task = "task" in loaded
  if args.verb in ("pretrain", "finetune"):
    assert is_task == (args.verb == "finetune"), words
  read = read_finetune_config if is_task else read_pretrain_config
  if fails:
    with pytest.raises(UserError):
      read(loaded)
  else:
    read(loaded)


def check_python(words: list[str]) -> None:
  """Checks a script's path, and that it knows the flags."""
  path = helpers.ROOT / words[0]
  assert path.is_file(), f"there is no {words[0]}"
  if words[0] == "launch/sweep.py":
    args, overrides = sweep().parse(words[1:])
    sweep().plan.make_plan(args.sweep, overrides)
    return
  text = path.read_text(encoding="utf-8")
  if "sets.make_parser" in text:
    text += path.with_name("sets.py").read_text(encoding="utf-8")
  for word in words[1:]:
    if word.startswith("--"):
      flag = word.partition("=")[0]
      assert f'"{flag}"' in text, f"{words[0]} does not know {flag}"


def check_command(words: list[str], *, fails: bool = False) -> None:
  program = words[0].rpartition("/")[2]
  if program == "electra-jax":
    check_electra_jax(words[1:], fails=fails)
  elif program == "python" and words[1] not in ("-m", "-c"):
    check_python(words[1:])
  elif program == "bash":
    script = next(word for word in words[1:] if not word.startswith("-"))
    assert (helpers.ROOT / script).is_file(), f"there is no {script}"
  elif program == "pip" and "-e" in words:
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
      known = (helpers.ROOT / "setup.py").read_text()
      for name in extra.split(","):
        assert f'"{name}": ' in known, f"no extra {name}"


@each_page
def test_commands_parse_and_their_keys_exist(page, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # Where the page's own files lie.
  for block in pages.read_blocks(page):
    assert block.language in LANGUAGES, f"{block.place}: {block.language}"
    for name in block.marked("file"):
      (tmp_path / name).write_text(block.text)
    if block.language != "bash":
      continue
    subprocess.run(["bash", "-n", "-c", block.tested], check=True)
    for words in block.commands():
      if ">" in words and words[:2] == ["electra-jax", "config"]:
        shipped, _ = config_files.locate(words[2], "config", "")
        shutil.copy(shipped, words[words.index(">") + 1])
      try:
        check_command(words, fails=bool(block.marked("fails")))
      except (AssertionError, UserError, SystemExit) as error:
        raise AssertionError(f"{block.place}: {error}") from error


@each_page
def test_code_in_sentences_exists(page):
  for code in pages.inline_code(page):
    if _PATH.fullmatch(code) and code != "launch/env":  # The reader's own.
      assert (helpers.ROOT / code).exists(), f"there is no {code}"
    elif _NAME.fullmatch(code):
      module, _, name = code.rpartition(".")
      assert hasattr(importlib.import_module(module), name), code
    elif code.startswith("python ") and "/" in code:
      check_python(code.split()[1:])
    elif code.startswith("bash "):
      check_command(code.split())
    elif code.startswith("electra-jax ") and "VERB" not in code:
      verb, *words = code.split()[1:]
      assert verb.startswith("--") or verb in cli.VERBS, code
      for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and not flag.startswith("--config."):
          assert flag in verb_flags(verb), f"{code}: unknown {flag}"
  text = page.read_text(encoding="utf-8")
  for key in _KEY.findall(text):
    assert key in known_keys(), f"config.{key} is no key"


@each_page
def test_links_resolve(page):
  for link in pages.links_of(page):
    if link.startswith(("http://", "https://")):
      continue
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f"there is no {link}"
    if anchor:
      assert anchor in pages.anchors_of(target), f"no heading for {link}"


@each_page
def test_python_blocks_compile_and_their_imports_exist(page):
  for block in pages.read_blocks(page):
    if block.language != "python":
      continue
    with warnings.catch_warnings(action="error"):
      tree = ast.parse(block.text, block.place)
      compile(block.tested, block.place, "exec")
    for node in ast.walk(tree):
      if isinstance(node, ast.ImportFrom):
        module = importlib.import_module(node.module)
        for alias in node.names:
          if not hasattr(module, alias.name):
            importlib.import_module(f"{node.module}.{alias.name}")
      elif isinstance(node, ast.Import):
        for alias in node.names:
          importlib.import_module(alias.name)


def test_the_readme_leads_to_every_page():
  readme = helpers.ROOT / "README.md"
  linked = {(helpers.ROOT / link).resolve() for link in pages.links_of(readme)}
  assert set(DOCS) - {readme} <= linked
  assert len(readme.read_text().splitlines()) <= 140


@pytest.mark.parametrize("page", DOCS[1:], ids=pages.name_of)
def test_a_page_begins_with_what_the_reader_will_have(page):
  lines = page.read_text(encoding="utf-8").splitlines()
  assert lines[0].startswith("# ") and lines[2].startswith("At the end"), lines


def test_every_skipped_block_says_why():
  for page in DOCS:
    for block in pages.read_blocks(page):
      for reason in block.marked("skip"):
        assert len(reason.split()) > 1, block.place


def test_every_verb_has_its_row():
  readme = (helpers.ROOT / "README.md").read_text()
  rows = set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE))
  assert set(cli.VERBS) <= rows


@pytest.mark.parametrize(
    "words",
    [
        "electra-jax evaluate --workdirr run",
        "electra-jax pretrain --config pretrain:small --workdir r --store s",
        "electra-jax pretrain --config pretrain:huge --workdir r",
        "electra-jax pretrain --config finetune:rte --workdir r",
        "electra-jax plan --config pretrain:small --topology here"
        " --config.train.batch=3",
        "electra-jax benchmark --config pretrain:tiny --config.train.batch_size=0",
        "python tests/benchmarks/feed_speed.py --nonsense",
        "python launch/sweep.py --sweep configs/sweeps/no.py --output o",
        "bash launch/no.sh",
        "pip install -e '.[nothing]'",
    ],
)
def test_a_wrong_command_is_found(words):
  with pytest.raises((AssertionError, UserError, SystemExit)):
    check_command(words.split())

"""Libraries are silent unless --verbose is given; our own messages come."""

import subprocess
import sys

import pytest

SPEAK = """
import logging, os, sys, warnings
from electra_jax.cli.messages import set_up_messages
set_up_messages(verbose=sys.argv[1] == "verbose")
logging.getLogger("electra_jax.training").warning("of ours")
logging.getLogger("absl").error("of absl")
logging.getLogger("orbax.checkpoint").warning("of orbax")
warnings.warn("of a library")
print("level", os.environ.get("TF_CPP_MIN_LOG_LEVEL"), file=sys.stderr)
"""


def spoken(how: str, **environment: str) -> str:
  done = subprocess.run(
      [sys.executable, "-c", SPEAK, how],
      capture_output=True,
      text=True,
      check=True,
      env={"PYTHONPATH": ":".join(sys.path), **environment},
  )
  return done.stderr


def test_ours_alone_are_shown():
  assert spoken("quiet") == "WARNING: of ours\nlevel 3\n"


def test_all_are_shown_on_request():
  told = spoken("verbose")
  for text in ("of ours", "of absl", "of orbax", "of a library", "level None"):
    assert text in told


def test_what_a_user_has_set_stays():
  assert "level 0" in spoken("quiet", TF_CPP_MIN_LOG_LEVEL="0")


@pytest.mark.parametrize("verb", ["prepare", "pretrain", "convert", "plan"])
def test_every_verb_takes_the_flag(verb):
  from electra_jax.cli.arguments import make_parser

  more = {
      "prepare": ["a", "--output", "b", "--tokenizer", "c"],
      "pretrain": ["--workdir", "a"],
      "convert": ["a", "b", "--to", "google"],
      "plan": ["--config", "a", "--topology", "here"],
  }
  args = make_parser().parse_args([verb, *more[verb], "--verbose"])
  assert args.verbose

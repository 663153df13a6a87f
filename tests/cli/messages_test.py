"""Libraries are silent unless --verbose is given; our own messages come."""

import subprocess
import sys

import pytest

from electra_jax.cli import messages

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


@pytest.mark.parametrize(
    ("libtpu", "found", "plugins", "is_cpu"),
    [
        (True, {}, (), True),
        (False, {}, (), False),  # Nothing to silence.
        (True, {"/dev/accel*": ["/dev/accel0"]}, (), False),
        (True, {"/dev/vfio/[0-9]*": ["/dev/vfio/0"]}, (), False),
        (True, {}, ("cuda12",), False),
    ],
)
def test_a_tpu_is_looked_for_where_one_may_be(
    libtpu, found, plugins, is_cpu, monkeypatch
):
  monkeypatch.setattr(
      messages.importlib.util, "find_spec", lambda name: libtpu or None
  )
  monkeypatch.setattr(messages.glob, "glob", lambda p: found.get(p, []))
  monkeypatch.setattr(messages.metadata, "entry_points", lambda group: plugins)
  assert messages._is_for_the_cpu() == is_cpu


def test_a_device_of_googles_may_be_a_tpu(monkeypatch, tmp_path):
  (tmp_path / "vendor").write_text("0x1ae0\n")
  monkeypatch.setattr(messages.importlib.util, "find_spec", lambda name: True)
  monkeypatch.setattr(messages, "_VENDORS", str(tmp_path / "vendor"))
  assert not messages._is_for_the_cpu()


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

"""The examples in docstrings give what they show."""

import doctest
import importlib

import pytest

from tests import helpers

PACKAGE = helpers.ROOT / "electra_jax"


def modules_with_examples() -> list[str]:
  """Names of all modules whose text holds an example."""
  names = []
  for path in sorted(PACKAGE.rglob("*.py")):
    if ">>> " in path.read_text(encoding="utf-8"):
      place = path.relative_to(helpers.ROOT).with_suffix("")
      names.append(".".join(place.parts).removesuffix(".__init__"))
  return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  results = doctest.testmod(importlib.import_module(name))
  assert results.attempted and not results.failed


def test_there_are_examples():
  assert "electra_jax.config_files" in modules_with_examples()

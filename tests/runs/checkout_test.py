"""The commit is that of the package's own checkout, or is not told."""

import subprocess

import pytest

from electra_jax.runs import checkout


@pytest.fixture(name="repository")
def a_repository_with_a_commit(tmp_path):
  who = ["-c", "user.name=a", "-c", "user.email=a@b"]
  commit = [*who, "commit", "-q", "--allow-empty", "-m", "first"]
  for words in (["init", "-q"], commit):
    subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
  return tmp_path


def place_in(monkeypatch, folder):
  file = folder / "electra_jax" / "runs" / "checkout.py"
  monkeypatch.setattr(checkout, "__file__", str(file))


def test_the_commit_of_the_checkout(repository, monkeypatch):
  (repository / "setup.py").touch()
  place_in(monkeypatch, repository)
  assert len(checkout.git("rev-parse", "HEAD")) == 40
  assert checkout.git("no-such-command") is None


@pytest.mark.parametrize("folder", [".", "venv/lib/site-packages"])
def test_an_installed_package_has_no_commit(repository, monkeypatch, folder):
  place_in(monkeypatch, repository / folder)
  assert checkout.git("rev-parse", "HEAD") is None

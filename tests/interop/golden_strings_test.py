"""Golden strings in tokenizers of others: transformers' ids, or a refusal."""

import json

import pytest

from electra_jax.errors import UserError
from electra_jax.interop.huggingface_vocabulary import read_tokenizer
from tests.interop import golden_folders

LITERAL = ("[CLS]", "[MASK]")  # Each begins a string of special tokens.


@pytest.mark.golden
@pytest.mark.parametrize("name", golden_folders.FOLLOWED)
def test_a_folder_that_is_followed_gives_their_ids(name, tmp_path):
  stored = json.loads(golden_folders.STORED.read_text())
  settings, made, files = golden_folders.FOLLOWED[name]
  golden_folders.write(tmp_path / "model", settings, made, files)
  own = read_tokenizer(tmp_path / "model")
  texts = golden_folders.golden_strings()
  assert len(texts) == len(stored[name]) == 40
  for text, theirs in zip(texts, stored[name], strict=True):
    # Of literal special tokens none is made here, and there they all are.
    assert (own.encode(text) == theirs) != text.startswith(LITERAL), text


@pytest.mark.parametrize("name", golden_folders.REFUSED)
def test_what_is_not_followed_is_refused_by_name(name, tmp_path):
  *parts, message = golden_folders.REFUSED[name]
  golden_folders.write(tmp_path / "model", *parts)
  with pytest.raises(UserError, match=message) as refusal:
    read_tokenizer(tmp_path / "model")
  assert "by --tokenizer" in str(refusal.value)


@pytest.mark.golden
@pytest.mark.slow
def test_the_stored_ids_are_those_of_the_installed_version():
  pytest.importorskip("transformers")
  _, ids = golden_folders.their_ids()
  stored = json.loads(golden_folders.STORED.read_text())
  del stored["transformers"]
  assert ids == stored, "python -m tests.interop.golden_folders writes it anew"

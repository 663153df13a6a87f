"""The store: what is written is read, and half a store does not open."""

import json

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.store import manifest as manifest_module
from electra_jax.store import reader as store_module
from electra_jax.store import writer as store_writer
from electra_jax.store.manifest import Manifest, row_dtype
from electra_jax.store.reader import open_store
from electra_jax.store.writer import StoreWriter


def read_all(split):
  blocks = [split.read_block(i) for i in range(len(split.block_sizes))]
  assert [len(b) for b in blocks] == split.block_sizes.tolist()
  return np.concatenate(blocks)


def test_rows_come_back(make_store, tokenizer):
  store = make_store()
  split = store.split("train")
  rows = read_all(split)
  assert rows.dtype == np.uint16 and rows.shape == (3000, 10)
  assert (rows[:, 0] == np.arange(3000)).all()
  assert (rows[:, 8:] == [3, 5]).all()
  assert split.block_sizes.tolist() == [1024, 1024, 952]
  assert split.num_rows == 3000 and split.length == 8 and split.pad_id == 0
  assert read_all(store.split("validation"))[:, 0].tolist() == list(range(10))
  assert store.manifest.splits["train"].num_tokens == 3000 * 5
  assert store.manifest.num_documents == 14
  assert store.tokenizer().digest == tokenizer.digest
  again = Manifest.from_json(store.manifest.to_json(), "a manifest")
  assert again == store.manifest
  assert again.rows_digest == store.manifest.rows_digest


def test_several_shards(make_store, monkeypatch):
  monkeypatch.setattr(store_writer, "ROWS_PER_BLOCK", 100)
  monkeypatch.setattr(store_writer, "SHARD_BYTES", 4000)
  monkeypatch.setattr(store_module, "_MAX_OPEN_SHARDS", 2)
  store = make_store(train=1050)
  shards = store.manifest.splits["train"].shards
  assert [s.num_rows for s in shards] == [200] * 5 + [50]
  assert [s.file for s in shards][-1] == "train-00005.array_record"
  split = store.split("train")
  for index in np.random.default_rng(0).permutation(11):
    assert split.read_block(int(index))[0, 0] == 100 * index
  assert len(split._readers) == 2


def test_a_split_without_rows(make_store):
  split = make_store(validation=0).split("validation")
  assert split.num_rows == 0 and len(split.block_sizes) == 0


def test_unigram_counts_and_entropy(make_store, tokenizer):
  store = make_store()
  counts = store.unigram_counts()
  assert (counts == np.arange(tokenizer.vocab_size)).all()
  shares = counts[1:] / counts.sum()
  expected = -(shares * np.log(shares)).sum()
  assert store.unigram_entropy() == pytest.approx(expected, rel=1e-12)
  assert store_module.entropy([3, 3, 0, 3]) == pytest.approx(np.log(3))
  assert store_module.entropy([0, 7]) == 0


def test_ids_take_no_more_room_than_needed():
  assert row_dtype(30_522) == np.dtype("<u2")
  assert row_dtype(65_535) == np.dtype("<u2")
  assert row_dtype(65_536) == np.dtype("<u4")


def test_same_rows_same_bytes(make_store, tmp_path):
  first = make_store(path=tmp_path / "a")
  again = make_store(path=tmp_path / "b")
  other = make_store(path=tmp_path / "c", train=2999)
  assert first.manifest.rows_digest == again.manifest.rows_digest
  assert first.manifest.rows_digest != other.manifest.rows_digest
  for file in sorted(p.name for p in (tmp_path / "a").iterdir()):
    content = (tmp_path / "a" / file).read_bytes()
    assert content == (tmp_path / "b" / file).read_bytes(), file


def test_nothing_appears_before_the_end(tmp_path, tokenizer):
  output = tmp_path / "store"
  writer = StoreWriter(output, tokenizer=tokenizer, length=8)
  with pytest.raises(RuntimeError, match="stop"), writer:
    writer.add("train", np.zeros((5000, 10), np.uint16))
    assert not output.exists()
    assert list(tmp_path.iterdir()) == [writer.folder.parent]
    raise RuntimeError("stop")
  assert not list(tmp_path.iterdir())


def test_finished_store_is_only_replaced_on_request(make_store, tmp_path):
  make_store(train=5)
  with pytest.raises(UserError, match="already holds a finished"):
    make_store(train=6)
  assert open_store(tmp_path / "store").split("train").num_rows == 5
  make_store(train=6, overwrite=True)
  assert open_store(tmp_path / "store").split("train").num_rows == 6
  assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_what_is_no_store_is_never_replaced(make_store, tmp_path):
  folder = tmp_path / "store"
  folder.mkdir()
  make_store(train=5)  # Into an empty folder is fine.
  (folder / "manifest.json").unlink()
  with pytest.raises(UserError, match="not a token store"):
    make_store(train=5, overwrite=True)
  with pytest.raises(UserError, match="not on a local disk"):
    make_store(path="gs://bucket/store")


def test_nothing_but_a_store_is_overwritten(make_store, tmp_path):
  make_store(train=5)
  notes = tmp_path / "store" / "notes.txt"
  notes.write_text("mine")
  with pytest.raises(UserError, match=r"holds notes.txt, which is no part"):
    make_store(train=6, overwrite=True)
  notes.unlink()
  manifest = tmp_path / "store" / "manifest.json"
  for content in ('{"name": "a web page"}', "[]", "null", "{", ""):
    manifest.write_text(content)
    with pytest.raises(UserError, match=r"not that of a token store"):
      make_store(train=6, overwrite=True)
    assert manifest.read_text() == content


def test_no_store_is_written_through_a_link(make_store, tmp_path):
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
  with pytest.raises(UserError, match=r"store is a symbolic link to .*else"):
    make_store(train=5)
  (tmp_path / "elsewhere").rmdir()
  with pytest.raises(UserError, match=r"store is a symbolic link"):
    make_store(train=5)
  with pytest.raises(UserError, match="--output is empty"):
    make_store(path="")


def test_manifest_is_checked(make_store, tmp_path):
  path = tmp_path / "store"
  with pytest.raises(UserError, match=r"not a finished .*electra-jax prepare"):
    open_store(path)
  make_store()
  with pytest.raises(UserError, match="not a finished"):
    open_store(path / "manifest.json")
  text = (path / "manifest.json").read_text()
  for old, new, message in (
      ('"version": 2', '"version": 99', "version 99"),
      ('"length": 8', '"length": 9', "changed after the store was made"),
      ('"num_rows": 3000', '"num_rows": 2000', "changed after the store"),
      ('"packing": "full"', '"packing": "released"', "changed after the"),
      ('"length": 8', '"length": "8"', "'length' must be a whole number"),
      ('"length": 8,', "", "an object with 'length' in it"),
      ('"length": 8', '"length": 8, "b": 1', "one with 'b' in it"),
      (text, "null", "the whole must be an object and is null"),
      (text, "", "it is empty"),
      (text, text[:99], "damaged"),
  ):
    (path / "manifest.json").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
      open_store(path)
  (path / "manifest.json").write_text(text)
  open_store(path)


def sign(path, fields):
  """Writes a manifest as one who knows the digest does."""
  del fields["digest"]
  digest = manifest_module._digest(fields)
  (path / "manifest.json").write_text(json.dumps(fields | {"digest": digest}))


def test_a_shards_path_stays_in_the_store(make_store, tmp_path):
  make_store()
  path = tmp_path / "store"
  fields = json.loads((path / "manifest.json").read_text())
  fields["splits"]["train"]["shards"][0]["file"] = "../train.array_record"
  sign(path, fields)
  with pytest.raises(
      UserError, match=r"shard '../train.array_record' of train"
  ):
    open_store(path)


def test_shards_in_another_order_are_noticed(make_store, tmp_path, monkeypatch):
  monkeypatch.setattr(store_writer, "ROWS_PER_BLOCK", 100)
  monkeypatch.setattr(store_writer, "SHARD_BYTES", 4000)
  store = make_store(train=400)
  path, split = tmp_path / "store", store.split("train")
  first, second = (path / f"train-0000{i}.array_record" for i in range(2))
  first.rename(tmp_path / "x")
  second.rename(first)
  (tmp_path / "x").rename(second)
  with pytest.raises(
      UserError, match=r"block 0 of .*holds other rows than were"
  ):
    open_store(path).split("train").read_block(0)
  fields = json.loads((path / "manifest.json").read_text())
  shards = fields["splits"]["train"]["shards"]
  for name in ("size_bytes", "num_rows", "checksums"):  # As if prepared so.
    a, b = (shard[name] for shard in shards[:2])
    shards[0][name], shards[1][name] = b, a
  sign(path, fields)
  again = open_store(path)
  assert again.split("train").read_block(0)[0, 0] == 200
  assert again.manifest.rows_digest != store.manifest.rows_digest
  assert split.num_rows == 400


@pytest.mark.parametrize("change", ["half", "swap", "empty", "pickle"])
def test_changed_counts_are_noticed(make_store, tmp_path, change):
  make_store()
  path = tmp_path / "store" / "unigram_counts.npy"
  content = path.read_bytes()
  if change == "swap":
    counts = np.load(path)
    counts[[5, 6]] = counts[[6, 5]]
    np.save(path, counts)
  elif change == "pickle":
    np.save(path, np.array([{}], object), allow_pickle=True)
  else:
    path.write_bytes(content[: len(content) // 2 * (change == "half")])
  with pytest.raises(UserError, match=r"unigram_counts.npy was changed after"):
    open_store(tmp_path / "store").unigram_counts()


def test_lost_and_cut_files_are_named(make_store, tmp_path):
  store = make_store()
  file = tmp_path / "store" / "train-00000.array_record"
  content = file.read_bytes()
  split = store.split("train")
  file.write_bytes(content[:-1])
  for read in (
      lambda: open_store(tmp_path / "store"),
      lambda: split.read_block(0),
  ):
    with pytest.raises(UserError) as error:
      read()
    assert str(file) in str(error.value)
    assert str(len(content)) in str(error.value)
  file.write_bytes(content[:2000] + b"\1" * 9 + content[2009:])
  with pytest.raises(UserError, match=r"block 0 of .*train-00000"):
    open_store(tmp_path / "store").split("train").read_block(0)
  file.unlink()
  with pytest.raises(UserError, match=r"train-00000.array_record is missing"):
    open_store(tmp_path / "store")
  with pytest.raises(UserError, match=r"no split 'test'.*'validation'"):
    store.split("test")


def test_changed_vocabulary_is_noticed(make_store, tmp_path):
  store = make_store()
  with (tmp_path / "store" / "vocab.txt").open("a") as file:
    file.write("more\n")
  with pytest.raises(UserError, match="changed after"):
    store.tokenizer()


def test_files_from_elsewhere_are_copied_when_read(
    make_store, tmp_path, monkeypatch, tokenizer
):
  make_store()
  monkeypatch.setattr(store_module, "is_remote", lambda path: True)
  cache = tmp_path / "cache"
  store = open_store(tmp_path / "store", cache=cache)
  assert not cache.exists()
  assert read_all(store.split("train")).shape == (3000, 10)
  copied = [p.name for p in cache.rglob("*") if p.is_file()]
  assert copied == ["train-00000.array_record"]
  assert store.tokenizer().digest == tokenizer.digest
  assert store.unigram_counts().shape == (tokenizer.vocab_size,)
  (tmp_path / "store" / "validation-00000.array_record").unlink()
  with pytest.raises(
      UserError, match=r"validation-00000\.array_record is missing"
  ):
    store.split("validation").read_block(0)
  (tmp_path / "store" / "train-00000.array_record").unlink()
  again = open_store(tmp_path / "store", cache=cache).split("train")
  assert len(read_all(again)) == 3000


def test_a_full_disk_is_explained(tokenizer, tmp_path, monkeypatch):
  monkeypatch.setattr(
      store_writer.SplitWriter, "_path", lambda self: tmp_path / "full"
  )
  (tmp_path / "full").symlink_to("/dev/full")
  writer = StoreWriter(tmp_path / "s", tokenizer=tokenizer, length=8)
  with pytest.raises(UserError, match=r"No space left.*make room"), writer:
    writer.add("train", np.zeros((5000, 10), np.uint16))
    writer._splits["train"].finish()
  assert not (tmp_path / "s").exists()


def test_rows_of_another_length_are_refused(tokenizer, tmp_path):
  writer = StoreWriter(tmp_path / "s", tokenizer=tokenizer, length=8)
  with writer, pytest.raises(ValueError, match="shape"):
    writer.add("train", np.zeros((5, 12), np.uint16))

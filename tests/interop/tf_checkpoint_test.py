"""TensorFlow's checkpoints, against the one that the released code wrote."""

import hashlib
import shutil

import numpy as np
import pytest

from electra_jax.errors import UserError
from electra_jax.interop import leveldb_table, tf_checkpoint
from electra_jax.interop.crc32c import masked_crc32c
from tests import helpers

PREFIX = helpers.TINY / "model.ckpt-200"
VARIABLES = {
    "b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([2**31 - 1, -1], np.int32),
    "global_step": np.asarray(2**40, np.int64),
    "none": np.zeros((0, 4), np.float32),
}


@pytest.fixture
def written(tmp_path):
  """The prefix of a small checkpoint of ours."""
  tf_checkpoint.write_variables(tmp_path / "model.ckpt-7", VARIABLES)
  return tmp_path / "model.ckpt-7"


def damage(path, place, byte):
  data = bytearray(path.read_bytes())
  data[place] ^= byte
  path.write_bytes(data)


def test_the_released_codes_index_is_read():
  listed = helpers.read_json(helpers.TINY / "variables.json")
  entries = tf_checkpoint.read_index(PREFIX)
  assert {
      name: (list(entry.shape), entry.dtype.name)
      for name, entry in entries.items()
  } == {x["name"]: (x["shape"], x["dtype"]) for x in listed}


def test_the_released_codes_values_are_read_bit_for_bit(tmp_path):
  """The index is the released code's; so are places and checksums."""
  weights = np.load(helpers.TINY / "weights.npz")
  entries = tf_checkpoint.read_index(PREFIX)
  data = bytearray(max(e.offset + e.size for e in entries.values()))
  for name in weights.files:
    entry = entries[name]
    data[entry.offset : entry.offset + entry.size] = weights[name].tobytes()
  shutil.copy(f"{PREFIX}.index", tmp_path)
  (tmp_path / "model.ckpt-200.data-00000-of-00001").write_bytes(data)
  read = tf_checkpoint.read_variables(
      tmp_path / "model.ckpt-200", weights.files
  )
  hashes = {
      x["name"]: x["sha256"]
      for x in helpers.read_json(helpers.TINY / "variables.json")
  }
  assert len(read) == 83
  for name, array in read.items():
    assert hashlib.sha256(array.tobytes()).hexdigest() == hashes[name]


def test_the_index_is_the_released_codes_but_for_the_checksums(tmp_path):
  listed = helpers.read_json(helpers.TINY / "variables.json")
  tf_checkpoint.write_variables(
      tmp_path / "model.ckpt-200",
      {x["name"]: np.zeros(x["shape"], x["dtype"]) for x in listed},
  )
  assert (tmp_path / "checkpoint").read_text() == (
      helpers.TINY / "checkpoint"
  ).read_text()
  ours = leveldb_table.read_table(
      (tmp_path / "model.ckpt-200.index").read_bytes()
  )
  theirs = leveldb_table.read_table(
      (helpers.TINY / "model.ckpt-200.index").read_bytes()
  )
  assert ours.pop(b"") == theirs.pop(b"")
  assert {k: v[:-4] for k, v in ours.items()} == {
      k: v[:-4] for k, v in theirs.items()
  }


def test_what_is_written_is_read_back(written):
  read = tf_checkpoint.read_variables(written)
  assert read.keys() == VARIABLES.keys()
  for name, array in VARIABLES.items():
    assert read[name].dtype == array.dtype
    np.testing.assert_array_equal(read[name], array, strict=True)


def test_variables_of_several_files_are_read(tmp_path):
  values = np.array([1.5, 2.5], "<f4")
  table = {b"": b"\x08\x02\x1a\x02\x08\x01"}  # Two shards.
  for shard in (0, 1):
    data = (values + shard).tobytes()
    # float32, shape [2], shard, size 8, checksum.
    entry = b"\x08\x01\x12\x04\x12\x02\x08\x02\x18" + bytes([shard])
    entry += b"\x28\x08\x35" + masked_crc32c(data).to_bytes(4, "little")
    table[b"part%d" % shard] = entry
    (tmp_path / f"ckpt.data-0000{shard}-of-00002").write_bytes(data)
  (tmp_path / "ckpt.index").write_bytes(leveldb_table.write_table(table))
  read = tf_checkpoint.read_variables(tmp_path / "ckpt")
  assert read["part0"].tolist() == [1.5, 2.5]
  assert read["part1"].tolist() == [2.5, 3.5]


def test_a_checkpoint_is_found(written):
  folder = written.parent
  find = tf_checkpoint.find_prefix
  assert str(find(written)) == str(written)
  assert str(find(f"{written}.index")) == str(written)
  assert str(find(folder)) == str(written)
  tf_checkpoint.write_variables(folder / "model.ckpt-9", VARIABLES)
  assert find(folder).name == "model.ckpt-9"
  # As the release's own folders have it: the path of another machine.
  (folder / "checkpoint").write_text(
      'model_checkpoint_path: "gs://bucket/run/model.ckpt-7"\n'
  )
  assert find(folder).name == "model.ckpt-7"
  (folder / "checkpoint").unlink()
  with pytest.raises(UserError, match=r"ckpt-7, model.ckpt-9 and no file"):
    find(folder)
  (folder / "model.ckpt-9.index").unlink()
  assert find(folder).name == "model.ckpt-7"
  assert find(folder / "elsewhere") is None
  (folder / "empty").mkdir()
  assert find(folder / "empty") is None


def test_damage_is_named(written):
  data = written.with_name("model.ckpt-7.data-00000-of-00001")
  whole = data.read_bytes()
  damage(data, 9, 1)
  with pytest.raises(UserError, match=r"data-00000.* 'b/kernel' has a wrong"):
    tf_checkpoint.read_variables(written)
  data.write_bytes(whole[:-1])
  with pytest.raises(UserError, match="is cut off: it ends within"):
    tf_checkpoint.read_variables(written)
  data.unlink()
  with pytest.raises(UserError, match=r"cannot read .*data-00000.*No such"):
    tf_checkpoint.read_variables(written)
  damage(written.with_name("model.ckpt-7.index"), 5, 1)
  with pytest.raises(UserError, match=r"7\.index is damaged: the block at"):
    tf_checkpoint.read_index(written)
  with pytest.raises(UserError, match=r"cannot read .*8\.index: No such"):
    tf_checkpoint.read_index(written.with_name("model.ckpt-8"))


HEADER = {b"": b"\x08\x01\x1a\x02\x08\x01"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({b"a": b""}, "it has no header"),
        # bfloat16; a string, as TensorFlow 2 adds; a slice of a variable.
        ({**HEADER, b"a": b"\x08\x0e\x12\x00"}, "holds 'a', which is no whole"),
        ({**HEADER, b"_G": b"\x08\x07\x12\x00"}, "holds '_G', which is no"),
        ({**HEADER, b"a": b"\x08\x01\x12\x00\x3a\x00"}, "is no whole"),
        ({**HEADER, b"a": b"\x08\x01\x12\x00\x28\x08"}, "shape .* has 8 bytes"),
        ({**HEADER, b"a": b"\x08\x01\x09"}, "wire type 1"),
        ({**HEADER, b"\xff": b""}, "damaged"),
    ],
)
def test_other_tables_are_refused(table, message, tmp_path):
  (tmp_path / "x.index").write_bytes(leveldb_table.write_table(table))
  with pytest.raises(UserError, match=message):
    tf_checkpoint.read_index(tmp_path / "x")


@pytest.mark.slow
def test_tensorflow_reads_what_is_written(written):
  tf = pytest.importorskip("tensorflow")
  reader = tf.train.load_checkpoint(str(written.parent))
  assert set(reader.get_variable_to_shape_map()) == set(VARIABLES)
  for name, array in VARIABLES.items():
    np.testing.assert_array_equal(reader.get_tensor(name), array)


# Tags of fields with numbers, bytes and checksums, and what ends numbers.
_BYTES = (*range(0x08, 0x40, 8), *range(0x0A, 0x40, 8), 0x35, 0xFF, 0, 1, 0x80)


def crafted(rng, path, whole):
  """Changes an index so that its checksums still hold."""
  data, read_handle = bytearray(whole), leveldb_table._read_handle
  _, place = read_handle(whole[-48:], 0)
  index, _ = read_handle(whole[-48:], place)
  ((_, handle),) = leveldb_table._read_block(whole, index)
  first, _ = read_handle(handle, 0)
  for offset, size in (first, index):
    for _ in range(int(rng.integers(0, 4))):
      data[offset + int(rng.integers(0, size))] = int(rng.choice(_BYTES))
    checksum = masked_crc32c(bytes(data[offset : offset + size + 1]))
    end = offset + size + 1
    data[end : end + 4] = checksum.to_bytes(4, "little")
  path.write_bytes(bytes(data))


@pytest.mark.parametrize("seed", range(4))
def test_a_crafted_index_is_read_or_told(seed, written):
  """Whatever stands in it: values, lengths, offsets, shapes, the header."""
  rng = np.random.default_rng(seed)
  path = written.with_name("model.ckpt-7.index")
  whole, table = path.read_bytes(), leveldb_table.read_table(path.read_bytes())
  told = 0
  for _ in range(300):
    way = rng.integers(0, 3)
    if way == 0:
      crafted(rng, path, whole)
    elif way == 1:
      changed = dict(table)
      key = list(changed)[int(rng.integers(0, len(changed)))]
      value = bytearray(changed[key])
      value[int(rng.integers(0, len(value)))] = int(rng.choice(_BYTES))
      changed[key] = bytes(value[: int(rng.integers(1, len(value) + 1))])
      path.write_bytes(leveldb_table.write_table(changed))
    else:
      cut = int(rng.integers(0, len(whole)))
      path.write_bytes(whole[:cut] + rng.bytes(int(rng.integers(0, 9))))
    try:
      tf_checkpoint.read_variables(written)
    except UserError:
      told += 1
  assert told > 150


@pytest.mark.parametrize("header", [b"", b"\x08\x00", b"\x0a\x01\x00"])
def test_a_header_that_tells_no_files_is_refused(header, tmp_path):
  table = leveldb_table.write_table({b"": header})
  (tmp_path / "x.index").write_bytes(table)
  with pytest.raises(UserError, match="header tells no number of data files"):
    tf_checkpoint.read_index(tmp_path / "x")
  (tmp_path / "x.index").write_bytes(b"")
  with pytest.raises(UserError, match="is damaged: it has 0 bytes"):
    tf_checkpoint.read_index(tmp_path / "x")
  table = leveldb_table.write_table({b"": b"\x08\x01\x10\x01"})
  (tmp_path / "x.index").write_bytes(table)
  with pytest.raises(UserError, match="its numbers are big-endian"):
    tf_checkpoint.read_index(tmp_path / "x")

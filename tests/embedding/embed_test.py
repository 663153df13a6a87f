"""The verb embed: files in, files out, and what is wrong with them."""

import gzip
import io
import json

import numpy as np
import pytest
from pyarrow import parquet

from electra_jax import open_run
from electra_jax.cli import main as cli
from electra_jax.embedding import files
from electra_jax.embedding.files import read_texts, write_vectors
from electra_jax.errors import UserError

TEXTS = ["a film", "", 'the "chef" cooked, \\ the banana', "naïve 日本"]


def command(*words, status=0):
  with pytest.raises(SystemExit) as stop:
    cli.main(["embed", *map(str, words)])
  assert stop.value.code == status


def test_every_kind_of_file_holds_the_same_vectors(tmp_path, capsys):
  texts = tmp_path / "texts.txt"
  texts.write_text("".join(f"{text}\n" for text in TEXTS))
  expected = open_run("tiny-en").embed(TEXTS, layer=-2, dimensions=32)
  for suffix in (".npy", ".jsonl", ".parquet"):
    output = tmp_path / f"vectors{suffix}"
    command(
        *("tiny-en", "--input", texts, "--output", output),
        *("--layer", "-2", "--dimensions", "32"),
    )
    assert capsys.readouterr().out == f"{output}: 4 vectors of 32 numbers\n"
  found = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, expected)
  lines = (tmp_path / "vectors.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  table = parquet.read_table(tmp_path / "vectors.parquet").to_pylist()
  for rows in (records, table):
    assert [row["text"] for row in rows] == TEXTS
    vectors = np.asarray([row["vector"] for row in rows], np.float32)
    np.testing.assert_array_equal(vectors, expected)
  assert len(list(tmp_path.iterdir())) == 4  # Nothing half-written is left.


def test_texts_are_read_from_what_people_have(tmp_path, monkeypatch):
  csv = tmp_path / "a.csv"
  csv.write_text('id,title\n1,"a, b"\n2,c\n')
  jsonl = tmp_path / "a.jsonl"
  jsonl.write_text('{"title": "a, b"}\n\n{"title": null}\n')
  packed = tmp_path / "a.txt.gz"
  packed.write_bytes(gzip.compress(b"a, b\r\n\nc"))
  assert list(read_texts(str(csv), "title")) == ["a, b", "c"]
  assert list(read_texts(str(jsonl), "title")) == ["a, b", ""]
  assert list(read_texts(str(packed))) == ["a, b", "", "c"]
  stream = io.TextIOWrapper(io.BytesIO(b"a\nb\n"))
  monkeypatch.setattr("sys.stdin", stream)
  assert list(read_texts(None)) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "gone.txt", "--output", "v.npy"], "--input gone.txt: No such"),
        (["--input", "a.csv", "--output", "v.npy"], "no column 'text', only"),
        (["--input", "a.csv", "--output", "v.txt"], "ends with none of .npy"),
        (["--input", "a.csv", "--output", "gs://b/v.npy"], "not a local file"),
        (["--input", "a.csv", "--output", "no/v.npy", "--field=t"], "cannot be"),
        (["--input", "a.jsonl", "--output", "./a.jsonl"], "would replace it"),
        (["--output", "v.npy", "--layer", "9"], "this model has 4 layers"),
        (["--output", "v.npy", "--dimensions", "129"], "have 128 numbers"),
        (["--output", "v.npy", "--seed", "1"], "--seed"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_sentence(
    words, message, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  texts = {"a.csv": "t\na\n", "a.jsonl": '{"text": "a", "mine": 1}\n'}
  for name, content in texts.items():
    (tmp_path / name).write_text(content)
  command("tiny-en", *words, status=2)
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1
  assert {x.name: x.read_text() for x in tmp_path.iterdir()} == texts


def test_a_file_that_breaks_off_leaves_the_old_one(tmp_path):
  path = tmp_path / "v.npy"
  path.write_bytes(b"old")

  def chunks():
    yield ["a"], np.ones((1, 3), np.float32)
    raise UserError("damaged")

  with pytest.raises(UserError, match="damaged"):
    write_vectors(str(path), chunks(), 3)
  assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_a_full_disk_is_told(tmp_path, monkeypatch, suffix):
  def full(path, mode):
    del path, mode
    return io.BufferedWriter(io.FileIO("/dev/full", "wb"))

  monkeypatch.setattr(files, "open", full, raising=False)
  path = tmp_path / f"v{suffix}"
  chunks = [(["a"], np.ones((1, 3), np.float32))]
  with pytest.raises(UserError, match=f"v{suffix} cannot be written .No space"):
    write_vectors(str(path), chunks, 3)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, 1, 123_456])
def test_the_array_grows_behind_its_header(tmp_path, count):
  path = tmp_path / "v.npy"
  vectors = np.arange(count * 2, dtype=np.float32).reshape(-1, 2)
  parts = [([""] * len(x), x) for x in np.array_split(vectors, 3)]
  assert write_vectors(str(path), parts, 2) == count
  np.testing.assert_array_equal(np.load(path), vectors)

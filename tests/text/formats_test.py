"""Corpora as people have them: each file by its format, or refused."""

import json
import pathlib
import random

import pyarrow
import pyarrow.parquet
import pytest

from electra_jax.errors import UserError
from electra_jax.text import documents
from electra_jax.text.documents import clean, split_document
from electra_jax.text.formats import ReadOptions
from electra_jax.text.sources import (
    ReadProgress,
    find_bad_files,
    list_sources,
    read_documents,
)

CASES = pathlib.Path(__file__).parents[1] / "cases"


def read(*paths, field="text", progress=None, **options):
  return list(
      read_documents(
          list(map(str, paths)),
          field=field,
          options=ReadOptions(**options),
          progress=progress,
      )
  )


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode("utf-8"))
  return path


def test_csv_is_read_by_column():
  found = read(CASES / "csv-as-corpus/documents.csv")
  assert len(found) == 60
  assert found[0].startswith("old river likes a dog .\nyoung window opens old")
  assert not any("http" in text or '"' in text for text in found)
  with pytest.raises(UserError, match=r"no column 'body'.*'url'.*--field"):
    read(CASES / "csv-as-corpus/documents.csv", field="body")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_quotes_and_long_cells(tmp_path, delimiter):
  long = "a long cell " * 12_000
  cells = ['say ""x"",\n\nthen; more', "", long]
  header = delimiter.join(["id", "body"])
  rows = [f'{i}{delimiter}"{cell}"' for i, cell in enumerate(cells)]
  path = write(tmp_path / "a.csv", "\r\n".join([header, *rows, ""]))
  progress = ReadProgress()
  found = read(path, field="body", progress=progress)
  assert found == ['say "x",\nthen; more', *split_document(long)]
  assert len(found[1].split("\n")) == 3  # No line beyond 65,536 characters.
  assert progress.empty_texts == 1


def test_tsv_has_no_quotes(tmp_path):
  path = write(tmp_path / "a.tsv", 'text\tn\nhe said "x" and "y\t1\n')
  assert read(path) == ['he said "x" and "y']


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,n\na,1\nb, c,2\n", ":3 has 3 cells and the first line names 2"),
        ("text,n\na\n", ":2 has 1 cells"),
        ('text,n\n"a,1\n', "not CSV"),
        ('text,n\n"a" b,1\n', ":2 is not CSV"),
        ("", "no column 'text'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, message):
  with pytest.raises(UserError, match=message):
    read(write(tmp_path / "a.csv", text))


def test_a_document_on_each_line():
  path = CASES / "document-per-line/corpus.txt"
  progress = ReadProgress()
  assert len(read(path, progress=progress)) == 1
  assert progress.undivided == [str(path)]
  progress = ReadProgress()
  assert len(read(path, document_per="line", progress=progress)) == 60
  assert not progress.undivided


def test_null_texts_are_counted(tmp_path):
  progress = ReadProgress()
  lines = (CASES / "jsonl-null-text/corpus.jsonl").read_text().splitlines()
  nulls = sum(json.loads(line)["text"] is None for line in lines)
  assert (
      len(read(CASES / "jsonl-null-text/corpus.jsonl", progress=progress))
      == 60 - nulls
  )
  assert progress.null_texts == nulls > 0
  table = pyarrow.table({"text": ["a", None, " ", "b"]})
  pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
  write(tmp_path / "b.json", '[{"text": null}, {"text": "c"}]')
  progress = ReadProgress()
  assert read(tmp_path, progress=progress) == ["a", "b", "c"]
  assert (progress.null_texts, progress.empty_texts) == (2, 1)
  assert progress.passed_over(bad_files=0)["null_texts"] == 2


def test_a_missing_key_is_no_null(tmp_path):
  with pytest.raises(UserError, match=r":1 has no text.*only \['txt'\]"):
    read(write(tmp_path / "a.jsonl", '{"txt": "a"}'))
  with pytest.raises(UserError, match=r":1 has no text .* but a list"):
    read(write(tmp_path / "a.jsonl", '{"text": ["a"]}'))
  deep = '{"text": ' + "[" * 100_000
  with pytest.raises(UserError, match=":1 is not a JSON object"):
    read(write(tmp_path / "a.jsonl", deep))


WIKI = """<doc id="12" url="https://x/wiki?curid=12" title="Anarchism">
Anarchism

Anarchism is &lt;old&gt; &amp; new.

Second part.
</doc>
<doc id="13" url="https://x/wiki?curid=13" title="B">
B

</doc>
"""


@pytest.mark.parametrize("document_per", documents.DOCUMENT_PER)
def test_what_wikiextractor_writes(tmp_path, document_per):
  write(tmp_path / "AA" / "wiki_00", WIKI)
  line = json.dumps({"id": "1", "title": "C", "text": "C\n\nof JSON"})
  write(tmp_path / "AB" / "wiki_01", line + "\n")
  assert read(tmp_path, document_per=document_per) == [
      "Anarchism\nAnarchism is <old> & new.\nSecond part.", "B", "C\nof JSON",
  ]  # fmt: skip
  text = write(tmp_path / "all.txt", WIKI)
  assert len(read(text, document_per=document_per)) == 2


def test_json_arrays_and_objects_over_lines(tmp_path):
  rng = random.Random(0)
  records = [
      {"id": i, "text": f"t{i} [\\] }}" + "ü" * rng.randint(0, 9)}
      for i in range(50)
  ]
  expected = [clean(record["text"]) for record in records]
  for indent in (None, 1):
    path = write(tmp_path / "a.json", json.dumps(records, indent=indent))
    assert read(path) == expected
  apart = "\n".join(json.dumps(r, indent=1) for r in records)
  assert read(write(tmp_path / "b.json", apart)) == expected
  with pytest.raises(UserError, match="ends inside of its JSON array"):
    read(write(tmp_path / "a.json", json.dumps(records)[:-1]))
  with pytest.raises(UserError, match="record 50 is not JSON"):
    read(write(tmp_path / "a.json", json.dumps(records)[:-3]))
  with pytest.raises(UserError, match="record 1 is a JSON str"):
    read(write(tmp_path / "a.json", '["a", "b"]'))


def test_fields_by_source(tmp_path):
  write(tmp_path / "one" / "a.jsonl", '{"body": "a"}')
  write(tmp_path / "one" / "b.csv", "content,x\nb,1\n")
  c = write(tmp_path / "c.jsonl", '{"text": "c"}')
  fields = {str(tmp_path / "one"): "body", "*.csv": "content"}
  assert read(tmp_path / "one", c, field=fields) == ["a", "b", "c"]
  with pytest.raises(UserError, match=r"--field \*\.tsv=x belongs to none"):
    read(c, field={"*.tsv": "x"})
  with pytest.raises(UserError, match="no text under 'y'"):
    read(c, field={"*": "y"})


def test_files_left_out_have_a_reason(tmp_path):
  write(tmp_path / "a.txt", "a")
  for name in ("b.pdf", ".c.txt", "d/.git/e.txt", "README"):
    write(tmp_path / name, "x")
  write(tmp_path / "f.txt", "")
  (tmp_path / "g.txt").symlink_to(tmp_path / "gone")
  (tmp_path / "h").symlink_to(tmp_path / "d")
  files, left_out = list_sources([str(tmp_path)])
  assert [file.path.name for file in files] == ["a.txt"]
  reasons = {file.path.name: file.reason for file in left_out}
  assert set(reasons) == {
      "b.pdf", ".c.txt", ".git", "README", "f.txt", "g.txt", "h",
  }  # fmt: skip
  assert reasons["f.txt"] == "empty"
  assert reasons["g.txt"] == "a link to nothing"
  assert "not followed" in reasons["h"] and "hidden" in reasons[".git"]
  assert reasons["b.pdf"].startswith("not named .txt, .jsonl")


def test_bad_files_are_found_whole(tmp_path):
  write(tmp_path / "a.txt", "fine")
  (tmp_path / "b.txt").write_bytes(b"fine\n\n\xff")
  write(tmp_path / "c.jsonl", '{"text": "x"}\n{"te')
  (tmp_path / "d.parquet").write_bytes(b"PAR1")
  files, _ = list_sources([str(tmp_path)])
  bad = find_bad_files(files, ReadOptions())
  assert [file.path.name for file in bad] == ["b.txt", "c.jsonl", "d.parquet"]
  assert "not UTF-8 at byte 6" in bad[0].reason
  assert "--skip-bad-files" not in bad[0].reason


@pytest.mark.parametrize(
    "column", [[1, 2], [1.5, None], [["a"], ["b"]], [b"a", b"b"], [True, None]]
)
def test_a_column_that_is_not_text(tmp_path, column):
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
  with pytest.raises(UserError, match=r"'text' of type .* not text.*--field"):
    read(path)


def test_kinds_of_text_columns(tmp_path):
  for kind in (pyarrow.large_string(), pyarrow.dictionary("int8", "string")):
    column = pyarrow.array(["a", None, "b"]).cast(kind)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
    assert read(path) == ["a", "b"]


def test_damaged_parquet_is_refused_or_read(tmp_path):
  """No damage ends in anything but a sentence."""
  texts = [f"some text {i}" for i in range(300)]
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path)
  whole, rng, refused = path.read_bytes(), random.Random(0), 0
  for trial in range(200):
    data = bytearray(whole)
    if trial % 2:
      data = data[: rng.randrange(len(data))]
    else:
      for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    try:
      read(path)
    except UserError as error:
      refused += 1
      assert "a.parquet" in str(error)
  assert refused >= 100


def test_long_documents_and_lines_are_cut(monkeypatch):
  monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 1000)
  monkeypatch.setattr(documents, "MAX_LINE_CHARACTERS", 100)
  words = [f"w{i}" for i in range(2000)]
  for text in (" ".join(words), "\n".join(words)):
    found = list(split_document(text))
    assert " ".join(found).split() == words
    assert max(map(len, found)) <= 2000 and len(found) > 5
    assert max(len(x) for d in found for x in d.split("\n")) <= 100
  endless = list(split_document("x" * 5000))
  assert "".join(endless).replace("\n", "") == "x" * 5000
  assert max(map(len, endless)) <= 2020

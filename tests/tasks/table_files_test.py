"""Tables as programs write them: delimiters, quotes, long cells, line ends."""

import pytest

from electra_jax.errors import UserError
from electra_jax.tasks.table import table_task
from electra_jax.tasks.table_files import read_rows
from electra_jax.tasks.task import Source

COLUMNS = ("text", "label")


def read(path, data):
  path.write_bytes(data if isinstance(data, bytes) else data.encode())
  return [
      (p.rpartition(":")[2], *row.values())
      for p, row in read_rows(path, COLUMNS)
  ]


def fails(path, data, *parts):
  with pytest.raises(UserError) as caught:
    read(path, data)
  for part in parts:
    assert part in str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_marks(tmp_path, delimiter, end, mark):
  lines = ["label,text", '1,"a, b; c\t|d"', "", '2,"line', 'two ""q"""', "3,e"]
  data = end.join(
      [
          "label,text".replace(",", delimiter),
          *(
              line.replace(",", delimiter, 1) if line[:1].isdigit() else line
              for line in lines[1:]
          ),
      ]
  )
  assert read(tmp_path / "a.csv", mark + data) == [
      ("2", "1", "a, b; c\t|d"),
      ("4", "2", 'line\ntwo "q"'),
      ("6", "3", "e"),
  ]


def test_a_delimiter_is_what_finds_the_columns(tmp_path):
  assert read(tmp_path / "a.csv", "a,b;text;label\n1;2;3\n") == [
      ("2", "1", "2", "3")
  ]
  assert read(tmp_path / "a.csv", '"text";"label, of it"\na,b;c\n') == [
      ("2", "a,b", "c")
  ]


def test_a_line_of_a_spreadsheet_that_names_the_delimiter(tmp_path):
  data = "sep=;\r\ntext;label\r\na,b;c\r\n"
  assert read(tmp_path / "a.csv", data) == [("3", "a,b", "c")]


def test_blanks_around_names(tmp_path):
  (row,) = read_rows_of(tmp_path / "a.csv", " text , label\na,b\n")
  assert row == {"text": "a", "label": "b"}


def read_rows_of(path, data):
  path.write_text(data)
  return [row for _, row in read_rows(path, COLUMNS)]


@pytest.mark.parametrize("length", [131_072, 131_073, 1_000_000])
def test_long_cells(tmp_path, length):
  cell = "é" * length
  assert read(tmp_path / "a.csv", f"text,label\n{cell},1\n")[0][1] == cell


def test_what_is_not_csv_is_named_by_the_line_where_the_row_begins(tmp_path):
  path = tmp_path / "a.csv"
  fails(path, 'text,label\na,1\n"b,2\nc,3\n', "a.csv:3 is not CSV")
  fails(path, 'text,label\n"x\ny",1\n"a"b,1\n', "a.csv:4 is not CSV")
  fails(path, 'text,label\n"x\ny",1,2\n', "a.csv:2 has 3 cells", "2 columns")
  fails(path, "text,label\ra,1\rb,2\r", "a.csv:1", "carriage return")
  fails(path, "text,text,label\na,b,c\n", "a.csv:1 names 2 columns 'text'")
  fails(path, "text,label\nä,1\n".encode("cp1252"), "a.csv:2 is not UTF-8")


def test_a_table_without_names(tmp_path):
  (tmp_path / "train.csv").write_text("I liked it,1\nnot me,0\n")
  options = {"kind": "classification", "text": "text", "label": "label"}
  with pytest.raises(UserError) as caught:
    table_task(options).read(Source(tmp_path, options=options), "train")
  assert "names of the columns into the first line" in str(caught.value)
  assert "['I liked it', '1']" in str(caught.value)


def test_names_in_capitals(tmp_path):
  assert read(tmp_path / "A.CSV", "text,label\na,1\n") == [("2", "a", "1")]


def test_json_nested_too_deeply(tmp_path):
  nested = '{"text":' + "[" * 100_000 + "]" * 100_000 + "}\n"
  fails(tmp_path / "a.jsonl", nested, "a.jsonl:1 is nested too deeply")

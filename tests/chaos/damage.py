"""Damages: of the bytes of any file, and of the values of a JSON file."""

import json
import random
from collections.abc import Iterator
from typing import Any

Damage = tuple[str, bytes]  # What was done, and what came of it.

_JSON_WHOLES = [
    b"null", b"[]", b"{}", b'""', b"0", b"true", b"[[]]", b'{"": null}',
    b"NaN", b"-Infinity", b'{"a":', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
    b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b'"\\ud800"',
]  # fmt: skip
ODD_VALUES = [
    None, [], {}, "", "x", True, -1, 0, 1, 0.5, -0.5, 2**31, 2**63, 2**64,
    10**30, 10**400, float("nan"), float("inf"), "\ud800", "x" * 5_000, [None],
    [[]], {"a": {}}, "../../etc/passwd", "\x1b[31m",
]  # fmt: skip


def damages_of_bytes(
    content: bytes, rng: random.Random, count: int
) -> Iterator[Damage]:
  """Yields damages of a file: the plain ones first, then those by chance."""
  half = len(content) // 2
  plain = [
      ("empty", b""),
      ("half", content[:half]),
      ("last byte cut off", content[:-1]),
      ("first byte cut off", content[1:]),
      ("zeros", bytes(len(content))),
      ("garbage", rng.randbytes(max(len(content), 1))),
      ("twice", content * 2),
      ("other half", content[half:]),
      ("one byte", b"\0"),
  ]
  yield from plain[:count]
  for _ in range(count - len(plain)):
    yield _by_chance(content, rng)


def _by_chance(content: bytes, rng: random.Random) -> Damage:
  place = rng.randrange(max(len(content), 1))
  end = min(len(content), place + rng.choice((1, 2, 8, 64, 4096)))
  what = rng.choice(("flip", "cut", "put", "over", "repeat", "lines", "number"))
  if what == "flip" and content:
    bit = 1 << rng.randrange(8)
    changed = content[:place] + bytes([content[place] ^ bit])
    return f"bit {bit} of byte {place}", changed + content[place + 1 :]
  if what == "cut":
    return f"without {place}:{end}", content[:place] + content[end:]
  if what == "put":
    odd = rng.choice(
        (b"\0", b"\xff", b"\n", b"\t", b'"', b"{", b"\r", b"\xed\xa0\x80")
    ) * rng.choice((1, 1, 3, 10_000))
    return f"{odd[:4]!r}… at {place}", content[:place] + odd + content[place:]
  if what == "over":
    garbage = rng.randbytes(end - place)
    return f"garbage at {place}", content[:place] + garbage + content[end:]
  if what == "repeat":
    part = content[place:end] * rng.choice((2, 50))
    return f"{place}:{end} repeated", content[:place] + part + content[end:]
  if what == "lines":
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return "lines in another order", b"\n".join(lines)
  digits = [i for i, x in enumerate(content) if 48 <= x <= 57]
  if not digits:
    return "empty", b""
  place = rng.choice(digits)
  odd = rng.choice((b"-1", b"99999999999999999999", b"1e999", b"NaN", b"x"))
  return (
      f"{odd!r} for the digit at {place}",
      content[:place] + odd + content[place + 1 :],
  )


def damages_of_json(
    content: bytes, rng: random.Random, count: int
) -> Iterator[Damage]:
  """Yields damages of a JSON file: of the whole, then of keys and values."""
  wholes = [(f"whole {x[:9]!r}", x) for x in _JSON_WHOLES]
  rng.shuffle(wholes)
  yield from wholes[: count // 3]
  value = json.loads(content)
  places = list(_places(value))
  for _ in range(count - len(wholes[: count // 3])):
    copy = json.loads(content)
    if not places:
      yield "empty", b""
      continue
    path = rng.choice(places)
    parent = copy
    for key in path[:-1]:
      parent = parent[key]
    name = ".".join(map(str, path))
    if rng.random() < 0.25:
      del parent[path[-1]]
      what = f"without {name}"
    elif isinstance(parent, dict) and rng.random() < 0.1:
      parent[f"{path[-1]}_"] = 1
      what = f"one more beside {name}"
    else:
      odd = rng.choice(ODD_VALUES)
      parent[path[-1]] = odd
      what = f"{name} = {str(odd)[:20]!r}"
    yield what, _dumped(copy)


def _dumped(value: Any) -> bytes:
  return json.dumps(value).encode("utf-8", "surrogatepass")


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
  """Yields the path of everything inside a value."""
  items = ()
  if isinstance(value, dict):
    items = value.items()
  elif isinstance(value, list):
    items = enumerate(value)
  for key, inner in items:
    yield (*path, key)
    yield from _places(inner, (*path, key))

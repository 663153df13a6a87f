"""Who may ask: hosts, origins, the token; and what browsers may do with it.

A page on another site can make a visitor's browser send requests to loopback.
It cannot give them a Host of this service unless its own name is pointed here
(DNS rebinding, refused by the Host), and its Origin tells where it comes from.
"""

import secrets
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs, urlencode

from electra_jax.files import to_json

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "electra_jax_token"
# The page is three files of its own and asks nobody else.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
  """ASGI middleware that lets requests through to the application, or not."""

  def __init__(
      self,
      app: Any,
      *,
      token: str | None = None,
      allowed_hosts: Collection[str] | None = LOOPBACK,
  ):
    """Wraps an application.

    Args:
      app: any ASGI application.
      token: which every request but GET /health must bear, or None.
      allowed_hosts: names in the Host header, without ports; None for any.
    """
    self._app = app
    self._token = token
    self._allowed = allowed_hosts

  async def __call__(self, scope, receive, send) -> None:
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return

    async def send_with_headers(message):
      if message["type"] == "http.response.start":
        message["headers"] = [
            *message.get("headers", []),
            *((k.encode(), v.encode()) for k, v in _HEADERS.items()),
        ]
      await send(message)

    headers = _single(scope["headers"])
    if refusal := self._refusal(scope, headers):
      await _answer(send_with_headers, *refusal)
      return
    if moved := self._without_token(scope):
      await _answer(send_with_headers, 303, "", moved)
      return
    await self._app(scope, receive, send_with_headers)

  def _refusal(self, scope, headers) -> tuple[int, str] | None:
    host = headers.get("host", "")
    name = host.lower()
    if not name.endswith("]"):
      before, colon, port = name.rpartition(":")
      name = before if colon and port.isdigit() else name
    if self._allowed is not None and name not in self._allowed:
      return 403, (
          f"the host {host[:100]!r} is none that this service answers for; use"
          f" one of {', '.join(self._allowed)}"
      )
    origin = headers.get("origin")
    if (
        origin is not None
        and origin.partition("://")[2].lower() != host.lower()
    ):
      return 403, (
          f"a page of {origin[:100]!r} may not ask this service; use its own"
          " page, or a program that is no browser"
      )
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
      # Links from elsewhere may open the page, and nothing more.
      is_link = headers.get("sec-fetch-mode") == "navigate"
      if not is_link or scope["method"] != "GET":
        return 403, (
            "a page of another site may not ask this service; use its own page"
        )
    if self._token is not None and not self._is_known(scope, headers):
      return 401, (
          "this service needs its token; open the URL that it printed, or send"
          " it as 'Authorization: Bearer TOKEN'"
      )
    return None

  def _is_known(self, scope, headers) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if scope["method"] == "GET" and path == "/health":
      return True
    given = []
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
      given.append(value.strip())
    given += _query(scope).get("token", [])
    for cookie in headers.get("cookie", "").split(";"):
      name, _, value = cookie.strip().partition("=")
      if name == COOKIE:
        given.append(value)
    # None of the comparisons ends earlier than another.
    matches = [
        secrets.compare_digest(value.encode(), self._token.encode())
        for value in given
    ]
    return any(matches)

  def _without_token(self, scope) -> list[tuple[str, str]] | None:
    """Moves the token of a page's URL, already checked, into a cookie."""
    if self._token is None or scope["method"] != "GET":
      return None
    query = _query(scope)
    is_page = scope["path"].endswith("/")
    if "token" not in query or not is_page:
      return None
    rest = urlencode(
        [(k, v) for k, values in query.items() if k != "token" for v in values]
    )
    return [
        ("location", f"./?{rest}" if rest else "./"),
        (
            "set-cookie",
            f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/",
        ),
    ]


def _single(headers) -> dict[str, str]:
  """Returns headers by name; several of a name are joined, as none of ours."""
  found: dict[str, str] = {}
  for name, value in headers:
    key = name.decode("latin-1").lower()
    text = value.decode("latin-1")
    separator = "; " if key == "cookie" else ", "
    found[key] = f"{found[key]}{separator}{text}" if key in found else text
  return found


def _query(scope) -> dict[str, list[str]]:
  return parse_qs(scope["query_string"].decode("latin-1"))


async def _answer(send, status, sentence, headers=()) -> None:
  body = to_json({"error": sentence}).encode() if sentence else b""
  await send(
      {
          "type": "http.response.start",
          "status": status,
          "headers": [
              (b"content-type", b"application/json"),
              (b"content-length", str(len(body)).encode()),
              *((k.encode(), v.encode()) for k, v in headers),
          ],
      }
  )
  await send({"type": "http.response.body", "body": body})

"""Who may ask: hosts, origins, the token. No model is needed for that."""

import pytest
from starlette.testclient import TestClient

from electra_jax.serve import asgi, guard
from electra_jax.serve.page_facts import page_files

HERE = "http://127.0.0.1:8000"
TOKEN = "a-secret_of-the-test"


def client(url=HERE, **options) -> TestClient:
  return TestClient(asgi.app([], **options), base_url=url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000"])
def test_loopback_answers_for_its_own_names(host):
  assert client().get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "[::2]"],
)
def test_a_name_that_was_pointed_here_is_refused(host):
  answer = client().get("/models", headers={"host": host})
  assert answer.status_code == 403
  assert repr(host) in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_pages_of_other_sites_may_not_ask(headers):
  answer = client().post("/predict", json={"text": "x"}, headers=headers)
  assert answer.status_code == 403
  assert "page" in answer.json()["error"]


def test_a_link_from_elsewhere_opens_the_page():
  headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
  assert client().get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/models", "/metrics", "/page/app.js"])
def test_without_the_token_there_is_nothing_but_health(path):
  guarded = client(token=TOKEN, allowed_hosts=None)
  answer = guarded.get(path)
  assert answer.status_code == 401
  assert "token" in answer.json()["error"] and TOKEN not in answer.text
  assert guarded.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("given", [TOKEN[:-1], TOKEN + "x", "", "ключ"])
def test_a_wrong_token_is_refused(given):
  guarded = client(token=TOKEN, allowed_hosts=None)
  bearer = {"authorization": f"Bearer {given}".encode()}
  assert guarded.get("/models", headers=bearer).status_code == 401
  assert guarded.get("/models", params={"token": given}).status_code == 401


def test_the_token_is_taken_from_header_query_and_cookie():
  def guarded():
    return client(token=TOKEN, allowed_hosts=None)

  bearer = {"authorization": f"Bearer {TOKEN}"}
  assert guarded().get("/models", headers=bearer).status_code == 200
  assert guarded().get("/models", params={"token": TOKEN}).status_code == 200
  browser = guarded()
  moved = browser.get(
      "/", params={"token": TOKEN, "a": "1"}, follow_redirects=False
  )
  assert (moved.status_code, moved.headers["location"]) == (303, "./?a=1")
  assert "HttpOnly; SameSite=Strict" in moved.headers["set-cookie"]
  assert browser.get("/models").status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch):
  compared = []

  def compare(*pair):
    compared.append(pair)
    return False

  monkeypatch.setattr(guard.secrets, "compare_digest", compare)
  guarded = client(token=TOKEN, allowed_hosts=None)
  assert guarded.get("/models", params={"token": TOKEN}).status_code == 401
  assert compared == [(TOKEN.encode(), TOKEN.encode())]


def test_the_page_brings_no_script_but_its_own_files():
  answer = client().get("/")
  policy = answer.headers["content-security-policy"]
  assert "default-src 'none'; script-src 'self'" in policy
  assert "unsafe" not in policy
  assert "<style" not in answer.text and "onclick" not in answer.text
  assert answer.text.count("<script") == 1
  assert '<script type="module" src="page/app.js"></script>' in answer.text
  for path in page_files().values():
    text = path.read_text()
    assert "innerHTML" not in text and "://" not in text
    assert client().get(f"/page/{path.name}").status_code == 200
  for path in ("/page/..%2f__init__.py", "/page/asgi.py", "/nothing"):
    assert client().get(path).status_code == 404


def test_it_is_mounted_in_another_application():
  from starlette.applications import Starlette
  from starlette.routing import Mount

  inner = asgi.app([], token=TOKEN, allowed_hosts=["models.example.org"])
  outer = Starlette(routes=[Mount("/electra", inner)])
  client = TestClient(outer, base_url="http://models.example.org")
  assert client.get("/electra/health").status_code == 200
  assert client.get("/electra/models").status_code == 401
  answer = client.get("/electra/", params={"token": TOKEN})
  assert answer.status_code == 200 and "electra_jax" in answer.text
  assert str(answer.url) == "http://models.example.org/electra/"
  assert client.get("/electra/page/app.js").status_code == 200

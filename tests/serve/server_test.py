"""The verb `demo`: where it listens, what it prints, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request

import pytest

from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.progress import Progress
from electra_jax.serve import asgi, server
from electra_jax.serve.limits import Limits
from electra_jax.serve.served import ServedFinetuned


def post(url, **body):
  request = urllib.request.Request(
      url + "predict",
      json.dumps(body).encode(),
      {"content-type": "application/json"},
  )
  with urllib.request.urlopen(request, timeout=120) as answer:
    return json.load(answer)


def test_loopback_needs_no_token_and_anything_else_does():
  for host in ("127.0.0.1", "localhost", "::1", "127.0.0.5"):
    token, hosts = server._protection(host)
    assert token is None and "localhost" in hosts
  token, hosts = server._protection("0.0.0.0")
  assert len(token) >= 32 and hosts is None
  assert token != server._protection("0.0.0.0")[0]
  url = server._url("0.0.0.0", 8000, token)
  assert url == f"http://{socket.gethostname()}:8000/?token={token}"
  assert server._url("::1", 8, None) == "http://[::1]:8/"


def test_places_that_cannot_be_listened_at_are_told():
  with pytest.raises(UserError, match="--port is 70000"):
    server._bind("127.0.0.1", 70000)
  with pytest.raises(UserError, match=r"no address of this machine"):
    server._protection("no.such.host.invalid")
  with server._bind("127.0.0.1", 0) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f"--port {port} cannot be listened"):
      server._bind("127.0.0.1", port)


def test_compiling_before_the_url_is_a_stage(capsys):
  compiled = []

  class Noted(ServedFinetuned):
    name = "rte"
    buckets = types.SimpleNamespace(shapes=lambda: [(1, 8), (4, 8)])
    model = types.SimpleNamespace(warm_up=lambda *shape: compiled.append(shape))

    def __init__(self):
      """Has no model behind it."""

  server._warm_up([Noted()], Progress())
  assert compiled == [(1, 8), (4, 8)]
  told = capsys.readouterr().err
  assert "rte: compiling for 2 shapes of input … the next start" in told


def test_all_missing_packages_are_named_at_once(monkeypatch, capsys):
  for name in ("starlette", "uvicorn"):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(SystemExit) as stop:
    cli.main(["demo", "nowhere"])
  assert stop.value.code == 2
  assert (
      "needs starlette, uvicorn, which are not installed; run pip install"
      " 'electra-jax[serve]'"
  ) in capsys.readouterr().err


def test_what_is_being_answered_is_answered_before_the_end():
  """Stops while a request is under way; it still gets its answer."""
  begun, go = threading.Event(), threading.Event()

  async def app(scope, receive, send):
    if scope["type"] == "lifespan":
      await receive()
      await send({"type": "lifespan.startup.complete"})
      await receive()
      await send({"type": "lifespan.shutdown.complete"})
      return
    import asyncio

    begun.set()
    await asyncio.to_thread(go.wait, 60)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"late"})

  found = []
  with server.serving(app, Limits()) as url:
    asking = threading.Thread(
        target=lambda: found.append(urllib.request.urlopen(url).read())
    )
    asking.start()
    assert begun.wait(60)
    threading.Timer(0.3, go.set).start()
  asking.join(60)
  assert found == [b"late"]
  with pytest.raises(urllib.error.URLError):
    urllib.request.urlopen(url, timeout=5)


@pytest.mark.parametrize("path", ["models", "health", "metrics", ""])
def test_it_is_reached_over_a_socket(path):
  with (
      server.serving(asgi.app([])) as url,
      urllib.request.urlopen(url + path) as answer,
  ):
    assert answer.status == 200
    assert "server" not in {name.lower() for name in answer.headers}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_stopped(tiny_run, number):
  process = subprocess.Popen(
      [
          *(sys.executable, "-m", "electra_jax", "demo", str(tiny_run)),
          *("--port", "0", "--quiet"),
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=os.environ | {"PYTHONUNBUFFERED": "1"},
  )
  try:
    url = process.stdout.readline().split()[0]
    assert url.startswith("http://127.0.0.1:")
    answered = post(url, text="a film")
    assert answered["model"] == "tiny_run"
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")
  finally:
    process.kill()

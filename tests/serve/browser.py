"""A headless Chromium, driven through its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_PATIENCE_SECS = 120  # Of a loaded machine.
_KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "ArrowDown": (40, ""),
    "ArrowRight": (39, ""),
    "Home": (36, ""),
    "Tab": (9, ""),
}


class Browser:
  """One page.

  Attributes:
    requests: URLs that the page asked for.
    problems: what it wrote to its console, and errors that nobody caught.
  """

  def __init__(self, socket):
    self._socket = socket
    self._numbers = itertools.count(1)
    self.requests: list[str] = []
    self.problems: list[str] = []
    for domain in ("Page", "Runtime", "Network", "Log"):
      self.call(f"{domain}.enable")

  def call(self, method: str, **params: Any) -> dict[str, Any]:
    """Calls a method of the protocol; keeps events that come meanwhile."""
    number = next(self._numbers)
    self._socket.send(
        json.dumps({"id": number, "method": method, "params": params})
    )
    while True:
      message = json.loads(self._socket.recv(timeout=_PATIENCE_SECS))
      if message.get("id") == number:
        assert "error" not in message, message["error"]
        return message["result"]
      self._note(message)

  def open(self, url: str) -> None:
    self.requests.clear()
    self.problems.clear()
    self.call("Page.navigate", url=url)
    self.wait(
        f"location.href === {json.dumps(url)}"
        " && document.readyState === 'complete'"
    )

  def run(self, script: str) -> Any:
    """Returns what an expression gives in the page."""
    done = self.call(
        "Runtime.evaluate",
        expression=script,
        returnByValue=True,
        awaitPromise=True,
    )
    assert "exceptionDetails" not in done, done["exceptionDetails"]
    return done["result"].get("value")

  def wait(self, script: str) -> None:
    """Waits until an expression holds."""
    until = time.monotonic() + _PATIENCE_SECS
    while not self.run(f"Boolean({script})"):
      assert time.monotonic() < until, f"never: {script}; {self.problems}"
      time.sleep(0.05)

  def type(self, text: str) -> None:
    """Types where the focus is."""
    self.call("Input.insertText", text=text)

  def press(self, key: str) -> None:
    code, text = _KEYS[key]
    params = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    down = "keyDown" if text else "rawKeyDown"
    self.call("Input.dispatchKeyEvent", type=down, text=text, **params)
    self.call("Input.dispatchKeyEvent", type="keyUp", **params)

  def click(self, selector: str) -> None:
    """Clicks the middle of an element, as a mouse does."""
    found = json.dumps(selector)
    x, y = self.run(
        f"(() => {{ const e = document.querySelector({found});"
        " e.scrollIntoView({block: 'center'});"
        " const b = e.getClientRects()[0];"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
      button = "none" if kind == "mouseMoved" else "left"
      self.call(
          "Input.dispatchMouseEvent",
          type=kind, x=x, y=y, button=button, clickCount=1,
      )  # fmt: skip

  def look(self, *, width=1100, height=900, scheme="light", mobile=False):
    """Sets the size of the page and the scheme of its colours."""
    self.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=height, deviceScaleFactor=2, mobile=mobile,
    )  # fmt: skip
    self.call(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": scheme}],
    )

  def picture(self, path: pathlib.Path) -> None:
    """Writes what is seen as a PNG."""
    data = self.call("Page.captureScreenshot", format="png")["data"]
    path.write_bytes(base64.b64decode(data))

  def _note(self, message: dict[str, Any]) -> None:
    method, params = message.get("method"), message.get("params", {})
    if method == "Network.requestWillBeSent":
      self.requests.append(params["request"]["url"])
    elif method == "Runtime.exceptionThrown":
      self.problems.append(json.dumps(params["exceptionDetails"]))
    elif method == "Runtime.consoleAPICalled":
      self.problems.append(json.dumps(params["args"]))
    elif method == "Log.entryAdded":
      self.problems.append(json.dumps(params["entry"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
  """Starts Chromium with an empty page; ends it and what it has written."""
  from websockets.sync import client

  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    process = subprocess.Popen(
        [
            *(PROGRAM, "--headless", "--no-sandbox", "--disable-gpu"),
            *("--no-first-run", "--disable-background-networking"),
            *("--remote-debugging-port=0", f"--user-data-dir={folder}"),
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": folder},
    )
    try:
      port = _port(pathlib.Path(folder) / "DevToolsActivePort", process)
      with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
        pages = [p for p in json.load(answer) if p["type"] == "page"]
      with client.connect(
          pages[0]["webSocketDebuggerUrl"], max_size=None
      ) as socket:
        yield Browser(socket)
    finally:
      process.terminate()
      process.wait()


def _port(file: pathlib.Path, process: subprocess.Popen) -> int:
  until = time.monotonic() + _PATIENCE_SECS
  while time.monotonic() < until:
    assert process.poll() is None, "Chromium ended early"
    if file.exists() and (lines := file.read_text().splitlines()):
      return int(lines[0])
    time.sleep(0.05)
  raise AssertionError("Chromium does not tell its port")

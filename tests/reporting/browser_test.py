"""The page in a real browser, where one is installed."""

import json
import re
import shutil
import subprocess

import pytest

from electra_jax.reporting.page import report
from tests.reporting import made

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]
# A page around the report, which measures and uses it.
AROUND = """<!doctype html><iframe src="%s" width="%d" height="800"></iframe>
<pre id="found"></pre><script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument;
  const shown = () => [...page.querySelectorAll(".frame")]
      .filter((x) => !x.hidden && x.open).map((x) => x.dataset.step);
  const found = {first: shown()};
  const [back, next] = page.querySelectorAll(".player button");
  if (back) {
    back.click(); back.click(); found.back = shown();
    next.click(); found.next = shown();
    const slider = page.querySelector(".player input");
    slider.value = 0; slider.dispatchEvent(new Event("input"));
    found.slid = shown();
  }
  found.width = page.documentElement.scrollWidth;
  found.room = page.documentElement.clientWidth;
  found.scrolled = [...page.querySelectorAll(".scroll")].length;
  const style = frame.contentWindow.getComputedStyle(page.body);
  found.paper = style.backgroundColor;
  found.line = frame.contentWindow.getComputedStyle(
      page.querySelector(".plot text")).fill;
  document.querySelector("#found").textContent = JSON.stringify(found);
});
</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  runs = [made.pretrain_run(folder / "a"), made.finetune_run(folder / "rte")]
  return {run.name: report([run]) for run in runs}


def browse(url, *flags):
  """Runs the browser; returns what it printed and what went wrong."""
  done = subprocess.run(
      [BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
       "--allow-file-access-from-files", "--enable-logging=stderr",
       "--virtual-time-budget=5000", *flags, url],
      capture_output=True, text=True, check=True, timeout=300,
  )  # fmt: skip
  told = [x for x in done.stderr.splitlines() if "CONSOLE" in x]
  return done.stdout, told


def visit(page, tmp_path, width, *flags):
  around = tmp_path / "around.html"
  around.write_text(AROUND % (page.as_uri(), width))
  printed, told = browse(around.as_uri(), "--dump-dom", *flags)
  found = re.search(r'<pre id="found">(.+?)</pre>', printed)
  return json.loads(found[1]), told


@pytest.mark.parametrize("name", ["a", "rte"])
def test_no_error_and_no_sideways_scrolling_at_phone_width(
    pages, tmp_path, name
):
  found, told = visit(pages[name], tmp_path, 360)
  assert not told
  assert found["width"] <= found["room"] and found["scrolled"]


def test_one_scrolls_through_the_evaluations(pages, tmp_path):
  found, told = visit(pages["a"], tmp_path, 1200)
  assert not told
  assert found["first"] == ["1000"]
  assert found["back"] == ["600"] and found["next"] == ["800"]
  assert found["slid"] == ["200"]


def test_both_schemes(pages, tmp_path):
  schemes = []
  for number in (0, 1):  # Dark, light.
    flag = f"--blink-settings=preferredColorScheme={number}"
    found, _ = visit(pages["a"], tmp_path, 1200, flag)
    schemes.append((found["paper"], found["line"]))
  assert schemes[0] == ("rgb(21, 24, 28)", "rgb(163, 168, 176)")
  assert schemes[1] == ("rgb(252, 251, 248)", "rgb(95, 102, 112)")


def test_screenshots_are_taken(pages, tmp_path):
  picture = tmp_path / "page.png"
  browse(
      pages["rte"].as_uri(), f"--screenshot={picture}", "--window-size=400,900"
  )
  assert picture.read_bytes().startswith(b"\x89PNG")

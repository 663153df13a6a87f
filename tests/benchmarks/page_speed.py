"""Milliseconds that an exported page takes for a text, in headless Chromium.

  python tests/benchmarks/page_speed.py PAGE TEXTS [--count 20] [--picture FILE]

PAGE is a folder of `electra-jax export RUN PAGE --to web`, of a pre-trained
run, TEXTS a file with one on each line. The page is served as plain files and
each text is typed into it; the time is that of a whole answer, from the text
over its tokens and the network to the probabilities, told by the page itself.
The first text, which loads the model, is left out.
"""

import argparse
import functools
import http.server
import pathlib
import statistics
import sys
import threading

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from tests.exporting.web_test import Quiet, probabilities
from tests.serve import browser as browsers


def main() -> None:
  """Types all texts and prints the times."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("page", type=pathlib.Path)
  parser.add_argument("texts", type=pathlib.Path)
  parser.add_argument("--count", type=int, default=20, help="of texts (20)")
  parser.add_argument("--picture", type=pathlib.Path, metavar="FILE")
  args = parser.parse_args()
  texts = args.texts.read_text(encoding="utf-8").splitlines()
  serve = functools.partial(Quiet, directory=args.page)
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  with browsers.browser() as page:
    page.open(f"http://127.0.0.1:{server.server_port}/")
    millis, tokens = [], []
    for text in texts[: args.count + 1]:
      tokens.append(len(probabilities(page, text)))
      millis.append(float(page.run("document.documentElement.dataset.ms")))
    if args.picture:
      page.picture(args.picture)
    problems = page.problems
  server.shutdown()
  print(
      f"{statistics.median(millis[1:]):.1f} ms a text, median of"
      f" {len(millis) - 1} ({min(millis[1:]):.1f} to {max(millis[1:]):.1f}), of"
      f" {statistics.median(tokens[1:]):g} tokens; {len(problems)} problems"
  )


if __name__ == "__main__":
  main()

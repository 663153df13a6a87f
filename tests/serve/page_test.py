"""The page in a real browser: type, choose, replace; with mouse and keys."""

import pytest

from electra_jax.serve import asgi, served
from electra_jax.serve.limits import Limits
from electra_jax.serve.server import serving
from tests.serve import browser as browsers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browsers.PROGRAM, reason="there is no Chromium"),
]
LIMITS = Limits(batch=1, characters=300)
HOSTILE = '<img src=x onerror=alert(1)> it\'s "quoted" 👩\u200d👧 e\u0301 end'
OPEN = "!document.getElementById('proposals').hidden"
TEXT = "document.querySelector('textarea').value"
SEEN = "document.querySelector('.tokens').textContent"


@pytest.fixture(scope="module", name="url")
def a_service(tiny_run):
  models = served.open_models(tiny_run, limits=LIMITS)
  with serving(asgi.app(models, limits=LIMITS), LIMITS) as url:
    yield url


@pytest.fixture(scope="module", name="browser")
def a_browser():
  with browsers.browser() as page:
    yield page


@pytest.fixture(name="page")
def a_page(browser, url):
  browser.look()
  browser.open(url)
  browser.wait("document.querySelector('.tokens button')")
  yield browser
  # Nothing but this service was asked, and nothing was complained about.
  asked = {r for r in browser.requests if not r.startswith((url, "data:"))}
  assert asked == set()
  assert browser.problems == []


def type_anew(page, text):
  page.run("document.querySelector('textarea').select()")
  page.type(text)
  seen = text.replace("\\", "\\\\").replace("'", "\\'")
  page.wait(f"!document.querySelector('#answer.is-old') && {SEEN} === '{seen}'")


def test_a_click_asks_the_generator_and_a_click_replaces(page):
  type_anew(page, "he is in a house")
  labels = page.run(
      "[...document.querySelectorAll('.token')].map(t => t.ariaLabel)"
  )
  assert all(label.endswith("% replaced") for label in labels)
  place = page.run(
      "[...document.querySelectorAll('.token')]"
      ".find(t => t.textContent === 'a').dataset.place"
  )
  page.click(f".token[data-place='{place}']")
  page.wait(OPEN)
  proposed = page.run(
      "[...document.querySelectorAll('#proposals .name')]"
      ".map(n => n.textContent)"
  )
  assert len(proposed) == 8
  page.click("#proposals li:nth-child(3)")
  joined = proposed[2].removeprefix("…")
  page.wait(f"{TEXT} !== 'he is in a house'")
  changed = page.run(TEXT)
  assert changed in (f"he is in {joined} house", f"he is in{joined} house")
  page.wait(f"{SEEN} === {TEXT}")
  assert page.run("document.getElementById('proposals').hidden")
  page.click("#undo")
  page.wait(f"{TEXT} === 'he is in a house'")


def test_keys_do_all_that_a_mouse_does(page):
  type_anew(page, "he is in a house")
  page.run("document.querySelector('.token').focus()")
  page.press("ArrowRight")
  page.press("ArrowRight")
  focused = "document.activeElement"
  tokens = "[...document.querySelectorAll('.token')]"
  assert page.run(f"{tokens}.indexOf({focused})") == 2
  assert page.run(f"{tokens}.filter(t => t.tabIndex === 0).length") == 1
  page.press("Enter")
  page.wait(OPEN)
  assert page.run(f"{focused}.getAttribute('role')") == "listbox"
  page.press("Escape")
  page.wait(f"!({OPEN}) && {focused}.classList.contains('token')")
  page.press("Enter")
  page.wait(OPEN)
  page.press("ArrowDown")
  assert page.run(f"{focused}.getAttribute('aria-activedescendant')") == (
      "proposal-1"
  )
  page.press("Enter")
  page.wait(f"{TEXT} !== 'he is in a house' && {SEEN} === {TEXT}")


def test_what_is_typed_is_never_markup(page):
  type_anew(page, HOSTILE)
  assert page.run("document.querySelectorAll('#answer img').length") == 0
  assert page.run(SEEN) == HOSTILE
  page.run("document.querySelector('details').open = true")
  assert "'\\''s" in page.run("document.querySelector('#request').textContent")


def test_too_long_a_text_is_refused_in_a_sentence(page):
  page.run("document.querySelector('textarea').select()")
  page.type("x" * 301)
  error = "document.getElementById('error')"
  page.wait(f"!{error}.hidden")
  assert "301 characters; give at most 300" in page.run(f"{error}.textContent")
  assert page.run("document.getElementById('count').textContent") == (
      "301 of 300 characters"
  )
  type_anew(page, "short")
  assert page.run(f"{error}.hidden")


def test_a_mask_is_filled_by_a_click(page):
  page.click("#examples button:last-of-type")
  page.wait("document.querySelector('.fills button')")
  page.click(".fills button")
  page.wait(f"!{TEXT}.includes('[MASK]')")
  page.wait("document.querySelector('.tokens button')")


_CANNED = {
    "classification": {
        "text": "x", "label": "<b>good</b>", "probability": 0.75,
        "probabilities": {"bad": 0.25, "<b>good</b>": 0.75}, "cut_tokens": 7,
    },
    "multilabel": {
        "text": "x", "labels": ["b"], "probabilities": {"a": 0.2, "b": 0.9},
    },
    "regression": {"text": "x", "rating": 2.5},
    "tagging": {
        "text": "👩 Anna Meier saw  New York.",
        "words": ["👩", "Anna", "Meier", "saw", "New", "York", "."],
        "tags": ["O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"],
        "probabilities": [0.9] * 7,
    },
    "questions": {
        "context": "👩 Paul had written it.", "question": "Who?", "answer": "Paul",
        "start": 2, "end": 6, "probability": 0.5,
    },
    "generation": {
        "text": "x", "written": "A <b>bold</b> one,\nand another " + "wo" * 90,
        "score": -1.256,
    },
}  # fmt: skip
_SHOWN = {
    "classification": "<b>good</b>75 %<b>good</b>75 %bad25 %",
    "multilabel": "b✓ b90 %a20 %",
    "regression": "2.50on a scale of 0 to 404",
    "tagging": "👩 Anna MeierPER saw  New YorkLOC.",
    "questions": "Paul50 %👩 Paul had written it.",
    "generation": (f"A <b>bold</b> one,\nand another {'wo' * 90}Score -1.26"),
}


class Canned(served.ServedFinetuned):
  """Answers every task with a record of its kind."""

  name = "canned"

  def __init__(self):
    """Has no model behind it."""

  def describe(self):
    tasks = [
        {
            "name": kind, "kind": kind, "label_range": [0, 4],
            "labels": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
            "fields": ["question", "context"] if "context" in record else ["text"],
            "examples": [{"text": "x", "question": "x", "context": "x"}],
        }
        for kind, record in _CANNED.items()
    ]  # fmt: skip
    return {"name": "canned", "verb": "finetune", "tasks": tasks}

  def ask(self, fields, task, place):
    return served.Ask(task, list, [_CANNED[task]], lambda answers: answers[0])


def test_answers_of_every_kind_are_shown(browser):
  page = browser
  with serving(asgi.app(Canned())) as url:
    page.open(url)
    page.wait("document.querySelector('#task').options.length")
    for kind, shown in _SHOWN.items():
      page.run(
          "(() => { const task = document.getElementById('task');"
          f" task.value = '{kind}';"
          " task.dispatchEvent(new Event('change')); })()"
      )
      answer = "document.getElementById('answer')"
      page.wait(f"!{answer}.matches('.is-old')")
      assert page.run(f"{answer}.textContent") == shown
      assert page.run(f"{answer}.querySelectorAll('b').length") == 0
      cut = kind == "classification"
      note = page.run("document.getElementById('status').textContent")
      assert note == ("7 tokens at the end were not read." if cut else "")
      if kind == "questions":
        assert page.run(f"{answer}.querySelector('mark').textContent") == "Paul"
    check_written_text(page)
    assert page.problems == []
    page.open("about:blank")
    page.requests.clear()


def check_written_text(page):
  """Of two lines the second stands below the first, and none leaves a phone."""
  style = "getComputedStyle(document.querySelector('.written'))"
  assert page.run(f"{style}.whiteSpace") == "pre-wrap"
  assert int(page.run(f"{style}.fontWeight")) == 400
  page.look(width=390, height=800, mobile=True)
  root = "document.documentElement"
  assert page.run(f"{root}.scrollWidth - {root}.clientWidth") <= 0
  page.look()


@pytest.mark.parametrize("width", [320, 390, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_any_width_and_can_be_read(page, width, scheme):
  page.look(width=width, height=800, scheme=scheme, mobile=width < 500)
  type_anew(page, "a longword" + "x" * 60 + " and some more of them")
  root = "document.documentElement"
  assert page.run(f"{root}.scrollWidth - {root}.clientWidth") <= 0
  # The contrast of text on the page, and of tokens on every shade.
  ratios = page.run(_CONTRASTS)
  assert len(ratios) == 7 and min(ratios) >= 4.5, ratios


_CONTRASTS = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (name) => {
    canvas.fillStyle = getComputedStyle(document.documentElement)
      .getPropertyValue(name).trim();
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) =>
      c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const shades = ['--p1', '--p2', '--p3', '--p4', '--p5'];
  return [ratio('--ink', '--paper'), ratio('--muted', '--paper'),
    ...shades.map((s) => ratio('--on-shade', s))];
})()"""

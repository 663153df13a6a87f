"""The static page in a real browser, and its tokenizer."""

import functools
import http.server
import json
import random
import shutil
import subprocess
import threading

import pytest

from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.exporting import export as exporting
from electra_jax.exporting import web
from electra_jax.exporting.export import export
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.tasks import tag_schemes
from electra_jax.tasks.words import split_words
from electra_jax.text.tokenizer import Tokenizer, load_tokenizer
from tests import helpers
from tests.exporting.workdirs import TEXTS, finetuned, pretrained
from tests.serve import browser as browsers

PAGE = helpers.ROOT / "electra_jax/exporting/page"
needs_node = pytest.mark.skipif(
    not shutil.which("node"), reason="there is no Node.js"
)


def in_node(script, given):
  done = subprocess.run(
      ["node", "--input-type=module", "-e", script],
      input=json.dumps(given),
      capture_output=True,
      text=True,
      check=False,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def goldens():
  cases = helpers.read_json(helpers.GOLDEN / "tokenization.json")["cases"]
  return [case["text"] for case in cases]


@needs_node
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_the_page_cuts_text_as_we_do(lowercase, strip_accents, golden):
  file = golden / "vocab.txt"
  own = load_tokenizer(file, lowercase=lowercase, strip_accents=strip_accents)
  texts = [
      *goldens(),
      "ΟΔΟΣ ΣΟΦΊΑΣ. e\u0301X\u0301 İ",
      "日本語 ﬁ ½ a\u00a0b",
      "",
  ]
  script = f"""
    import {{ readFileSync }} from "node:fs";
    import {{ WordPiece, readVocabulary }} from "{PAGE}/wordpiece.js";
    const given = JSON.parse(readFileSync(0, "utf8"));
    const pieces = readVocabulary(readFileSync("{file}", "utf8"));
    const tokenizer = new WordPiece(pieces, given.options);
    console.log(JSON.stringify(given.texts.map((t) => tokenizer.encode(t))));
  """
  options = {
      "lowercase": lowercase,
      "strip_accents": strip_accents,
      "split_chinese": True,
      "max_word_length": own.max_word_length,
      "unknown": own.special.unk,
  }
  found = in_node(script, {"texts": texts, "options": options})
  assert len(texts) > 40
  expected = own.encode_with_offsets(texts)
  for text, theirs, (ids, offsets) in zip(texts, found, expected, strict=True):
    assert theirs["ids"] == ids, text
    assert theirs["ids"] == own.encode(text)
    if not any(ids[i] == own.special.unk for i in range(len(ids))):
      for span, offset in zip(theirs["spans"], offsets, strict=True):
        assert span[0] == offset[0], text


@needs_node
@pytest.mark.parametrize("unit", ["word", "character", "letter"])
def test_the_page_splits_words_as_we_do(unit):
  texts = [*goldens(), "don't re-do it (U.S.A.)", "日本 e\u0301 👩\u200d👧 a_b"]
  script = f"""
    import {{ readFileSync }} from "node:fs";
    import {{ splitWords }} from "{PAGE}/words.js";
    const given = JSON.parse(readFileSync(0, "utf8"));
    console.log(JSON.stringify(given.map((t) => splitWords(t, "{unit}"))));
  """
  found = in_node(script, texts)
  for text, words in zip(texts, found, strict=True):
    assert words == split_words(text, unit), text


@needs_node
def test_the_page_writes_tags_as_we_do():
  rng = random.Random(0)
  names = ["O", "O", *(f"{x}-{y}" for x in "BIES" for y in "PQ"), "B", "I"]
  given = [
      (rng.choices(names, k=8), tag_schemes.SCHEMES[scheme], scheme)
      for scheme in tag_schemes.SCHEMES
      for _ in range(50)
  ]
  script = f"""
    import {{ readFileSync }} from "node:fs";
    import {{ inScheme }} from "{PAGE}/tags.js";
    const given = JSON.parse(readFileSync(0, "utf8"));
    console.log(JSON.stringify(given.map((x) => inScheme(x[0], x[1]))));
  """
  for (tags, _, scheme), found in zip(
      given, in_node(script, given), strict=True
  ):
    assert found == list(tag_schemes.convert_tags(tags, scheme)), (scheme, tags)


def test_mistakes_leave_nothing_behind(tokenizer, tmp_path, monkeypatch):
  pytest.importorskip("onnxruntime")
  run = pretrained(tmp_path / "run", tokenizer)
  (tmp_path / "runtime").mkdir()
  before = sorted(tmp_path.rglob("*"))
  given = {"to": "web", "texts": TEXTS}
  with pytest.raises(UserError, match="--runtime must be the folder of ort"):
    export(run, tmp_path / "new", runtime=tmp_path / "runtime", **given)
  for name in web.RUNTIME:
    (tmp_path / "runtime" / name).write_text("else")
  with pytest.raises(UserError, match="is not the file of onnxruntime-web@"):
    export(run, tmp_path / "new", runtime=tmp_path / "runtime", **given)
  for name in web.RUNTIME:
    (tmp_path / "runtime" / name).unlink()
  monkeypatch.setattr(web.shutil, "which", lambda name: None)
  read = exporting._read
  monkeypatch.setattr(exporting, "_read", None)  # It is told before that.
  with pytest.raises(UserError, match="by npm, which is not installed"):
    export(run, tmp_path / "new", **given)
  monkeypatch.setattr(exporting, "_read", read)
  with pytest.raises(UserError, match="--runtime there has no meaning"):
    export(run, tmp_path / "new", to="onnx", runtime="there")
  assert sorted(tmp_path.rglob("*")) == before
  pieces = Tokenizer("sentencepiece", helpers.sentencepiece_model())
  other = pretrained(tmp_path / "other", pieces)
  given["runtime"] = tmp_path / "runtime"
  with pytest.raises(UserError, match="--to web reads WordPiece"):
    export(other, tmp_path / "new", **given)


class Quiet(http.server.SimpleHTTPRequestHandler):
  extensions_map = {  # noqa: RUF012
      **http.server.SimpleHTTPRequestHandler.extensions_map,
      ".mjs": "text/javascript",
      ".wasm": "application/wasm",
  }

  def log_message(self, *_):
    pass


@pytest.fixture(scope="module", name="place")
def a_plain_host(tmp_path_factory):
  folder = tmp_path_factory.mktemp("web")
  serve = functools.partial(Quiet, directory=folder)
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  yield folder, f"http://127.0.0.1:{server.server_port}"
  server.shutdown()


def ask(url, script_of):
  """Opens a page, waits, and checks that it asked its own folder alone."""
  with browsers.browser() as page:
    page.open(url)
    found = script_of(page)
    assert {r for r in page.requests if not r.startswith((url, "data:"))} == (
        set()
    )
    assert page.problems == []
  return found


def probabilities(page, text):
  """Types a text, and returns its tokens with what the page says of them."""
  page.wait("document.querySelector('textarea')")
  page.run("document.querySelector('textarea').select()")
  page.type(text)
  page.wait(
      "!document.querySelector('#answer.is-old') &&"
      f" document.querySelector('.tokens')?.textContent === {json.dumps(text)}"
  )
  return page.run(
      "[...document.querySelectorAll('.token')].map("
      "t => [t.textContent, t.dataset.percent])"
  )


@pytest.mark.slow
@pytest.mark.skipif(not browsers.PROGRAM, reason="there is no Chromium")
@pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm")
def test_the_page_judges_and_proposes_on_the_visitor_s_device(place, tokenizer):
  pytest.importorskip("onnxruntime")
  folder, url = place
  run = pretrained(folder / "run", tokenizer)
  done = export(run, folder / "page", to="web", int8=True, texts=TEXTS)
  assert [f.name for f in done.files] == [
      "discriminator.onnx",
      "discriminator.int8.onnx",
      "generator.onnx",
      "generator.int8.onnx",
  ]
  told = json.loads((folder / "page/page.json").read_text())
  told["networks"] = {x: f"{x}.onnx" for x in told["networks"]}
  (folder / "page/page.json").write_text(json.dumps(told))  # For equal digits.

  def visit(page):
    seen = probabilities(page, TEXTS[0])
    page.click(".token")
    page.wait("!document.getElementById('proposals').hidden")
    names = page.run(
        "[...document.querySelectorAll('#proposals .name')]"
        ".map(x => x.textContent)"
    )
    page.look()
    page.picture(folder / "page.png")
    return seen, names, float(page.run("document.documentElement.dataset.ms"))

  seen, names, ms = ask(f"{url}/page/", visit)
  model = PretrainedModel(run)
  (detection,) = model.detect([TEXTS[0]])
  inside = detection.probabilities[1:-1]
  assert len(seen) == len(inside)
  for (_, shown), probability in zip(seen, inside, strict=True):
    if shown[0] not in "<>":
      assert abs(int(shown.split()[0]) - 100 * probability) < 0.51
  place_of_first = model.mask_at(TEXTS[0], 1)
  (fill,) = model.fill_rows([place_of_first], 8)
  assert [n.replace("…", "##") for n in names] == fill.tokens
  assert ms > 0


@pytest.mark.slow
@pytest.mark.skipif(not browsers.PROGRAM, reason="there is no Chromium")
@pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm")
def test_the_page_answers_all_kinds_of_tasks(place):
  pytest.importorskip("onnxruntime")
  from electra_jax.finetuning.inputs import parse_inputs
  from electra_jax.finetuning.model import FinetunedModel

  folder, url = place
  run = finetuned(folder / "tasks", "sst", "sts", "ner", "squad")
  export(run, folder / "tuned", to="web")
  text = "Anna Miller saw the old red house near Paris with a cat"
  lines = {
      "sst": {"text": text},
      "sts": {"text": text},
      "ner": {"text": text},
      "squad": {"question": "who saw the house", "context": text},
  }
  model = FinetunedModel(run)
  if model.task("sts").takes_pairs:
    lines["sts"]["other_text"] = "the house"

  def visit(page):
    page.wait("document.querySelector('textarea')")
    found = {}
    for name, fields in lines.items():
      body = json.dumps({"task": name, **fields})
      found[name] = page.run(
          "fetch('predict', {method: 'POST', body:"
          f" {json.dumps(body)}}}).then((r) => r.json())"
      )["answers"][0]
    page.wait("document.querySelector('#answer').children.length")
    page.look()
    page.picture(folder / "tuned.png")
    return found

  found = ask(f"{url}/tuned/", visit)
  for name, fields in lines.items():
    examples = parse_inputs(model.task(name), [json.dumps(fields)])
    answers = model.predict(examples, name)
    (record,) = answers.records
    ours = found[name]
    if name == "sst":
      assert ours["label"] == record["label"]
      assert ours["probability"] == pytest.approx(
          record["probability"], abs=1e-4
      )
    elif name == "sts":
      assert ours["rating"] == pytest.approx(record["rating"], abs=1e-4)
    elif name == "ner":
      assert ours["tags"] == record["tags"]
      assert ours["words"] == record["words"]
    else:
      assert ours["answer"] == record["answer"]
      assert ours["null_odds"] == pytest.approx(record["null_odds"], abs=1e-3)
      assert (ours["start"], ours["end"]) == (record["start"], record["end"])


def test_the_verb_knows_the_target(capsys):
  with pytest.raises(SystemExit):
    cli.main(["export", "--help"])
  assert "web" in capsys.readouterr().out

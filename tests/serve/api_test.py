"""The JSON API: its answers are those of `predict`; its limits are told."""

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from starlette.testclient import TestClient

from electra_jax import open_run
from electra_jax.errors import UserError
from electra_jax.finetuning.finetune import finetune
from electra_jax.finetuning.inputs import parse_fields
from electra_jax.pretraining.judging import Detection
from electra_jax.serve import asgi, served
from electra_jax.serve.limits import Limits
from tests import helpers

URL = "http://127.0.0.1:8000"
LIMITS = Limits(characters=400, tokens=100, inputs=5, places=3, batch=4)
HOSTILE = [
    '<script>alert(1)</script> & "quotes" \'n\' {"text": 1}',
    "مرحبا بالعالم \u202e right to left",
    "👩\u200d👩\u200d👧 zero\u200bwidth and e\u0301 combined\u0000",
    "\ufeff [CLS] [SEP] [PAD] ##ing ▁the [UNK]",
    "日本語のテキスト、スペースなし。",
    "aaaaaaaaaaaaaaaaaaaaaaaa" * 10,
    "!",
]


@pytest.fixture(scope="module", name="tasks_run")
def a_finetune_run(tmp_path_factory, synthetic_task):
  """The workdir of one seed's model of sst and ner."""
  workdir = tmp_path_factory.mktemp("serve") / "tasks"
  config = helpers.finetune_config(
      "sst+ner",
      **synthetic_task | {"train.num_epochs": 0.2, "seeds": 1},
  )
  finetune(config, workdir, quiet=True)
  return workdir


@pytest.fixture(scope="module", name="pretrained")
def a_pretrained_service(tiny_run):
  (model,) = served.open_models(tiny_run, limits=LIMITS)
  return model


@pytest.fixture(scope="module", name="plain")
def a_plain_model(tiny_run):
  return open_run(tiny_run)


@pytest.fixture(name="client")
def a_client(pretrained):
  return TestClient(asgi.app(pretrained, limits=LIMITS), base_url=URL)


def ask(client, **body):
  answer = client.post("/predict", json=body)
  assert answer.status_code == 200, answer.text
  return answer.json()["answers"]


def refused(client, body, status=400) -> str:
  content = body if isinstance(body, bytes) else json.dumps(body).encode()
  answer = client.post(
      "/predict",
      content=content,
      headers={"content-type": "application/json"},
  )
  assert answer.status_code == status, answer.text
  (sentence,) = answer.json().values()
  assert "\n" not in sentence and "Traceback" not in sentence
  return sentence


def test_one_text_is_judged_as_by_open_run(client, plain):
  text = "The  quick brown Fox jumps over the lazy dog!"
  (answer,) = ask(client, text=text)
  (expected,) = plain.detect([text])
  assert answer["tokens"] == expected.tokens
  assert answer["originals"] == expected.originals
  np.testing.assert_allclose(
      answer["probabilities"], expected.probabilities, rtol=1e-5
  )
  spans = answer["spans"]
  assert spans[0] is None and spans[-1] is None
  seen = [text[slice(*span)] for span in spans[1:-1]]
  assert "".join(seen) == text.replace(" ", "")


def test_many_texts_at_once_are_judged_as_alone(client, plain):
  texts = ["one", "two words and then a good many more of them " * 5, "three"]
  answers = ask(client, inputs=[{"text": text} for text in texts])
  for answer, text in zip(answers, texts, strict=True):
    (expected,) = plain.detect([text])
    assert answer["tokens"] == expected.tokens
    np.testing.assert_allclose(
        answer["probabilities"], expected.probabilities, rtol=1e-5
    )
    assert len(answer["spans"]) == len(answer["tokens"])


def test_gaps_are_filled_as_by_open_run(client, plain):
  text = "the [MASK] is in the [MASK]"
  (answer,) = ask(client, text=text, top=3)
  expected = plain.fill(text, top=3)
  assert [f["tokens"] for f in answer["fills"]] == [f.tokens for f in expected]
  for found, fill in zip(answer["fills"], expected, strict=True):
    np.testing.assert_allclose(
        found["probabilities"], fill.probabilities, rtol=1e-5
    )


def test_a_place_is_filled_as_if_it_were_masked(client, plain):
  (judged,) = ask(client, text="he is in a house")
  place = judged["spans"].index([9, 10])
  (answer,) = ask(client, text="he is in a house", positions=[place], top=2)
  (expected,) = plain.fill("he is in [MASK] house", top=2)
  assert answer["fills"][0]["tokens"] == expected.tokens
  np.testing.assert_allclose(
      answer["fills"][0]["probabilities"], expected.probabilities, rtol=1e-5
  )


def test_a_piece_of_a_word_is_filled_and_the_others_stay(client, plain):
  text = "unbelievable"
  tokens = plain.detect([text])[0].tokens
  assert tokens[2].startswith("##")
  masked = plain.mask_at(text, 2)
  assert plain.tokenizer.tokens(masked.input_ids) == [
      *tokens[:2], "[MASK]", *tokens[3:],
  ]  # fmt: skip
  (answer,) = ask(client, text=text, positions=[2, 1], top=3)
  fills = plain.fill_rows([masked, plain.mask_at(text, 1)], top=3)
  assert [f["tokens"] for f in answer["fills"]] == [f.tokens for f in fills]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_judged_and_placed(client, plain, text):
  (answer,) = ask(client, text=text)
  assert answer["text"] == text
  assert answer["tokens"] == plain.detect([text])[0].tokens
  for span in answer["spans"]:
    if span is not None:
      assert 0 <= span[0] <= span[1] <= len(text)


def test_tasks_are_answered_as_by_open_run(tasks_run):
  client = TestClient(asgi.app(tasks_run, limits=LIMITS), base_url=URL)
  model = open_run(tasks_run)
  inputs = {
      "sst": [{"text": "a joy"}, {"text": "a long and dull film " * 4}],
      "ner": [{"text": "Anna lives in Vienna."}, {"words": ["To", "Oslo"]}],
  }
  for task, fields in inputs.items():
    answers = ask(client, task=task, inputs=fields)
    examples = [
        parse_fields(model.task(task), one, place="it") for one in fields
    ]
    for found, record in zip(
        answers, model.predict(examples, task).records, strict=True
    ):
      likely = np.asarray(_numbers(found.pop("probabilities")))
      expected = np.asarray(_numbers(record.pop("probabilities")))
      np.testing.assert_allclose(likely, expected, rtol=1e-4, atol=1e-4)
      found.pop("probability", None), record.pop("probability", None)
      assert found == record
  assert "choose --task of" in refused(client, {"text": "x"})
  described = client.get("/models").json()["models"][0]
  assert [t["name"] for t in described["tasks"]] == ["sst", "ner"]
  assert described["tasks"][0]["fields"] == ["text", "id"]


def _numbers(found):
  return list(found.values()) if isinstance(found, dict) else found


def test_no_shape_is_compiled_after_the_warm_up(pretrained, client):
  for rows, length in pretrained.buckets.shapes():
    pretrained.model.warm_up(rows, length)
  detect, fill = pretrained.model._detect, pretrained.model._fill
  count = len(pretrained.buckets.shapes())
  assert (detect._cache_size(), fill._cache_size()) == (count, count)
  ask(client, inputs=[{"text": "a " * n} for n in (1, 3, 20, 45, 99)])
  ask(client, inputs=[{"text": "[MASK] " + "a " * n} for n in (1, 3, 20)])
  assert (detect._cache_size(), fill._cache_size()) == (count, count)


def test_requests_at_the_same_time_share_batches(client):
  answers, start = [], threading.Barrier(8)

  def one(number):
    start.wait()
    answers.extend(ask(client, text=f"number {number}"))

  threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(a["text"] for a in answers) == [f"number {n}" for n in range(8)]
  figures = client.get("/metrics").text
  batches = figures.split("electra_jax_batch_inputs_count ")[1].split("\n")[0]
  assert "electra_jax_batch_inputs_sum 8.0" in figures
  assert float(batches) < 8
  assert 'requests_total{path="/predict",status="200"} 8.0' in figures
  assert "electra_jax_request_seconds_count 8.0" in figures
  assert "electra_jax_queue_inputs 0.0" in figures


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the request is not JSON"),
        (b"\xff\xfe", "the request is not JSON"),
        (b'{"text": NaN}', "NaN is no number of JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (["x"], "the request is no object"),
        ({}, "the input has no text"),
        ({"text": " \n"}, "the input has no text"),
        ({"text": 3}, "the input has no text"),
        ({"text": "x", "colour": 1}, "'colour' that is none of text, positions"),
        ({"text": "x", "top": 3}, "meaning for the generator alone"),
        ({"text": "x", "positions": [0]}, "position 0 is none of a word"),
        ({"text": "x", "positions": [2**70]}, "is none of a word"),
        ({"text": "x", "positions": [-1]}, "position -1 is none of a word"),
        ({"text": "x", "positions": [True]}, "no whole number under 'positions'"),
        ({"text": "x", "positions": 1}, "no list under 'positions'"),
        ({"text": "x", "positions": []}, "0 places; give 1 to 3"),
        ({"text": "[MASK] " * 4}, "4 places; give 1 to 3"),
        ({"text": "[MASK]", "top": 21}, "top 21; give 1 to 20"),
        ({"text": "\ud800"}, "half of a surrogate pair"),
        ({"text": "x" * 401}, "401 characters; give at most 400"),
        ({"text": ". " * 101}, "101 tokens; give at most 100"),
        ({"inputs": []}, "'inputs' is no list"),
        ({"inputs": [{"text": "x"}] * 6}, "6 inputs; give at most 5"),
        ({"inputs": [{"text": "x"}, {"text": ""}]}, "input 2 has no text"),
        ({"inputs": [{"text": "x"}, 7]}, "input 2 is no object"),
        ({"inputs": [{"text": "x"}], "text": "x"}, "'text' beside 'inputs'"),
        ({"text": "x", "model": "other"}, "model 'other'; give one of tiny_run"),
        ({"text": "x", "task": "sst"}, "task 'sst' has no meaning"),
        ({"text": "x", "task": 1}, "no name under 'task'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(client, body, told):
  assert told in refused(client, body)
  assert 'errors_total{reason="input"} 1.0' in client.get("/metrics").text


def test_other_refusals(client):
  typed = client.post("/predict", content=b'{"text": "x"}')
  assert typed.status_code == 415
  assert "send application/json" in typed.json()["error"]
  assert "over 1,000,000 bytes" in refused(client, b" " * 1_000_001, 413)
  assert client.get("/predict").status_code == 405
  assert client.get("/nothing").status_code == 404
  assert "/predict" in client.get("/nothing").json()["error"]


def _app_with(pretrained, run, **limits):
  """A service of a model whose program is another."""

  class Changed(served.ServedPretrained):

    def ask(self, *args):
      return super().ask(*args)._replace(run=run)

  model = Changed(**vars(pretrained))
  return TestClient(asgi.app(model, limits=Limits(**limits)), base_url=URL)


def test_every_limit_is_told(client):
  assert client.get("/models").json()["limits"] == dataclasses.asdict(LIMITS)


def test_a_full_queue_pushes_back(pretrained):
  begun, go = threading.Event(), threading.Event()

  def run(inputs):
    begun.set()
    go.wait(60)
    return [Detection([], [], [])] * len(inputs)

  client = _app_with(pretrained, run, queue=2)
  answers = []

  def ask_for(count):
    body = {"inputs": [{"text": "x"}] * count}
    answers.append(client.post("/predict", json=body))

  threads = [threading.Thread(target=ask_for, args=[n]) for n in (1, 2)]
  threads[0].start()
  assert begun.wait(60)
  threads[1].start()
  while "queue_inputs 2.0" not in client.get("/metrics").text:
    time.sleep(0.01)
  answer = client.post("/predict", json={"text": "x"})
  go.set()
  for thread in threads:
    thread.join(60)
  assert answer.status_code == 503
  assert answer.headers["retry-after"] == "1"
  assert "ask again in a second" in answer.json()["error"]
  assert [a.status_code for a in answers] == [200, 200]


def test_what_no_queue_can_hold_is_told_to_be_less(pretrained):
  client = _app_with(pretrained, lambda inputs: inputs, queue=2)
  body = {"inputs": [{"text": "[MASK] [MASK]"}, {"text": "[MASK]"}]}
  assert "asks for 3 texts and places in all; give at" in refused(client, body)


def test_a_request_that_takes_too_long_is_given_up(pretrained):
  held = threading.Event()
  client = _app_with(pretrained, lambda inputs: held.wait(60), timeout_secs=0.2)
  assert "within 0.2 s" in refused(client, {"text": "x"}, 504)
  held.set()
  assert 'reason="timeout"} 1.0' in client.get("/metrics").text


def test_an_error_of_the_model_tells_nothing_of_it(pretrained, caplog):
  def fail(inputs):
    raise RuntimeError("a path of this machine")

  client = _app_with(pretrained, fail)
  assert "path of" not in refused(client, {"text": "x"}, 500)
  assert "a path of this machine" in caplog.text


def test_models_of_one_name_are_told_apart(tiny_run):
  path = str(tiny_run)
  models = served.open_models([path, path + "/"], limits=LIMITS)
  assert [m.name for m in models] == ["tiny_run", "tiny_run-2"]
  client = TestClient(asgi.app(models, limits=LIMITS), base_url=URL)
  assert "names no model; give one of" in refused(client, {"text": "x"})


def test_folders_of_one_name_are_all_served(tiny_run, pretrained):
  path = str(tiny_run)
  client = TestClient(asgi.app([path, path + "/"], limits=LIMITS), base_url=URL)
  names = [model["name"] for model in client.get("/models").json()["models"]]
  assert names == ["tiny_run", "tiny_run-2"]
  with pytest.raises(UserError, match="two of the models have the name"):
    asgi.app([pretrained, pretrained])

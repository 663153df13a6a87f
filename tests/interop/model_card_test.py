"""Model cards: what they tell, and that data in them stays data."""

import contextlib
import dataclasses
import io
import json
import re

import pytest
import yaml
from etils import epath

from electra_jax.finetuning.finetune import finetune
from electra_jax.interop import card_facts
from electra_jax.interop.card_facts import CardFacts, Score, read_facts
from electra_jax.interop.card_snippets import ONLY_FOUR
from electra_jax.interop.convert import convert
from electra_jax.interop.model_card import escaped, write_card
from tests import helpers

HOSTILE = (
    "a|b",
    "<script>alert(1)</script>",
    "---\nlicense: mit\n---",
    "`x` [y](http://z) **bold**",
    "\x1b[31mred\u202e",
    "x" * 1000,
)


def make_card(folder, facts, class_name="ElectraForSequenceClassification"):
  folder.mkdir(exist_ok=True)
  config = {
      "architectures": [class_name],
      "num_hidden_layers": 2,
      "hidden_size": 64,
      "vocab_size": 100,
      "id2label": dict(enumerate(HOSTILE)),
  }
  settings = {
      "mask_token": "[MASK]",
      "model_max_length": 48,
      "do_lower_case": True,
      "strip_accents": True,
  }
  (folder / "config.json").write_text(json.dumps(config))
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  write_card(folder, facts)
  text = (folder / "README.md").read_text()
  head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
  return yaml.safe_load(head), body


def test_data_is_shown_and_never_obeyed(tmp_path):
  scores = (Score("t/dev/accuracy", 91.25),)
  facts = CardFacts(
      HOSTILE[2],
      HOSTILE[1],
      task="t",
      data=HOSTILE,
      scores=scores,
      config={"model": {"dtype": "float32"}, "labels": ["```\n# x", "````"]},
  )
  head, body = make_card(tmp_path / "card", facts)
  assert "license" not in head and "language" not in head
  assert head["model-index"][0]["name"] == HOSTILE[2]
  assert head["pipeline_tag"] == "text-classification"
  assert "<script>" not in body and "\x1b" not in body and "\u202e" not in body
  assert "](http://z)" not in body and "x" * 100 not in body
  assert "\n---\n" not in body
  # The recipe's own fences are longer than any in it.
  recipe = re.search(r"\n(`{5,})json\n(.*?)\n\1\n", body, re.DOTALL)
  assert json.loads(recipe[2]) == json.loads(json.dumps(facts.config))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 3.5 of it: fine", "plain text, 3.5 of it: fine"),
        ("1. a list", "1\\. a list"),
        ("# a title", "\\# a title"),
        ("a|b", "a\\|b"),
        ("www.example.com", "www\\.example.com"),
        ("http://x", "http\\://x"),
        ("two\nlines", "two lines"),
    ],
)
def test_escapes(text, shown):
  assert escaped(text) == shown


def test_the_hubs_own_reader_takes_it(tmp_path):
  hub = pytest.importorskip("huggingface_hub")
  spread = (91.0, 0.5, 90.5, 91.5)
  facts = CardFacts(
      "sst",
      "the finetune run sst",
      task="sst",
      scores=(Score("sst/dev/accuracy", 91.25, spread),),
      num_seeds=3,
      seed=1,
      language="en",
  )
  _, body = make_card(tmp_path / "card", facts)
  card = hub.ModelCard.load(tmp_path / "card/README.md")
  (result,) = card.data.eval_results
  assert (result.metric_type, result.metric_value) == ("accuracy", 91.25)
  assert (result.dataset_name, result.task_type) == (
      "sst",
      "text-classification",
  )
  assert card.data.language == "en"
  assert "seed 1, one of 3" in body
  assert "| sst/dev/accuracy | 91.25 | 91 | 0.5 | 90.5 | 91.5 |" in body


def test_windows_and_precision_are_told(tmp_path):
  config = {"data": {"windows": "mean"}, "model": {"dtype": "bfloat16"}}
  facts = CardFacts("x", "y", task="t", config=config)
  _, body = make_card(tmp_path / "card", facts)
  assert "pooled by `mean`; transformers reads the first window alone" in body
  assert "trained and scored in bfloat16" in body
  assert "reads 48 tokens" in body and "drops accents" in body


@pytest.fixture(scope="module", name="run")
def a_finetuned_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("cards") / "my run"
  config = helpers.finetune_config("sst", **{"train.num_epochs": 1.0})
  finetune(dataclasses.replace(config, seeds=2), workdir, quiet=True)
  return workdir


def test_a_run_tells_of_itself_and_of_no_place(run, tmp_path):
  facts = read_facts(run, "workdir", 1, 5)
  assert (facts.name, facts.task, facts.seed) == ("my run", "sst", 1)
  own = helpers.read_json(run / "seed_1/scores.json")
  assert {score.name: score.value for score in facts.scores} == own
  summary = helpers.read_json(run / "scores.json")
  for score in facts.scores:
    assert score.spread[0] == summary["median"][score.name]
  convert(run, tmp_path / "hf", to="huggingface", seed=1)
  text = (tmp_path / "hf/README.md").read_text()
  assert str(run.parent) not in text
  assert "good for nothing" in text and "language: en" not in text
  assert "train_batch" not in text and '"batch_size"' in text


def test_a_recipe_names_no_place():
  places = {
      "distill.teacher": "/home/me/base",
      "distill.unlabelled": "/home/me/pairs.txt",
      "init_from": "/home/me/student",
      "data.folder": "/home/me/glue",
      "data.tokenizer": "/home/me/vocab.txt",
      "table.train": "/home/me/train.csv",
  }
  config = helpers.finetune_config("sst", **places)
  told = card_facts._without_paths(dataclasses.asdict(config))
  assert told["distill"]["teacher"] == "base"
  assert "/home" not in json.dumps(told)


def test_damaged_lines_of_metrics_are_left_out(tmp_path):
  good = {"step": 3, "group": "validation", "mlm_loss": 5.5}
  lines = [json.dumps(good).encode(), b'{"step": 4, "gr\xff', b"[" * 100_000]
  (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
  scores = card_facts._held_out(epath.Path(tmp_path), 9)
  assert scores == [Score("mlm_loss", 5.5)]


def test_each_network_has_its_own_card(tiny_run, tmp_path):
  convert(tiny_run, tmp_path / "hf", to="huggingface")
  heads = {}
  for name in ("discriminator", "generator"):
    text = (tmp_path / "hf" / name / "README.md").read_text()
    assert "rows of 32 tokens" in text
    heads[name] = yaml.safe_load(text.split("---\n")[1])
  assert heads["generator"]["pipeline_tag"] == "fill-mask"
  assert "pipeline_tag" not in heads["discriminator"]
  assert "mlm_loss" in heads["generator"]["metrics"]
  assert "roc_auc" in heads["discriminator"]["metrics"]
  assert not set(heads["generator"]["metrics"]) & {"roc_auc", "rtd_loss"}


def test_other_sources_have_a_card_without_scores(tiny_run, tmp_path):
  convert(tiny_run, tmp_path / "tf", to="google")
  convert(tmp_path / "tf", tmp_path / "hf", to="huggingface")
  text = (tmp_path / "hf/generator/README.md").read_text()
  assert "made from a TensorFlow checkpoint named tf" in text
  assert "## Scores" not in text and "## Recipe" not in text


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sst", "rte", "sts", "ner", "squad", ""])
def test_snippets_run(task, tmp_path, monkeypatch, request):
  pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  if task:
    config = helpers.finetune_config(
        task, **{"train.num_epochs": 1.0, "model.head": "huggingface"}
    )
    finetune(config, tmp_path / "run", quiet=True)
    convert(tmp_path / "run", tmp_path / "hf", to="huggingface")
    folders = [tmp_path / "hf"]
  else:
    run = request.getfixturevalue("tiny_run")
    convert(run, tmp_path / "hf", to="huggingface")
    folders = [
        tmp_path / "hf" / name for name in ("discriminator", "generator")
    ]
  for folder in folders:
    text = (folder / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == (1 if folder.name == "discriminator" else 2)
    monkeypatch.chdir(folder)
    for block in blocks:
      if ONLY_FOUR in block and transformers.__version__ >= "5":
        continue
      with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(compile(block, "card", "exec"), {})
      assert shown.getvalue().strip()

"""The verb: every format to every other, and nothing half-written."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from electra_jax import cli
from electra_jax import convert as convert_module
from electra_jax import workdir as workdirs
from electra_jax.convert import convert
from electra_jax.data.tokenizer import load_tokenizer
from electra_jax.errors import UserError
from electra_jax.evaluate import evaluate
from electra_jax.finetune import finetune
from electra_jax.interop import google, huggingface, tf_checkpoint
from electra_jax.interop.runs import config_of, read_pretrained
from electra_jax.interop.states import (
    FinetunedState,
    PretrainedState,
    abstract_params,
)
from electra_jax.made_up import make_store
from electra_jax.models.config import (
    ElectraConfig,
    encoder_config,
    generator_config,
)
from electra_jax.models.electra import discriminator_embeddings
from electra_jax.predict import Predictor
from electra_jax.pretrain import pretrain
from electra_jax.starting_point import find_start
from electra_jax.tasks.registry import find_task
from electra_jax.training.optimizer import AdamState
from tests import helpers

VOCABULARY = helpers.GOLDEN / "vocab.txt"


def recipe(size="small_pp"):
  return helpers.load_config(f"configs/pretrain.py:{size}")


def random_tree(config, seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32),
      abstract_params(config),
  )


def make_model(
    ratio=0.5, sharing="embeddings", vocab_size=1966, **parts
) -> PretrainedState:
  encoder = encoder_config(vocab_size, 2, 128, 32, max_position_embeddings=64)
  generator = generator_config(encoder, ratio, own_embeddings=sharing == "none")
  if sharing == "all" or not parts.get("has_generator_head", True):
    generator = None
  config = ElectraConfig(encoder, generator, sharing, **parts)
  return PretrainedState(
      config,
      random_tree(config, 0),
      AdamState(random_tree(config, 1), random_tree(config, 2)),
      7,
  )


def write_google(folder, model: PretrainedState):
  folder.mkdir()
  google.write_model(folder, model)
  (folder / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
  return folder


def files_of(folder) -> dict[str, bytes]:
  """The checkpoint's files alone."""
  return {
      path.name: path.read_bytes()
      for path in folder.iterdir()
      if path.name.startswith(("model.ckpt", "checkpoint"))
  }


def assert_equal(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


FAMILY = {
    "own tables": {"sharing": "none"},
    "all tied": {"sharing": "all"},
    "two towers": {"has_two_towers": True},
    "token head": {"has_token_head": True},
}


@pytest.mark.parametrize("name", FAMILY)
def test_in_and_out_again_is_the_same_bytes(name, tmp_path):
  model = make_model(**FAMILY[name])
  source = write_google(tmp_path / "google", model)
  done = convert(source, tmp_path / "run", to="workdir", config=recipe())
  assert (done.source_format, done.step, done.has_moments) == (
      "google",
      7,
      True,
  )
  convert(tmp_path / "run", tmp_path / "again", to="google")
  assert files_of(tmp_path / "again") == files_of(source)
  again = load_tokenizer(tmp_path / "again")
  assert again.digest == load_tokenizer(VOCABULARY).digest
  # What is written is found again, its vocabulary beside it.
  done = convert(tmp_path / "again", tmp_path / "hf", to="huggingface")
  there = huggingface.read_model(tmp_path / "hf", 0).params
  expected = {n: x for n, x in model.params.items() if n not in done.left_out}
  assert bool(done.left_out) == (name in ("two towers", "token head"))
  assert_equal(there, expected)


def test_disentangled_tables_are_carried_as_their_sums(tmp_path):
  original = make_model(sharing="gradient_disentangled")
  source = write_google(tmp_path / "google", original)
  convert(source, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  assert run.config.model.embedding_sharing == "gradient_disentangled"
  model = read_pretrained(tmp_path / "run", run)
  assert_equal(model.moments, original.moments)
  tables = discriminator_embeddings(original.params, original.config)
  again = discriminator_embeddings(model.params, model.config)
  for x, y in zip(jax.tree.leaves(again), jax.tree.leaves(tables), strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


def test_moments_are_those_of_any_optimizer(tmp_path):
  source = write_google(tmp_path / "google", make_model())
  lamb = recipe("base,staged")
  convert(source, tmp_path / "run", to="workdir", config=lamb)
  assert workdirs.load(tmp_path / "run").config.optimizer.name == "lamb"
  convert(tmp_path / "run", tmp_path / "again", to="google")
  assert files_of(tmp_path / "again") == files_of(source)


@pytest.fixture(scope="module", name="store")
def made_up_store(tmp_path_factory):
  folder = tmp_path_factory.mktemp("convert") / "store"
  make_store(folder, length=32)
  return folder


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory, store):
  workdir = tmp_path_factory.mktemp("convert") / "run"
  config = helpers.tiny_config(
      **{
          "data.made_up": False,
          "data.store": str(store),
          "model.num_layers": 1,
          "train.num_steps": 4,
      }
  )
  pretrain(config, workdir, quiet=True)
  return workdir


@pytest.mark.slow
def test_a_run_that_went_abroad_is_the_same_run(run, store, tmp_path, capsys):
  """Out to each format and in again: state, figures and answers are equal."""
  original = read_pretrained(run, workdirs.load(run))
  config = helpers.tiny_config()
  figures = evaluate(run)
  detections = Predictor(run).detect(["one two three"])
  for to in ("google", "huggingface"):
    convert(run, tmp_path / to, to=to)
    back = tmp_path / f"{to}_back"
    convert(tmp_path / to, back, to="workdir", config=config)
    model = read_pretrained(back, workdirs.load(back))
    assert_equal(model.params, original.params)
    if to == "google":
      assert model.step == original.step == 4
      assert_equal(model.moments, original.moments)
    assert Predictor(back).detect(["one two three"]) == detections
    again = evaluate(back, store=store)
    expected = {n: x for n, x in figures.items() if n != "unigram_entropy"}
    assert again == expected
    with pytest.raises(UserError, match="no token store is named"):
      evaluate(back)
    with pytest.raises(UserError, match="no token store is named"):
      Predictor(back).detect_held_out(1)
    finetuning = helpers.load_config("configs/finetune.py:task=rte,size=small")
    finetuning.init_from = str(back)
    finetuning.model.update(num_layers=1, hidden_size=64, embedding_size=32)
    assert find_start(finetuning).encoder.vocab_size == (
        original.config.discriminator.vocab_size
    )


def test_the_recipe_keeps_its_values_and_takes_the_shapes(tmp_path):
  source = write_google(tmp_path / "google", make_model(ratio=1.0))
  convert(source, tmp_path / "run", to="workdir", config=recipe("large"))
  run = workdirs.load(tmp_path / "run")
  config = run.config
  assert config.objective.mask_prob == 0.25
  assert config.objective.name == "electra"
  assert config.model.generator_width_ratio == 1.0
  assert (config.model.hidden_size, config.model.num_layers) == (128, 2)
  assert config.data.length == config.model.max_position_embeddings == 64
  assert "num_heads" not in config.model
  assert run.facts == {
      "rows_digest": "",
      "tokenizer_digest": run.tokenizer.digest,
      "sources": [str(source)],
      "start": f"converted from {source}",
      "unigram_entropy": None,
  }


@pytest.mark.parametrize(
    ("network", "objective"),
    [
        ("discriminator", ("electra", "uniform")),
        ("generator", ("masked_lm", "masked_lm")),
    ],
)
def test_one_network_alone_gets_an_objective_that_needs_no_other(
    network, objective, tmp_path
):
  source = write_google(tmp_path / "google", make_model())
  convert(source, tmp_path / "hf", to="huggingface")
  folder = tmp_path / "hf" / network
  convert(folder, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  asked = run.config.objective
  assert (asked.name, asked.generator) == objective
  predictor = Predictor(tmp_path / "run")
  if network == "generator":
    assert len(predictor.fill("we the [MASK]")[0].tokens) == 5
  else:
    assert len(predictor.detect(["we the people"])) == 1


NO_GENERATOR = {"has_generator_head": False}
TOKENS_ALONE = {"has_discriminator_head": False, "has_token_head": True}


@pytest.mark.parametrize(
    ("parts", "asked", "found"),
    [
        ({}, "electric two_tower", "electra masked_lm"),
        ({}, "electra_15 masked_lm", "electra_15 masked_lm"),
        (NO_GENERATOR, "electra masked_lm", "electra uniform"),
        (NO_GENERATOR, "electra_15 random", "electra_15 random"),
        (NO_GENERATOR, "electra unigram", "electra uniform"),
        ({"has_two_towers": True}, "electra masked_lm", "electric two_tower"),
        ({"has_two_towers": True}, "electra two_tower", "electra two_tower"),
        (TOKENS_ALONE, "electra masked_lm", "replace_mlm masked_lm"),
        (
            {"has_two_towers": True, **TOKENS_ALONE},
            "electra two_tower",
            "replace_mlm two_tower",
        ),
        (
            {**NO_GENERATOR, **TOKENS_ALONE},
            "electra masked_lm",
            "replace_mlm uniform",
        ),
        (
            {"has_token_head": True},
            "electra masked_lm",
            "all_tokens_mlm masked_lm",
        ),
        (
            {"has_discriminator_head": False, "sharing": "all"},
            "electra masked_lm",
            "masked_lm masked_lm",
        ),
    ],
)
def test_the_recipe_decides_what_shapes_do_not(parts, asked, found):
  config = recipe("small,two_stage")
  config.objective.name, config.objective.generator = asked.split()
  config.objective.temperature = 1.5
  config = config_of(make_model(**parts), config)
  objective = config.objective
  assert f"{objective.name} {objective.generator}" == found
  # Electric's noise must be of the generator's own distribution.
  is_electric = objective.name == "electric"
  assert objective.temperature == (1.0 if is_electric else 1.5)
  assert not config.phases


def test_heads_of_another_width_are_kept(tmp_path):
  source = write_google(tmp_path / "google", make_model())
  convert(source, tmp_path / "hf", to="huggingface")
  path = tmp_path / "hf/discriminator/config.json"
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, "num_attention_heads": 8}))
  convert(path.parent, tmp_path / "run", to="workdir", config=recipe())
  run = workdirs.load(tmp_path / "run")
  model = read_pretrained(tmp_path / "run", run)
  assert run.config.model.num_heads == model.encoder.num_heads == 8
  path = tmp_path / "hf/generator/config.json"
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, "num_attention_heads": 8}))
  with pytest.raises(UserError, match="generator has num_heads 8, and beside"):
    convert(tmp_path / "hf", tmp_path / "no", to="workdir", config=recipe())
  assert not (tmp_path / "no").exists()


@pytest.fixture(scope="module", name="tagger")
def a_finetuned_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("convert") / "ner"
  config = helpers.load_config("configs/finetune.py:task=ner,runlocal")
  config.model.num_layers = 1
  config.train.num_epochs = 1.0
  config.seeds = 1
  finetune(config, workdir, quiet=True)
  return workdir


def test_a_tagger_goes_out_with_its_labels(tagger, tmp_path):
  run = workdirs.load(tagger)
  labels = run.facts["tasks"][0]["labels"]
  done = convert(tagger, tmp_path / "hf", to="huggingface")
  assert done.step > 0
  told = json.loads((tmp_path / "hf/config.json").read_text())
  assert told["architectures"] == ["ElectraForTokenClassification"]
  assert list(told["id2label"].values()) == labels
  assert told["label2id"][labels[-1]] == len(labels) - 1
  tensors = safetensors.numpy.load_file(tmp_path / "hf/model.safetensors")
  width = told["hidden_size"]
  assert tensors["classifier.weight"].shape == (len(labels), width)
  assert (tmp_path / "hf/tokenizer.json").exists()
  convert(tagger, tmp_path / "google", to="google", seed=0)
  prefix = tf_checkpoint.find_prefix(tmp_path / "google")
  variables = tf_checkpoint.read_variables(prefix)
  assert variables["global_step"] == done.step
  np.testing.assert_array_equal(
      variables["task_specific/ner/dense/kernel"],
      tensors["classifier.weight"].T,
  )
  done = convert(
      tmp_path / "google", tmp_path / "run", to="workdir", config=recipe()
  )
  assert done.fresh == ("discriminator_head",)
  assert done.left_out == ("task_specific/ner",)
  kept = read_pretrained(tmp_path / "run", workdirs.load(tmp_path / "run"))
  embeddings = kept.params["embeddings"]["word_embeddings"]["embedding"]
  np.testing.assert_array_equal(
      embeddings, tensors["electra.embeddings.word_embeddings.weight"]
  )
  with pytest.raises(UserError, match="no model of seed 5"):
    convert(tagger, tmp_path / "no", to="google", seed=5)


@pytest.mark.parametrize("names", [("sst",), ("squad",), ("ner", "pos")])
def test_heads_that_differ_there_are_named(
    names, tagger, tmp_path, monkeypatch
):
  tasks = tuple(find_task(name, {}) for name in names)
  encoder = encoder_config(
      workdirs.load(tagger).tokenizer.vocab_size, 1, 64, 64
  )
  model = FinetunedState(encoder, tasks, {}, 0)
  monkeypatch.setattr(
      convert_module.runs, "read_finetuned", lambda *args: model
  )
  with pytest.raises(UserError, match=rf"has learned {names[0]} \("):
    convert(tagger, tmp_path / "hf", to="huggingface")
  assert list(tmp_path.iterdir()) == []


def test_mistakes_end_with_one_sentence_and_nothing_written(
    run, tmp_path, capsys
):
  source = write_google(tmp_path / "google", make_model())
  (tmp_path / "empty").mkdir()
  (tmp_path / "short.txt").write_text(
      "\n".join(VOCABULARY.read_text().split("\n")[:1000])
  )
  before = sorted(tmp_path.rglob("*"))
  for arguments, message in (
      (("empty", "new", "--to=google"), "holds no model: neither a workdir's"),
      (("nowhere", "new", "--to=google"), "holds no model"),
      (("google", "empty", "--to=workdir"), "exists; choose another TARGET"),
      (
          ("google", "new", "--to=workdir", "--tokenizer=short.txt"),
          "the vocabulary has 1000 pieces and the model in",
      ),
      (
          ("google", "new", "--to=workdir", "--tokenizer=none.txt"),
          "there is no vocabulary",
      ),
      ((str(run), "new", "--to=workdir"), "is a workdir already"),
      (
          (str(run), "new", "--to=google", "--tokenizer=short.txt"),
          "has its own tokenizer",
      ),
      (("google", "new", "--to=workdir", "--config=x.py"), "no config file"),
  ):
    paths = [
        str(tmp_path / a) if not a.startswith(("-", "/")) else a
        for a in arguments
    ]
    paths = [a.replace("=short", f"={tmp_path}/short") for a in paths]
    with pytest.raises(SystemExit) as stop:
      cli.main(["convert", *paths])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error
    assert error.startswith("electra-jax convert: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
  with pytest.raises(UserError, match="--to onnx is not one of workdir"):
    convert(source, tmp_path / "new", to="onnx")
  with pytest.raises(UserError, match="a workdir needs a recipe"):
    convert(source, tmp_path / "new", to="workdir")


def test_a_failure_in_the_middle_leaves_nothing(run, tmp_path, monkeypatch):
  (tmp_path / "new.partial").mkdir()  # Of a run that was killed.

  def fail(*args):
    raise OSError("No space left on device")

  monkeypatch.setattr(convert_module, "write_tokenizer", fail)
  with pytest.raises(UserError, match=r"new could not be written .No space"):
    convert(run, tmp_path / "new", to="huggingface")
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").touch()
  with pytest.raises(
      UserError, match=r"could not be written .*Not a directory"
  ):
    convert(run, tmp_path / "file/new", to="google")


def test_a_run_without_a_checkpoint_is_named(run, tmp_path):
  loaded = workdirs.load(run)
  workdirs.begin(
      tmp_path / "run",
      workdirs.PRETRAINING,
      loaded.config,
      loaded.tokenizer,
      loaded.facts,
  )
  with pytest.raises(UserError, match="there is no checkpoint in"):
    convert(tmp_path / "run", tmp_path / "new", to="google")


def test_the_command_tells_what_it_did(tmp_path, capsys):
  write_google(tmp_path / "google", make_model())
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", f"{tmp_path}/google/model.ckpt-7", f"{tmp_path}/run"),
            *("--to", "workdir", "--tokenizer", str(VOCABULARY), "--cased"),
        ]
    )
  assert stop.value.code == 0
  assert capsys.readouterr().out == (
      f"{tmp_path}/run: 588,687 parameters of step 7, with the optimizer's"
      " moments\n"
  )
  assert not workdirs.load(tmp_path / "run").tokenizer.lowercase


def test_the_command_tells_what_it_made_up(tmp_path, capsys):
  config = make_model().config
  params = random_tree(config, 0)
  huggingface.write_model(tmp_path, config, params, 0)
  folder = tmp_path / "discriminator"
  weights = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(weights)
  safetensors.numpy.save_file(
      {n: x for n, x in tensors.items() if n.startswith("electra.")}, weights
  )
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", str(folder), f"{tmp_path}/google", "--to", "google"),
            *("--tokenizer", str(VOCABULARY), "--seed", "3"),
        ]
    )
  assert stop.value.code == 0
  told = capsys.readouterr().out.splitlines()
  assert told[0].endswith("of step 0, without the optimizer's moments")
  assert told[1] == (
      "initialised, since the source lacks it: discriminator_head"
  )


def test_the_command_tells_what_it_left_out(tmp_path, capsys):
  write_google(tmp_path / "google", make_model(has_two_towers=True))
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", f"{tmp_path}/google", f"{tmp_path}/hf"),
            *("--to", "huggingface"),
        ]
    )
  assert stop.value.code == 0
  assert capsys.readouterr().out.splitlines()[1] == (
      "left out, since the target has no place for it: cloze_head,"
      " generator_ltr, generator_rtl"
  )


def test_a_sentencepiece_vocabulary_goes_out_and_comes_back(tmp_path):
  source = tmp_path / "google"
  source.mkdir()
  google.write_model(source, make_model(vocab_size=300))
  model = tmp_path / "spiece.model"
  model.write_bytes(helpers.sentencepiece_model())
  convert(source, tmp_path / "hf", to="huggingface", tokenizer=model)
  convert(tmp_path / "hf", tmp_path / "again", to="google")
  again = load_tokenizer(tmp_path / "again")
  assert again.digest == load_tokenizer(model).digest
  model.write_bytes(helpers.sentencepiece_model(model_type="bpe"))
  with pytest.raises(UserError, match="no unigram model"):
    convert(source, tmp_path / "no", to="huggingface", tokenizer=model)
  assert not (tmp_path / "no").exists()

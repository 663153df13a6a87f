"""The autoencoder of text: its loss, whole runs, every verb, mistakes."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax import api
from electra_jax.cli import main as cli
from electra_jax.devices import sharding
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.autoencoder_loss import (
    DrawnLoss,
    autoencoder_loss,
    beta_at,
)
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.finetuning.programs import make_programs
from electra_jax.finetuning.task_data import find_tasks, read_task, source_of
from electra_jax.objectives.sequence_to_sequence import TargetLoss
from electra_jax.pruning.prune import prune
from electra_jax.reporting.page import report
from electra_jax.runs.finetune_config import AutoencoderConfig
from electra_jax.trees import path_names
from tests import helpers

WORDS = [
    *("we", "the", "people", "of", "united"),
    *("states", "senate", "house", "power", "law"),
]
SCORES = {
    "elbo", "reconstruction", "kl", "active_units", "mutual_information",
    "loss", "f1", "exact_match",
}  # fmt: skip
STEPS = 8


@pytest.fixture(scope="module", name="folder")
def texts_of_few_words(tmp_path_factory):
  """Four words of ten, in any order, and a vocabulary of them."""
  folder = tmp_path_factory.mktemp("texts")
  rng = np.random.default_rng(0)
  names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  (folder / "vocab.txt").write_text("\n".join([*names, *WORDS]) + "\n")
  for split, count in (("train", 256), ("dev", 64)):
    lines = (" ".join(rng.permutation(WORDS)[:4]) for _ in range(count))
    (folder / f"{split}.txt").write_text("".join(f"{x}\n" for x in lines))
  return folder


def config_of(folder, **changes):
  """A network of one narrow layer and a recurrent decoder."""
  values = {
      "data.synthetic": False,
      "data.folder": str(folder),
      "data.tokenizer": str(folder / "vocab.txt"),
      "data.max_length": 8,
      "random_init": True,
      "generation.max_target_length": 8,
      "generation.architecture": "recurrent",
      "generation.method": "greedy",
      "autoencoder.dimensions": 4,
      "model.embedding_size": 32,
      "train.batch_size": 32,
      "train.num_epochs": 1.0,
      "train.log_every_steps": 1,
      "train.checkpoint_every_steps": 4,
  }
  return helpers.finetune_config("autoencode", **values | changes)


def programs_of(config, devices):
  mesh = sharding.make_mesh(devices=devices)
  tasks = [read_task(t, source_of(config)) for t in find_tasks(config)]
  start = find_encoder(config)
  return make_programs(config, start, tasks, mesh, None, None)


def test_the_loss_by_hand():
  # Two texts of 3 and 2 tokens, and a row that only fills the batch up.
  weights = jnp.asarray([[1, 1, 1], [1, 1, 0], [0, 0, 0]], jnp.float32)
  found = DrawnLoss(
      TargetLoss(*map(jnp.asarray, ([6.0, 5.0, 0], [3.0, 2, 0], [1.0, 2, 0]))),
      jnp.asarray([[0.1, 1.0], [0.5, 0.0], [7.0, 7.0]]),
      *(jnp.zeros((3, 2)),) * 3,
  )
  loss, sums = autoencoder_loss(
      found,
      weights,
      AutoencoderConfig(free_bits=0.3),
      jnp.float32(5),
      jnp.float32(0.5),
      "autoencode",
  )
  # Paid: 0.3 + 1.0 and 0.5 + 0.3; as they are 1.1 and 0.5.
  assert loss == pytest.approx((11 + 0.5 * 2.1) / 5)
  expected = {
      "autoencode_loss": (11, 5),
      "autoencode_token_accuracy": (3, 5),
      "autoencode_reconstruction": (11, 2),
      "autoencode_kl": (1.6, 2),
      "autoencode_beta": (0.5, 1),
  }
  assert sums.keys() == expected.keys()
  for name, pair in expected.items():
    np.testing.assert_allclose(sums[name], pair, rtol=1e-6, err_msg=name)


def test_beta_is_the_configs():
  how = AutoencoderConfig(beta=0.6, cycles=2, rise_proportion=0.5)
  found = [float(beta_at(how, 8, jnp.int32(step))) for step in range(6)]
  np.testing.assert_allclose(found, [0, 0.3, 0.6, 0.6, 0, 0.3], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autoencoder.dimensions": 0}, r"config\.autoencoder\.dimensions is 0"),
        ({"autoencoder.beta": -1.0}, r"config\.autoencoder\.beta is -1\.0"),
        ({"autoencoder.free_bits": -0.5}, r"config\.autoencoder\.free_bits is"),
        ({"autoencoder.cycles": -1}, r"config\.autoencoder\.cycles is -1"),
        (
            {"autoencoder.rise_proportion": 1.5},
            r"config\.autoencoder\.rise_proportion is 1\.5",
        ),
        (
            {"autoencoder.cycles": 9},
            r"config\.autoencoder\.cycles is 9 and the run has 8 steps; set"
            r" --config\.autoencoder\.cycles=4",
        ),
        (
            {"generation.architecture": "unilm"},
            r"config\.generation\.architecture is 'unilm', and task=autoencode",
        ),
        (
            {"generation.label_smoothing": 0.1},
            r"config\.generation\.label_smoothing=0\.1 has no meaning",
        ),
        ({"table.target": "t"}, r"config\.table\.target is 't'"),
        (
            {"bottleneck.dimensions": 4},
            r"config\.bottleneck\.dimensions=4 has no meaning",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_anything_is_written(
    folder, tmp_path, changes, message
):
  with pytest.raises(UserError, match=message):
    config = config_of(folder, **changes)
    finetune.finetune(config, tmp_path / "run", quiet=True)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--interpolate", "3", "a", "b"],
            "--interpolate 3 has no meaning for a pretrain run",
        ),
        (
            ["--from-prior", "3"],
            "--from-prior 3 has no meaning for a pretrain run",
        ),
    ],
)
def test_another_run_has_no_z(words, message, capsys):
  with pytest.raises(SystemExit) as ended:
    cli.main(["predict", "--workdir", "tiny-en", *words])
  assert ended.value.code == 2
  assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_free_bits_keep_what_collapses_without_them(folder, tmp_path):
  """Texts go round the ten words: the first word alone is not told by others."""
  shutil.copy(folder / "vocab.txt", tmp_path)
  rng, round_and_round = np.random.default_rng(0), WORDS + WORDS
  for split, count in (("train", 256), ("dev", 64)):
    starts = rng.integers(0, len(WORDS), count)
    lines = (" ".join(round_and_round[start:][:4]) for start in starts)
    (tmp_path / f"{split}.txt").write_text("".join(f"{x}\n" for x in lines))
  scores = {}
  for free_bits in (0.0, 0.5):
    changes = {
        "model.hidden_dropout": 0.0,
        "model.attention_dropout": 0.0,
        "autoencoder.free_bits": free_bits,
        "autoencoder.cycles": 0,
        "optimizer.learning_rate": 5e-3,
        "train.num_epochs": 30.0,
    }
    found = programs_of(config_of(tmp_path, **changes), jax.devices()[:1])
    state = found.trainer.init(0, found.start)
    _, params = helpers.after_steps(found.trainer, state, found.batches, 240)
    splits = found.evaluator.dev_splits
    told = found.evaluator.scores(found.evaluator.predict(params, splits))
    scores[free_bits] = {n.rpartition("/")[2]: x for n, x in told.items()}
  collapsed, kept = scores[0.0], scores[0.5]
  assert collapsed["active_units"] == 0 and collapsed["kl"] < 0.01
  assert abs(collapsed["mutual_information"]) < 0.01
  assert kept["active_units"] >= 3 and kept["kl"] > 1
  assert kept["mutual_information"] > 0.3
  assert kept["exact_match"] > collapsed["exact_match"]


@pytest.mark.slow
def test_devices_and_accumulation_change_nothing(folder):
  ends = []
  for devices, parts in ((1, 1), (8, 2)):
    config = config_of(
        folder,
        **{"train.accumulation_steps": parts, "autoencoder.cycles": 2},
    )
    found = programs_of(config, jax.devices()[:devices])
    state = found.trainer.init(0, found.start)
    ends.append(helpers.after_steps(found.trainer, state, found.batches, 3))
  (records, one), (others, other) = ends
  for a, b in zip(records, others, strict=True):
    assert a.keys() == b.keys()
    for name, (total, weight) in a.items():
      value = b[name][0] / b[name][1]
      assert value == pytest.approx(total / weight, rel=5e-4), name
  # β rises from step to step.
  betas = [float(record["autoencode_beta"][0]) for record in records]
  np.testing.assert_allclose(betas, [0, 0.5, 1], rtol=1e-6)
  for (name, a), (_, b) in zip(path_names(one), path_names(other), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3, err_msg=name)


@pytest.fixture(scope="module", name="trained")
def a_finished_run(folder, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("autoencoding") / "trained"
  finetune.finetune(config_of(folder), workdir, quiet=True)
  return workdir


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_bits(trained, folder, tmp_path):
  again = tmp_path / "again"
  shutil.copytree(trained, again)
  shutil.rmtree(again / f"seed_0/checkpoints/{STEPS}")
  for scores in ("scores.json", "seed_0/scores.json"):
    (again / scores).unlink()
  finetune.finetune(config_of(folder), again, quiet=True)
  helpers.assert_equal_trees(
      helpers.read_params(again / "seed_0", STEPS),
      helpers.read_params(trained / "seed_0", STEPS),
  )
  scores = (again / "scores.json").read_text()
  assert scores == (trained / "scores.json").read_text()
  changed = config_of(folder, **{"autoencoder.free_bits": 0.1})
  with pytest.raises(UserError, match=r"autoencoder\.free_bits"):
    finetune.finetune(changed, again, quiet=True)


@pytest.mark.slow
def test_scores_are_those_of_the_run_that_is_opened(trained):
  summary = helpers.read_json(trained / "scores.json")
  scores = summary["seeds"]["0"]
  assert set(scores) == {f"autoencode/dev/{name}" for name in SCORES}
  assert summary["selected_by"] == ["autoencode/dev/elbo"]
  assert api.evaluate(trained) == pytest.approx(scores)
  told = {name.rpartition("/")[2]: x for name, x in scores.items()}
  assert told["elbo"] == pytest.approx(-told["reconstruction"] - told["kl"])


def run_verb(*arguments):
  with pytest.raises(SystemExit) as ended:
    cli.main(list(map(str, arguments)))
  return ended.value.code


@pytest.mark.slow
def test_predict_writes_texts_again_between_others_and_of_draws(
    trained, capsys
):
  ends = ["we the people of", "law power house senate"]
  words = ("predict", "--workdir", trained, "--json")
  assert not run_verb(*words, *ends)
  read = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert not run_verb(*words, *ends, "--interpolate", 5)
  line = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert [record["place"] for record in line] == [0, 0.25, 0.5, 0.75, 1]
  # The ends of the line are the two texts as they are written again.
  for one, other in ((line[0], read[0]), (line[-1], read[1])):
    assert one["written"] == other["written"]
    assert one["score"] == pytest.approx(other["score"], rel=1e-4)
  assert not run_verb(*words[:3], *ends, "--interpolate", 2)
  assert capsys.readouterr().out.startswith("0.00  ")
  assert not run_verb(*words, "--from-prior", 3)
  drawn = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert len(drawn) == 3
  model = api.open_run(trained)
  assert model.draw(2) == [
      {"written": x["written"], "score": pytest.approx(x["score"], rel=1e-4)}
      for x in drawn[:2]
  ]


@pytest.mark.slow
def test_the_vector_of_a_text_is_its_z(trained):
  model, texts = api.open_run(trained), ["we the people of", "law power"]
  vectors = model.embed(texts, normalized=False)
  means = model.predictor.encode(model.params, model.task(), texts)
  assert vectors.shape == (2, 4)
  np.testing.assert_allclose(vectors, means, atol=1e-5)
  assert model.embed(texts, pooling="mean").shape == (2, 64)  # The encoder's.
  with pytest.raises(UserError, match="--layer is 0, and z is of the last"):
    model.embed(texts, layer=0)
  with pytest.raises(
      UserError, match="--pooling is 'latent', and this run has"
  ):
    api.open_run("tiny-en").embed(texts, pooling="latent")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--interpolate", 3], "lies between two texts, and 1 is given"),
        (["a", "b", "--interpolate", 1], "--interpolate is 1; it must be at"),
        (["--from-prior", 0], "--from-prior is 0; it must be at least 1"),
        (["a", "--from-prior", 2], "writes from draws, and texts are given"),
        (
            ["--interpolate", 2, "--output", "x", "--file", "y"],
            "--output x and --interpolate 2 do not go together",
        ),
        (
            ["a", "b", "--interpolate", 2, "--question", "c"],
            "--interpolate 2 and --question 'c' do not go together",
        ),
    ],
)
def test_what_no_line_can_be_drawn_of_is_told(trained, words, message, capsys):
  assert run_verb("predict", "--workdir", trained, *words) == 2
  assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_report_shows_the_divergence_and_samples(trained, tmp_path):
  page = tmp_path / "page.html"
  report([trained], page)
  text = page.read_text()
  assert "64 texts were written" in text
  for title in ("Reconstruction", "Divergence of z from the prior", "Beta,"):
    assert title in text, title


@pytest.mark.slow
@pytest.mark.parametrize(
    "leave",
    [
        lambda run, out: api.convert(run, out, to="huggingface"),
        lambda run, out: api.export(run, out, to="onnx"),
        lambda run, out: prune(run, out, remove_columns=0.5),
    ],
)
def test_other_formats_refuse_it_by_name(trained, tmp_path, leave):
  with pytest.raises(UserError, match=r"write text \(autoencode\).*predict"):
    leave(trained, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  with pytest.raises(UserError, match=r"are z of an autoencoder.*--pooling"):
    api.export(trained, tmp_path / "out", to="onnx", network="embedder")
  assert not (tmp_path / "out").exists()

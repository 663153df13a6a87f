"""The verb `prune`: ordinary smaller runs, and one sentence for mistakes."""

import dataclasses

import numpy as np
import pytest

from electra_jax.api import evaluate
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.exporting.export import export
from electra_jax.finetuning.finetune import finetune
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.interop.convert import convert
from electra_jax.interop.workdir import read_finetuned, read_pretrained
from electra_jax.pretraining.model import PretrainedModel
from electra_jax.pretraining.pretrain import pretrain
from electra_jax.pruning.examples import pretraining_examples
from electra_jax.pruning.prune import PRUNED_FILE, prune
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.sections import replaced
from electra_jax.runs.start_shapes import with_shapes_of_start
from electra_jax.runs.weights import encoder_of
from electra_jax.store.reader import open_store
from tests import helpers
from tests.exporting.export_test import need
from tests.exporting.workdirs import TEXTS, finetuned, pretrained

HEADS = {"model.num_heads": 4, "model.num_layers": 2}
TEXT = "the film was a complete banana"


@pytest.fixture(scope="module", name="run")
def a_pretrained_run(tmp_path_factory, store):
  """Of two layers of four heads, a generator of its own, and no store."""
  workdir = tmp_path_factory.mktemp("prune") / "run"
  return pretrained(workdir, open_store(store).tokenizer(), **HEADS)


@pytest.fixture(scope="module", name="small")
def a_pruned_run(run, store):
  place = run.with_name("small")
  prune(run, place, remove_heads=0.5, remove_columns=200, store=store)
  return place


@pytest.fixture(scope="module", name="task_run")
def a_finetuned_run(tmp_path_factory):
  """Of two layers of two heads; learns classes."""
  workdir = tmp_path_factory.mktemp("prune") / "task"
  values = {"model.num_layers": 2, "model.hidden_size": 128}
  return finetuned(workdir, "sst", **values)


def test_a_pruned_run_is_an_ordinary_smaller_one(run, small, store):
  before, after = (read_pretrained(x, workdirs.load(x)) for x in (run, small))
  encoder = after.encoder
  assert (encoder.num_heads, encoder.head_width) == (2, 16)
  assert encoder.intermediate_size == before.encoder.intermediate_size - 200
  assert after.step == before.step == 7
  assert after.config.generator == before.config.generator
  helpers.assert_equal_trees(
      after.params["generator"], before.params["generator"]
  )
  notes = helpers.read_json(small / PRUNED_FILE)
  columns = np.array(notes["importance"]["columns"])
  for layer in range(2):
    kept = notes["kept"]["columns"][layer]
    gone = sorted(set(range(columns.shape[1])) - set(kept))
    assert columns[layer][kept].min() >= columns[layer][gone].max() > 0
    units = np.concatenate(
        [np.arange(16) + 16 * i for i in notes["kept"]["heads"][layer]]
    )
    new, old = (
        x.params["discriminator"][f"layer_{layer}"]["attention"]
        for x in (after, before)
    )
    np.testing.assert_array_equal(
        new["key"]["kernel"], np.asarray(old["key"]["kernel"])[:, units]
    )
  start = workdirs.load(small).facts["start"]
  assert start.startswith("a pruning by 2 of 4 heads a layer and 200 of 256 ")
  assert start.endswith(f"weights of step 7 in {run.absolute()}/checkpoints")
  assert np.isfinite(evaluate(small, store=store)["loss"])
  assert PretrainedModel(small).detect([TEXT])[0].probabilities
  assert helpers.read_json(small / "parameters.json")["networks"]


@pytest.mark.slow
def test_the_loss_before_is_that_of_the_whole_run(run, small, store, tmp_path):
  one = prune(run, tmp_path / "one", remove_columns=1, store=store).losses
  many = helpers.read_json(small / PRUNED_FILE)["loss"]
  assert one[0] == many["before"]
  # The column that counts least changes less than half of the heads do.
  assert 0 < abs(one[1] - one[0]) < abs(many["after"] - many["before"])


def test_a_run_that_its_teacher_taught_alone_tells_no_importance(run, store):
  whole = workdirs.load(run)
  weights = dict.fromkeys(("objective.gen_weight", "objective.disc_weight"), 0)
  config = replaced(whole.config, weights)
  with pytest.raises(UserError, match=r"heads are random, .* fine-tune it"):
    pretraining_examples(
        run,
        dataclasses.replace(whole, config=config),
        store=store,
        texts=None,
        split=None,
        max_rows=8,
    )


def test_other_runs_start_from_a_pruned_one(small, store):
  values = helpers.NARROW_ENCODER | {"init_from": str(small)}
  values |= {"model.num_layers": 2}
  config = helpers.load_config("configs/finetune.py:task=rte,size=small")
  encoder = find_encoder(helpers.override(config, values)).encoder
  assert (encoder.num_heads, encoder.head_width) == (2, 16)
  # Shapes are taken over in pre-training as well.
  zeros = dict.fromkeys(
      ("model.num_layers", "model.hidden_size", "model.embedding_size"), 0
  )
  config = helpers.store_config(store, **zeros | {"init_from": str(small)})
  model = with_shapes_of_start(config).model
  assert (model.num_heads, model.head_size) == (2, 16)


@pytest.mark.slow
def test_a_finetuned_run_keeps_its_task(task_run, tmp_path):
  out = tmp_path / "out"
  done = prune(task_run, out, remove_heads=0.5, remove_columns=0.5, max_rows=8)
  run = workdirs.load(out)
  encoder = encoder_of(run)
  assert (encoder.num_heads, encoder.head_width) == (1, 64)
  scores = evaluate(out)
  assert scores == {name: pair[1] for name, pair in done.scores.items()}
  assert scores == helpers.read_json(out / "scores.json")["median"]
  assert (out / "seed_0/predictions").exists()
  before, after = (
      read_finetuned(x, workdirs.load(x), None) for x in (task_run, out)
  )
  helpers.assert_equal_trees(
      after.params["task_specific"], before.params["task_specific"]
  )
  with pytest.raises(UserError, match="with another start"):
    finetune(run.config, out, quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to remove; give --remove-heads"),
        ({"remove_heads": 1.0}, "--remove-heads 1.0 is neither a share from 0"),
        ({"remove_heads": -1}, "--remove-heads -1 is neither"),
        ({"remove_heads": float("nan")}, "--remove-heads nan is neither"),
        ({"remove_heads": 4}, "none of the 4 heads of a layer; give 3 or less"),
        ({"remove_heads": 0.2}, r"0.2 of the 4 heads .* less than one; .*0.25"),
        ({"remove_columns": 1.5}, "--remove-columns 1.5 is neither a share"),
        ({"remove_columns": 256}, "none of the 256 feed-forward columns"),
        ({"remove_layers": [2]}, "names 2, and the run has the layers 0 to 1"),
        ({"remove_layers": [-1]}, "names -1, and"),
        ({"remove_layers": [0, 1]}, "all 2 layers of the run; keep one"),
        ({"remove_heads": 1}, "has no token store of its own .* --texts FILE"),
        ({"remove_heads": 1, "texts": [" "]}, "--texts has no line of text"),
        (
            {"remove_heads": 1, "seed": 1},
            "--seed 1 has no meaning for a pretrain",
        ),
        ({"remove_heads": 1, "max_rows": 0}, "--max-rows is 0; it must be"),
        (
            {"remove_heads": 1, "texts": ["a"], "store": "s"},
            "--store s and --texts are both given",
        ),
        (
            {"remove_heads": 1, "texts": ["a"], "split": "train"},
            "--split train and --texts are both given",
        ),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    run, tmp_path, options, message
):
  with pytest.raises(UserError, match=message):
    prune(run, tmp_path / "out", **options)
  assert not list(tmp_path.iterdir())


def test_mistakes_about_tasks_are_told(task_run, tmp_path):
  for options, message in (
      ({"texts": ["a"]}, "--texts has no meaning for a finetune run"),
      ({"split": "test"}, "has no split 'test' with labels; choose --split of"),
      ({"folder": str(tmp_path / "nowhere")}, "nowhere"),
      ({"seed": 3}, "no model of seed 3"),
  ):
    with pytest.raises(UserError, match=message):
      prune(task_run, tmp_path / "out", remove_heads=1, **options)
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_towers_stay_beside_a_pruned_discriminator(store, tmp_path):
  values = {"objective.name": "electric", "objective.generator": "two_tower"}
  values |= {"objective.temperature": 1.0}
  values |= {"objective.disallow_correct": False}
  tokenizer = open_store(store).tokenizer()
  run = pretrained(tmp_path / "run", tokenizer, **values)
  prune(run, tmp_path / "out", remove_columns=0.5, store=store)
  before, after = (
      read_pretrained(x, workdirs.load(x)) for x in (run, tmp_path / "out")
  )
  for name in ("generator_ltr", "generator_rtl"):
    helpers.assert_equal_trees(after.params[name], before.params[name])


@pytest.mark.slow
def test_the_command_removes_layers_by_number(run, tmp_path, capsys):
  """Without heads and columns to choose, no rows are needed."""
  out = tmp_path / "out"
  with pytest.raises(SystemExit) as stop:
    cli.main(["prune", str(run), str(out), "--remove-layers", "0"])
  assert stop.value.code == 0
  told = capsys.readouterr().out.split("\n")
  assert told[0] == f"{out}: pruned at step 7"
  assert told[2].split() == ["layers", "2", "1"]
  before, after = (read_pretrained(x, workdirs.load(x)) for x in (run, out))
  assert after.encoder.num_layers == 1
  assert after.config.generator == before.config.generator
  helpers.assert_equal_trees(
      after.params["discriminator"]["layer_0"],
      before.params["discriminator"]["layer_1"],
  )
  for more, message in (
      (["--remove-heads", "some"], "--remove-heads some is no number"),
      (["--remove-layers", "0,x"], "--remove-layers 0,x is no list of whole"),
      (["--remove-layers", "5"], "names 5"),
  ):
    with pytest.raises(SystemExit) as stop:
      cli.main(["prune", str(run), str(tmp_path / "other"), *more])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_lines_of_text_may_stand_for_a_store(run, tmp_path, capsys):
  texts = tmp_path / "texts.txt"
  texts.write_text(f"{TEXT}\n\n{'another line ' * 40}\n")
  args = ["--remove-columns", "0.5", "--texts", str(texts)]
  for name in ("one", "other"):
    with pytest.raises(SystemExit) as stop:
      cli.main(["prune", str(run), str(tmp_path / name), *args])
    assert stop.value.code == 0
    # The long line is seven rows.
    assert "loss of 8 rows of text" in capsys.readouterr().out
  one, other = (
      (tmp_path / x / PRUNED_FILE).read_text() for x in ("one", "other")
  )
  assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("to", ["huggingface", "google"])
def test_other_formats_get_heads_of_zeros(small, tmp_path, to):
  detection = PretrainedModel(small).detect([TEXT])[0]
  done = convert(small, tmp_path / to, to=to)
  assert any("filled up with heads of zeros to 4" in x for x in done.notes)
  back = tmp_path / f"{to}_back"
  config = helpers.tiny_config(**{"model.num_layers": 2})
  convert(tmp_path / to, back, to="workdir", config=config)
  model = read_pretrained(back, workdirs.load(back))
  assert (model.encoder.num_heads, model.encoder.head_width) == (4, 16)
  np.testing.assert_allclose(
      PretrainedModel(back).detect([TEXT])[0].probabilities,
      detection.probabilities,
      atol=1e-6,
  )


@pytest.mark.slow
def test_a_pruned_run_is_trained_on(store, tmp_path):
  """Its moments are pruned as well; its own store tells what counts."""
  values = HEADS | {"train.num_steps": 2}
  run, small = tmp_path / "run", tmp_path / "small"
  pretrain(helpers.store_config(store, **values), run, quiet=True)
  done = prune(run, small, remove_heads=0.5, remove_layers=[0], max_rows=20)
  assert done.origin == "20 validation rows"
  again = prune(
      run, tmp_path / "again", remove_heads=0.5, remove_layers=[0], max_rows=20
  )
  assert done.losses == again.losses
  model = read_pretrained(small, workdirs.load(small))
  for moments in model.moments:
    kernel = moments["discriminator"]["layer_0"]["attention"]["query"]["kernel"]
    assert kernel.shape == (64, 32)
    assert np.any(np.asarray(kernel))
  config = helpers.override(workdirs.load(small).config, {"train.num_steps": 4})
  assert pretrain(config, small, quiet=True).step == 4
  zeros = dict.fromkeys(
      ("model.num_layers", "model.hidden_size", "model.embedding_size"), 0
  )
  more = {"init_from": str(small), "train.num_steps": 1}
  more |= {"model.generator_depth_ratio": 2.0}
  config = helpers.store_config(store, **zeros | more)
  other = helpers.override(config, {"model.head_size": 8})
  with pytest.raises(UserError, match=r"head_size is 8 and the run .* has 16"):
    pretrain(other, tmp_path / "other", quiet=True)
  pretrain(config, tmp_path / "more", quiet=True)
  assert encoder_of(workdirs.load(tmp_path / "more")).head_width == 16


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "litert", "stablehlo"])
def test_exported_files_have_as_few_heads(small, tmp_path, to):
  if to != "stablehlo":
    need(to)
  done = export(small, tmp_path / "out", to=to, texts=TEXTS, check=4)
  assert done.files[0].found.largest < 1e-4


@pytest.mark.slow
def test_vectors_of_a_layer_keep_its_number(tmp_path):
  values = {"train.num_epochs": 1.0, "model.num_layers": 2}
  config = helpers.finetune_config("embedding", **values)
  run = tmp_path / "run"
  finetune(config, run, quiet=True)
  done = prune(run, tmp_path / "out", remove_columns=0.5)
  assert done.scores.keys() == evaluate(tmp_path / "out").keys()
  with pytest.raises(UserError, match="--remove-layers 0 would give other"):
    prune(run, tmp_path / "other", remove_layers=[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("sst", {"bottleneck.dimensions": 4}),
        ("sts", {}),
        ("squad", {}),
        ("sst", {"model.quantization": "int8"}),
    ],
)
def test_every_kind_of_task_is_pruned(tmp_path, task, values):
  run = finetuned(tmp_path / "run", task, **values)
  done = prune(run, tmp_path / "out", remove_columns=0.5, max_rows=8)
  assert all(np.isfinite(done.losses))
  assert evaluate(tmp_path / "out").keys() == done.scores.keys()

"""The command: help, config overrides, and one sentence for every mistake."""

import pytest

from electra_jax import config_files
from electra_jax import config_files as config_args
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.preprocessing.options import PrepareOptions
from tests import helpers

CONFIG = str(helpers.ROOT / "configs/pretrain.py")


@pytest.mark.parametrize(
    "verb",
    [
        *("prepare", "pretrain", "finetune", "evaluate", "predict"),
        *("distill", "convert", "benchmark", "demo", "doctor", "embed"),
        *("completion", "prune"),
    ],
)
def test_every_verb_explains_itself_with_an_example(verb, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main([verb, "--help"])
  assert stop.value.code == 0
  assert f"electra-jax {verb} " in capsys.readouterr().out.split("example")[1]


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        (CONFIG, ["--config.train.num_stepz=3"], "num_steps"),
        (CONFIG, ["--config.train.steps=5"], r"train.steps is no key .*did you mean config.train.num_steps\? config.train has accumulation_steps, .*overlap"),
        (CONFIG, ["--config.train.num_steps=many"], "num_steps.*many|many.*num_steps"),
        (CONFIG, ["--config.optimizer.learning_rate=fast"], "fast"),
        (CONFIG + ":huge", [], "'huge' is not one of tiny, tiny_en"),
        (CONFIG + ":small,runlokal", [], "'runlokal' is not one of size, staged"),
        ("nowhere.py", [], "nowhere.py"),
    ],
)  # fmt: skip
def test_wrong_configs_end_with_one_sentence(
    config, overrides, message, capsys
):
  arguments = ["pretrain", "--config", config, "--workdir", "unused"]
  with pytest.raises(SystemExit) as stop:
    cli.main([*arguments, *overrides])
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert error.startswith("electra-jax pretrain: ")
  assert error.count("\n") == 1 and "Traceback" not in error
  with pytest.raises(UserError, match=message):
    config_files.load_config(config, overrides)


def test_overrides_keep_their_type():
  config = config_files.load_config(
      CONFIG + ":base", ["--config.train.num_steps=7", "--config.mesh.fsdp=2"]
  )
  assert (config.train.num_steps, config.mesh.fsdp) == (7, 2)
  assert config.data.length == 512


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_folder_without_a_run_is_named(verb, tmp_path, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main([verb, "--workdir", str(tmp_path)])
  assert stop.value.code == 2
  assert f"{tmp_path} is not a workdir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("task=rte,size=huge", [], "'huge' is not one of tiny, tiny_en"),
        ("task=rte,sizes=base", [], "'sizes=base' is not one of task, size"),
        ("rte", ["--config.train.epochs=2"], "epochs"),
        ("rte", ["--config.seeds=many"], "many"),
    ],
)  # fmt: skip
def test_wrong_finetune_configs_end_with_one_sentence(
    config, overrides, message, capsys
):
  path = f"{helpers.ROOT}/configs/finetune.py:{config}"
  with pytest.raises(SystemExit) as stop:
    cli.main(["finetune", "--config", path, "--workdir", "unused", *overrides])
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert error.startswith("electra-jax finetune: ") and message in error
  assert error.count("\n") == 1 and "Traceback" not in error


def test_an_unknown_flag_is_named(capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(["evaluate", "--workdir", "x", "--splits=train"])
  assert stop.value.code == 2
  assert "--splits=train" in capsys.readouterr().err


def test_a_coordinator_alone_is_not_enough(capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("pretrain", "--config", CONFIG, "--workdir", "unused"),
            "--coordinator=localhost:1",
        ]
    )
  assert stop.value.code == 2
  assert "--num-processes" in capsys.readouterr().err


def test_parse_arg():
  defaults = {"size": "small", "runlocal": False, "batch": 8}
  assert config_args.parse_arg(None, **defaults) == defaults
  assert config_args.parse_arg("base,runlocal,batch=4", **defaults) == {
      "size": "base",
      "runlocal": True,
      "batch": 4,
  }
  assert config_args.parse_arg("runlocal", **defaults)["runlocal"]


def test_the_keys_of_a_config_are_told_without_a_workdir(capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(["pretrain", "--config", "pretrain:tiny", "--config.help"])
  assert stop.value.code == 0
  shown = capsys.readouterr().out
  assert (
      "--config.data.length=32  # Tokens per row; must be the store's." in shown
  )


def test_an_evaluation_of_no_rows_is_refused(tiny_run, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(["evaluate", "--workdir", str(tiny_run), "--max-rows", "0"])
  assert stop.value.code == 2
  assert "--max-rows is 0; it must be at least 1" in capsys.readouterr().err


def test_the_help_of_prepare_tells_the_defaults_that_hold(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "1000")  # Lines are not broken at hyphens.
  with pytest.raises(SystemExit):
    cli.main(["prepare", "--help"])
  shown = " ".join(capsys.readouterr().out.split())
  options = PrepareOptions(tokenizer="vocab.txt")
  for told in (
      f"tokens a row ({options.length})",
      f"{options.packing}, the default, drops what",
      f"share of the documents ({options.validation_percent})",
      f"of the rows ({options.seed})",
      f"--train-vocab trains (default: {options.tokenizer_kind})",
      f"(default: {options.field}); with SOURCE=",
      f"ends a document of a text file (default: {options.document_per})",
      f"without a byte order mark (default: {options.encoding})",
  ):
    assert told in shown, told


def test_what_is_not_typed_has_one_default(monkeypatch):
  given = {}
  monkeypatch.setattr(cli.api, "prepare", lambda **a: given.update(a))
  with pytest.raises(SystemExit) as stop:
    cli.main(["prepare", "text", "--output", "store", "--train-vocab", "100"])
  assert not stop.value.code
  assert given == {
      "sources": ["text"],
      "output": "store",
      "train_vocab": 100,
      "flags": [],
  }

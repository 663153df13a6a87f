"""A run resumes with the config that its workdir has recorded."""

import json
import types

import pytest

from electra_jax import api, config_files
from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.pretraining import phases
from electra_jax.runs import kinds
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.recorded import recorded_config
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers

TOKENIZER = load_tokenizer(helpers.GOLDEN / "vocab.txt")
CONFIG = helpers.tiny_config()


def begin(workdir, config=CONFIG):
  facts = helpers.store_facts(TOKENIZER)
  workdirs.begin(workdir, workdirs.PRETRAINING, config, TOKENIZER, facts)


@pytest.fixture(name="given")
def config_that_the_verb_is_given(monkeypatch):
  """Puts what `pretrain` is called with there, in place of a training."""
  calls = []

  def note(config, workdir, quiet):
    del workdir, quiet
    calls.append(config)
    return types.SimpleNamespace(stopped_by=15)  # No page is written.

  monkeypatch.setattr("electra_jax.pretraining.pretrain.pretrain", note)
  return calls


def test_the_recorded_config_is_the_one_that_was_given(tmp_path, given):
  begin(tmp_path)
  api.pretrain(None, tmp_path)
  assert given == [CONFIG]


@pytest.mark.parametrize(
    "overrides",
    [{"train.num_steps": 77}, ["--config.train.num_steps=77"]],
)
def test_values_on_top_of_it(tmp_path, given, overrides):
  begin(tmp_path)
  api.pretrain(None, tmp_path, overrides=overrides)
  assert given == [helpers.override(CONFIG, {"train.num_steps": 77})]


def test_a_number_that_was_left_out_can_be_given(tmp_path, given):
  begin(tmp_path)
  api.pretrain(None, tmp_path, overrides=["--config.model.num_heads=2"])
  assert given[0].model.num_heads == 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["--config.questions.null_threshold=-1.5"],
        {"questions.null_threshold": -1.5},
    ],
)
def test_any_number_that_was_left_out_can_be_given(overrides):
  values = {"questions": {"null_threshold": None}, "seed": 0}
  config = config_files.config_of(values, "of run", overrides)
  assert config.questions.null_threshold == -1.5


def test_an_unknown_key_is_told(tmp_path, given):
  begin(tmp_path)
  with pytest.raises(UserError, match=r"did you mean config\.train.num_steps"):
    api.pretrain(None, tmp_path, overrides=["--config.train.num_stepz=7"])
  assert not given


@pytest.mark.parametrize("folder", ["new", "."])
def test_a_new_workdir_needs_a_config(tmp_path, folder, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(["pretrain", "--workdir", str(tmp_path / folder)])
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert "holds no pretrain run to resume" in error
  assert "--config pretrain:small" in error and error.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_a_run_of_another_verb_is_named(tmp_path):
  begin(tmp_path)
  with pytest.raises(UserError, match="electra-jax pretrain --workdir"):
    recorded_config(tmp_path, kinds.FINETUNING)


def test_a_damaged_config_is_told(tmp_path):
  begin(tmp_path)
  values = json.loads((tmp_path / "config.json").read_text())
  values["seed"] = -1
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(UserError, match=r"config.json is damaged: config.seed"):
    recorded_config(tmp_path, kinds.PRETRAINING)


def test_a_run_of_phases(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = helpers.load_config("pretrain:small,staged,runlocal")
  config = helpers.override(config, {"data.store": "store"})
  chain = phases.phase_configs(config, "run")
  phases.record(chain, "run", whole=config)
  values = recorded_config("run", kinds.PRETRAINING)
  assert values["data"]["store"] == str(tmp_path / "store")
  again = phases.phase_configs(kinds.PRETRAINING.read(values), "run")
  assert [p.config.train for p in again] == [p.config.train for p in chain]

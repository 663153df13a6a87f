"""Runs of several phases: what they are, in which order, stopped and resumed."""

import dataclasses
import functools
import json
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax.api import prepare
from electra_jax.errors import UserError
from electra_jax.interop.convert import convert
from electra_jax.preprocessing.synthetic import make_text
from electra_jax.pretraining import phases, pretrain
from electra_jax.runs import workdir as workdirs
from electra_jax.training.loop import Result
from electra_jax.training.step import TrainState
from tests import helpers, processes

STEPS = 24  # Of the second phase: enough to be hit in the middle.
_pretrain = pretrain.pretrain


def config_of(own, **overrides):
  config = helpers.tiny_config(**overrides)
  return dataclasses.replace(config, phases=own)


def two(first=None, second=None, **overrides):
  own = {"phase_1": first or {}, "phase_2": second or {}}
  return config_of(own, **overrides)


# --- Configs ---


def test_an_ordinary_config_has_no_phases(tmp_path):
  config = helpers.tiny_config()
  assert phases.phase_configs(config, tmp_path) == []


def test_a_phase_is_the_config_with_values_of_its_own(tmp_path, monkeypatch):
  config = two(
      {"data": {"length": 16}, "optimizer": {"learning_rate": 1}},
      {"objective": {"name": "masked_lm"}, "init": {"fresh": "a"}},
      seed=7,
      init_from="elsewhere",
  )
  monkeypatch.chdir(tmp_path)
  first, second = phases.phase_configs(config, "run")
  assert (first.name, str(first.workdir)) == ("phase_1", "run/phase_1")
  assert (second.name, str(second.workdir)) == ("phase_2", "run/phase_2")
  assert first.config.data.length == 16
  assert first.config.optimizer.learning_rate == 1.0
  assert first.config.init_from == "elsewhere"
  assert second.config.data.length == 32
  assert second.config.objective.name == "masked_lm"
  assert second.config.init.fresh == "a"
  assert second.config.init_from == str(tmp_path / "run/phase_1")
  for phase in first, second:
    assert not phase.config.phases
  assert config.data.length == 32


def test_every_phase_has_rows_of_its_own(tmp_path):
  seeds = [
      phase.config.seed
      for phase in phases.phase_configs(
          config_of({"phase_1": {}, "phase_2": {"seed": 3}, "phase_3": {}}),
          tmp_path,
      )
  ]
  assert seeds == [0, 3, 2]


def test_ten_phases_run_in_order(tmp_path):
  config = config_of({f"phase_{i}": {"seed": i} for i in range(10, 0, -1)})
  seeds = [p.config.seed for p in phases.phase_configs(config, tmp_path)]
  assert seeds == list(range(1, 11))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"warmup": {}}, "phases has warmup; phases are named phase_1, in"),
        ({"phase_1": {}, "phase_3": {}}, "named phase_1, phase_2, in"),
        ({"phase_1": 3}, "phase_1 is 3; it must be a section"),
        (
            {"phase_1": {"dat": {}}},
            "phase_1.dat is no key.*config.phases.phase_1.data",
        ),
        (
            {"phase_1": {"train": {"steps": 3}}},
            r"phase_1\.train\.steps is no key.*num_steps",
        ),
        ({"phase_1": {"phases": {}}}, r"phase_1\.phases .*has no phases of"),
        (
            {"phase_1": {"train": {"num_steps": "ten"}}},
            "num_steps is 'ten'; it must be a whole number",
        ),
        ({"phase_1": {"train": 3}}, r"phase_1\.train is 3; it must be a sec"),
        ({"phase_1": {"seed": {"a": 1}}}, "seed is {'a': 1}.*a whole number"),
        (
            {"phase_1": {}, "phase_2": {"init_from": "x"}},
            "phase_2.init_from is 'x', and phase_2 starts from phase_1",
        ),
    ],
)
def test_mistakes_in_a_phase(tmp_path, own, message):
  with pytest.raises(UserError, match=f"(?s){message}"):
    phases.phase_configs(config_of(own), tmp_path)


def test_every_phase_needs_a_store(tmp_path):
  config = two(
      {"data": {"store": "a"}}, {"data": {"store": ""}},
      **{"data.synthetic": False},
  )  # fmt: skip
  flag = "config.phases.phase_2.data.store"
  with pytest.raises(UserError, match=f"{flag} is empty.*--{flag}=STORE"):
    phases.phase_configs(config, tmp_path)
  config = two({"data": {"length": 16}}, **{"data.synthetic": False})
  message = r"config\.data\.store is empty.*--length 16: --config\.data\.store="
  with pytest.raises(UserError, match=message):
    phases.phase_configs(config, tmp_path)


# --- Order ---


@pytest.fixture(name="runs")
def runs_of_phases(monkeypatch):
  """Takes the place of each phase's run; a dict gives its signal by name."""
  signals, names = {}, []

  def run(config, workdir, *, quiet):
    assert quiet and not config.phases
    names.append(workdir.name)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    facts = {"rows_digest": "", "tokenizer_digest": "", "start": ""}
    facts |= {"sources": [], "unigram_entropy": None}
    (workdir / "store.json").write_text(json.dumps(facts))
    state = TrainState(jnp.zeros((), jnp.int32), {}, ())
    return Result(state, 0, {}, signals.get(workdir.name), 0.0)

  monkeypatch.setattr(pretrain, "pretrain", run)
  return signals, names


def test_finished_phases_are_not_run_again(tmp_path, runs):
  signals, names = runs
  config = config_of({"phase_1": {}, "phase_2": {}, "phase_3": {}})
  signals["phase_2"] = signal.SIGTERM
  assert _pretrain(config, tmp_path, quiet=True).stopped_by == signal.SIGTERM
  assert names == ["phase_1", "phase_2"]
  ends = {"phase_1": 20, "phase_2": None, "phase_3": None}
  assert workdirs.phases(tmp_path) == ends
  signals.clear()
  names.clear()
  assert _pretrain(config, tmp_path, quiet=True).stopped_by is None
  assert names == ["phase_2", "phase_3"]
  assert set(workdirs.phases(tmp_path).values()) == {20}
  names.clear()
  _pretrain(config, tmp_path, quiet=True)
  assert names == ["phase_3"]
  names.clear()
  longer = helpers.override(config, {"train.num_steps": 30})
  _pretrain(longer, tmp_path, quiet=True)
  assert names == ["phase_1", "phase_2", "phase_3"]


def test_phases_may_be_added_but_not_dropped_or_changed(tmp_path, runs):
  _, names = runs
  _pretrain(config_of({"phase_1": {}}), tmp_path, quiet=True)
  _pretrain(two(), tmp_path, quiet=True)
  assert names == ["phase_1", "phase_2"]
  with pytest.raises(UserError, match="of 2 phases and this config has 1"):
    _pretrain(config_of({"phase_1": {}}), tmp_path, quiet=True)
  changed = two({"train": {"batch_size": 16}})
  with pytest.raises(UserError, match=r"phase_1 holds.*batch_size = 8 and"):
    _pretrain(changed, tmp_path, quiet=True)
  changed = two(None, {"optimizer": {"name": "lamb"}})
  with pytest.raises(UserError, match=r"phase_2 holds.*name = 'adam' and"):
    _pretrain(changed, tmp_path, quiet=True)


def test_folders_with_and_without_phases(tmp_path, runs):
  _pretrain(two(), tmp_path / "chain", quiet=True)
  chain, single = tmp_path / "chain", tmp_path / "chain/phase_1"
  with pytest.raises(UserError, match=f"2 phases; name one.*: {chain}/phase_2"):
    workdirs.load(chain)
  with pytest.raises(UserError, match=f"2 phases; name one.*: {chain}/phase_2"):
    convert(chain, tmp_path / "model", to="huggingface")
  for kind in workdirs.PRETRAINING, workdirs.FINETUNING:
    with pytest.raises(UserError, match="2 phases and this config has none"):
      workdirs.check(chain, kind, helpers.tiny_config())
  with pytest.raises(UserError, match="without phases and this config has 2"):
    _pretrain(two(), single, quiet=True)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"data": {"length": 64}}, "phase_2: store .* has rows of 32 tokens"),
        ({"optimizer": {"frozen": "head"}}, "phase_2: .*frozen names 'head'"),
        ({"optimizer": {"name": "sgd"}}, "phase_2: .*name is 'sgd'"),
    ],
)
def test_the_last_phase_is_checked_before_the_first_starts(
    tmp_path, runs, store, second, message
):
  overrides = {"data.synthetic": False, "data.store": store}
  with pytest.raises(UserError, match=message):
    _pretrain(two(None, second, **overrides), tmp_path / "run", quiet=True)
  assert not runs[1] and not (tmp_path / "run").exists()


def test_phases_must_agree_on_the_vocabulary(tmp_path, runs):
  text, names = tmp_path / "text.txt", ("a", "b")
  text.write_text(make_text())
  for name, size in zip(names, (200, 256), strict=True):
    prepare(
        [str(text)], str(tmp_path / name), train_vocab=size, length=32,
        validation_percent=10.0, num_workers=1, progress=False,
    )  # fmt: skip
  own = [{"data": {"store": str(tmp_path / name)}} for name in names]
  config = two(*own, **{"data.synthetic": False})
  message = f"phase_2: store {tmp_path}/b has another vocabulary than .*/a of"
  with pytest.raises(UserError, match=message):
    _pretrain(config, tmp_path / "run", quiet=True)
  assert not runs[1] and not (tmp_path / "run").exists()
  own[1]["init"] = {"vocabulary": "matched"}
  config = two(*own, **{"data.synthetic": False})
  _pretrain(config, tmp_path / "run", quiet=True)
  assert runs[1] == ["phase_1", "phase_2"]


def test_layers_to_be_stacked_are_counted_before_anything_is_trained(tmp_path):
  own = [{"model": {"num_layers": 2}}, {"init": {"layers": "stacked"}}]
  config = two(*own, **{"model.num_layers": 2})
  message = (
      r"phase_2.init.layers is 'stacked' and num_layers is 2, where .* has 2"
  )
  with pytest.raises(UserError, match=message):
    _pretrain(config, tmp_path / "run", quiet=True)
  assert not list(tmp_path.iterdir())


# --- Whole runs ---


def start(workdir, switch):
  config = helpers.ROOT / f"configs/pretrain.py:tiny,runlocal,{switch}"
  flags = {
      "model.hidden_size": 64,
      "model.embedding_size": 32,
      "model.num_layers": 2 if switch == "stacked" else 1,
      "train.log_every_steps": 1,
      "train.eval_every_steps": 4,
      "train.checkpoint_every_steps": 4,
      "phases.phase_2.train.num_steps": STEPS,
  }
  return processes.start(
      *("pretrain", "--workdir", workdir, "--config", config),
      *(f"--config.{name}={value}" for name, value in flags.items()),
  )


@pytest.fixture(scope="module", name="finished")
def undisturbed(tmp_path_factory):
  """The folder of a finished run, by the word that asks for its phases."""

  @functools.cache
  def run(switch):
    workdir = tmp_path_factory.mktemp(switch)
    output = processes.finish(start(workdir, switch))
    assert "phase_1 of 2" in output and "phase_2 of 2" in output
    return workdir

  return run


@pytest.mark.parametrize(
    ("switch", "number"),
    [
        ("staged", signal.SIGTERM),
        ("two_stage", signal.SIGKILL),
        ("stacked", signal.SIGTERM),
    ],
)
@pytest.mark.slow
def test_a_run_stopped_in_phase_2_ends_in_the_same_bits(
    tmp_path, finished, switch, number
):
  metrics = tmp_path / "phase_2/metrics.jsonl"
  processes.stop(start(tmp_path, switch), metrics, 6, number)
  assert workdirs.phases(tmp_path) == {"phase_1": 10, "phase_2": None}
  output = processes.finish(start(tmp_path, switch))
  assert "phase_1 of 2" not in output and "phase_2 of 2" in output
  helpers.assert_equal_trees(
      helpers.read_params(tmp_path / "phase_2", STEPS),
      helpers.read_params(finished(switch) / "phase_2", STEPS),
  )


@pytest.mark.slow
def test_the_second_length_goes_on_with_lamb(finished):
  folders = [finished("staged") / f"phase_{i}" for i in (1, 2)]
  runs = [workdirs.load(folder) for folder in folders]
  assert [run.config.data.length for run in runs] == [16, 32]
  assert [run.config.optimizer.name for run in runs] == ["lamb", "lamb"]
  ends = map(helpers.read_params, folders, (10, STEPS))
  assert [int(end["opt_state/1/count"]) for end in ends] == [10, 10 + STEPS]


@pytest.mark.slow
def test_the_generator_of_stage_two_is_what_stage_one_has_trained(finished):
  first = helpers.read_params(finished("two_stage") / "phase_1", 10)
  second = helpers.read_params(finished("two_stage") / "phase_2", STEPS)
  places = {
      "discriminator": "generator",
      "embeddings": "generator_embeddings",
      "generator_head": "generator_head",
  }
  frozen = set()
  for name, value in first.items():
    kind, _, path = name.partition("/")
    part, _, rest = path.partition("/")
    if kind == "params":
      frozen.add(f"params/{places[part]}/{rest}")
      np.testing.assert_array_equal(
          second[f"params/{places[part]}/{rest}"], value, err_msg=name
      )
  trained = {name for name in second if name.startswith("params/")} - frozen
  parts = {name.split("/")[1] for name in trained}
  assert parts == {"embeddings", "discriminator", "discriminator_head"}
  kernel = "layer_0/output/kernel"
  assert np.any(
      second[f"params/discriminator/{kernel}"]
      != first[f"params/discriminator/{kernel}"]
  )

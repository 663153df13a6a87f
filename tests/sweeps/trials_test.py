"""Sweep files: what they expand to, and every mistake before anything runs."""

import dataclasses
import functools
import json

import hypothesis
import pytest
from etils import epath
from hypothesis import strategies as st

from electra_jax import config_files
from electra_jax.errors import UserError
from electra_jax.models.config import encoder_config, generator_config
from electra_jax.sweeps import trials as plan
from electra_jax.sweeps.space import Sweep
from tests import helpers
from tests.sweeps.stand_ins import WEIGHTS, Trials

SHIPPED = sorted(
    path.name for path in (helpers.ROOT / "configs/sweeps").glob("*.py")
)
# What the paper searched: Appendix A, §3.2, Appendix B.
PAPER = {
    "loss_weight.py": {"objective.disc_weight": [1, 10, 20, 50, 100]},
    "learning_rate.py": {"optimizer.learning_rate": [1e-4, 2e-4, 3e-4, 5e-4]},
    "finetune.py:size=small": {
        "optimizer.learning_rate": [1e-4, 2e-4, 3e-4, 5e-3]
    },
    "finetune.py:size=base": {
        "optimizer.learning_rate": [3e-5, 5e-5, 1e-4, 1.5e-4],
        "optimizer.layerwise_decay": [0.9, 0.8, 0.7],
    },
    "finetune.py:size=large": {"train.num_epochs": [3, 10]},
}
GLUE = {"cola", "sst", "mrpc", "sts", "qqp", "mnli", "qnli", "rte"}


@functools.cache
def shipped(name):
  return plan.make_plan(f"{helpers.ROOT}/configs/sweeps/{name}")


@pytest.fixture
def trials(tmp_path):
  return Trials(tmp_path)


def resolved(stage):
  """The config that a stage would run with."""
  return config_files.load_config(
      f"{helpers.ROOT}/{stage.config}", stage.overrides
  )


@pytest.mark.parametrize("argument", ["", ":seeds=2,runlocal"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sweeps_expand(name, argument):
  made = shipped(name + argument)
  assert len(made.trials) == len(made.sweep.points) * (
      made.sweep.seeds if made.trials[0].seed is not None else 1
  )
  assert "metric" in made.sweep.labels
  assert set(made.keys) & set(made.sweep.labels)
  for trial in made.trials:
    assert len(trial.name) <= 130 and "/" not in trial.name
    first, *judges = [resolved(stage) for stage in trial.stages]
    for key, value in trial.point.items():
      assert f"--config.{key}={value}" in trial.stages[0].overrides or (
          dict(plan.flat(first))[key] == value
      )
    is_local = "runlocal" in argument
    assert all(c.data.synthetic == is_local for c in (first, *judges))
    for judge in judges:
      for shape in ("num_layers", "hidden_size", "embedding_size"):
        assert judge.model[shape] == first.model[shape]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_searches_are_here(name):
  made = shipped(name)
  for key, values in PAPER[name].items():
    assert [*dict.fromkeys(t.point[key] for t in made.trials)] == values
  product = 1
  for values in PAPER[name].values():
    product *= len(values)
  assert len(made.trials) == product
  if "finetune" not in name:
    tasks = {stage.folder for stage in made.trials[0].stages[1:]}
    assert tasks == GLUE


def test_mask_share_holds_both_of_the_papers():
  shares = {
      t.point["objective.mask_prob"] for t in shipped("mask_share.py").trials
  }
  assert {0.15, 0.25} <= shares


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_generators_of_every_width_can_be_built(size):
  made = shipped(f"generator_width.py:size={size}")
  for trial in made.trials:
    config = resolved(trial.stages[0])
    assert config.train.num_steps == 500_000
    model = config.model
    generator = generator_config(
        encoder_config(
            30522, model.num_layers, model.hidden_size, model.embedding_size
        ),
        model.generator_width_ratio,
    )
    assert generator.hidden_size % generator.num_heads == 0
  names = {t.point["objective.generator"] for t in made.trials}
  assert names == {"masked_lm", "unigram"}


def test_recipe_draws_as_told():
  few, many = (shipped(f"recipe.py:points={n}") for n in (4, 8))
  assert [t.name for t in few.trials] == [t.name for t in many.trials[:4]]
  for other in ("draw=random", "draw_seed=1"):
    names = {t.name for t in shipped(f"recipe.py:points=4,{other}").trials}
    assert names.isdisjoint(t.name for t in few.trials)


def test_a_trial_is_one_point_and_one_seed(trials):
  made = trials.plan()
  assert [trial.name for trial in made.trials] == [
      f"disc_weight={weight},seed={seed}"
      for weight in (1, 10, 20, 50)
      for seed in (0, 1)
  ]
  trial = made.trials[3]
  assert (dict(trial.point), trial.seed) == ({"objective.disc_weight": 10}, 1)
  (stage,) = trial.stages
  command = stage.command(epath.Path("out") / trial.name)
  assert command[1:5] == ["-m", "electra_jax", "pretrain", "--config"]
  assert command[5] == f"{helpers.ROOT}/configs/pretrain.py:tiny,runlocal"
  assert command[6:] == [
      *("--workdir", "out/disc_weight=10,seed=1"),
      *("--config.objective.disc_weight=10.0", "--config.seed=1"),
  ]
  assert stage.end == 20


def test_a_judged_trial_is_fine_tuned_from_its_weights(trials):
  made = plan.make_plan(
      trials.sweep(
          'Sweep("configs/pretrain.py:small,runlocal",'
          ' grid({"model.hidden_size": (64, 128)}),'
          ' judges=("configs/finetune.py:task=rte,runlocal",))'
      ),
      ["--config.train.num_steps=3", "--judge.seeds=4"],
  )
  first, judge = made.trials[1].stages
  assert (first.folder, first.end) == ("pretrain", 3)
  assert (judge.verb, judge.folder, judge.end) == ("finetune", "rte", 4)
  command = judge.command(epath.Path("out"))
  assert command[command.index("--workdir") + 1] == "out/rte"
  assert "--config.init_from=out/pretrain" in command
  assert "--config.seeds=4" in command and "--judge.seeds=4" not in command
  config = resolved(judge)
  assert (config.model.hidden_size, config.model.embedding_size) == (128, 128)
  assert "--config.train.num_steps=3" not in command


def test_a_fine_tuning_has_its_seeds_in_one_run(trials):
  made = trials.plan(
      'Sweep("configs/finetune.py:task=rte,runlocal",'
      ' grid({"optimizer.learning_rate": (1e-4, 1e-3)}), seeds=3)'
  )
  assert [t.name for t in made.trials] == [
      "learning_rate=0.0001",
      "learning_rate=0.001",
  ]
  (stage,) = made.trials[0].stages
  assert resolved(stage).seeds == stage.end == 3


def test_the_last_phase_is_what_a_staged_run_ends_with(trials):
  made = trials.plan(
      'Sweep("configs/pretrain.py:base,staged,runlocal", [{}],'
      ' judges=("configs/finetune.py:task=rte,runlocal",))'
  )
  (trial,) = made.trials
  assert (trial.name, made.keys) == ("seed=0", ())
  first, judge = trial.stages
  assert (first.last_phase, first.end) == ("phase_2", 10)
  assert judge.start == "pretrain/phase_2"


def test_names_tell_keys_apart_and_stay_short(trials):
  made = trials.plan(
      'Sweep("configs/finetune.py:task=rte,runlocal", [{'
      '"data.tokenizer": "a b/" + c * 200, "model.dtype": "float32",'
      ' "data.packing": c == "y"} for c in "xy"])'
  )
  for trial in made.trials:
    assert trial.name.startswith("tokenizer=a_b_")
    assert len(trial.name) < 140
  assert len({trial.name for trial in made.trials}) == 2
  assert plan.short_names(["model.x", "data.x", "y"]) == {
      "model.x": "model.x",
      "data.x": "data.x",
      "y": "y",
  }


FINETUNE = '"configs/finetune.py:task=rte,runlocal"'


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ('Sweep(TINY, [{"optimizer.lerning_rate": 1e-3}])', [], "'optimizer.lerning_rate', which configs/pretrain.py:tiny has not; the nearest key is 'optimizer.learning_rate'"),
        ('Sweep(TINY, [{"disc_weight": 1.0}])', [], "nearest key is 'objective.disc_weight'"),
        ('Sweep(TINY, [{"train.num_steps": 1.5}])', [], "num_steps"),
        ('Sweep(TINY, [{"train.num_steps": 2}], seeds=0)', [], "0 seeds"),
        ('Sweep(TINY, [])', [], "has 0 points"),
        ('Sweep(TINY, [{}], goal="best")', [], "the goal 'best'"),
        ('Sweep(TINY, [{"seed": 1}])', [], "give the number of seeds as seeds="),
        ('Sweep(TINY, grid({"objective.disc_weight": (1.0, 1.0000001)}))', [], "two trials named disc_weight=1,seed=0;"),
        ('Sweep(TINY, [{"train.num_steps": 2}])', ["--config.train.num_steps=3"], "num_steps is given for all trials"),
        ('Sweep(TINY, [{}])', ["--config.train.num_stepz=3"], "num_steps"),
        ('Sweep(TINY, [{}], metric="rtd_auc")', [], "has the metric 'rtd_auc'; one of pre-training"),
        ('Sweep(TINY, [{}])', ["--judge.seeds=3"], "--judge.seeds=3 has no meaning"),
        (f'Sweep(TINY, [{{}}], judges=({FINETUNE}, {FINETUNE}))', [], "have the same task"),
        (f'Sweep({FINETUNE}, [{{}}], judges=({FINETUNE},))', [], "judges are for pre-training"),
        ('Sweep("configs/nowhere.py", [{}])', [], "there is no config file"),
        ('int("many")', [], "many"),
    ],
)  # fmt: skip
def test_wrong_sweeps_end_with_one_sentence(text, overrides, message, trials):
  flag = trials.sweep(text.replace("TINY", '"configs/pretrain.py:tiny"'))
  with pytest.raises(UserError) as told:
    plan.make_plan(flag, overrides)
  assert message in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("configs/sweeps/nowhere.py", "there is no sweep file .*nowhere.py"),
        ("configs/sweeps/loss_weight.py:sise=base", "'sise=base' is not one of"),
        ("configs/sweeps/loss_weight.py:seeds=few", "few"),
        ("configs/sweeps/finetune.py:size=huge", "'huge' is not one of tiny"),
        ("configs/sweeps/recipe.py:draw=grid", "draw=grid is not one of quasi"),
        ("configs/sweeps/mask_share.py:tasks=none", "different generators"),
    ],
)  # fmt: skip
def test_wrong_arguments_end_with_one_sentence(flag, message):
  with pytest.raises(UserError, match=message):
    plan.make_plan(f"{helpers.ROOT}/{flag}")


def test_a_sweep_is_found_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  flag = "configs/sweeps/loss_weight.py:runlocal"
  assert (
      plan.make_plan(flag).trials == shipped("loss_weight.py:runlocal").trials
  )


def test_a_folder_keeps_its_plan(trials, tmp_path):
  output = epath.Path(tmp_path / "a" / "sweep")
  made = trials.plan()
  plan.enter(made, output)
  record = json.loads((output / "sweep.json").read_text())
  assert list(record["trials"]) == [trial.name for trial in made.trials]
  assert len(list(output.iterdir())) == 1
  plan.enter(trials.plan(WEIGHTS.replace("seeds=2", "seeds=3")), output)
  record = json.loads((output / "sweep.json").read_text())
  assert len(record["trials"]) == 12
  with pytest.raises(
      UserError, match=r"trial disc_weight=1,seed=2, which .* has not at all"
  ):
    plan.enter(made, output)
  with pytest.raises(UserError, match="has with other values"):
    longer = ["--config.train.num_steps=30"]
    three = trials.sweep(WEIGHTS.replace("seeds=2", "seeds=3"))
    plan.enter(plan.make_plan(three, longer), output)


def test_seeds_may_be_added_to_a_finetuning(trials, tmp_path):
  text = 'Sweep("configs/finetune.py:task=rte,runlocal", [{}], seeds=3)'
  output = epath.Path(tmp_path / "sweep")
  plan.enter(trials.plan(text), output)
  made = trials.plan(text.replace("3", "5"))
  plan.enter(made, output)
  assert (made.trials[0].name, made.trials[0].stages[0].end) == ("only", 5)


def test_an_output_that_is_a_file_is_refused(trials, tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="cannot be written"):
    plan.enter(trials.plan(), epath.Path(tmp_path / "file"))


@hypothesis.given(st.integers(0, 40), st.integers(1, 12))
def test_shares_hold_every_trial_once(count, shares):
  numbers = [plan.Trial(str(i), {}, None, ()) for i in range(count)]
  found = [
      trial
      for i in range(1, shares + 1)
      for trial in plan.share_of(numbers, (i, shares))
  ]
  assert sorted(found, key=lambda t: int(t.name)) == numbers


def test_a_sweep_says_what_it_is():
  names = {field.name for field in dataclasses.fields(Sweep)}
  assert all(f"    {name}: " in Sweep.__doc__ for name in names)

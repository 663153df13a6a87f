"""A model that comes with the package: its name in the place of a workdir."""

import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from electra_jax import api
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.pretrained_encoder import find_encoder
from electra_jax.interop.convert import convert
from electra_jax.interop.workdir import read_pretrained
from electra_jax.pretraining.evaluation import evaluate_run
from electra_jax.pretraining.trainer import abstract_params
from electra_jax.reporting import records
from electra_jax.runs import recorded, shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.weights import find_weights, networks_of
from electra_jax.training.weights_file import find_weights_file
from electra_jax.trees import count_parameters
from tests import helpers


@pytest.fixture(name="place")
def a_shipped_model(tiny_run, tmp_path, monkeypatch) -> pathlib.Path:
  """The folder of "tiny-xx", made of the tiny run; elsewhere than the test."""
  folder = tmp_path / "package" / "shipped"
  folder.mkdir(parents=True)
  convert(tiny_run, folder / "tiny_xx", to="weights")
  monkeypatch.setattr(shipped, "SHIPPED", folder)
  (tmp_path / "here").mkdir()
  monkeypatch.chdir(tmp_path / "here")
  return folder / "tiny_xx"


def listing(folder: pathlib.Path) -> dict[str, bytes]:
  return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in folder.rglob("*")
      if path.is_file()
  }


def test_its_name_opens_it_and_it_stays_as_it_is(place, tiny_run):
  before = listing(place)
  run = workdirs.load("tiny-xx")
  original = read_pretrained(tiny_run, workdirs.load(tiny_run))
  found = read_pretrained("tiny-xx", run)
  assert found.step == original.step == 4 and found.moments is None
  rounded = jax.tree.map(
      lambda x: x.astype(jnp.bfloat16).astype(np.float32), original.params
  )
  helpers.assert_equal_trees(found.params, rounded)
  assert find_weights("tiny-xx", run).origin == "weights of step 4 in tiny-xx"
  assert listing(place) == before
  assert not list(pathlib.Path().iterdir())


def test_it_tells_nothing_of_the_machine(place):
  names = {path.name for path in place.rglob("*") if path.is_file()}
  assert names == {
      *("config.json", "store.json", "weights.json", "weights.safetensors"),
      *("vocab.txt", "tokenizer_options.json"),
  }
  told = b"".join(
      content for name, content in listing(place).items() if "json" in name
  )
  assert b"/" not in told.replace(b"application/", b"")
  assert workdirs.load("tiny-xx").config.data.store == ""


def test_a_source_that_one_stands_in_is_told_by_its_name(
    tiny_run, tmp_path, monkeypatch
):
  monkeypatch.chdir(tiny_run)
  convert(".", tmp_path / "out", to="weights")
  assert workdirs.start_of(tmp_path / "out") == "converted from tiny_run"


def test_it_converts_and_starts_a_fine_tuning(place, tmp_path):
  convert("tiny-xx", tmp_path / "exported", to="huggingface")
  assert (tmp_path / "exported/discriminator/model.safetensors").exists()
  config = helpers.load_config("configs/finetune.py:task=rte,size=small")
  encoder = find_encoder(
      helpers.override(
          config, helpers.NARROW_ENCODER | {"init_from": "tiny-xx"}
      )
  )
  assert encoder.origin == "weights of step 4 in tiny-xx"
  assert str(encoder.checkpoints) == str(place / "checkpoints")


def test_an_evaluation_asks_for_a_store(place):
  run = workdirs.load("tiny-xx")
  with pytest.raises(UserError, match=r"no token store is named.*--store") as e:
    evaluate_run("tiny-xx", run)
  assert str(place / "tokenizer") in str(e.value)


@pytest.mark.parametrize("verb", [api.pretrain, api.finetune])
def test_nothing_is_trained_into_it(place, verb):
  before = listing(place)
  name = "pretrain:tiny" if verb is api.pretrain else "finetune:task=rte"
  with pytest.raises(UserError, match="comes with the package and is not"):
    verb(f"{name},runlocal", "tiny-xx", quiet=True)
  assert listing(place) == before


def test_a_report_names_its_card(place):
  with pytest.raises(UserError, match=r"tiny_xx/README\.md"):
    records.read_runs(["tiny-xx"])


def test_a_folder_of_its_name_goes_before_it(place):
  assert shipped.is_shipped("tiny-xx")
  assert str(shipped.place_of("tiny-xx")) == str(place)
  pathlib.Path("tiny-xx").mkdir()
  assert not shipped.is_shipped("tiny-xx")
  with pytest.raises(UserError, match="tiny-xx is not a workdir"):
    workdirs.load("tiny-xx")


def test_an_unknown_name_is_told_which_there_are(place):
  with pytest.raises(UserError, match="comes with the package: tiny-xx"):
    workdirs.load("tiny-yy")


def test_a_fine_tuned_run_is_not_passed_on_so(tmp_path, monkeypatch):
  run = types.SimpleNamespace(kind=workdirs.FINETUNING)
  monkeypatch.setattr(workdirs, "load", lambda _: run)
  (tmp_path / "run").mkdir()
  (tmp_path / "run/task.json").write_text("{}")
  from electra_jax.interop import convert as module

  with pytest.raises(UserError, match="--to weights is for a pretrain run"):
    module._pretraining_of(tmp_path / "run")


def test_its_name_stays_a_name_in_what_a_run_records(place, tmp_path):
  assert shipped.absolute_or_name("tiny-xx") == "tiny-xx"
  here = tmp_path / "here"
  assert shipped.absolute_or_name("run") == str(here / "run")
  config = helpers.finetune_config("sst", init_from="tiny-xx")
  assert finetune._with_absolute_paths(config).init_from == "tiny-xx"
  config = helpers.tiny_config(init_from="tiny-xx")
  recorded.write_whole_config(here, config)
  assert '"init_from": "tiny-xx"' in (here / "phases_config.json").read_text()


def test_what_is_shipped_is_small_whole_and_described():
  assert shipped.names() == ["tiny-en"]
  place = pathlib.Path(shipped.place_of("tiny-en"))
  files = [path for path in place.rglob("*") if path.is_file()]
  assert sum(path.stat().st_size for path in files) <= 8_000_000
  run = workdirs.load("tiny-en")
  weights = find_weights_file(workdirs.checkpoints("tiny-en"))
  abstract = abstract_params(networks_of(run))
  params = weights.read(abstract, None)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
  assert run.config.model.dtype == "float32"
  card = (place / "README.md").read_text()
  assert f"{weights.record.step:,}" in card
  assert f"{count_parameters(abstract):,}" in card
  told = "".join(path.read_text() for path in files if path.suffix == ".json")
  assert '"/' not in told

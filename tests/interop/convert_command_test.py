"""Conversion as a command: what it tells, and its mistakes."""

import pytest
import safetensors.numpy

from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.interop import huggingface
from electra_jax.interop.convert import convert
from electra_jax.runs import workdir as workdirs
from tests import google_models, helpers


def test_mistakes_end_with_one_sentence_and_nothing_written(
    tiny_run, tmp_path, capsys
):
  source = google_models.write(tmp_path / "google", google_models.make_model())
  (tmp_path / "empty").mkdir()
  (tmp_path / "short.txt").write_text(
      "\n".join(google_models.VOCABULARY.read_text().split("\n")[:1000])
  )
  before = sorted(tmp_path.rglob("*"))
  for arguments, message in (
      (("empty", "new", "--to=google"), "holds no model: neither a workdir's"),
      (("nowhere", "new", "--to=google"), "holds no model"),
      (("google", "empty", "--to=workdir"), "exists; choose another TARGET"),
      (
          ("google", "new", "--to=workdir", "--tokenizer=short.txt"),
          "the vocabulary has 1,000 pieces and the model in",
      ),
      (
          ("google", "new", "--to=workdir", "--tokenizer=none.txt"),
          "there is no vocabulary",
      ),
      ((str(tiny_run), "new", "--to=workdir"), "is a workdir already"),
      (
          (str(tiny_run), "new", "--to=google", "--tokenizer=short.txt"),
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


def test_the_command_tells_what_it_did(tmp_path, capsys):
  google_models.write(tmp_path / "google", google_models.make_model())
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", f"{tmp_path}/google/model.ckpt-7", f"{tmp_path}/run"),
            *(
                "--to",
                "workdir",
                "--tokenizer",
                str(google_models.VOCABULARY),
                "--cased",
            ),
        ]
    )
  assert stop.value.code == 0
  assert capsys.readouterr().out == (
      f"{tmp_path}/run: 340,431 parameters of step 7, with the optimizer's"
      " moments\n"
  )
  assert not workdirs.load(tmp_path / "run").tokenizer.lowercase


@pytest.mark.parametrize("beside", [True, False])
def test_a_lower_case_vocabulary_may_keep_accents(tmp_path, beside):
  source = google_models.write(tmp_path / "google", google_models.make_model())
  lines = google_models.VOCABULARY.read_text(encoding="utf-8").split("\n")
  lines[-2:-1] = ["möchte"]
  folder = tmp_path / "google" if beside else tmp_path
  (folder / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")
  given = () if beside else ("--tokenizer", str(folder / "vocab.txt"))
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", str(source), f"{tmp_path}/run", "--to", "workdir"),
            *(*given, "--keep-accents"),
        ]
    )
  assert stop.value.code == 0
  own = workdirs.load(tmp_path / "run").tokenizer
  assert own.lowercase and not own.strip_accents
  assert own.tokens(own.encode("MÖCHTE")) == ["möchte"]


def test_the_command_tells_what_it_synthetic(tmp_path, capsys):
  config = google_models.make_model().config
  params = helpers.random_params(config)
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
            *("--tokenizer", str(google_models.VOCABULARY), "--seed", "3"),
        ]
    )
  assert stop.value.code == 0
  told = capsys.readouterr().out.splitlines()
  assert told[0].endswith("of step 0, without the optimizer's moments")
  assert told[1] == (
      "initialised, since the source lacks it: discriminator_head"
  )


def test_the_command_tells_what_it_left_out(tmp_path, capsys):
  google_models.write(
      tmp_path / "google", google_models.make_model(has_two_towers=True)
  )
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

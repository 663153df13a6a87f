"""Models that write text: transformers' folders in and out, as workdirs."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from electra_jax import api
from electra_jax.errors import UserError
from electra_jax.finetuning import finetune
from electra_jax.finetuning.inputs import parse_inputs
from electra_jax.finetuning.model import FinetunedModel
from electra_jax.interop import huggingface_files
from electra_jax.interop.huggingface_seq2seq import read_encoder_decoder
from electra_jax.interop.written_text import read_text_state
from electra_jax.reporting.page import report
from electra_jax.runs import workdir as workdirs
from tests import helpers
from tests.exporting.writers import write_pairs, writer
from tests.interop import golden_seq2seq
from tests.interop.huggingface_seq2seq_test import stored

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
architectures = pytest.mark.parametrize(
    "architecture", golden_seq2seq.ARCHITECTURES
)


def folder_of(folder, architecture, pieces=40, how=None, **changes):
  """A stored model of transformers, with a vocabulary beside it."""
  config, tensors, _ = stored(architecture)
  huggingface_files.write_model(epath.Path(folder), config | changes, tensors)
  words = ["we", "the", "people", "of", "house", "law", "power", "senate"]
  letters = [chr(ord("a") + i) for i in range(pieces - len(words) - 5)]
  vocabulary = [*SPECIAL, *words, *letters]
  (folder / "vocab.txt").write_text("".join(f"{x}\n" for x in vocabulary))
  settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  if how is not None:
    (folder / "generation_config.json").write_text(json.dumps(how))
  return folder


def state_of(workdir):
  return read_text_state(workdir, workdirs.load(workdir), None)


@architectures
def test_a_folder_becomes_a_run_and_that_a_folder(architecture, tmp_path):
  how = {"num_beams": 3, "max_length": 11, "decoder_start_token_id": 2}
  source = folder_of(tmp_path / "hf", architecture, how=how)
  recipe = "finetune:task=summarise"
  done = api.convert(source, tmp_path / "run", to="workdir", config=recipe)
  assert done.source_format == "huggingface" and not done.left_out
  assert "the run is one of task=summarise" in done.notes[0]
  assert "beam search may differ" in done.notes[1]
  run = workdirs.load(tmp_path / "run")
  written = run.config.generation
  assert written.architecture == architecture and written.method == "beam"
  assert (written.beam_size, written.max_target_length) == (3, 10)
  assert written.no_repeat_ngram == 0  # As transformers has it, untold.
  assert run.config.data.max_length == 24  # All that there are.
  read = read_encoder_decoder(source)
  state = state_of(tmp_path / "run")
  helpers.assert_equal_trees(state.params, read.params)
  done = api.convert(tmp_path / "run", tmp_path / "back", to="huggingface")
  assert any("beam" in note for note in done.notes)
  again = read_encoder_decoder(tmp_path / "back")
  assert again.architecture == architecture
  helpers.assert_equal_trees(again.params, read.params)
  told = helpers.read_json(tmp_path / "back/generation_config.json")
  assert (told["num_beams"], told["max_length"]) == (3, 11)
  assert told["suppress_tokens"] == [0, 1, 2, 4]


@pytest.mark.slow
def test_embeddings_of_another_width_go_out_and_come_back(tmp_path):
  changes = {"generation.architecture": "separate", "generation.beam_size": 2}
  run = writer(tmp_path / "run", helpers.GOLDEN / "vocab.txt", **changes)
  api.convert(run, tmp_path / "hf", to="huggingface")
  read = read_encoder_decoder(tmp_path / "hf")
  state = state_of(run)
  assert read.encoder.embedding_size == 32 < read.encoder.hidden_size
  helpers.assert_equal_trees(read.params, jax.device_get(state.params))
  api.convert(tmp_path / "hf", tmp_path / "again", to="workdir")
  again = workdirs.load(tmp_path / "again")
  assert again.config.task == "translate"
  assert again.tokenizer.digest == workdirs.load(run).tokenizer.digest


@pytest.mark.parametrize(
    "is_first", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_model_that_writes_the_beginning_first_is_told(is_first, tmp_path):
  source = folder_of(tmp_path / "hf", "separate")
  config, tensors, _ = stored("separate")
  biases = np.zeros(40, np.float32)
  biases[2 if is_first else 7] = 50
  for name in ("bias", "decoder.bias"):
    tensors[f"decoder.cls.predictions.{name}"] = biases
  huggingface_files.write_model(epath.Path(source), config, tensors)
  done = api.convert(source, tmp_path / "run", to="workdir")
  told = [note for note in done.notes if "writes [CLS] first" in note]
  assert len(told) == is_first


def test_the_folder_has_a_card(tmp_path):
  run = writer(tmp_path / "run", helpers.GOLDEN / "vocab.txt")
  api.convert(run, tmp_path / "hf", to="huggingface")
  card = (tmp_path / "hf/README.md").read_text()
  assert "writes a text from a text: 2 layers of 64" in card
  assert "EncoderDecoderModel.from_pretrained" in card
  assert "pipeline_tag: text2text-generation" in card


def test_rows_of_no_piece_are_cut(tmp_path):
  source = folder_of(tmp_path / "hf", "shared", pieces=37)
  done = api.convert(source, tmp_path / "run", to="workdir")
  assert any("the last 3, which no text can reach" in x for x in done.notes)
  params = state_of(tmp_path / "run").params
  assert params["embeddings"]["word_embeddings"]["embedding"].shape[0] == 37
  assert params["target_head"]["output_bias"].shape == (37,)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"to": "huggingface"}, "encoder-decoder.*choose --to workdir"),
        ({}, {"to": "google"}, "encoder-decoder.*choose --to workdir"),
        (
            {"decoder_start_token_id": 7},
            {"to": "workdir"},
            "says decoder_start_token_id 7, and this package",
        ),
        ({"eos_token_id": 2}, {"to": "workdir"}, "says eos_token_id 2"),
        (
            {},
            {"to": "workdir", "config": "finetune:task=rte"},
            "a recipe for task=rte, and the model writes a text",
        ),
        (
            {},
            {"to": "workdir", "config": "finetune:task=autoencode"},
            "a recipe for task=autoencode, and the model writes a text",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, options, message):
  source = folder_of(tmp_path / "hf", "shared", **changes)
  with pytest.raises(UserError, match=message):
    api.convert(source, tmp_path / "out", **options)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "to", "message"),
    [
        ({"generation.architecture": "unilm"}, "huggingface", "=unilm, which"),
        ({}, "google", "--to google has no place for a decoder"),
        ({}, "weights", "--to weights has no place for a decoder"),
    ],
)
def test_runs_that_no_format_holds_are_refused(tmp_path, changes, to, message):
  run = writer(tmp_path / "run", helpers.GOLDEN / "vocab.txt", **changes)
  with pytest.raises(UserError, match=message):
    api.convert(run, tmp_path / "out", to=to)
  assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_every_verb_takes_the_run(tmp_path):
  pytest.importorskip("sacrebleu")
  source = folder_of(tmp_path / "hf", "shared", how={"max_length": 9})
  run = tmp_path / "run"
  api.convert(source, run, to="workdir")
  model = FinetunedModel(run)
  examples = parse_inputs(model.task(), ["we the people"])
  (record,) = model.predict(examples).records
  assert record["written"] and record["score"] < 0
  data = tmp_path / "data"
  data.mkdir()
  write_pairs(data, {"train": 16, "dev": 6})
  found = model.evaluate(folder=data)
  assert set(found) == {f"translate/dev/{x}" for x in ("chrf", "bleu", "loss")}
  report([run], tmp_path / "page.html")
  assert "converted from" in (tmp_path / "page.html").read_text()
  start = {"init_from": str(run), "data.folder": str(data)}
  values = {
      **start,
      "data.synthetic": False,
      "model.num_layers": 0,
      "model.hidden_size": 0,
      "model.embedding_size": 0,
      "data.max_length": 16,
      "generation.max_target_length": 8,
      "generation.architecture": "shared",
      "train.num_epochs": 1.0,
      "train.batch_size": 8,
  }
  config = helpers.finetune_config("translate", **values)
  config = helpers.override(config, {"task": "translate"})
  finetune.finetune(config, tmp_path / "tuned", quiet=True)
  pytest.importorskip("onnx")
  pytest.importorskip("onnxruntime")
  done = api.export(run, tmp_path / "out", to="onnx", texts=["we the people"])
  assert done.files[1].found.differing == 0


@pytest.mark.slow
@architectures
def test_transformers_writes_what_the_run_writes(architecture, tmp_path):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  changes = {
      "generation.architecture": architecture,
      "generation.method": "greedy",
      "generation.min_length": 2,
      "generation.no_repeat_ngram": 2,
  }
  run = writer(tmp_path / "run", helpers.GOLDEN / "vocab.txt", **changes)
  api.convert(run, tmp_path / "hf", to="huggingface")
  theirs = transformers.EncoderDecoderModel.from_pretrained(tmp_path / "hf")
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
  model = FinetunedModel(run)
  texts = ["we the people", "the law of the house and the senate"]
  records = model.predict(parse_inputs(model.task(), texts)).records
  given = tokenizer(texts, return_tensors="pt", padding=True)
  with torch.no_grad():
    written = theirs.eval().generate(**given)
  for record, ids in zip(records, written, strict=True):
    # Theirs keeps the mark of a word that goes on where a text begins.
    text = tokenizer.decode(ids, skip_special_tokens=True).removeprefix("##")
    assert text.replace(" ", "") == record["written"].replace(" ", "") != ""

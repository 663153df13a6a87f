"""Folders of other people's models: sharded, padded, fine-tuned, broken."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from electra_jax.cli import main as cli
from electra_jax.errors import UserError
from electra_jax.interop import huggingface
from electra_jax.interop.convert import convert
from electra_jax.interop.huggingface_tokenizer import write_tokenizer
from electra_jax.interop.huggingface_vocabulary import read_tokenizer
from electra_jax.interop.workdir import read_pretrained
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.text.tokenizer import load_tokenizer
from tests import helpers

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]
WORDS = "electra.embeddings.word_embeddings.weight"
HEAD = "discriminator_predictions."


@pytest.fixture(name="folder")
def a_discriminator(tmp_path):
  """An ELECTRA whose proportions are nobody's default, with a vocabulary."""
  encoder = EncoderConfig(
      *(len(PIECES), 16, 64),
      num_layers=1,
      num_heads=2,
      intermediate_size=96,
      max_position_embeddings=32,
  )
  config = ElectraConfig(encoder, None, has_generator_head=False)
  huggingface.write_model(tmp_path, config, helpers.random_params(config), 0)
  folder = (tmp_path / "discriminator").rename(tmp_path / "model")
  (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
  (folder / "tokenizer_config.json").write_text(
      '{"tokenizer_class": "ElectraTokenizer", "do_lower_case": true}'
  )
  return folder


def tensors_of(folder):
  return safetensors.numpy.load_file(folder / "model.safetensors")


def write(folder, tensors, name="model.safetensors"):
  safetensors.numpy.save_file(tensors, folder / name)


def change_config(folder, **values):
  path = folder / "config.json"
  config = {**json.loads(path.read_text()), **values}
  path.write_text(json.dumps({k: x for k, x in config.items() if x != "gone"}))


def pad(folder, rows):
  """Makes the word table longer, as training on some machines does."""
  tensors = tensors_of(folder)
  extra = np.ones((rows, tensors[WORDS].shape[1]), np.float32)
  tensors[WORDS] = np.concatenate([tensors[WORDS], extra])
  write(folder, tensors)
  change_config(folder, vocab_size=len(tensors[WORDS]))


def to_workdir(folder, **options):
  config = helpers.load_config("configs/pretrain.py:tiny")
  target = folder.parent / "run"
  return convert(folder, target, to="workdir", config=config, **options)


def read_run(folder):
  run = workdirs.load(folder.parent / "run")
  return read_pretrained(folder.parent / "run", run)


def test_shards_are_read_as_one(folder):
  whole = huggingface.read_model(folder, seed=0)
  tensors = tensors_of(folder)
  (folder / "model.safetensors").unlink()
  files = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
  for file in set(files.values()):
    write(folder, {n: x for n, x in tensors.items() if files[n] == file}, file)
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
  again = huggingface.read_model(folder, seed=0)
  helpers.assert_equal_trees(again.params, whole.params)

  def refuse(places, message):
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=message):
      huggingface.read_model(folder, seed=0)

  refuse({**files, WORDS: "model-2.safetensors"}, r"model-2.* is not there")
  refuse({**files, WORDS: "../x.safetensors"}, "no file of its own folder")
  refuse({**files, WORDS: ".."}, "no file of its own folder")
  refuse({**files, "more": "model-0.safetensors"}, "'more' is in .*lacks it")
  refuse([], "weight_map is a list where the file")
  refuse({}, "weight_map is an object where the file")


def test_padded_rows_are_dropped_and_told(folder, capsys):
  whole = huggingface.read_model(folder, seed=0)
  pad(folder, 8)
  with pytest.raises(SystemExit) as stop:
    cli.main(
        [
            *("convert", str(folder), f"{folder.parent}/run"),
            *("--to", "workdir", "--config", "configs/pretrain.py:small_pp"),
        ]
    )
  assert stop.value.code == 0
  assert capsys.readouterr().out.splitlines()[-1] == (
      "the word table has 29 rows and the vocabulary 21 pieces; the last 8,"
      " which no text can reach, were dropped"
  )
  helpers.assert_equal_trees(read_run(folder).params, whole.params)
  # The recipe has another precision; this one answers as the source does.
  assert workdirs.load(folder.parent / "run").config.model.dtype == "float32"


def test_padding_of_a_generator_goes_with_its_bias(tmp_path):
  encoder = EncoderConfig(
      *(40, 16, 64), num_layers=1, num_heads=1, intermediate_size=256
  )
  config = ElectraConfig(encoder, None, has_discriminator_head=False)
  huggingface.write_model(tmp_path, config, helpers.random_params(config), 0)
  folder = tmp_path / "generator"
  (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
  assert to_workdir(folder).notes
  head = read_run(folder).params["generator_head"]
  assert head["output_bias"].shape == (len(PIECES),)


@pytest.mark.parametrize("rows", [-1, 1024])
def test_another_vocabulary_is_no_padding(rows, folder):
  if rows > 0:
    pad(folder, rows)
  else:
    text = "\n".join([*PIECES, "q"]) + "\n"
    (folder / "vocab.txt").write_text(text)
  with pytest.raises(UserError, match="so the tokenizer beside it is not the"):
    to_workdir(folder)
  given = folder / "vocab.txt"
  with pytest.raises(UserError, match="so --tokenizer is not the one that it"):
    to_workdir(folder, tokenizer=given)


@pytest.mark.parametrize(
    "heads",
    [
        {"classifier.dense.weight": (64, 64), "classifier.out_proj.bias": (3,)},
        {"qa_outputs.weight": (2, 64)},
        {"classifier.weight": (5, 64), "crf.transitions": (5, 5)},
    ],
)
def test_heads_of_tasks_are_left_out_by_name(heads, folder):
  whole = huggingface.read_model(folder, seed=0)
  tensors = {n: x for n, x in tensors_of(folder).items() if HEAD not in n}
  more = {name: np.ones(shape, np.float32) for name, shape in heads.items()}
  write(folder, tensors | more)
  model = huggingface.read_model(folder, seed=0)
  assert model.left_out == tuple(sorted({name.split(".")[0] for name in heads}))
  assert model.fresh == ("discriminator_head",)
  for part in ("embeddings", "discriminator"):
    helpers.assert_equal_trees(model.params[part], whole.params[part])


def test_a_new_workdir_has_the_precision_that_is_asked_for(folder):
  to_workdir(folder, dtype="bfloat16")
  run = workdirs.load(folder.parent / "run")
  assert run.config.model.dtype == "bfloat16"


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "bool"])
def test_whole_numbers_are_no_weights(kind, folder):
  tensors = tensors_of(folder)
  tensors["electra.embeddings.position_ids"] = np.arange(32)[None]
  write(folder, tensors)
  huggingface.read_model(folder, seed=0)  # A counter is none either.
  tensors[WORDS] = tensors[WORDS].astype(kind)
  write(folder, tensors)
  message = rf"holds '{WORDS}' as {kind} where weights belong"
  with pytest.raises(UserError, match=message):
    huggingface.read_model(folder, seed=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_named(value, folder):
  tensors = {n: x.astype(np.float64) for n, x in tensors_of(folder).items()}
  tensors[WORDS][3, 2] = value
  write(folder, tensors)
  with pytest.raises(UserError, match=f"'{WORDS}' that are not finite"):
    huggingface.read_model(folder, seed=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "null",
            "config.json is damaged: the whole must be an object and is null",
        ),
        ("[]", "the whole must be an object and is \\[\\]"),
        ("3", "the whole must be an object and is 3"),
        ("", "is damaged: it is empty"),
        ("[" * 100_000, "is damaged"),
        ("\xff", "is damaged"),
    ],
)
def test_a_config_that_is_none_is_told(text, message, folder):
  (folder / "config.json").write_bytes(text.encode("latin-1"))
  with pytest.raises(UserError, match=message):
    to_workdir(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_attention_heads": "gone"}, "no 'num_attention_heads'"),
        ({"num_attention_heads": 0}, "num_attention_heads 0 where a whole"),
        ({"num_attention_heads": True}, "num_attention_heads True where"),
        ({"num_attention_heads": "2"}, "num_attention_heads '2' where"),
        ({"num_attention_heads": None}, "num_attention_heads None where"),
        ({"num_attention_heads": 5}, "does not divide into num_heads 5"),
        ({"hidden_dropout_prob": -3}, "hidden_dropout_prob -3 where a number"),
        ({"hidden_dropout_prob": None}, "hidden_dropout_prob None where"),
        ({"attention_probs_dropout_prob": 1}, "from 0 to below 1"),
        ({"initializer_range": float("nan")}, "initializer_range nan where"),
        ({"num_hidden_layers": 12}, "says num_hidden_layers 12 and the weights"),
        ({"hidden_size": 32}, "hidden_size 32 and the weights beside it have 64"),
        ({"vocab_size": 7}, "vocab_size 7 and the weights beside it have 21"),
        ({"model_type": None}, "type None; give one of type"),
        ({"model_type": ["electra"]}, r"type \['electra'\]; give one of type"),
        ({"hidden_act": None}, "hidden_act None, and this package runs"),
        ({"electra_jax_segments": [1, 0]}, "not of this segment table"),
        ({"electra_jax_segments": 7}, "electra_jax_segments 7, which is not"),
    ],
)  # fmt: skip
def test_odd_settings_are_named(values, message, folder):
  change_config(folder, **values)
  with pytest.raises(UserError, match=message):
    huggingface.read_model(folder, seed=0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (WORDS, lambda x: x[0], "has the shape .16,. where a matrix belongs"),
        (WORDS, lambda x: x[:0], "has the shape .0, 16. where a matrix"),
        (WORDS, lambda x: x[:, :8], "embedding_size 16 and the weights"),
        (WORDS, None, f"has no '{WORDS}'"),
        ("electra.encoder.layer.0.output.dense.bias", lambda x: x[None], "do not belong together"),
        ("electra.encoder.layer.0.output.dense.bias", None, "give a whole one"),
    ],
)  # fmt: skip
def test_odd_tensors_are_named(name, change, message, folder):
  tensors = tensors_of(folder)
  tensor = tensors.pop(name)
  if change is not None:
    tensors[name] = np.ascontiguousarray(change(tensor))
  write(folder, tensors)
  with pytest.raises(UserError, match=message):
    huggingface.read_model(folder, seed=0)


def test_a_damaged_file_of_weights_is_told_wherever_it_ends(folder):
  path = folder / "model.safetensors"
  whole = path.read_bytes()
  header = 8 + int.from_bytes(whole[:8], "little")
  for data in (
      *(b"", whole[:4], whole[: header // 2], whole[:header], whole[:-1]),
      *(b"\xff" * 64, whole[:8] + b"[" * 4000),
      whole.replace(b'"F32"', b'"F99"', 1),
  ):
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
      huggingface.read_model(folder, seed=0)
  path.unlink()
  path.mkdir()
  with pytest.raises(UserError, match=r"cannot read .*model.safetensors"):
    huggingface.read_model(folder, seed=0)


def test_a_new_format_of_numbers_is_named(folder):
  path = folder / "model.safetensors"
  whole = path.read_bytes()
  (folder / "model.safetensors").write_bytes(
      whole.replace(b'"F32"', b'"U32"', 1)
  )
  with pytest.raises(UserError, match="as uint32 where weights belong"):
    huggingface.read_model(folder, seed=0)


@pytest.mark.slow
def test_weights_that_torch_wrote(folder):
  torch = pytest.importorskip("torch")
  whole = huggingface.read_model(folder, seed=0)
  tensors = {n: torch.from_numpy(x) for n, x in tensors_of(folder).items()}
  (folder / "model.safetensors").unlink()
  path = folder / "pytorch_model.bin"

  def refuse(value, message):
    torch.save(value, path)
    with pytest.raises(UserError, match=message):
      huggingface.read_model(folder, seed=0)

  refuse([tensors], "holds a list where tensors by name belong")
  refuse({"state_dict": tensors}, "holds an object as 'state_dict' where a")
  refuse({**tensors, "x": 3}, "holds 3 as 'x' where a dense tensor")
  refuse({**tensors, WORDS: tensors[WORDS].to_sparse()}, "where a dense tensor")
  refuse({**tensors, WORDS: tensors[WORDS].int()}, "as int32 where weights")
  refuse({**tensors, "x": folder}, "could run code and are not loaded")
  files = {name: f"part-{i % 2}.bin" for i, name in enumerate(tensors)}
  path.unlink()
  for file in set(files.values()):
    part = {n: x.half() for n, x in tensors.items() if files[n] == file}
    torch.save(part, folder / file)
  index = {"weight_map": files}
  (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
  again = huggingface.read_model(folder, seed=0).params
  expected = jax.tree.map(
      lambda x: np.asarray(x, np.float16).astype(np.float32), whole.params
  )
  helpers.assert_equal_trees(again, expected)


ODD = (
    None,
    [],
    {},
    "x",
    -1,
    0,
    True,
    1e308,
    10**30,
    [None],
    {"a": 1},
    "\ud800",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_any_value_of_any_key_is_read_or_told(name, folder):
  """Without a traceback; of hundreds of pairs most are told."""
  path = folder / name
  whole = json.loads(path.read_text())
  keys = [
      *whole,
      *("do_lower_case", "strip_accents", "tokenize_chinese_chars"),
      *("added_tokens_decoder", "additional_special_tokens", "mask_token"),
      *("never_split", "auto_map", "layer_norm_eps", "electra_jax_segments"),
  ]
  told = 0
  for key in keys:
    for value in ODD:
      path.write_text(json.dumps({**whole, key: value}))
      try:
        read_tokenizer(folder)
        huggingface.read_model(folder, seed=0)
      except UserError:
        told += 1
  assert told > 5 * len(ODD)


def test_any_value_in_a_tokenizer_json_is_read_or_told(folder):
  write_tokenizer(folder, load_tokenizer(folder / "vocab.txt"), 32)
  path = folder / "tokenizer.json"
  whole = json.loads(path.read_text())
  told = total = 0
  for key, part in whole.items():
    inside = list(part) if isinstance(part, dict) else []
    for value in ODD:
      for changed in (value, *({**part, k: value} for k in inside)):
        path.write_text(json.dumps({**whole, key: changed}))
        total += 1
        try:
          read_tokenizer(folder)
        except UserError:
          told += 1
  assert told > total // 3

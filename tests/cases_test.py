"""The files of tests/cases/ through the command, as a user gives them."""

import shutil
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from electra_jax.cli import main as cli
from electra_jax.interop import huggingface
from electra_jax.interop.workdir import read_pretrained
from electra_jax.models.config import ElectraConfig, EncoderConfig
from electra_jax.runs import workdir as workdirs
from electra_jax.store.reader import open_store
from electra_jax.tasks.table import table_task
from electra_jax.tasks.task import Source
from electra_jax.text import documents, streams
from electra_jax.text.sources import read_documents
from electra_jax.text.tokenizer import load_tokenizer
from tests import google_models, helpers

CASES = helpers.ROOT / "tests/cases"
WORDS = "electra.embeddings.word_embeddings.weight"


@pytest.fixture(name="run")
def run_command(capsys):
  """Runs a command in this process: (exit status, what it printed)."""

  def run(*arguments):
    with pytest.raises(SystemExit) as stop:
      cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out + captured.err

  return run


@pytest.fixture(name="prepare")
def prepare_command(run, tmp_path, golden):
  """Prepares a file of a case: (exit status, what it printed, its store)."""

  def prepare(path, *flags, tokenizer=golden / "vocab.txt"):
    output = tmp_path / "store"
    given = [] if "--train-vocab" in flags else ["--tokenizer", tokenizer]
    code, told = run(
        *("prepare", CASES / path, "--output", output, "--workers", "1"),
        *("--length", "32", "--packing", "full", *given, *flags),
    )
    return code, told, open_store(output) if output.exists() else None

  return prepare


def words_of(store, split="train"):
  """The pieces of a split with its special tokens."""
  blocks = store.split(split)
  rows = [blocks.read_block(i) for i in range(len(blocks.block_sizes))]
  ids = np.concatenate(rows)[:, :-2]
  return store.tokenizer().tokens(ids[ids != blocks.pad_id].tolist())


# --- prepare ---


def test_csv_as_corpus(prepare):
  code, told, store = prepare("csv-as-corpus/documents.csv")
  assert code == 0
  assert store.manifest.num_documents == 60
  assert not {"http", ",", '"', "/"} & set(words_of(store))
  code, told, _ = prepare(
      "csv-as-corpus/documents.csv", "--field", "body", "--overwrite"
  )
  assert code == 2 and "no column 'body'" in told and "'url'" in told


def test_document_per_line(prepare, run, tmp_path):
  code, told, store = prepare("document-per-line/corpus.txt")
  assert code == 0 and "--document-per line" in told
  code, told, store = prepare(
      *("document-per-line/corpus.txt", "--document-per", "line"), "--overwrite"
  )
  assert code == 0 and "--document-per" not in told
  assert store.manifest.num_documents == 60
  code, told, store = prepare(
      *("document-per-line/corpus.txt", "--validation-percent", "0"),
      "--overwrite",
  )
  code, told = run(
      *("pretrain", "--config", "pretrain:tiny", "--workdir", tmp_path / "run"),
      f"--config.data.store={store.path}",
  )
  assert code == 2 and "validation" in told and told.count("\n") == 1
  assert not (tmp_path / "run").exists()


def test_jsonl_null_text(prepare):
  code, told, store = prepare("jsonl-null-text/corpus.jsonl")
  assert code == 0 and "passed over: 6 null texts" in told
  assert store.manifest.num_documents == 54


@pytest.mark.parametrize(
    ("name", "sizes", "word", "left"),
    [("hindi", (60, 60), "मैं", "म"), ("japanese", (17, 29), "が", "か")],
)
def test_marks_that_are_letters(prepare, name, sizes, word, left):
  path = f"marks-that-are-letters/{name}.txt"
  code, told, store = prepare(path, "--train-vocab", sizes[0])
  assert code == 0 and "--keep-accents keeps them" in told
  tokenizer = store.tokenizer()
  assert tokenizer.decode(tokenizer.encode(word)) == left
  code, told, store = prepare(
      path, "--train-vocab", sizes[1], "--keep-accents", "--overwrite"
  )
  assert code == 0 and "accents" not in told
  tokenizer = store.tokenizer()
  assert tokenizer.decode(tokenizer.encode(word)) == word


def test_text_without_spaces(prepare):
  path = "text-without-spaces/sequences.txt"
  code, told, store = prepare(path, "--train-vocab", "80", "--cased")
  assert code == 2 and "words of more than 200 letters" in told
  assert "--tokenizer-kind sentencepiece" in told and store is None
  code, _, store = prepare(
      *(path, "--train-vocab", "40", "--cased"),
      *("--tokenizer-kind", "sentencepiece"),
  )
  assert code == 0 and "<unk>" not in words_of(store)


def test_wordpiece_of_chinese(prepare):
  path = "wordpiece-of-chinese/chinese.txt"
  code, _, store = prepare(path, "--train-vocab", "1900")
  words = words_of(store)
  assert code == 0 and words.count("[UNK]") < 0.01 * len(words)
  assert len(set(words)) > 1700


def test_one_long_line(tmp_path, monkeypatch):
  """Reading one line takes a bounded memory, as reading many does."""
  monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 1 << 14)
  monkeypatch.setattr(streams, "PIECE_BYTES", 1 << 14)
  monkeypatch.setattr(streams, "BUFFER_BYTES", 1 << 14)
  text = "the old cook sees a quiet river near the garden ."
  words = text.split()
  lines = [" ".join(words[i % 3 :] + words[: i % 3]) for i in range(20_000)]
  for end in ("\n", " "):
    path = tmp_path / "text.txt"
    path.write_text(end.join(lines))
    tracemalloc.start()
    count = sum(len(x.split()) for x in read_documents([str(path)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == sum(len(line.split()) for line in lines)
    assert peak < path.stat().st_size  # As a whole it takes three times that.


def test_vocabulary_repeats(prepare, run, tmp_path):
  vocabulary = CASES / "vocabulary-repeats/vocab.txt"
  code, _, store = prepare(
      *("vocabulary-repeats/text.txt", "--validation-percent", "20"),
      tokenizer=vocabulary,
  )
  words = words_of(store)
  assert code == 0 and "the" in words and "[UNK]" not in words
  # A run of it goes to Hugging Face's format and back.
  model = google_models.make_model(vocab_size=store.manifest.vocab_size)
  source = google_models.write(tmp_path / "google", model)
  shutil.copy(vocabulary, source)
  for path, target, kind in (
      ("google", "run", "workdir"),
      ("run", "exported", "huggingface"),
      ("exported", "back", "workdir"),
  ):
    code, told = run(
        "convert", tmp_path / path, tmp_path / target, "--to", kind
    )
    assert code == 0, told
  back = load_tokenizer(tmp_path / "back/tokenizer")
  assert back.digest == store.tokenizer().digest
  pieces = back.tokens(range(back.vocab_size))
  assert len(set(pieces)) < len(pieces) == 29


# --- convert ---


def model_of(case, tmp_path):
  """Gives a case's folder random weights of its shapes."""
  folder = tmp_path / case
  shutil.copytree(CASES / case, folder)
  config = helpers.read_json(folder / "config.json")
  encoder = EncoderConfig(
      *(config["vocab_size"], config["embedding_size"], config["hidden_size"]),
      num_layers=1,
      num_heads=1,
      intermediate_size=128,
      max_position_embeddings=64,
  )
  model = ElectraConfig(encoder, None, has_generator_head=False)
  params = helpers.random_params(model)
  huggingface.write_model(tmp_path / "made", model, params, 0)
  made = tmp_path / "made/discriminator/model.safetensors"
  shutil.copy(made, folder)
  return folder, safetensors.numpy.load_file(made)


def test_hf_fine_tuned(run, tmp_path):
  folder, tensors = model_of("hf-fine-tuned", tmp_path)
  tensors = {
      "classifier.dense.weight": np.ones((64, 64), np.float32),
      "classifier.out_proj.weight": np.ones((2, 64), np.float32),
      **{n: x for n, x in tensors.items() if "discriminator_" not in n},
  }
  safetensors.numpy.save_file(tensors, folder / "model.safetensors")
  code, told = run(
      *("convert", folder, tmp_path / "run", "--to", "workdir"),
      *("--config", "pretrain:tiny"),
  )
  assert code == 0
  assert "left out, since the target has no place for it: classifier" in told
  run_of = workdirs.load(tmp_path / "run")
  params = read_pretrained(tmp_path / "run", run_of).params
  words = params["embeddings"]["word_embeddings"]["embedding"]
  np.testing.assert_array_equal(words, tensors[WORDS])


def test_hf_mecab(run, tmp_path):
  folder, _ = model_of("hf-mecab", tmp_path)
  code, told = run(
      *("convert", folder, tmp_path / "run", "--to", "workdir"),
      *("--config", "pretrain:tiny"),
  )
  assert code == 2 and "'BertJapaneseTokenizer'" in told
  assert not (tmp_path / "run").exists()


def test_hf_padded_embeddings(run, tmp_path):
  folder, tensors = model_of("hf-padded-embeddings", tmp_path)
  code, told = run(
      *("convert", folder, tmp_path / "run", "--to", "workdir"),
      *("--config", "pretrain:tiny"),
  )
  assert code == 0
  assert "has 34 rows and the vocabulary 26 pieces; the last 8," in told
  run_of = workdirs.load(tmp_path / "run")
  params = read_pretrained(tmp_path / "run", run_of).params
  words = params["embeddings"]["word_embeddings"]["embedding"]
  np.testing.assert_array_equal(words, tensors[WORDS][:26])


@pytest.mark.parametrize("flag", [(), ("--keep-accents",)])
def test_tf1_uncased_with_accents(run, tmp_path, flag):
  vocabulary = CASES / "tf1-uncased-with-accents/vocab.txt"
  pieces = vocabulary.read_text(encoding="utf-8").splitlines()
  source = google_models.write(
      tmp_path / "google", google_models.make_model(vocab_size=len(pieces))
  )
  shutil.copy(vocabulary, source)
  code, _ = run(
      *("convert", source, tmp_path / "run", "--to", "workdir"),
      *("--config", "pretrain:tiny", *flag),
  )
  assert code == 0
  tokenizer = load_tokenizer(tmp_path / "run/tokenizer")
  found = tokenizer.tokens(tokenizer.encode("Ich möchte schön"))
  plain = ["ich", "mochte", "schon"]
  assert found == (["ich", "möchte", "schön"] if flag else plain)


# --- finetune ---


def test_csv_long_cell(tmp_path):
  """A cell of 136,000 characters, longer than Python's csv takes."""
  cell = "tall window finds a cook . " * 5040 + "the end"
  path = tmp_path / "train.csv"
  path.write_text(f'text,label\n"{cell}",neg\na young dog .,pos\n')
  options = {"kind": "classification", "text": "text", "label": "label"}
  source = Source(tmp_path, options=options)
  first, second = table_task(options).read(source, "train")
  assert first.text == cell and second.text == "a young dog ."

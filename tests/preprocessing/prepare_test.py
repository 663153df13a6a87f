"""The verb `prepare`, from text to a store that opens."""

import bz2
import codecs
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from electra_jax.api import prepare
from electra_jax.errors import UserError
from electra_jax.preprocessing import prepare as prepare_module
from electra_jax.preprocessing import workers
from electra_jax.preprocessing.held_out import document_digest, is_held_out
from electra_jax.preprocessing.progress import Reporter
from electra_jax.store.reader import open_store
from electra_jax.text.sources import LeftOut, ReadProgress
from electra_jax.text.tokenizer import load_tokenizer
from tests import processes

VOCABULARY = pathlib.Path(__file__).parents[1] / "golden" / "vocab.txt"
WORDS = [
    "the",
    "of",
    "union",
    "states",
    "congress",
    "government",
    "people",
    "year",
    "law",
    "war",
]


def make_documents(count=200, seed=0):
  """Returns documents of a few lines, some of them twice."""
  rng = random.Random(seed)
  documents = []
  for _ in range(count):
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) + " ."]
    lines += [
        " ".join(rng.choices(WORDS, k=12)) for _ in range(rng.randint(0, 9))
    ]
    documents.append("\n".join(lines))
    if rng.random() < 0.1:
      documents.append(rng.choice(documents))
  return documents


@pytest.fixture
def corpus(tmp_path):
  path = tmp_path / "corpus.txt"
  path.write_text("\n\n".join(make_documents()), encoding="utf-8")
  return path


def run(corpus, output, **options):
  options = {
      "tokenizer": VOCABULARY, "validation_percent": 20.0, "length": 32,
      "num_workers": 1, "progress": False, **options,
  }  # fmt: skip
  if "train_vocab" in options:
    del options["tokenizer"]
  return prepare([str(corpus)], output, **options)


def read_rows(store, split):
  split = open_store(store).split(split)
  blocks = [split.read_block(i) for i in range(len(split.block_sizes))]
  return np.concatenate(blocks)


def read_files(folder):
  return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("packing", ["released", "full"])
def test_same_bytes_for_any_number_of_workers(
    corpus, tmp_path, monkeypatch, packing
):
  monkeypatch.setattr(prepare_module, "CHUNK_CHARACTERS", 4000)
  for num_workers in (1, 2):
    run(
        corpus,
        tmp_path / str(num_workers),
        num_workers=num_workers,
        packing=packing,
        deduplicate=True,
    )
  one, two = read_files(tmp_path / "1"), read_files(tmp_path / "2")
  assert set(one) == {
      "manifest.json",
      "tokenizer_options.json",
      "train-00000.array_record",
      "unigram_counts.npy",
      "validation-00000.array_record",
      "vocab.txt",
  }
  assert one == two
  assert str(tmp_path).encode() not in one["manifest.json"]


def test_full_packing_holds_the_text_in_order(corpus, tmp_path):
  manifest = run(corpus, tmp_path / "store", packing="full")
  tokenizer = load_tokenizer(VOCABULARY)
  special = tokenizer.special
  for name, held_out in (("train", False), ("validation", True)):
    expected = [
        i
        for document in corpus.read_text(encoding="utf-8").split("\n\n")
        if is_held_out(document_digest(document), 20.0) == held_out
        for line in document.split("\n")
        for i in tokenizer.encode(line)
    ]
    rows = read_rows(tmp_path / "store", name)
    ids = rows[:, :32].ravel()
    assert ids[~np.isin(ids, special)].tolist() == expected
    assert (rows[:-1, 33] == 32).all()  # No room is wasted.
  assert manifest.tokens_kept == manifest.tokens_read


def test_manifest_adds_up(corpus, tmp_path):
  manifest = run(corpus, tmp_path / "store")
  store = open_store(tmp_path / "store")
  assert store.manifest == manifest
  texts = corpus.read_text(encoding="utf-8").split("\n\n")
  assert manifest.num_documents == len(texts)
  assert manifest.duplicates_dropped is None
  assert manifest.sources == ("corpus.txt",)
  tokenizer = load_tokenizer(VOCABULARY)
  assert manifest.tokenizer_digest == tokenizer.digest
  lines = "\n".join(texts).split("\n")
  assert manifest.tokens_read == sum(map(len, tokenizer.encode_batch(lines)))
  kept = 0
  for name, split in manifest.splits.items():
    rows = read_rows(tmp_path / "store", name)
    assert split.num_rows == len(rows)
    assert split.num_tokens == rows[:, -1].sum()
    single = rows[:, 32] == rows[:, 33]
    kept += split.num_tokens - np.where(single, 2, 3).sum()
  assert manifest.tokens_kept == kept < manifest.tokens_read
  train = read_rows(tmp_path / "store", "train")[:, :32]
  counts = np.bincount(train.ravel(), minlength=manifest.vocab_size)
  counts[[0, 2, 3, 4]] = 0
  assert (store.unigram_counts() == counts).all()
  assert 1.5 < store.unigram_entropy() < np.log(len(WORDS) + 1)


def test_seed_changes_the_rows_but_not_the_split(corpus, tmp_path):
  first = run(corpus, tmp_path / "a", seed=0)
  second = run(corpus, tmp_path / "b", seed=1)
  assert first.rows_digest != second.rows_digest
  for name in first.splits:
    assert first.splits[name].num_documents == second.splits[name].num_documents


def test_held_out_share():
  digests = [document_digest(str(i)) for i in range(20_000)]
  share = np.mean([is_held_out(digest, 5.0) for digest in digests])
  assert share == pytest.approx(0.05, abs=0.006)
  few = [d for d in digests if is_held_out(d, 1.0)]
  assert all(is_held_out(d, 5.0) for d in few)
  assert not any(is_held_out(d, 0.0) for d in digests)


def test_deduplication_equals_having_no_duplicates(corpus, tmp_path):
  texts = corpus.read_text(encoding="utf-8").split("\n\n")
  unique = tmp_path / "unique.txt"
  unique.write_text("\n\n".join(dict.fromkeys(texts)), encoding="utf-8")
  dropped = len(texts) - len(set(texts))
  assert dropped > 5
  first = run(corpus, tmp_path / "a", deduplicate=True)
  second = run(unique, tmp_path / "b", deduplicate=True)
  assert first.duplicates_dropped == dropped
  assert second.duplicates_dropped == 0
  assert first.rows_digest == second.rows_digest
  assert first.num_documents == len(set(texts))


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_trained_vocabulary(golden_corpus, tmp_path, kind):
  manifest = run(
      golden_corpus, tmp_path / "a", train_vocab=400, tokenizer_kind=kind
  )
  again = run(
      golden_corpus, tmp_path / "b", train_vocab=400, tokenizer_kind=kind
  )
  assert manifest == again
  tokenizer = open_store(tmp_path / "a").tokenizer()
  assert tokenizer.kind == kind and tokenizer.vocab_size == 400
  assert manifest.special_ids == tokenizer.special


@pytest.fixture
def golden_corpus():
  return VOCABULARY.with_name("small_corpus.txt")


def test_vocabulary_is_not_trained_on_the_validation_split(tmp_path):
  common = "some words that are found everywhere and some more"
  held_out = (f"zyx {i}\nzyx" for i in range(1000))
  text = next(t for t in held_out if is_held_out(document_digest(t), 10.0))
  documents = [
      t
      for t in (f"{common} {i}" for i in range(200))
      if not is_held_out(document_digest(t), 10.0)
  ]
  path = tmp_path / "corpus.txt"
  path.write_text("\n\n".join([*documents, *[text] * 100]), encoding="utf-8")
  run(path, tmp_path / "store", train_vocab=60, validation_percent=10.0)
  tokenizer = open_store(tmp_path / "store").tokenizer()
  pieces = tokenizer.tokens(range(60))
  assert not any("z" in piece for piece in pieces)
  assert "some" in pieces


SCRIPT = """
    import itertools, sys
    from electra_jax.api import prepare
    from electra_jax.preprocessing import prepare as module
    read = module.read_documents
    if __name__ == "__main__":
      module.CHUNK_CHARACTERS = 2000
      # Text without end: it cannot be done before the signal comes.
      module.read_documents = lambda *args, **options: itertools.cycle(
          list(read(*args, **options))
      )
      prepare(
          sys.argv[1:2], sys.argv[2], tokenizer=sys.argv[3], length=32,
          num_workers=2, progress=False,
      )
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_interrupted_run_leaves_nothing_that_opens(tmp_path, name):
  corpus, output = tmp_path / "corpus.txt", tmp_path / "store"
  corpus.write_text("\n\n".join(make_documents(2_000)), encoding="utf-8")
  script = tmp_path / "script.py"
  script.write_text(textwrap.dedent(SCRIPT))
  process = subprocess.Popen(
      [sys.executable, script, corpus, output, VOCABULARY],
      stderr=subprocess.PIPE,
      start_new_session=True,
  )
  processes.wait_until(
      lambda: list(tmp_path.glob("store.scratch-*/content/train-*"))
  )
  [partial] = tmp_path.glob("store.scratch-*")
  children = find_children(process.pid)
  if name == "SIGINT":  # A terminal sends it to the workers as well.
    os.killpg(process.pid, signal.SIGINT)
  else:
    process.send_signal(getattr(signal, name))
  _, shown = process.communicate(timeout=processes.TIMEOUT_SECS)
  assert b"SpawnProcess" not in shown  # Workers end without a word.
  assert process.returncode != 0
  assert partial.exists() == (name != "SIGINT")
  for path in (output, partial / "content"):
    with pytest.raises(UserError, match="not a finished token store"):
      open_store(path)
  # No worker outlives the process that it works for.
  processes.wait_until(lambda: not any(map(is_alive, children)))
  corpus.write_text("\n\n".join(make_documents(20)), encoding="utf-8")
  run(corpus, output)
  assert not list(tmp_path.glob("store.*"))


def find_children(pid):
  path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
  return list(map(int, path.read_text().split())) if path.exists() else []


def is_alive(pid):
  try:
    status = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return status.rpartition(")")[2].split()[0] != "Z"


def test_failure_leaves_nothing(corpus, tmp_path, monkeypatch):
  def interrupt(documents, row_options):
    raise KeyboardInterrupt

  monkeypatch.setattr(workers, "build_rows", interrupt)
  with pytest.raises(KeyboardInterrupt):
    run(corpus, tmp_path / "store")
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def end_early(chunk):
  del chunk
  os._exit(9)


def test_a_lost_worker_is_explained(corpus, tmp_path, monkeypatch):
  monkeypatch.setattr(workers, "_build_in_worker", end_early)
  with pytest.raises(UserError, match="--workers 2 processes ended early"):
    run(corpus, tmp_path / "store", num_workers=2)
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_a_full_disk_is_explained(corpus, tmp_path, monkeypatch):
  def no_room(*args):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(prepare_module, "find_duplicates", no_room)
  with pytest.raises(UserError, match=r"no room is left for .*store"):
    run(corpus, tmp_path / "store", deduplicate=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": None}, "exactly one"),
        ({"packing": "loose"}, "--packing loose"),
        ({"length": 5}, "--length 5"),
        ({"validation_percent": 100.0}, "--validation-percent 100.0"),
        ({"num_workers": 0}, "--workers 0"),
        ({"document_per": "page"}, "--document-per page"),
        ({"encoding": "utf-9"}, "--encoding utf-9 is unknown"),
        ({"tokenizer": "gone.txt"}, "gone.txt"),
        ({"train_vocab": 5000}, "smaller vocabulary"),
    ],
)
def test_errors_leave_nothing(corpus, tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    run(corpus, tmp_path / "store", **options)
  assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_more_errors(corpus, tmp_path):
  with pytest.raises(UserError, match="exactly one"):
    prepare(corpus.name, tmp_path / "s", tokenizer="vocab.txt", train_vocab=9)
  with pytest.raises(UserError, match="no file or folder"):
    run(tmp_path / "gone.txt", tmp_path / "store")
  (tmp_path / "empty.txt").write_text("\n \n")
  with pytest.raises(UserError, match="no text for the train split"):
    run(tmp_path / "empty.txt", tmp_path / "store")
  run(corpus, tmp_path / "store")
  with pytest.raises(UserError, match="already holds a finished"):
    run(tmp_path / "corpus.txt", tmp_path / "store")
  run(corpus, tmp_path / "store", overwrite=True)


def test_report(corpus, tmp_path, capsys):
  run(corpus, tmp_path / "quiet")
  assert capsys.readouterr() == ("", "")
  manifest = run(corpus, tmp_path / "a", progress=True, deduplicate=True)
  shown = capsys.readouterr().err
  assert f"{manifest.splits['train'].num_rows:,} rows of 32" in shown
  assert f"{manifest.duplicates_dropped} documents" in shown
  assert f"{manifest.tokens_read:,} tokens of text" in shown
  entropy = open_store(tmp_path / "a").unigram_entropy()
  assert f"{entropy:.3f} nats" in shown
  assert str(tmp_path / "a") in shown
  run(corpus, tmp_path / "b", progress=True, validation_percent=0.0)
  assert "the validation split is empty" in (capsys.readouterr().err)


def write(path, words, count=40):
  """Writes documents of some words in changing order."""
  rng = random.Random(1)
  documents = (" ".join(rng.choices(words, k=30)) for _ in range(count))
  path.write_text("\n\n".join(documents), encoding="utf-8")
  return path


def test_the_share_of_unknown_tokens_is_told(tmp_path, capsys):
  words = ["the", "of", "\u1230"]  # No vocabulary here has the third.
  path = write(tmp_path / "corpus.txt", words)
  manifest = run(path, tmp_path / "store", progress=True)
  told = capsys.readouterr().err
  store = open_store(tmp_path / "store")
  unknown = store.tokenizer().special.unk
  shares = []
  for name, split in manifest.splits.items():
    ids = read_rows(tmp_path / "store", name)[:, :32]
    special = [i for i in manifest.special_ids if i != unknown]
    assert split.num_text_tokens == (~np.isin(ids, special)).sum()
    assert split.num_unknown == (ids == unknown).sum()
    assert 0.2 < split.unknown_share < 0.5
    shares.append(f"{split.unknown_share:.2%} of {name}")
  assert ", ".join(shares) in told
  assert "give a --tokenizer that was made for such text" in told
  saved = json.loads((tmp_path / "store" / "manifest.json").read_text())
  share = saved["splits"]["train"]["unknown_share"]
  assert share == pytest.approx(
      manifest.splits["train"].unknown_share, abs=1e-12
  )
  assert store.manifest == manifest


def test_the_way_out_is_of_the_vocabulary(tmp_path, capsys):
  path = write(
      tmp_path / "corpus.txt", list("\u4e00\u4e01\u4e02\u4e03\u4e04\u4e05")
  )
  run(path, tmp_path / "a", progress=True, train_vocab=10)
  told = capsys.readouterr().err
  assert "learning a vocabulary of 10 pieces … reads the text" in told
  assert "--train-vocab 10 has room for 5 of 6 letters" in told
  assert "ask for a larger --train-vocab or --character-coverage" in told
  run(path, tmp_path / "b", progress=True, train_vocab=11)
  told = capsys.readouterr().err
  assert "0.00% of train, 0.00% of validation\n" in told
  assert "larger" not in told


@pytest.mark.slow
def test_text_of_long_words_is_refused(tmp_path, capsys):
  words = ["".join(random.Random(i).choices("ACGT", k=300)) for i in range(9)]
  path = write(tmp_path / "corpus.txt", words)
  for options in ({}, {"train_vocab": 60}):
    with pytest.raises(UserError, match=r"99\.\d% of the text stands in words"):
      run(path, tmp_path / "store", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]
  manifest = run(path, tmp_path / "store", allow_long_words=True, progress=True)
  assert manifest.lost.long_words == 40 * 30
  assert manifest.splits["train"].unknown_share == 1
  told = capsys.readouterr().err
  assert "1,200, 99." in told and "--tokenizer-kind sentencepiece" in told
  assert "lacks letters" not in told  # Which is not the reason.
  words = [word[:220] for word in words[:3]]
  path = write(tmp_path / "corpus.txt", words, count=8)
  manifest = run(
      path, tmp_path / "b", train_vocab=12, tokenizer_kind="sentencepiece"
  )
  assert manifest.splits["train"].unknown_share == 0


def test_a_few_long_words_are_told(tmp_path, capsys):
  path = write(tmp_path / "corpus.txt", ["the", "of"] * 100)
  with open(path, "a") as file:
    file.write(" " + "a" * 201)
  manifest = run(path, tmp_path / "store", progress=True)
  assert manifest.lost.long_words == 1
  assert "one [UNK] each: 1, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["मैं", "है"], "one in 2 characters, such as "),
        (["がっこう", "です"], "such as がっこう -> かっこう"),
        (["ที่นี่", "the"], "such as ที่นี่ -> ทน"),
        (["мой", "дом"] + ["дым"] * 20, "such as мой -> мои"),
        (["Việt", "Nam"], "stripping accents drops one in "),
    ],
)
def test_accents_that_matter_are_told(tmp_path, capsys, words, sentence):
  path = write(tmp_path / "corpus.txt", words)
  run(path, tmp_path / "a", progress=True)
  told = capsys.readouterr().err
  assert sentence in told and "--keep-accents keeps them" in told
  run(path, tmp_path / "b", progress=True, strip_accents=False)
  assert "--keep-accents" not in capsys.readouterr().err


def test_accents_that_do_not_matter_are_not_told(tmp_path, capsys):
  words = ["schön", "für", "été", *["und", "aber", "die", "les"] * 12]
  run(write(tmp_path / "corpus.txt", words), tmp_path / "a", progress=True)
  assert "--keep-accents" not in capsys.readouterr().err


def test_options_of_training_need_training(tmp_path, corpus):
  for options in ({"character_coverage": 0.99}, {"alphabet_limit": 5}):
    with pytest.raises(UserError, match="give --train-vocab beside them"):
      run(corpus, tmp_path / "store", **options)
  with pytest.raises(UserError, match="--train-vocab 1000000000 is out of"):
    run(tmp_path / "corpus.txt", tmp_path / "store", train_vocab=10**9)
  num_letters = []
  for limit in (3, 5):
    output = tmp_path / str(limit)
    run(corpus, output, train_vocab=15, alphabet_limit=limit)
    pieces = open_store(output).tokenizer().tokens(range(5, 15))
    num_letters.append(sum(len(piece) == 1 for piece in pieces))
  assert num_letters == [3, 5]


def test_how_far_the_reading_is(capsys):
  position = ReadProgress()

  def read():
    position.total_bytes = 2_000_000
    for i in range(1, 5):
      position.read_bytes = i * 500_000
      yield str(i)

  reporter = Reporter(is_shown=True)
  assert list(reporter.watch("rows", read(), position)) == list("1234")
  shown = capsys.readouterr().err
  assert "rows" in shown and "2.0/2.0 MB" in shown


def test_names_of_files_are_told_as_they_are(capsys):
  reporter = Reporter(is_shown=True)
  names = ("a[/b].pdf", "[draft] :a:.pdf")
  reporter.tell_left_out([LeftOut(name, "no text") for name in names])
  told = capsys.readouterr().err.splitlines()
  assert told == [f"left out: {name}: no text" for name in names]


def test_neither_jax_nor_tensorflow_is_loaded():
  code = (
      "import sys, electra_jax.preprocessing.prepare, electra_jax.store.feed;"
      "heavy = {'jax', 'flax', 'tensorflow', 'torch'};"
      "sys.exit(bool(heavy & set(sys.modules)))"
  )
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_few_documents_have_a_validation_split(tmp_path):
  """Two documents, or one, are enough to train on and evaluate."""
  path = tmp_path / "corpus.txt"
  for count in (1, 2, 3):
    path.write_text("\n\n".join(make_documents(count)[:count]))
    manifest = run(path, tmp_path / str(count), validation_percent=0.001)
    assert manifest.splits["validation"].num_rows >= 1
    assert manifest.splits["train"].num_rows >= 1


def test_dropped_text_is_told(corpus, tmp_path, capsys):
  run(corpus, tmp_path / "a", progress=True)
  shown = capsys.readouterr().err
  assert "% of the text was dropped" in shown and "--packing full" in shown
  run(corpus, tmp_path / "b", progress=True, packing="full")
  assert "text was dropped" not in capsys.readouterr().err


def test_what_is_passed_over_is_counted_and_named(tmp_path, capsys):
  folder = tmp_path / "text"
  folder.mkdir()
  (folder / "a.txt").write_text("\n\n".join(make_documents(50)))
  (folder / "b.jsonl").write_text('{"text": null}\n{"text": "the law"}\n')
  (folder / "c.txt").write_bytes(b"\xff\xfe\xfd")
  (folder / "notes.md").write_text("of mine")
  with pytest.raises(UserError, match=r"c\.txt .*--skip-bad-files"):
    run(folder, tmp_path / "store")
  manifest = run(folder, tmp_path / "store", skip_bad_files=True, progress=True)
  shown = capsys.readouterr().err
  assert f"left out: {folder / 'notes.md'}: not named .txt" in shown
  assert f"left out: {folder / 'c.txt'} is not" in shown
  assert "passed over: 1 null texts" in shown
  assert shown.index("rows …") < shown.index("train: ")
  assert "/0.0 MB" in shown  # How far it is, in one line for a short text.
  assert manifest.passed_over == {
      "null_texts": 1, "empty_texts": 0, "bad_files": 1,
  }  # fmt: skip
  (folder / "a.txt").unlink()
  (folder / "b.jsonl").unlink()
  with pytest.raises(UserError, match="none of 1 files can be read"):
    run(folder, tmp_path / "other", skip_bad_files=True)


def test_rows_do_not_depend_on_how_text_is_packed(tmp_path):
  """The same documents out of any kind of file make the same store."""
  documents = make_documents(60)
  digests = set()
  lines = [json.dumps({"text": d}) for d in documents]
  for name, data in {
      "a.txt": "\n\n".join(documents).encode(),
      "b.txt": codecs.BOM_UTF8 + "\n\n".join(documents).encode(),
      "c.txt": "\n\n".join(documents).encode("utf-16"),
      "d.jsonl": "\n".join(lines).encode(),
      "e.json": f"[{','.join(lines)}]".encode(),
      "f.csv": ("text\n" + "\n".join(f'"{d}"' for d in documents)).encode(),
      "g.txt.bz2": bz2.compress("\n\n".join(documents).encode()),
  }.items():
    (tmp_path / name).write_bytes(data)
    manifest = run(tmp_path / name, tmp_path / f"{name}.store")
    digests.add(manifest.rows_digest)
  assert len(digests) == 1

"""Models in and out: workdirs, Google's checkpoints, Hugging Face's folders."""

from etils import epath

from electra_jax.disk.scratch import new_folder
from electra_jax.errors import UserError
from electra_jax.interop import google, huggingface, tf_checkpoint
from electra_jax.interop import workdir as runs
from electra_jax.interop.card_facts import read_facts
from electra_jax.interop.conversion import (
    PRECISION,
    ROUNDED,
    Conversion,
    whole_folder,
)
from electra_jax.interop.convert_text import convert_text, fresh_text_state
from electra_jax.interop.huggingface_files import CONFIG_FILE
from electra_jax.interop.huggingface_seq2seq import is_encoder_decoder
from electra_jax.interop.huggingface_tokenizer import (
    check_exportable,
    write_tokenizer,
)
from electra_jax.interop.huggingface_vocabulary import read_tokenizer
from electra_jax.interop.model import (
    FinetunedState,
    Model,
    with_all_heads,
    with_vocabulary,
)
from electra_jax.interop.model_card import write_card
from electra_jax.interop.written_text import (
    TextState,
    learned_to_write,
    read_text_state,
    with_pieces,
)
from electra_jax.pretraining.data import warn_of_random_heads
from electra_jax.runs import shipped
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.runs.networks import left_to_start
from electra_jax.text.tokenizer import OPTIONS_FILE, Tokenizer, load_tokenizer
from electra_jax.trees import count_parameters

FORMATS = ("workdir", "weights", "huggingface", "google")
_PADDING = 1024
_VECTORS = (
    "the run has learned vectors of texts, {pooling} of layer {layer}, which"
    " released code does not compute: its encoder alone was written"
)
_WINDOWS = (
    "the run pools a long text over all its windows"
    " (config.data.windows={windows}) and Hugging Face's pipeline reads the"
    " first {length} tokens alone: cut longer texts into windows there, and take"
    " the {windows} of the scores"
)


def convert(
    source: epath.PathLike,
    target: epath.PathLike,
    *,
    to: str,
    config: PretrainConfig | FinetuneConfig | None = None,
    tokenizer: epath.PathLike | None = None,
    lowercase: bool = True,
    strip_accents: bool = True,
    seed: int | None = None,
    dtype: str = "float32",
) -> Conversion:
  """Reads a model of any format and writes it in another.

  "weights" is a workdir without the optimizer's state, the weights in bfloat16:
  a sixth of the size, to be passed on. Google's checkpoints keep all networks,
  the optimizer's moments and the step; Hugging Face's folders the networks
  alone, of which a generator of two towers is left out, each with a model card.
  Of a fine-tuned checkpoint the encoder is taken. A workdir made here has no
  token store: it fine-tunes, answers, and is evaluated on a store that is named.
  An encoder-decoder of Hugging Face's becomes the workdir of a run that writes
  text, and such a run becomes one of those.

  Args:
    source: a workdir, a checkpoint's folder or prefix, or a folder of Hugging
      Face's; which of them is found out.
    target: a folder, which must not be there.
    to: one of FORMATS.
    config: as of configs/pretrain.py: the recipe to write into a workdir, with
      the networks' shapes in place of its own. Where those leave objective,
      generator or embedding_sharing open, it decides. Only workdirs need it,
      and weights of another source than a workdir, which has its own. Of an
      encoder-decoder as of configs/finetune.py, for a task that writes text.
    tokenizer: vocab.txt, SentencePiece .model or folder; by default what lies
      beside the source.
    lowercase: whether a vocab.txt or .model is for lower case.
    strip_accents: whether one for lower case is without accents, too.
    seed: of what the source lacks and is initialised (0); of a finetune run,
      whose model (the best).
    dtype: of a workdir's activations, "float32" or "bfloat16". In float32 it
      answers as its source does; a training that starts from it has its own.

  Raises:
    UserError: there is no such model, it is damaged, or the format cannot
      hold it. Nothing has been written then.
  """
  if to not in FORMATS:
    raise UserError(f"--to {to} is not one of {', '.join(FORMATS)}")
  target = new_folder(target, "TARGET")
  source_format = _format_of(source)
  casing = {"lowercase": lowercase, "strip_accents": strip_accents}
  model, own = _read(source, source_format, tokenizer, casing, seed, config)
  model, notes = _fitted(model, own, source, source_format, tokenizer)
  if isinstance(model, TextState):
    how = {"to": to, "config": config, "dtype": dtype, "seed": seed}
    told = model, own, source, source_format, target
    return convert_text(*told, **how, notes=notes)
  if to == "weights" and source_format == "workdir":
    config = _pretraining_of(source)
  elif to in ("workdir", "weights"):
    config = _config_of(model, source, source_format, config, dtype)
  elif to == "huggingface":
    check_exportable(own)
  if to in ("google", "huggingface"):
    model, filled = with_all_heads(model)
    notes += filled
  with whole_folder(target) as folder:
    told = source, source_format, seed
    left_out, more = _write(folder, to, model, own, config, told)
    notes += more
  return Conversion(
      source_format,
      count_parameters(model.params),
      model.step,
      model.moments is not None and to in ("workdir", "google"),
      model.fresh,
      model.left_out + left_out,
      notes,
  )


def _write(
    folder: epath.Path,
    to: str,
    model: Model,
    own: Tokenizer,
    config: PretrainConfig | None,
    told: tuple[epath.PathLike, str, int | None],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Writes a model; returns what was left out, and notes.

  Args:
    folder: is there.
    to: its format.
    model: what it is to hold.
    own: its tokenizer.
    config: of a workdir.
    told: source, its format and the seed, for a card.
  """
  source, source_format, seed = told
  if to == "workdir":
    facts = runs.facts_of_copy(own, str(source))
    runs.write_pretrained(folder, model, config, own, facts)
    return (), ()
  if to == "weights":
    name = epath.Path(source).absolute().name  # Of "." as well.
    runs.write_weights(folder, model, config, own, name)
    return (), ()
  if to == "google":
    google.write_model(folder, model)
    own.save(folder)
    return (), _notes_of(model)
  left_out = write_hugging_face(folder, model, own)
  facts = read_facts(source, source_format, seed, model.step)
  for path in (folder, *(folder / name for name in huggingface.NETWORKS)):
    if (path / CONFIG_FILE).exists():
      write_card(path, facts)
  return left_out, _notes_of_exported(model)


def _format_of(source: epath.PathLike) -> str:
  path = shipped.place_of(source)
  facts = (workdirs.PRETRAINING.facts_file, workdirs.FINETUNING.facts_file)
  if workdirs.phases(path) or any((path / name).exists() for name in facts):
    return "workdir"
  if tf_checkpoint.find_prefix(path) is not None:
    return "google"
  if huggingface.folders(path):
    return "huggingface"
  raise UserError(
      f"{source} holds no model: neither a workdir's config.json and store.json"
      " or task.json, nor a TensorFlow checkpoint's .index, nor a Hugging Face"
      " config.json with a model_type (itself, or in `discriminator` or"
      " `generator`); name the folder of one"
  )


def _read(
    source, source_format, tokenizer, casing, seed, config
) -> tuple[Model | TextState, Tokenizer]:
  sharing = None
  if isinstance(config, PretrainConfig):
    sharing = config.model.embedding_sharing
  if source_format == "workdir":
    if tokenizer is not None:
      raise UserError(
          f"the workdir {source} has its own tokenizer; leave --tokenizer out"
      )
    run = workdirs.load(source)
    if learned_to_write(run):
      return read_text_state(source, run, seed), run.tokenizer
    if run.kind is workdirs.FINETUNING:
      return runs.read_finetuned(source, run, seed), run.tokenizer
    warn_of_random_heads(source, run.config)
    return runs.read_pretrained(source, run), run.tokenizer
  if source_format == "google":
    prefix = tf_checkpoint.find_prefix(source)
    own = _tokenizer_beside(prefix, tokenizer, casing)
    return google.read_model(prefix, seed or 0, sharing), own
  if tokenizer is not None:
    own = load_tokenizer(tokenizer, **casing)
  else:
    own = read_tokenizer(huggingface.folders(source)[0])
  if is_encoder_decoder(source):
    return fresh_text_state(source, config), own
  return huggingface.read_model(source, seed or 0, sharing), own


def _fitted(
    model: Model | TextState,
    own: Tokenizer,
    source: epath.PathLike,
    source_format: str,
    given: epath.PathLike | None,
) -> tuple[Model | TextState, tuple[str, ...]]:
  """Takes rows off a word table that are of no piece, and says so.

  Tables are padded to a multiple of 8 to 1,024 for speed; a row more is another
  vocabulary. Other formats than Hugging Face's are not padded.
  """
  rows, pieces = model.encoder.vocab_size, own.vocab_size
  if rows == pieces:
    return model, ()
  if source_format != "huggingface" or not pieces < rows < pieces + _PADDING:
    whose = "--tokenizer" if given is not None else "the tokenizer beside it"
    raise UserError(
        f"the vocabulary has {pieces:,} pieces and the model in {source}"
        f" {rows:,} embeddings, so {whose} is not the one that it was trained"
        " with; give that one by --tokenizer"
    )
  note = (
      f"the word table has {rows:,} rows and the vocabulary {pieces:,} pieces;"
      f" the last {rows - pieces:,}, which no text can reach, were dropped"
  )
  if isinstance(model, TextState):
    return with_pieces(model, pieces), (note,)
  return with_vocabulary(model, pieces), (note,)


def _notes_of(model: Model) -> tuple[str, ...]:
  """Says what a TensorFlow checkpoint cannot hold."""
  vectors = [t.vectors for t in getattr(model, "tasks", ()) if t.vectors]
  return tuple(
      _VECTORS.format(pooling=one.pooling, layer=one.layer) for one in vectors
  ) + tuple(
      f"the {name} has {key} {value}, which a TensorFlow checkpoint has no place"
      f" for; it stands in {google.SETTINGS_FILE}, and the released code has to"
      " be told"
      for name, values in google.settings_beside(model).items()
      for key, value in values.items()
  )


def _notes_of_exported(model: Model) -> tuple[str, ...]:
  """Says how a Hugging Face folder answers otherwise than the workdir."""
  notes = ()
  if model.encoder.dtype != "float32":
    notes += (PRECISION.format(dtype=model.encoder.dtype),)
  if model.encoder.quantization:
    notes += (ROUNDED.format(quantization=model.encoder.quantization),)
  if isinstance(model, FinetunedState) and model.windows != "first":
    notes += (_WINDOWS.format(windows=model.windows, length=model.max_length),)
  return notes


def _tokenizer_beside(prefix, tokenizer, casing) -> Tokenizer:
  folder = prefix.parent
  if tokenizer is None and (folder / OPTIONS_FILE).exists():
    return load_tokenizer(folder)
  path = epath.Path(tokenizer or folder / "vocab.txt")
  if not path.exists():
    raise UserError(
        f"there is no vocabulary {path}; give the one that the checkpoint was"
        " trained with by --tokenizer"
    )
  return load_tokenizer(path, **casing)


def _config_of(model, source, source_format, config, dtype) -> PretrainConfig:
  if source_format == "workdir":
    raise UserError(f"{source} is a workdir already; choose another --to")
  if config is None:
    raise UserError(
        "a workdir needs a recipe; give the config of configs/pretrain.py"
    )
  if left_to_start(config):
    raise UserError(
        "--config has from_init, and convert takes all shapes from its SOURCE;"
        " leave from_init out"
    )
  return runs.config_of(model, config, dtype)


def _pretraining_of(source: epath.PathLike) -> PretrainConfig:
  run = workdirs.load(source)
  if run.kind is workdirs.FINETUNING:
    raise UserError(
        f"{source} holds a finetune run, and --to weights is for a pretrain"
        " run; give --to huggingface"
    )
  return run.config


def write_hugging_face(
    folder: epath.Path, model: Model, tokenizer: Tokenizer
) -> tuple[str, ...]:
  """Writes networks and vocabulary, and returns what was left out."""
  pad_id = tokenizer.special.pad
  if isinstance(model, FinetunedState):
    huggingface.write_finetuned(folder, model, pad_id)
    length = min(model.max_length, model.encoder.max_position_embeddings)
    write_tokenizer(folder, tokenizer, length, fills_in=False)
    return ()
  written = huggingface.write_model(folder, model.config, model.params, pad_id)
  for part in written.folders:
    write_tokenizer(part, tokenizer, model.encoder.max_position_embeddings)
  return written.left_out

"""Models that write text, in and out: workdirs and transformers' folders."""

import jax
import jax.numpy as jnp
from etils import epath

from electra_jax.errors import UserError
from electra_jax.finetuning import task_data
from electra_jax.interop.card_facts import read_facts
from electra_jax.interop.conversion import (
    PRECISION,
    ROUNDED,
    Conversion,
    whole_folder,
)
from electra_jax.interop.huggingface_seq2seq import (
    WRITABLE,
    read_encoder_decoder,
    read_how,
    write_encoder_decoder,
)
from electra_jax.interop.huggingface_tokenizer import (
    check_exportable,
    write_tokenizer,
)
from electra_jax.interop.model_card import write_card
from electra_jax.interop.written_text import (
    TextState,
    text_config_of,
    write_text_state,
)
from electra_jax.models.seq2seq import Seq2Seq
from electra_jax.runs import workdir as workdirs
from electra_jax.runs.config import PretrainConfig
from electra_jax.runs.finetune_config import FinetuneConfig
from electra_jax.text.tokenizer import OPTIONS_FILE, Tokenizer
from electra_jax.trees import count_parameters

_TASK = (
    "the folder does not tell what its texts are: the run is one of task={task},"
    " which --config chooses, as in --config finetune:task=summarise"
)
_TWICE = (
    "the model writes [CLS] first, as it has learned where labels began with it,"
    " and this package never writes it: the texts may be poor until the run is"
    " fine-tuned"
)
_BEAMS = (
    "transformers divides a beam's score by another power of its length,"
    " so that the texts of a beam search may differ; greedy ones do not"
)
_COPIES = (
    "encoder and decoder share their layers here and are equal copies there,"
    " which a training there takes apart"
)


def fresh_text_state(
    source: epath.PathLike, config: PretrainConfig | FinetuneConfig | None
) -> TextState:
  """Reads a folder of transformers' EncoderDecoderModel.

  Args:
    source: the folder.
    config: a recipe for a task that writes text.

  Raises:
    UserError: it cannot be run here, or no workdir is to be made of it.
  """
  if not isinstance(config, FinetuneConfig):
    raise UserError(
        f"{source} is an encoder-decoder, which becomes the workdir of a run that"
        " writes text; choose --to workdir"
    )
  read = read_encoder_decoder(source)
  task = task_data.find_tasks(config)[0]
  return TextState(read.encoder, read.architecture, read.params, task, 0)


def convert_text(
    state: TextState,
    own: Tokenizer,
    source: epath.PathLike,
    source_format: str,
    target: epath.Path,
    *,
    to: str,
    config: PretrainConfig | FinetuneConfig | None,
    dtype: str,
    seed: int | None,
    notes: tuple[str, ...],
) -> Conversion:
  """Writes a model that writes text; see `convert.convert`.

  Args:
    state: what was read.
    own: its tokenizer.
    source: that it was read from.
    source_format: what that is.
    target: a folder, which is not there.
    to: what that is to be.
    config: of a workdir that is made.
    dtype: of its activations.
    seed: whose model was read of a workdir, for its card.
    notes: what has been found so far.

  Raises:
    UserError: the target cannot hold it.
  """
  if source_format == "workdir":
    if to != "huggingface":
      raise UserError(
          f"{source} has learned to write text ({state.task.name}), and --to"
          f" {to} has no place for a decoder; choose --to huggingface"
      )
    notes += _write_folder(state, own, source, seed, target)
  else:
    how = read_how(source, own.special)
    config = text_config_of(
        state.encoder, state.architecture, config, how, dtype
    )
    with whole_folder(target) as folder:
      write_text_state(folder, state, config, own, str(source))
    notes += (_TASK.format(task=config.task),)
    if config.generation.method == "beam":
      notes += (_BEAMS,)
    if _begins_twice(state, own):
      notes += (_TWICE,)
  return Conversion(
      source_format,
      count_parameters(state.params),
      state.step,
      has_moments=False,
      fresh=(),
      left_out=(),
      notes=notes,
  )


def _begins_twice(state: TextState, own: Tokenizer) -> bool:
  """Says whether the likeliest token behind the beginning is itself."""
  special = own.special
  source = jnp.asarray([[special.cls, special.sep]], jnp.int32)
  target = source[:, :1]
  model = Seq2Seq(state.encoder, state.architecture)

  @jax.jit
  def run(params):
    bound = model.bind({"params": params})
    masks = jnp.ones_like(source), jnp.ones_like(target)
    return bound.logits(bound(source, masks[0], target, masks[1]))

  return int(run(state.params)[0, 0].argmax()) == special.cls


def _write_folder(
    state: TextState,
    own: Tokenizer,
    source: epath.PathLike,
    seed: int | None,
    target: epath.Path,
) -> tuple[str, ...]:
  encoder, config = state.encoder, workdirs.load(source).config
  if state.architecture not in WRITABLE:
    raise UserError(
        f"{source} writes by generation.architecture={state.architecture}, which"
        " transformers has no class for; export it to onnx, or fine-tune with"
        f" {' or '.join(WRITABLE)}"
    )
  if encoder.attention_width != encoder.hidden_size:
    raise UserError(
        f"the {encoder.num_heads} heads of {source} are {encoder.head_width}"
        f" wide and its layers {encoder.hidden_size}, which transformers has no"
        " place for; export it to onnx"
    )
  check_exportable(own)
  with whole_folder(target) as folder:
    write_encoder_decoder(
        folder, encoder, state.params, config.generation, own.special
    )
    write_tokenizer(folder, own, config.data.max_length, fills_in=False)
    if not (folder / OPTIONS_FILE).exists():
      own.save(folder)
    write_card(folder, read_facts(source, "workdir", seed, state.step))
  notes = ()
  if config.model.dtype != "float32":
    notes += (PRECISION.format(dtype=config.model.dtype),)
  if config.model.quantization:
    notes += (ROUNDED.format(quantization=config.model.quantization),)
  if config.generation.method == "beam":
    notes += (_BEAMS,)
  if state.architecture == "shared":
    notes += (_COPIES,)
  return notes

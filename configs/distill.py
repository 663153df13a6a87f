r"""Distillation: a smaller model from a larger one, in two stages.

On a token store, without labels; the student is a pre-training run:

  electra-jax distill --config distill:small --workdir STUDENT \
      --config.distill.teacher=BASE --config.data.store=STORE

Of every token the student's last layer learns how its query, key and value
relate to those of all other tokens of the text, as in one layer of the teacher
(MiniLMv2: Wang et al., 2021). Layers, widths and attention heads need not be
the teacher's; `relation_heads` must divide both widths. The vocabulary must be
the teacher's: prepare the store with --tokenizer BASE/tokenizer. Rows are
plain text for this loss.

Sizes:
  small      that of configs/pretrain.py, 12 layers of 256, from a teacher of
             width 768 or 1,024.
  minilm     6 layers of 384, from the same.
  tiny_en    2 layers of 64, from tiny-en, in minutes on a CPU.

The relations are all that the student learns, as in the paper; its heads stay
random until it is fine-tuned, and `predict` says so. `,with_objective` behind
the size adds the objective of its recipe in configs/pretrain.py, so that it
also finds replaced tokens and fills gaps; a step then costs more, and in short
trials the encoder became worse (docs/distill.md).

On a task, from a teacher that is fine-tuned on it; the student is a
fine-tuning run:

  electra-jax distill --config distill:small,task=rte --workdir SMALL_RTE \
      --config.distill.teacher=BASE_RTE --config.init_from=STUDENT \
      --config.data.folder=GLUE

It learns the teacher's logits at a temperature, its relations, and the labels.
config.distill.unlabelled=FILE adds texts without labels, one on each line as
`predict --file` reads them, which have the teacher's logits alone. All other
values are those of configs/finetune.py for the size small or tiny_en; shapes
are init_from's.

The teacher is a workdir, or tiny-en; `electra-jax convert` makes a workdir of
a Google or Hugging Face folder. It is read again when a run is resumed, and
must then have the same weights. `,runlocal` runs the same code for a minute on
made-up text, from a teacher that was made by `,runlocal` as well.
"""

from ml_collections import ConfigDict

from electra_jax.config_files import load_config, parse_arg

# Students. MiniLMv2 takes 48 relation heads for teachers of width 768; 32
# divide 256, 768 and 1,024.
#          recipe     layers width emb. relation heads
SIZES = {
    "small": ("small", 12, 256, 128, 32),
    "minilm": ("small", 6, 384, 384, 48),
    "tiny_en": ("tiny_en", 2, 64, 64, 8),
}


def get_config(arg=None):
  """Returns the config of "SIZE[,with_objective]" or "SIZE,task=TASK"."""
  args = parse_arg(
      arg, size="small", task="", with_objective=False, runlocal=False
  )
  if args["size"] not in SIZES:
    raise ValueError(f"size {args['size']!r} is not one of {', '.join(SIZES)}")
  if args["task"]:
    if args["with_objective"]:
      raise ValueError(
          "with_objective is for a token store; on a task the labels and the"
          " teacher's logits are learned, see config.distill"
      )
    return _on_task(**args)
  return _on_text(**args)


def _on_text(size, with_objective, runlocal, **_):
  recipe, layers, width, embedding, heads = SIZES[size]
  config = load_config(f"pretrain:{recipe}{',runlocal' if runlocal else ''}")
  config.unlock()
  config.model.num_layers = min(layers, 2) if runlocal else layers
  config.model.hidden_size = width
  config.model.embedding_size = embedding
  config.distill = _teacher(heads)
  if recipe == "small" and not runlocal:  # MiniLMv2, §4.1.
    config.optimizer.learning_rate = 6e-4
    config.optimizer.warmup_steps = 4_000
    config.train.batch_size = 256
    config.train.num_steps = 400_000
  if size == "tiny_en":
    config.model.initializer_range = 0.125  # 1/√64.
    config.train.num_steps = 1_500
  if not with_objective:
    config.objective.gen_weight = 0.0
    config.objective.disc_weight = 0.0
  return config


def _on_task(size, task, runlocal, **_):
  recipe, *_, heads = SIZES[size]
  rest = "runlocal" if runlocal else "from_init"
  config = load_config(f"finetune:task={task},size={recipe},{rest}")
  config.unlock()
  config.distill = _teacher(heads)
  config.distill.temperature = 2.0  # Of both networks' logits.
  config.distill.logits_weight = 1.0  # Of their divergence.
  config.distill.label_weight = 1.0  # Of the loss of the labels.
  config.distill.unlabelled = ""  # File of texts without labels, or "".
  return config


def _teacher(heads):
  distill = ConfigDict()
  distill.teacher = ""  # Workdir of the run to learn from.
  distill.teacher_layer = -1  # Whose relations: 1 is the first, -1 the last.
  distill.relation_heads = heads  # Divides both widths.
  distill.relation_weight = 1.0  # Of the relations' loss in the total.
  return distill

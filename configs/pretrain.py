r"""Pre-training, with the paper's recipes (ELECTRA, Table 6) in full.

  electra-jax pretrain --config pretrain:small \
      --config.data.store=STORE --workdir RUN

Sizes:
  tiny      2 layers of 128, length 32; learns in minutes on a CPU (all steps on
            film reviews: about six minutes on two cores, AUC 0.781, masked-LM
            loss 3.37; the quickstart takes 1,000 of them). One encoder serves
            both networks, attention starts on neighbours, and samples are
            drawn at temperature 1.5.
  tiny_en   4 layers of 128, length 64, else as tiny; `tiny_en,stacked` made
            tiny-en, which comes with the package (docs/tiny_en.md).
  small     the paper's Small: 14M parameters, length 128, 1M steps.
  base      the paper's Base: 110M, length 512, 766k steps.
  large     the paper's Large: 335M, length 512, 400k steps.
  small_pp  the released small checkpoint: length 512, full-width generator,
            4M steps.
  base_pp   the released base checkpoint: Base for 4M steps.

The length is that of the token store: prepare it with --length 32 for tiny, 64
for tiny_en, 128 for small and 512 for the others. `,runlocal` behind the size
runs the same code for a minute on a laptop, with few steps on made-up text.

`base,from_init` takes base's recipe and the shapes of the run that
--config.init_from names: layers, widths, positions, generator, sharing.

Runs of two phases, by a word behind the size (`base,staged`):
  staged     NVIDIA's recipe for Base: LAMB, 10,000 steps of 67,584 rows of
             128 tokens, then 933 of 27,648 rows of 512 with the optimizer's
             moments kept; needs two stores:
             --config.phases.phase_1.data.store=STORE_OF_128
             --config.phases.phase_2.data.store=STORE_OF_512
  two_stage  the paper's §3.2: masked language modelling for half of the steps,
             then as many of the discriminator, which starts from those weights
             while the generator, the same network, stays as it is.
  stacked    fewer layers for half of the steps, then all of them, which start
             as those of the first phase, repeated.
Each phase is a workdir: RUN/phase_1 and RUN/phase_2, where the result lies.

Memory: on 16 chips of TPU v5e, small takes 0.4 GiB a chip and base 7.1; large
needs --config.train.accumulation_steps=16 (15.1 GiB).

The released code applies these recipes only in part: with model_size=base it
keeps the small model's learning rate, length, batch and generator width.
"""

from ml_collections import ConfigDict, config_dict

from electra_jax.config_files import parse_arg

# Paper, Table 6; tiny and tiny_en are ours; *_pp from the release's README and
# threads.
#            layers width emb.  gen. length mask  rate  batch  steps
SIZES = {
    "tiny": (2, 128, 128, 1.0, 32, 0.20, 1e-3, 64, 4_000),
    "tiny_en": (4, 128, 128, 1.0, 64, 0.20, 1e-3, 32, 20_000),
    "small": (12, 256, 128, 1 / 4, 128, 0.15, 5e-4, 128, 1_000_000),
    "base": (12, 768, 768, 1 / 3, 512, 0.15, 2e-4, 256, 766_000),
    "large": (24, 1024, 1024, 1 / 4, 512, 0.25, 2e-4, 2048, 400_000),
    "small_pp": (12, 256, 128, 1.0, 512, 0.15, 5e-4, 128, 4_000_000),
    "base_pp": (12, 768, 768, 1 / 3, 512, 0.15, 2e-4, 256, 4_000_000),
}

# What `from_init` leaves to the run that init_from names.
SHAPES = (
    "num_layers",
    "hidden_size",
    "embedding_size",
    "max_position_embeddings",
    "generator_width_ratio",
    "generator_depth_ratio",
    "embedding_sharing",
)

# Layers of the first phase of `stacked`, where they are not half of all.
FIRST_LAYERS = {"tiny_en": 3}

# NVIDIA, DeepLearningExamples, TensorFlow2/LanguageModeling/ELECTRA:
# scripts/configs/pretrain_config.sh, dgxa100_8gpu_amp. A batch is 8 devices x
# micro-batches x rows: 8 x 48 x 176 and 8 x 144 x 24.
#           length  batch  micro  rate  warmup  steps
STAGED = {
    "phase_1": (128, 67_584, 48, 6e-3, 2_000, 10_000),
    "phase_2": (512, 27_648, 144, 4e-3, 200, 933),
}


def get_config(arg=None):
  """Returns the config of a size; "SIZE" or "SIZE,staged,runlocal".

  With from_init the recipe is of that size and the shapes are init_from's.
  """
  args = parse_arg(
      arg,
      size="small",
      staged=False,
      two_stage=False,
      stacked=False,
      runlocal=False,
      from_init=False,
  )
  if args["size"] not in SIZES:
    raise ValueError(f"size {args['size']!r} is not one of {', '.join(SIZES)}")
  phases = [name for name in ("staged", "two_stage", "stacked") if args[name]]
  if len(phases) > 1:
    raise ValueError(f"{' and '.join(phases)} exclude each other; choose one")
  if args["stacked"] and args["from_init"]:
    raise ValueError(
        "stacked says how many layers there are, and from_init leaves that to"
        " another run; choose one"
    )
  layers, width, embedding, ratio, length, mask, rate, batch, steps = SIZES[
      args["size"]
  ]
  config = ConfigDict()
  config.seed = 0

  config.init_from = ""  # Workdir whose weights this run starts from.
  config.init = ConfigDict()
  config.init.optimizer = "fresh"  # Or "restored": its moments as well.
  config.init.positions = "same"  # Or "resized": cut, or repeated.
  config.init.vocabulary = "same"  # Or "matched": rows by token text.
  config.init.fresh = ""  # Parts that it lacks: "discriminator_head,...".
  config.init.unused = ""  # Parts of it that are left out.
  config.init.layers = "same"  # Or "stacked": repeated, up to num_layers.

  config.data = ConfigDict()
  config.data.store = ""  # Folder made by `electra-jax prepare`.
  config.data.length = length  # Tokens per row; must be the store's.
  config.data.synthetic = False  # Ignore the store, train on made-up text.

  config.model = ConfigDict()  # Shapes of 0 or "" are init_from's.
  config.model.num_layers = layers
  config.model.hidden_size = width
  config.model.embedding_size = embedding
  # hidden_size / 64 and 4 x hidden_size if unset.
  config.model.num_heads = config_dict.placeholder(int)
  config.model.intermediate_size = config_dict.placeholder(int)
  # hidden_size / num_heads if unset; of a pruned run what it was before.
  config.model.head_size = config_dict.placeholder(int)
  config.model.max_position_embeddings = 512
  config.model.initializer_range = 0.02
  config.model.initialization = "released"  # Or "local".
  config.model.hidden_dropout = 0.1
  config.model.attention_dropout = 0.1
  config.model.generator_width_ratio = ratio  # Generator over discriminator.
  config.model.generator_depth_ratio = 1.0
  # Or "none", "all", "gradient_disentangled".
  config.model.embedding_sharing = "embeddings"
  config.model.dtype = "bfloat16"  # Activations; or "float32".
  config.model.remat = "none"  # Recompute: "none", "dots" or "layer".
  config.model.quantization = ""  # Or train for "int8", "int4" weights.
  config.model.attention = "auto"  # Or "xla", "fused" (a kernel).

  config.objective = ConfigDict()
  # Or "electra_15", "electric", "replace_mlm", "all_tokens_mlm", "masked_lm".
  config.objective.name = "electra"
  # Or "two_tower", "unigram", "uniform", "random".
  config.objective.generator = "masked_lm"
  config.objective.gen_weight = 1.0
  config.objective.disc_weight = 50.0
  config.objective.token_weight = 1.0  # Of replace_mlm and all_tokens_mlm.
  config.objective.label_smoothing = 0.0  # Of the discriminator's labels.
  config.objective.mask_prob = mask
  config.objective.masking_draw = "without_replacement"  # Or the release's.
  config.objective.masking_unit = "token"  # Or "word": all of its pieces.
  config.objective.temperature = 1.0
  config.objective.disallow_correct = False

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"  # The release's; or "lamb".
  config.optimizer.frozen = ""  # Parts that stay as they are: "generator,...".
  config.optimizer.learning_rate = rate
  config.optimizer.warmup_steps = 10_000
  config.optimizer.decay_power = 1.0
  config.optimizer.weight_decay = 0.01
  config.optimizer.clip_norm = 1.0
  config.optimizer.adam_b1 = 0.9
  config.optimizer.adam_b2 = 0.999
  config.optimizer.adam_epsilon = 1e-6

  config.train = ConfigDict()
  config.train.num_steps = steps
  config.train.batch_size = batch  # Rows per step over all devices.
  config.train.accumulation_steps = 1  # Micro-batches per step.
  config.train.overlap_reductions = True  # On TPUs with SparseCores.
  config.train.log_every_steps = 100
  config.train.eval_every_steps = 5_000
  config.train.eval_batch_size = 128  # Rows over all devices, and empty ones.
  config.train.eval_max_rows = 12_800  # As the release: 100 batches of 128.
  config.train.checkpoint_every_steps = 1_000
  config.train.keep_checkpoints = 5

  config.phases = ConfigDict()  # Name -> values of its own; see above.

  config.mesh = ConfigDict()
  config.mesh.data = -1  # Devices that the other axes leave.
  config.mesh.fsdp = 0  # As few as a replica fits into.
  config.mesh.tensor = 1

  config.trackers = ""  # Or "wandb", "mlflow", "wandb,mlflow".

  if args["size"] in ("tiny", "tiny_en"):
    config.model.embedding_sharing = "all"
    config.model.initialization = "local"
    config.model.initializer_range = 0.088  # 1/√128.
    config.model.hidden_dropout = 0.0
    config.model.attention_dropout = 0.0
    config.model.dtype = "float32"
    config.objective.disc_weight = 8.0
    config.objective.temperature = 1.5
    config.optimizer.warmup_steps = 100
    config.train.eval_every_steps = 500
    config.train.checkpoint_every_steps = 500
  if args["size"] == "tiny_en":
    config.model.max_position_embeddings = 128
    config.optimizer.warmup_steps = 200
    config.train.checkpoint_every_steps = 250
  if args["runlocal"]:
    config.data.synthetic = True
    config.data.length = 32
    config.model.num_layers = 2
    config.model.dtype = "float32"
    config.optimizer.warmup_steps = 5
    config.train.num_steps = 20
    config.train.batch_size = 8
    config.train.eval_batch_size = 8
    config.train.eval_max_rows = 32
    config.train.log_every_steps = 5
    config.train.eval_every_steps = 10
    config.train.checkpoint_every_steps = 10
  if args["from_init"]:
    for name in SHAPES:
      config.model[name] = type(config.model[name])()
  if args["staged"]:
    _stage(config, args["runlocal"])
  if args["two_stage"]:
    _split(config)
  if args["stacked"]:
    first_layers = config.model.num_layers // 2
    if not args["runlocal"]:
      first_layers = FIRST_LAYERS.get(args["size"], first_layers)
    _stack(config, first_layers)
  return config


def _stage(config, runlocal):
  """Adds the phases of NVIDIA's recipe.

  Two things differ from theirs: the decay runs from the first step, as in the
  release, not from the end of the warm-up, so that the highest rates are
  5.4e-3 and 3.5e-3; and the second phase goes on counting the steps of Adam's
  bias correction, which theirs begins anew over moments that are long
  unbiased.

  Source: scripts/run_pretraining.sh, optimization.py:create_optimizer and
  run_pretraining.py (--phase2), in the folder named at STAGED.
  """
  config.optimizer.name = "lamb"
  config.optimizer.adam_b1 = 0.878
  config.optimizer.adam_b2 = 0.974
  config.optimizer.decay_power = 0.5
  config.train.log_every_steps = 10
  config.train.eval_every_steps = 500
  config.train.checkpoint_every_steps = 500
  for name, values in STAGED.items():
    length, batch, micro, rate, warmup, steps = values
    phase = ConfigDict()
    phase.data = ConfigDict({"store": "", "length": length})
    phase.optimizer = ConfigDict({"learning_rate": rate})
    phase.optimizer.warmup_steps = warmup
    phase.train = ConfigDict({"batch_size": batch})
    phase.train.accumulation_steps = micro
    phase.train.num_steps = steps
    config.phases[name] = phase
  config.phases.phase_2.init = ConfigDict({"optimizer": "restored"})
  if runlocal:
    config.train.log_every_steps = 5
    config.train.eval_every_steps = 10
    config.train.checkpoint_every_steps = 5
    for phase, length in zip(config.phases.values(), (16, 32), strict=True):
      phase.data.length = length
      phase.optimizer.warmup_steps = 3
      phase.train.batch_size = 16
      phase.train.accumulation_steps = 2
      phase.train.num_steps = 10


def _split(config):
  """Adds the phases of two-stage training.

  Source: ELECTRA §3.2, "Training algorithms".
  """
  steps = config.train.num_steps // 2
  first, second = ConfigDict(), ConfigDict()
  first.objective = ConfigDict({"name": "masked_lm"})
  first.train = ConfigDict({"num_steps": steps})
  second.init = ConfigDict({"fresh": "discriminator_head"})
  second.model = ConfigDict()
  second.model.generator_width_ratio = 1.0
  second.model.generator_depth_ratio = 1.0
  second.model.embedding_sharing = "gradient_disentangled"
  second.objective = ConfigDict({"name": "electra", "gen_weight": 0.0})
  second.optimizer = ConfigDict()
  second.optimizer.frozen = "generator,generator_embeddings,generator_head"
  second.train = ConfigDict({"num_steps": steps})
  config.phases.phase_1, config.phases.phase_2 = first, second


def _stack(config, first_layers):
  """Adds the phases of stacking: few layers, then all.

  The second phase has 0.7 of the rate; that, and that each phase has half of
  the steps, are the numbers of tiny-en and not the source's.

  Source: Gong et al. (2019), "Efficient training of BERT by progressively
  stacking", §3.
  """
  steps = config.train.num_steps // 2
  first, second = ConfigDict(), ConfigDict()
  first.model = ConfigDict({"num_layers": first_layers})
  first.train = ConfigDict({"num_steps": steps})
  second.init = ConfigDict({"layers": "stacked"})
  rate = 0.7 * config.optimizer.learning_rate
  second.optimizer = ConfigDict({"learning_rate": rate})
  second.train = ConfigDict({"num_steps": steps})
  config.phases.phase_1, config.phases.phase_2 = first, second

r"""Pre-training, with the paper's recipes (ELECTRA, Table 6) in full.

  electra-jax pretrain --config configs/pretrain.py:small \
      --config.data.store=STORE --workdir RUN

Sizes:
  tiny      2 layers of 128, length 32; learns in minutes on a CPU (the
            quickstart: about six minutes on two cores, AUC 0.778, masked-LM
            loss 3.42). One encoder serves both networks, attention starts on
            neighbours, and samples are drawn at temperature 1.5.
  small     the paper's Small: 14M parameters, length 128, 1M steps.
  base      the paper's Base: 110M, length 512, 766k steps.
  large     the paper's Large: 335M, length 512, 400k steps.
  small_pp  the released small checkpoint: length 512, full-width generator,
            4M steps.
  base_pp   the released base checkpoint: Base for 4M steps.

The length is that of the token store: prepare it with --length 32 for tiny,
128 for small and 512 for the others. `,runlocal` behind the size runs the
same code for a minute on a laptop, with few steps on made-up text.

Memory: on 16 chips of TPU v5e, small takes 0.4 GiB a chip and base 7.1; large
needs --config.train.accumulation_steps=16 (15.1 GiB).

The released code applies these recipes only in part: with model_size=base it
keeps the small model's learning rate, length, batch and generator width.
"""

from ml_collections import ConfigDict

from electra_jax.config_args import parse_arg

# Paper, Table 6; tiny is ours; *_pp from the release's README and threads.
#            layers width emb.  gen. length mask  rate  batch  steps
SIZES = {
    "tiny": (2, 128, 128, 1.0, 32, 0.20, 1e-3, 64, 4_000),
    "small": (12, 256, 128, 1 / 4, 128, 0.15, 5e-4, 128, 1_000_000),
    "base": (12, 768, 768, 1 / 3, 512, 0.15, 2e-4, 256, 766_000),
    "large": (24, 1024, 1024, 1 / 4, 512, 0.25, 2e-4, 2048, 400_000),
    "small_pp": (12, 256, 128, 1.0, 512, 0.15, 5e-4, 128, 4_000_000),
    "base_pp": (12, 768, 768, 1 / 3, 512, 0.15, 2e-4, 256, 4_000_000),
}


def get_config(arg=None):
  """Returns the config of a size; "SIZE" or "SIZE,runlocal"."""
  args = parse_arg(arg, size="small", runlocal=False)
  if args["size"] not in SIZES:
    raise ValueError(f"size {args['size']!r} is not one of {', '.join(SIZES)}")
  layers, width, embedding, ratio, length, mask, rate, batch, steps = SIZES[
      args["size"]
  ]
  config = ConfigDict()
  config.seed = 0

  config.data = ConfigDict()
  config.data.store = ""  # Folder made by `electra-jax prepare`.
  config.data.length = length  # Tokens per row; must be the store's.
  config.data.made_up = False  # Ignore the store, train on made-up text.

  config.model = ConfigDict()
  config.model.num_layers = layers
  config.model.hidden_size = width
  config.model.embedding_size = embedding
  config.model.max_position_embeddings = 512
  config.model.initializer_range = 0.02
  config.model.initialization = "released"  # Or "local".
  config.model.hidden_dropout = 0.1
  config.model.attention_dropout = 0.1
  config.model.generator_width_ratio = ratio  # Generator over discriminator.
  config.model.generator_depth_ratio = 1.0
  config.model.embedding_sharing = "embeddings"  # Or "none", "all".
  config.model.dtype = "bfloat16"  # Activations; or "float32".
  config.model.remat = "none"  # Recompute: "none", "dots" or "layer".

  config.objective = ConfigDict()
  config.objective.name = "electra"  # Or "masked_lm", "uniform".
  config.objective.gen_weight = 1.0
  config.objective.disc_weight = 50.0
  config.objective.mask_prob = mask
  config.objective.masking_draw = "without_replacement"  # Or the release's.
  config.objective.temperature = 1.0
  config.objective.disallow_correct = False

  config.optimizer = ConfigDict()
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
  config.train.log_every_steps = 100
  config.train.eval_every_steps = 5_000
  config.train.eval_batch_size = 128  # Rows over all devices.
  config.train.eval_max_rows = 12_800  # As the release: 100 batches of 128.
  config.train.checkpoint_every_steps = 1_000
  config.train.keep_checkpoints = 5

  config.mesh = ConfigDict()
  config.mesh.data = -1  # Devices that the other axes leave.
  config.mesh.fsdp = 1
  config.mesh.tensor = 1

  if args["size"] == "tiny":
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
  if args["runlocal"]:
    config.data.made_up = True
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
  return config

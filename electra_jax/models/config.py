"""Shapes of the networks, and the sizes of the paper."""

import dataclasses

from electra_jax.errors import UserError

HEAD_WIDTH = 64  # Release, configure_pretraining.py: heads = hidden // 64.
LAYER_NORM_EPSILON = 1e-12  # Release: tf.contrib layer_norm.
EMBEDDING_SHARINGS = ("embeddings", "gradient_disentangled", "none", "all")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """One Transformer encoder.

  Attributes:
    vocab_size: rows of the word table, V.
    embedding_size: width of the three tables, E; projected to hidden_size
      where the two differ.
    hidden_size: width of the layers, D.
    num_layers: number of layers.
    num_heads: attention heads, N; divides hidden_size where there is no
      head_size.
    intermediate_size: width of the feed-forward layer, F.
    max_position_embeddings: rows of the position table, the longest row.
    type_vocab_size: rows of the segment table.
    initializer_range: deviation of fresh tables and kernels, before they are
      cut at two deviations; the heads' last layers and the projection are
      Glorot uniform.
    initialization: "released", or "local": attention starts on neighbours,
      by a sinusoidal position table and keys that start equal to queries. A
      narrow model then needs hundreds of steps in place of thousands to
      learn more than word frequencies.
    hidden_dropout: dropped share of embeddings and of each sublayer's output.
    attention_dropout: dropped share of attention probabilities.
    dtype: dtype of activations, "float32" or "bfloat16"; parameters, softmax,
      norm statistics and losses are float32 always.
    remat: what the backward pass computes again: "none"; "dots", all but the
      products with weights; "layer", everything between layer edges.
    quantization: how weights and what is multiplied by them are rounded: ""
      for not at all, "int8" or "int4"; see models/quantization.py.
    head_size: width of a head, H, or None for hidden_size / num_heads; a
      pruned encoder has fewer heads of the width that they had.
  """

  vocab_size: int
  embedding_size: int
  hidden_size: int
  num_layers: int
  num_heads: int
  intermediate_size: int
  max_position_embeddings: int = 512
  type_vocab_size: int = 2
  initializer_range: float = 0.02
  initialization: str = "released"
  hidden_dropout: float = 0.1
  attention_dropout: float = 0.1
  dtype: str = "float32"
  remat: str = "none"
  quantization: str = ""
  head_size: int | None = None

  def __post_init__(self):
    if self.head_size is None and self.hidden_size % self.num_heads:
      raise UserError(
          f"hidden_size {self.hidden_size} does not divide into num_heads"
          f" {self.num_heads}; choose a multiple"
      )
    if self.dtype not in ("float32", "bfloat16"):
      raise UserError(
          f"dtype {self.dtype!r} is neither 'float32' nor 'bfloat16'"
      )
    if self.initialization not in ("released", "local"):
      raise UserError(
          f"initialization {self.initialization!r} is neither 'released' nor"
          " 'local'"
      )
    if self.remat not in ("none", "dots", "layer"):
      raise UserError(f"remat {self.remat!r} is not 'none', 'dots' or 'layer'")
    if self.quantization not in ("", "int8", "int4"):
      raise UserError(
          f"quantization {self.quantization!r} is not 'int8', 'int4' or ''"
      )

  @property
  def head_width(self) -> int:
    """Width of a head, H."""
    return self.head_size or self.hidden_size // self.num_heads

  @property
  def attention_width(self) -> int:
    """Width of query, key and value, of all heads side by side: N * H."""
    return self.num_heads * self.head_width


@dataclasses.dataclass(frozen=True)
class ElectraConfig:
  """Both networks and what they share.

  Attributes:
    discriminator: the large encoder, the one that is kept.
    generator: the small encoder, or None where the discriminator's encoder
      also generates (all weights tied, or masked LM alone).
    embedding_sharing: "embeddings": word, position and segment tables and
      their LayerNorm stand once; "gradient_disentangled": the discriminator
      reads the generator's tables without training them, plus tables of its
      own that start at zero, and has its own LayerNorm; "none": the generator
      has its own tables, of its own width; "all": one encoder serves both
      (`generator` is None).
    has_generator_head: whether a masked-LM head exists.
    has_discriminator_head: whether a replaced-token head exists.
    has_token_head: whether the discriminator also has a masked-LM head.
    has_two_towers: whether the generator is two encoders of one direction
      each, whose states are joined, in place of a masked LM.
  """

  discriminator: EncoderConfig
  generator: EncoderConfig | None
  embedding_sharing: str = "embeddings"
  has_generator_head: bool = True
  has_discriminator_head: bool = True
  has_token_head: bool = False
  has_two_towers: bool = False

  def __post_init__(self):
    if self.embedding_sharing not in EMBEDDING_SHARINGS:
      raise UserError(
          f"config.model.embedding_sharing is {self.embedding_sharing!r}; it"
          f" must be one of {', '.join(EMBEDDING_SHARINGS)}"
      )
    if self.has_two_towers and self.embedding_sharing == "all":
      raise UserError(
          "config.model.embedding_sharing is 'all' and the generator has two"
          " towers, which one encoder cannot be; choose 'embeddings', 'none'"
          " or 'gradient_disentangled'"
      )

    if self.is_disentangled and self.discriminator.quantization:
      raise UserError(
          f"config.model.quantization is {self.discriminator.quantization!r} and"
          " config.model.embedding_sharing 'gradient_disentangled', whose word"
          " table is a sum that is not rounded as an exported file's; choose"
          " 'embeddings' or 'none'"
      )

  @property
  def is_disentangled(self) -> bool:
    """Whether the discriminator's tables are the generator's plus its own."""
    sharing = self.embedding_sharing
    return sharing == "gradient_disentangled" and self.generator is not None

  @property
  def has_generator_embeddings(self) -> bool:
    """Whether the generator's tables are not the discriminator's."""
    is_own = self.embedding_sharing == "none" and self.generator is not None
    return is_own or self.is_disentangled


# Paper, Table 6: (layers, D, E).
SIZES = {
    "small": (12, 256, 128),
    "base": (12, 768, 768),
    "large": (24, 1024, 1024),
}


def encoder_config(
    vocab_size: int,
    num_layers: int,
    hidden_size: int,
    embedding_size: int,
    **overrides,
) -> EncoderConfig:
  """Returns an encoder with the release's heads and feed-forward width.

  >>> base = encoder_config(30522, 12, 768, 768)
  >>> base.num_heads, base.intermediate_size
  (12, 3072)

  Source: release configure_pretraining.py and pretrain_helpers.py: heads are
  64 wide and at least one, the feed-forward width is four times the width.
  """
  return EncoderConfig(
      vocab_size=vocab_size,
      embedding_size=embedding_size,
      hidden_size=hidden_size,
      num_layers=num_layers,
      num_heads=max(1, hidden_size // HEAD_WIDTH),
      intermediate_size=4 * hidden_size,
      **overrides,
  )


def generator_config(
    discriminator: EncoderConfig,
    width_ratio: float,
    depth_ratio: float = 1.0,
    own_embeddings: bool = False,
) -> EncoderConfig:
  """Scales the discriminator down to its generator.

  Args:
    discriminator: the network to scale.
    width_ratio: generator width over discriminator width; feed-forward width
      and heads follow.
    depth_ratio: generator layers over discriminator layers.
    own_embeddings: whether the tables are as wide as the generator, with no
      projection, in place of the shared ones.

  Source: release run_pretraining.py:get_generator_config.
  """
  hidden_size = round(discriminator.hidden_size * width_ratio)
  return dataclasses.replace(
      discriminator,
      hidden_size=hidden_size,
      embedding_size=(
          hidden_size if own_embeddings else discriminator.embedding_size
      ),
      num_layers=round(discriminator.num_layers * depth_ratio),
      num_heads=max(1, hidden_size // HEAD_WIDTH),
      intermediate_size=4 * hidden_size,
      head_size=None,
  )

"""Model FLOPs: what the formulas need, whatever a program computes.

A multiplication and an addition count as two. Counted are products with
weights and attention's two products; embeddings, norms and activations count
nothing. Training takes three times the forward pass, and nothing is counted
for what a backward pass computes again.
"""

from electra_jax.models.config import ElectraConfig, EncoderConfig

TRAINING_PASSES = 3  # Forward, gradient of inputs, gradient of weights.


def training_flops_per_row(
    config: ElectraConfig, length: int, num_slots: int, token_positions: int = 0
) -> int:
  """Returns the FLOPs that one row costs in a training step.

  Args:
    config: both networks.
    length: L, tokens of a row.
    num_slots: K, masked positions of a row.
    token_positions: how many positions the discriminator's masked-LM head
      sees, if there is one.
  """
  discriminator = config.discriminator
  generator = config.generator or discriminator
  forward = 0
  if config.has_generator_head:
    towers = 2 if config.has_two_towers else 1
    # The loss of two towers stands on every position, their samples on K.
    positions = num_slots + (length if config.has_two_towers else 0)
    width = towers * generator.hidden_size
    forward += towers * encoder_flops(generator, length)
    forward += positions * _masked_lm_head_flops(generator, width)
  if config.has_discriminator_head or config.has_token_head:
    width = discriminator.hidden_size
    forward += encoder_flops(discriminator, length)
    if config.has_discriminator_head:
      forward += length * 2 * width * (width + 1)
    if config.has_token_head:
      head = _masked_lm_head_flops(discriminator, width)
      forward += token_positions * head
  return TRAINING_PASSES * forward


def encoder_flops(config: EncoderConfig, length: int) -> int:
  """Returns the FLOPs of one row's forward pass through an encoder."""
  width, inner = config.hidden_size, config.intermediate_size
  attention = config.attention_width
  weights = 4 * width * attention + 2 * width * inner
  layer = 2 * weights + 4 * length * attention
  projection = 0
  if config.embedding_size != width:
    projection = 2 * config.embedding_size * width
  return length * (config.num_layers * layer + projection)


def _masked_lm_head_flops(config: EncoderConfig, width: int) -> int:
  embedding = config.embedding_size
  return 2 * width * embedding + 2 * embedding * config.vocab_size

"""The training step, optimizer, checkpoints and loop; knows no model."""

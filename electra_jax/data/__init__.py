"""Text to token rows, on the host: numpy, no jax."""

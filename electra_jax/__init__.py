"""ELECTRA in JAX: replaced-token detection, from a laptop to a TPU pod."""

__version__ = "0.1.0"

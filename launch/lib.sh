# Shared by the launchers: arguments, the env file, --dry-run.
# shellcheck shell=bash

# Ends with one sentence.
die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# begin "VERB..." ARGUMENTS: sets VERB and DRY_RUN, reads the env file into
# variables, and goes to the repository's root. The first verb is the default
# where there is one only.
begin() {
  local verbs="$1" argument names
  shift
  VERB=
  DRY_RUN=false
  for argument in "$@"; do
    if [[ "$argument" == --help || "$argument" == -h ]]; then
      sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
      exit 0
    elif [[ "$argument" == --dry-run ]]; then
      DRY_RUN=true
    elif [[ -z "$VERB" && " $verbs " == *" $argument "* ]]; then
      VERB="$argument"
    else
      die "'$argument' is not one of --dry-run, ${verbs// /, }"
    fi
  done
  [[ "$verbs" == *" "* ]] || VERB="$verbs"
  [[ -n "$VERB" ]] || die "say what to do: ${verbs// /, }"

  ENV_FILE="${ENV:-launch/env}"
  [[ -z "${ENV:-}" || "$ENV" == /* ]] || ENV_FILE="$PWD/$ENV"
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
  [[ -f "$ENV_FILE" ]] || die "there is no $ENV_FILE; copy launch/env.example\
 to launch/env and fill it in, or name another file: ENV=FILE"
  # What the user's shell has exported must not slip into a run.
  mapfile -t names < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' launch/env.example)
  unset "${names[@]}"
  # shellcheck source=env.example
  source "$ENV_FILE"

  require RUN_NAME COMMAND
  [[ "$RUN_NAME" =~ ^[a-z][-a-z0-9]{0,38}[a-z0-9]$ ]] || die "RUN_NAME\
 '$RUN_NAME' in $ENV_FILE names machines and jobs; give 2 to 40 of a-z, 0-9 and\
 hyphens, a letter first"
}

# require NAME...: ends with one sentence where a variable is missing.
require() {
  local name
  for name in "$@"; do
    [[ -n "${!name:-}" ]] || die "$name is not set in $ENV_FILE;\
 launch/env.example says what it is"
  done
}

# require_whole NAME...: the same, where a variable is no whole number above 0.
require_whole() {
  local name
  require "$@"
  for name in "$@"; do
    [[ "${!name}" =~ ^[1-9][0-9]*$ ]] || die "$name '${!name}' in $ENV_FILE is\
 not a whole number above 0"
  done
}

# require_spot: the same, of the one switch.
require_spot() {
  require SPOT
  [[ "$SPOT" == true || "$SPOT" == false ]] || die "SPOT '$SPOT' in $ENV_FILE\
 is neither true nor false"
}

# need TOOL WHERE: ends with one sentence where a program is missing.
need() {
  [[ "$DRY_RUN" == true ]] || command -v "$1" >/dev/null ||
    die "there is no $1; $2"
}

# need_electra_jax: sets ELECTRA_JAX, the command in VENV; where COMMAND begins
# with a script, such as launch/sweep.py, that is Python.
need_electra_jax() {
  require VENV
  ELECTRA_JAX="$VENV/bin/electra-jax"
  [[ "${COMMAND[0]}" != *.py ]] || ELECTRA_JAX="$VENV/bin/python"
  need "$ELECTRA_JAX" "install the package there, as launch/slurm.md does, or\
 set VENV in $ENV_FILE"
}

# quoted WORD...: prints them so that a shell reads the same words.
quoted() {
  local word line='' quote="'" escaped="'\\''"
  for word in "$@"; do
    [[ "$word" =~ ^[-A-Za-z0-9_./:=,@%+]+$ ]] ||
      word="$quote${word//$quote/$escaped}$quote"
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}

# run COMMAND...: runs it, or prints it if --dry-run.
run() {
  if [[ "$DRY_RUN" == true ]]; then
    quoted "$@"
  else
    "$@"
  fi
}

# tell_cost CHIPS: what the machine costs until it is deleted.
tell_cost() {
  awk -v name="$RUN_NAME" -v chips="$1" -v price="$PRICE_PER_CHIP_HOUR" \
    'BEGIN {
      hour = chips * price
      printf "%s costs %d chips x %s = %.2f an hour, %.2f a day, %.2f a week,", \
        name, chips, price, hour, 24 * hour, 168 * hour
      print " trained or idle, until you type:"
    }'
  quoted ${ENV:+"ENV=$ENV"} bash "launch/${0##*/}" delete
}

# require_price: ends with one sentence where the price is no number.
require_price() {
  require PRICE_PER_CHIP_HOUR
  [[ "$PRICE_PER_CHIP_HOUR" =~ ^[0-9]*\.?[0-9]+$ ]] || die "PRICE_PER_CHIP_HOUR\
 '$PRICE_PER_CHIP_HOUR' in $ENV_FILE is not a number such as 1.20"
}

#!/usr/bin/env bash
# A run on a TPU VM of one or many hosts; launch/tpu_vm.md tells the whole way.
#
#   bash launch/tpu_vm.sh [--dry-run] VERB
#
#   queue    asks for the machine; once it is granted it installs and trains
#   keep     waits here: asks anew when it was taken away, deletes it at the end
#   create   or at once: makes the machine, which then waits for
#   setup      the installation of the committed code on all workers, and
#   run        the start of training on all workers, now and after every boot
#   logs     follows what a worker prints; WORKER=1 for another than the first
#   status   how it stands, and whatever else there is in the zone
#   delete   deletes the machine and the request; what is on gs:// stays
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "queue keep create setup run logs status delete" "$@"
require PROJECT ZONE BUCKET
need gcloud "install it from https://cloud.google.com/sdk/docs/install"

WHERE=(--project="$PROJECT" --zone="$ZONE")
FOLDER="gs://$BUCKET/launch/$RUN_NAME"
BUILD="build/launch/$RUN_NAME"

# What both ways of getting a machine take. The service account's own rights
# decide; the scope alone would be too narrow to write checkpoints.
machine() {
  require ACCELERATOR_TYPE RUNTIME_VERSION
  require_price
  require_spot
  CHIPS="${ACCELERATOR_TYPE##*-}"
  [[ "$CHIPS" =~ ^[0-9]+$ ]] || die "ACCELERATOR_TYPE '$ACCELERATOR_TYPE' in\
 $ENV_FILE does not end with a number, as v5litepod-16 does"
  # These are named after cores, two a chip; the others after chips.
  case "$ACCELERATOR_TYPE" in v2-* | v3-* | v4-* | v5p-*) ((CHIPS /= 2)) ;; esac
  MACHINE=("${WHERE[@]}" --accelerator-type="$ACCELERATOR_TYPE"
    --scopes=https://www.googleapis.com/auth/cloud-platform)
  [[ "$SPOT" == false ]] || MACHINE+=(--spot)
}

create() {
  machine
  run gcloud compute tpus tpu-vm create "$RUN_NAME" "${MACHINE[@]}" \
    --version="$RUNTIME_VERSION"
  tell_cost "$CHIPS"
}

queue() {
  machine
  upload
  run gcloud compute tpus queued-resources create "$RUN_NAME" \
    --node-id="$RUN_NAME" "${MACHINE[@]}" \
    --runtime-version="$RUNTIME_VERSION" \
    --metadata=electra-jax-folder="$FOLDER" \
    --metadata-from-file=startup-script=launch/tpu_worker.sh
  tell_cost "$CHIPS"
}

# Sends what workers need: the code as committed, the command, their script.
upload() {
  if ! git diff --quiet HEAD; then
    echo "workers get the commit $(git rev-parse --short HEAD), without what is\
 not committed" >&2
  fi
  run mkdir -p "$BUILD"
  run git bundle create --quiet "$BUILD/code.bundle" HEAD
  save "$BUILD/run.sh" "$(declare -p COMMAND)"
  run gcloud storage cp "$BUILD/code.bundle" "$BUILD/run.sh" \
    launch/tpu_worker.sh "$FOLDER/"
  # A finished run's note would stop the workers of this one.
  if [[ "$DRY_RUN" == true ]] || gcloud storage ls "$FOLDER/outcome" &>/dev/null
  then
    run gcloud storage rm "$FOLDER/outcome"
  fi
}

# save FILE TEXT
save() {
  if [[ "$DRY_RUN" == true ]]; then
    printf '%s > %s\n' "$(quoted printf '%s\n' "$2")" "$1"
  else
    printf '%s\n' "$2" >"$1"
  fi
}

setup() {
  upload
  on_workers all "gcloud storage cp $FOLDER/tpu_worker.sh /tmp/tpu_worker.sh &&\
 sudo bash /tmp/tpu_worker.sh setup $FOLDER"
}

on_workers() {
  run gcloud compute tpus tpu-vm ssh "$RUN_NAME" "${WHERE[@]}" \
    --worker="$1" --command="$2"
}

# exists KIND: whether there is one of that name; an error is not a no.
exists() {
  local names
  [[ "$DRY_RUN" == false ]] || return 0
  names="$(gcloud compute tpus "$1" list "${WHERE[@]}" \
    --format='value(name.basename())')" || die "cannot list the $1 of $ZONE"
  grep --quiet --line-regexp --fixed-strings -e "$RUN_NAME" <<<"$names"
}

delete() {
  # A queued machine goes with its request.
  if exists queued-resources; then
    run gcloud compute tpus queued-resources delete "$RUN_NAME" \
      "${WHERE[@]}" --force --quiet
  fi
  if exists tpu-vm; then
    run gcloud compute tpus tpu-vm delete "$RUN_NAME" "${WHERE[@]}" --quiet
  fi
  [[ "$DRY_RUN" == true ]] || echo "nothing named $RUN_NAME is left in $ZONE"
}

outcome() {
  run gcloud storage cat "$FOLDER/outcome" 2>/dev/null || true
}

keep() {
  local result state
  machine
  while true; do
    result="$(outcome)"
    if [[ "$DRY_RUN" == true ]]; then
      printf '%s\n' "$result"
      run gcloud compute tpus queued-resources describe "$RUN_NAME" \
        "${WHERE[@]}" --format='value(state.state)'
      delete
      break
    elif [[ -n "$result" ]]; then
      echo "$result"
      delete
      [[ "$result" == finished* ]] || exit 1
      break
    elif ! exists queued-resources; then
      queue
    else
      state="$(gcloud compute tpus queued-resources describe "$RUN_NAME" \
        "${WHERE[@]}" --format='value(state.state)')"
      # A request whose machine was taken away is never granted again.
      if [[ "$state" == SUSPENDED || "$state" == FAILED ]]; then
        echo "$(date) $state: asking for another machine"
        delete
        queue
      fi
    fi
    sleep "${POLL_SECS:-60}"
  done
}

case "$VERB" in
  queue) queue ;;
  keep) keep ;;
  create) create ;;
  setup) setup ;;
  run) on_workers all "sudo bash /opt/electra_jax/tpu_worker.sh start" ;;
  logs)
    on_workers "${WORKER:-0}" \
      "sudo journalctl --unit=electra-jax --lines=200 --follow"
    ;;
  status)
    run gcloud compute tpus queued-resources list "${WHERE[@]}"
    run gcloud compute tpus tpu-vm list "${WHERE[@]}"
    outcome
    ;;
  delete) delete ;;
esac

#!/usr/bin/env bash
# What every worker of a TPU VM does; launch/tpu_vm.sh sends it there. As root:
#
#   tpu_worker.sh setup FOLDER   installs the code that lies in gs://…/FOLDER
#   tpu_worker.sh start          trains, now and after every boot
#   tpu_worker.sh loop           what the service does: the same command until
#                                it ends by itself, resuming each time
#   tpu_worker.sh                as a startup script: setup and start, once
set -euo pipefail
BASE="${BASE:-/opt/electra_jax}"
UNIT="${UNIT:-/etc/systemd/system/electra-jax.service}"
PATH="$PATH:/snap/bin" # Where some images have gcloud, unknown to services.
MAX_FAILURES=5

setup() {
  mkdir -p "$BASE"
  cd "$BASE"
  gcloud storage cp "$1/code.bundle" "$1/run.sh" "$1/tpu_worker.sh" .
  printf 'FOLDER=%q\n' "$1" >>run.sh
  rm -rf code
  git -c advice.detachedHead=false clone --quiet code.bundle code
  # The images' own Python is older than 3.11.
  [[ -x uv ]] || curl -LsSf https://astral.sh/uv/install.sh |
    env UV_UNMANAGED_INSTALL="$BASE" sh
  ./uv venv --quiet --allow-existing --python 3.12 venv
  ./uv pip install --quiet --python venv/bin/python -e './code[tpu,gcs,finetune,tfds]'
}

start() {
  # TimeoutStopSec: after SIGTERM the last checkpoint is written.
  cat >"$UNIT" <<UNIT
[Unit]
Description=electra-jax
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/env bash $BASE/tpu_worker.sh loop
TimeoutStopSec=300

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet electra-jax
  systemctl restart electra-jax
}

# Ends with the run: finished (status 0), a mistake in the command (2), or
# failures in a row. All else is tried again: a stop by a signal (143), hosts
# that lost each other.
loop() {
  local status began failures=0 program=electra-jax
  # shellcheck source=/dev/null
  source "$BASE/run.sh"
  cd "$BASE/code"
  # A script of the repository, such as launch/sweep.py.
  [[ "${COMMAND[0]}" != *.py ]] || program=python
  while ! gcloud storage cat "$FOLDER/outcome" 2>/dev/null; do
    began="$SECONDS"
    status=0
    "$BASE/venv/bin/$program" "${COMMAND[@]}" --distributed || status=$?
    if ((status == 143 || SECONDS - began > 1800)); then
      failures=0
    else
      failures=$((failures + 1))
    fi
    if ((status == 0)); then
      report "finished"
      return 0
    elif ((status == 2 || failures == MAX_FAILURES)); then
      report "failed with status $status on $HOSTNAME, as its log tells"
      return "$status"
    fi
    echo "status $status; the same command resumes"
    sleep "${RETRY_SECS:-30}"
  done
}

# Tells all workers, and who asks for them.
report() {
  gcloud storage cp - "$FOLDER/outcome" <<<"$1"
}

case "${1:-}" in
  setup) setup "$2" ;;
  start) start ;;
  loop) loop ;;
  "")
    [[ ! -e "$UNIT" ]] || exit 0 # A later boot: the service starts by itself.
    METADATA=http://metadata.google.internal/computeMetadata/v1
    setup "$(curl -sSf -H 'Metadata-Flavor: Google' \
      "$METADATA/instance/attributes/electra-jax-folder")"
    start
    ;;
  *)
    echo "tpu_worker.sh: '$1' is not one of setup, start, loop" >&2
    exit 2
    ;;
esac

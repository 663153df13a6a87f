#!/usr/bin/env bash
# A run of several processes on this machine's CPU, as hosts would run it;
# launch/local.md tells the whole way.
#
#   bash launch/local.sh [--dry-run]
#
# Ctrl-C or SIGTERM stops it with a checkpoint, status 143; the same again
# resumes. When a process fails the others are ended and its status is ours.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "run" "$@"
require_whole PROCESSES DEVICES_PER_PROCESS PORT
need_electra_jax

pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM
for ((i = 0; i < PROCESSES; i++)); do
  command=(env JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="$DEVICES_PER_PROCESS"
    "$ELECTRA_JAX" "${COMMAND[@]}" --coordinator "127.0.0.1:$PORT"
    --num-processes "$PROCESSES" --process-id "$i")
  if [[ "$DRY_RUN" == true ]]; then
    quoted "${command[@]}"
  else
    "${command[@]}" &
    pids+=($!)
  fi
done

status=0
while ((${#pids[@]} > 0)); do
  sleep 0.2 || true # Ctrl-C ends it too.
  alive=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      alive+=("$pid")
      continue
    fi
    ended=0
    wait "$pid" || ended=$?
    if ((ended != 0 && (status == 0 || status == 143))); then
      status="$ended"
    fi
    if ((ended != 0 && ended != 143)); then
      # The others would wait for it for minutes.
      kill -KILL "${pids[@]}" 2>/dev/null || true
    fi
  done
  pids=("${alive[@]}")
done
exit "$status"

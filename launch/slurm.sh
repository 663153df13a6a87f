#!/usr/bin/env bash
# A run on GPU nodes under SLURM; launch/slurm.md tells the whole way.
#
#   bash launch/slurm.sh [--dry-run] VERB
#
#   submit   starts the run, or resumes it; it goes on by itself at its limit
#   logs     follows what it prints
#   status   how it stands
#   cancel   ends it; submit resumes
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "submit logs status cancel" "$@"
LOG="runs/$RUN_NAME.log"

submit() {
  require TIME_LIMIT
  require_whole NODES GPUS_PER_NODE CHECKPOINT_SECS
  need_electra_jax
  need sbatch "type this on a login node of the cluster"
  run mkdir -p runs
  # SIGTERM goes to the processes, not to the script that waits for them. jax
  # gives every process of a node one of its GPUs.
  run sbatch --job-name="$RUN_NAME" --chdir="$PWD" --output="$LOG" \
    --open-mode=append --requeue --time="$TIME_LIMIT" \
    --signal="TERM@$CHECKPOINT_SECS" --nodes="$NODES" \
    --ntasks-per-node="$GPUS_PER_NODE" --gpus-per-node="$GPUS_PER_NODE" \
    "${SBATCH_OPTIONS[@]}" launch/slurm_job.sh "$ELECTRA_JAX" "${COMMAND[@]}" \
    --distributed
}

case "$VERB" in
  submit) submit ;;
  logs) run tail -n 200 -F "$LOG" ;;
  status) run squeue --me --name="$RUN_NAME" ;;
  cancel) run scancel --me --name="$RUN_NAME" ;;
esac

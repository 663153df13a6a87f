#!/usr/bin/env bash
# The batch script of launch/slurm.sh: a command on all tasks, and the same job
# again when it was stopped before its end.
set -euo pipefail

# srun does not take it over by itself.
if [[ -n "${SLURM_CPUS_PER_TASK:-}" ]]; then
  export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
fi
# Of an array's tasks one has the number of the whole array.
job="$SLURM_JOB_ID"
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
status=0
# srun ends with the highest status of its tasks. Were they killed when one has
# failed, that would be SIGTERM's; jax ends them by itself, with another.
srun --kill-on-bad-exit=0 "$@" || status=$?

# 143: stopped by SIGTERM, with a checkpoint. A job at its time limit or about
# to be preempted is still running by then; one that was cancelled is not.
if ((status == 143)) &&
  [[ "$(scontrol show job "$job")" == *JobState=RUNNING* ]]; then
  scontrol requeue "$job"
fi
exit "$status"

#!/bin/bash
#SBATCH --job-name="ocr a"
#SBATCH --comment=yale-6fkk8e35m7-1
#SBATCH --output=log/job.log
#SBATCH --open-mode=append
#SBATCH --chdir="/home/netid/yale jobs/6fkk8e35m7"
#SBATCH --export=HOME,USER,LOGNAME,SHELL,PATH,LANG
#SBATCH --signal=B:USR1@300
#SBATCH --requeue

# Job 6fkk8e35m7 of Yale Jobs. The whole specification is in job.json beside this file.
cd '/home/netid/yale jobs/6fkk8e35m7' || exit 66
# Else srun would pass on to its tasks no more than what --export names.
unset SLURM_EXPORT_ENV
rm -f '/home/netid/yale jobs/6fkk8e35m7/exit'
if [ -s log/job.log ]; then
  printf '\n==== Attempt %s, run %s, on %s at %s ====\n' 1 "$((${SLURM_RESTART_COUNT:-0} + 1))" "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
fi

export YALE_JOBS_ID=6fkk8e35m7
export YALE_JOBS_INPUT='/home/netid/yale jobs/6fkk8e35m7/input'
export YALE_JOBS_OUTPUT='/home/netid/yale jobs/6fkk8e35m7/output'
export YALE_JOBS_OPTIONS='/home/netid/yale jobs/6fkk8e35m7/options.json'
export YALE_JOBS_PROGRESS='/home/netid/yale jobs/6fkk8e35m7/progress.jsonl'
export PYTHONUNBUFFERED=1

# The work runs as a child, so that this shell can pass signals on while it waits.
bash runner/start.sh --options options.json &
child=$!
trap 'kill -USR1 "$child" 2>/dev/null' USR1
trap 'kill -TERM "$child" 2>/dev/null' TERM
wait "$child"
# wait returns early when a signal was trapped; the child may still be closing its files.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
# Once more: of a child that ended while a signal was passed on, wait has told the signal, not the exit code.
wait "$child"; code=$?

# 75: not finished, run me again. The same command skips what is done. A run that added no page is not repeated, and
# neither is a job that somebody has cancelled.
if [ "$code" -eq 75 ]; then
  id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  id=${id:-$SLURM_JOB_ID}
  set -- $(cat "log/again-$id" 2>/dev/null)
  times=$((${1:-0} + 1))
  pages=$(grep -c '"type": *"page"' "$YALE_JOBS_PROGRESS" 2>/dev/null)
  echo "$times ${pages:-0}" > "log/again-$id"
  if [ "$times" -le 20 ] && [ "${pages:-0}" -gt "${2:-0}" ] && [ "$(squeue -h -j "$id" -o %T)" = RUNNING ]; then
    echo "Back into the queue: $pages pages are done."
    scontrol requeue "$id" && sleep 60
  fi
fi

# For whoever finds this folder when the scheduler has forgotten the job.
echo "$code" > '/home/netid/yale jobs/6fkk8e35m7/exit'
# 3: done, with pages in error. To SLURM that would be a failure, and what comes after this job would never start.
[ "$code" -ne 3 ] || exit 0
exit "$code"

#!/bin/bash
#SBATCH --job-name=script
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

# Modules and conda are shell functions that a batch shell has to load first; what was found before stays first.
path=$PATH
[ ! -r /etc/profile ] || source /etc/profile >/dev/null 2>&1
[ "$PATH" = "$path" ] || PATH=$path:$PATH

# The work runs as a child, so that this shell can pass signals on while it waits.
cd output || exit 66
bash ../work.sh &
child=$!
# A script that knows nothing of the warning would die of it.
trap : USR1
trap 'kill -TERM "$child" 2>/dev/null' TERM
wait "$child"
# wait returns early when a signal was trapped; the child may still be closing its files.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
# Once more: of a child that ended while a signal was passed on, wait has told the signal, not the exit code.
wait "$child"; code=$?

# For whoever finds this folder when the scheduler has forgotten the job.
echo "$code" > '/home/netid/yale jobs/6fkk8e35m7/exit'
exit "$code"

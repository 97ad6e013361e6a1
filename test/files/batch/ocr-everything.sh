#!/bin/bash
#SBATCH --job-name="it's _$(touch /tmp/owned)_ `id` $HOME #SBATCH --nodes=9 _j _ -x "
#SBATCH --comment=yale-6fkk8e35m7-1
#SBATCH --output=log/job-%a.log
#SBATCH --open-mode=append
#SBATCH --chdir="/home/netid/yale jobs/6fkk8e35m7"
#SBATCH --export=HOME,USER,LOGNAME,SHELL,PATH,LANG
#SBATCH --partition=gpu
#SBATCH --gpus=a100:2
#SBATCH --nodes=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=1-00:00:00
#SBATCH --account=prio_lib
#SBATCH --qos=normal
#SBATCH --constraint=a100-80g|h100
#SBATCH --mail-user=netid@yale.edu
#SBATCH --mail-type=END,FAIL
#SBATCH --array=0-7%4
#SBATCH --dependency=afterok:17,afterok:18
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --exclusive

# Job 6fkk8e35m7 of Yale Jobs. The whole specification is in job.json beside this file.
cd '/home/netid/yale jobs/6fkk8e35m7' || exit 66
# Else srun would pass on to its tasks no more than what --export names.
unset SLURM_EXPORT_ENV
rm -f '/home/netid/yale jobs/6fkk8e35m7/exit'-$SLURM_ARRAY_TASK_ID
if [ -s log/job-$SLURM_ARRAY_TASK_ID.log ]; then
  printf '\n==== Attempt %s, run %s, on %s at %s ====\n' 1 "$((${SLURM_RESTART_COUNT:-0} + 1))" "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
fi

export YALE_JOBS_ID=6fkk8e35m7
export YALE_JOBS_INPUT='/home/netid/yale jobs/6fkk8e35m7/input'
export YALE_JOBS_OUTPUT='/home/netid/yale jobs/6fkk8e35m7/output'
export YALE_JOBS_OPTIONS='/home/netid/yale jobs/6fkk8e35m7/options.json'
export YALE_JOBS_PROGRESS='/home/netid/yale jobs/6fkk8e35m7/progress.jsonl'
# One of several tasks: its share of the pages, and files of its own.
export YALE_JOBS_SHARD=$SLURM_ARRAY_TASK_ID YALE_JOBS_SHARDS=8
export YALE_JOBS_OUTPUT='/home/netid/yale jobs/6fkk8e35m7/output'/shard-$YALE_JOBS_SHARD
export YALE_JOBS_PROGRESS='/home/netid/yale jobs/6fkk8e35m7/progress-'$YALE_JOBS_SHARD.jsonl
mkdir -p "$YALE_JOBS_OUTPUT" || exit 66
export QUOTED='it'\''s "$(touch /tmp/owned)" `id` $HOME
#SBATCH --nodes=9
%j \ -x é'
export PYTHONUNBUFFERED=1

# Modules and conda are shell functions that a batch shell has to load first; what was found before stays first.
path=$PATH
[ ! -r /etc/profile ] || source /etc/profile >/dev/null 2>&1
[ "$PATH" = "$path" ] || PATH=$path:$PATH
module load CUDA/12.1 || { echo 'yale-jobs: the module CUDA/12.1 can'\''t be loaded' >&2; exit 127; }
module load miniconda || { echo 'yale-jobs: the module miniconda can'\''t be loaded' >&2; exit 127; }
command -v conda >/dev/null 2>&1 || module load miniconda >/dev/null 2>&1
command -v conda >/dev/null 2>&1 || { echo 'yale-jobs: conda was not found; give the module that brings it with modules' >&2; exit 127; }
source "$(conda info --base)/etc/profile.d/conda.sh"
conda activate 'my env' || { echo 'yale-jobs: the conda environment my env can'\''t be activated' >&2; exit 127; }

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
echo "$code" > '/home/netid/yale jobs/6fkk8e35m7/exit'-$SLURM_ARRAY_TASK_ID
# 3: done, with pages in error. To SLURM that would be a failure, and what comes after this job would never start.
[ "$code" -ne 3 ] || exit 0
exit "$code"

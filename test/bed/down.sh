#!/usr/bin/env bash
# Takes down what up.sh brought up, and leaves nothing: its processes by their own pids, then everything that came from
# them, its users, its PAM services and its folder. KEEP=1 leaves the folder (with all logs) and the users.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || { say "Only root can take the test bed down: run it with sudo." >&2; exit 1; }
[ -d "$STATE" ] || { say "There is no bed $NAME at $STATE."; exit 0; }

names() { (cd "$STATE/run" && for f in $1.pid; do [ -e "$f" ] && say "${f%.pid}"; done); }

# Sessions, job steps and jobs are not ours by a pid file, but descend from what is, carry the bed's mark, or belong to
# its users; slurmstepd does none of that, but works in the bed's folder.
family() {
  local found list more p
  found=$(cat "$STATE"/run/*.pid 2>/dev/null | cut -d' ' -f1)
  found="$found $(grep -lzxF "YALE_BED=$STATE" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3)"
  found="$found $(ps -o pid= -u "${USERS// /,}" 2>/dev/null)"
  for p in $(ps -e -o pid=,comm= | awk '$2 == "slurmstepd" { print $1 }'); do
    case $(readlink "/proc/$p/cwd") in "$STATE" | "$STATE"/*) found="$found $p" ;; esac
  done
  list=$(ps -e -o pid=,ppid=)
  while :; do
    more=$(awk -v known=" $(echo $found) " 'index(known, " " $2 " ") && !index(known, " " $1 " ") { print $1 }' <<<"$list")
    [ -n "$more" ] || break
    found="$found $more"
  done
  for p in $found; do
    # This script itself may have been started from a shell inside the bed.
    [ "$p" = $$ ] || [ "$p" = "$PPID" ] || say "$p $(start_time "$p")"
  done
}
descent=$(family)

stop 2 $(names 'sshd-*')
stop 3 $(names 'slurmd-*')
stop 6 $(names slurmctld)
stop 6 $(names slurmdbd)
stop 8 $(names mariadb)
stop 2 $(names munged)
while read -r pid since; do
  [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ] && kill -KILL "$pid" 2>/dev/null
done <<<"$descent"

# What was killed a moment ago may still stand in them.
for _ in $(seq 50); do
  groups=$(ls -d /sys/fs/cgroup/*/"slurm_$NAME"0[12] 2>/dev/null) || break
  find $groups -depth -type d -exec rmdir {} \; 2>/dev/null
  [ -z "$(ls -d $groups 2>/dev/null)" ] || sleep 0.1
done
if [ "${KEEP:-0}" != 1 ]; then
  for u in $USERS; do
    for _ in $(seq 50); do
      id "$u" >/dev/null 2>&1 || break
      userdel -f "$u" 2>/dev/null || sleep 0.1
    done
  done
  rm -f /etc/pam.d/yale-"$NAME"-*
  rm -rf "$STATE"
fi
say "The bed $NAME is down."

# Shared by up.sh, down.sh and daemon.sh: where a bed lies, and starting and stopping processes by their own pids.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=${NAME:-bed}               # also the SLURM cluster's name and the beginning of node and user names
STATE=${STATE:-/tmp/yale-$NAME} # everything the bed writes, except /etc/pam.d/yale-$NAME-* and its two users
PORT0=${PORT0:-17000}           # the bed uses PORT0 to PORT0+39, on 127.0.0.1 only
SLURM_CONF=$STATE/slurm/slurm.conf
MUNGE_SOCKET=$STATE/run/munge/munge.sock
USERS="$NAME-ada $NAME-ben"
PATH=/usr/sbin:/sbin:/usr/bin:/bin:$PATH

say() { printf '%s\n' "$*"; }

die() {
  say "The test bed $NAME failed: $*" >&2
  for f in "$STATE"/log/*.log; do
    # An sshd that has only said where it listens has nothing to tell.
    [ "$(wc -l <"$f")" -gt 1 ] && { say "--- the end of $f"; tail -n 6 "$f"; } >&2
  done
  exit 1
}

# Start time of a process in clock ticks since boot; nothing if it is gone or a zombie. A pid alone may be reused.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  set -- ${stat##*) }
  [ "$1" = Z ] || say "${20}"
}

# alive NAME: whether the daemon that was started under that name still runs.
alive() {
  local pid since
  read -r pid since 2>/dev/null <"$STATE/run/$1.pid" && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}

# daemon NAME USER COMMAND...: keeps the command in bin/start-NAME, so that daemon.sh can start it again, and starts it.
daemon() {
  local name=$1 user=$2
  shift 2
  {
    say '#!/bin/bash'
    printf 'cd %q && export YALE_BED=%q SLURM_CONF=%q\n' "$STATE" "$STATE" "$SLURM_CONF"
    printf 'exec %q setpriv --reuid %q --regid %q --init-groups' "$STATE/bin/inside" "$user" "$(id -gn "$user")"
    printf ' %q' "$@"
    say
  } >"$STATE/bin/start-$name"
  chmod 755 "$STATE/bin/start-$name"
  start "$name"
}

start() {
  setsid "$STATE/bin/start-$1" </dev/null >>"$STATE/log/$1.log" 2>&1 &
  say "$! $(start_time $!)" >"$STATE/run/$1.pid"
  disown
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds; gives up at once if a daemon has died.
wait_for() {
  local end=$((SECONDS + $1)) what=$2 f
  shift 2
  until "$@" >/dev/null 2>&1; do
    for f in "$STATE"/run/*.pid; do
      f=$(basename "$f" .pid)
      alive "$f" || die "$f ended while $what was awaited."
    done
    [ $SECONDS -lt $end ] || die "$what was not ready in time."
    sleep 0.05
  done
}

# stop SECONDS NAME...: asks all to end, waits so long, then kills what is left.
stop() {
  local end=$((SECONDS + $1)) name pid since left=()
  shift
  for name in "$@"; do
    alive "$name" || continue
    read -r pid since <"$STATE/run/$name.pid"
    # One that was frozen for a test must wake up to hear it.
    kill -TERM "$pid" 2>/dev/null
    kill -CONT "$pid" 2>/dev/null
    left+=("$name")
  done
  for name in ${left[@]+"${left[@]}"}; do
    while alive "$name" && [ $SECONDS -lt $end ]; do sleep 0.03; done
    alive "$name" && { read -r pid since <"$STATE/run/$name.pid"; kill -KILL "$pid" 2>/dev/null; }
  done
  for name in "$@"; do rm -f "$STATE/run/$name.pid"; done
}

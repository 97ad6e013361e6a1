#!/usr/bin/env bash
# One daemon of a bed that is up, or the connections that an sshd carries, for tests of what happens without them.
#   daemon.sh stop|start|freeze|thaw NAME   NAME as in STATE/run: munged mariadb slurmdbd slurmctld slurmd-bed01 sshd-duo …
#   daemon.sh cut|stall|resume sshd-VARIANT its connections: ended at once (what they ran goes on until it writes), or
#                                           silent as behind a cable that was pulled, and back
#   daemon.sh reset                         all of them run again and are awake, with their connections
# `stop` ends a listener; connections that it has taken stay. `start` returns when the daemon answers.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export SLURM_CONF
usage() {
  say "daemon.sh stop|start|freeze|thaw|cut|stall|resume $(cd "$STATE/bin" 2>/dev/null && echo start-* | sed 's/start-//g' | tr ' ' '|')" >&2
  exit 2
}
[ "$*" = reset ] || { [ $# = 2 ] && [ -x "$STATE/bin/start-$2" ]; } || usage

pid() { alive "$1" && cut -d' ' -f1 "$STATE/run/$1.pid" || { say "$1 does not run." >&2; exit 1; }; }

port_of() { sed -n 's/^Port //p' "$STATE/sshd/${1#sshd-}.conf"; }

# tell SIGNAL SSHD: to the processes that serve its connections. Each has one that watches and one that speaks, and both
# hold the socket, by which they are known; also when the listener has ended.
tell() {
  local hex inodes links found
  hex=$(printf ':%04X' "$(port_of "$2")")
  inodes=$(awk -v port="$hex" 'substr($2, 9) == port && $4 != "0A" && $10 != 0 { print $10 }' /proc/net/tcp)
  [ -n "$inodes" ] || return 0
  links=$(for i in $inodes; do printf -- '-o -lname socket:\\[%s\\] ' "$i"; done)
  found=$(find /proc/[0-9]*/fd -maxdepth 1 ${links#-o } 2>/dev/null | cut -d/ -f3 | sort -u) || true
  [ -z "$found" ] || kill "-$1" $found 2>/dev/null || true
}

answers() {
  case $1 in
    munged) timeout 5 munge -n --socket="$MUNGE_SOCKET" ;;
    mariadb) timeout 5 mariadb-admin --no-defaults --socket="$STATE/run/db/db.sock" -u root ping ;;
    slurmdbd) timeout 5 sacctmgr -n show cluster ;;
    # For a moment it knows nothing of its nodes yet.
    slurmctld) timeout 5 scontrol ping | grep -q ' is UP' && ! timeout 5 sinfo -h -N -o %t | grep -q unk ;;
    slurmd-*) timeout 5 sinfo -h -N -n "${1#slurmd-}" -o %t | grep -qvE '[*]|down|unk' ;;
    sshd-*) (exec 3<>"/dev/tcp/127.0.0.1/$(port_of "$1")") ;;
  esac
}

case $1 in
  stop) stop 8 "$2" ;;
  start) alive "$2" || { start "$2"; wait_for 30 "$2" answers "$2"; } ;;
  freeze) kill -STOP "$(pid "$2")" ;;
  thaw) kill -CONT "$(pid "$2")" ;;
  cut) tell KILL "$2" ;;
  stall) tell STOP "$2" ;;
  resume) tell CONT "$2" ;;
  reset)
    started=
    # In the order in which they need each other.
    for n in munged mariadb slurmdbd slurmctld $(cd "$STATE/bin" && printf '%s\n' start-* | sed 's/start-//' | grep -E '^(slurmd-|sshd-)'); do
      [ -e "$STATE/bin/start-$n" ] || continue
      alive "$n" || { start "$n"; started="$started $n"; }
      kill -CONT "$(pid "$n")"
      case $n in sshd-*) tell CONT "$n" ;; esac
    done
    for n in $started; do wait_for 30 "$n" answers "$n"; done
    ;;
  *) usage ;;
esac

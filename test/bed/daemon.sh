#!/usr/bin/env bash
# One daemon of a bed that is up, or the connections that an sshd carries, for tests of what happens without them.
#   daemon.sh stop|start|freeze|thaw NAME   NAME as in STATE/run: munged mariadb slurmdbd slurmctld slurmd-bed01 sshd-duo …
#   daemon.sh cut|stall|resume sshd-VARIANT its connections: ended at once (what they ran goes on until it writes), or
#                                           silent as behind a cable that was pulled, and back
# `stop` ends a listener; connections that it has taken stay.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
usage() {
  say "daemon.sh stop|start|freeze|thaw|cut|stall|resume $(cd "$STATE/bin" 2>/dev/null && echo start-* | sed 's/start-//g' | tr ' ' '|')" >&2
  exit 2
}
[ $# = 2 ] && [ -x "$STATE/bin/start-$2" ] || usage
pid() { alive "$1" && cut -d' ' -f1 "$STATE/run/$1.pid" || { say "$1 does not run." >&2; exit 1; }; }

# The processes of sshd that serve a connection: each has one that watches and one that speaks, and both hold the socket.
connections() {
  local listener
  listener=$(pid "$1")
  ps -e -o pid=,ppid=,comm= | awk -v root="$listener" -v called="yale-$NAME" '
    index($3, substr(called, 1, 15)) == 1 { parent[$1] = $2 }
    END { for (p in parent) for (q = p; q in parent; q = parent[q]) if (parent[q] == root) { print p; break } }'
}

case $1 in
  stop) stop 8 "$2" ;;
  start) alive "$2" || start "$2" ;;
  freeze) kill -STOP "$(pid "$2")" ;;
  thaw) kill -CONT "$(pid "$2")" ;;
  cut) found=$(connections "$2"); [ -z "$found" ] || kill -KILL $found ;;
  stall) found=$(connections "$2"); [ -z "$found" ] || kill -STOP $found ;;
  resume) found=$(connections "$2"); [ -z "$found" ] || kill -CONT $found ;;
  *) usage ;;
esac

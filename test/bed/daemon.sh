#!/usr/bin/env bash
# One daemon of a bed that is up, for tests of what happens when it is not there: daemon.sh stop|start|freeze|thaw NAME
# with NAME as in STATE/run: munged mariadb slurmdbd slurmctld slurmd-bed01 sshd-duo …
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 2 ] && [ -x "$STATE/bin/start-$2" ] || { say "daemon.sh stop|start|freeze|thaw $(cd "$STATE/bin" 2>/dev/null && echo start-* | sed 's/start-//g' | tr ' ' '|')" >&2; exit 2; }
case $1 in
  stop) stop 8 "$2" ;;
  start) alive "$2" || start "$2" ;;
  freeze) kill -STOP "$(cut -d' ' -f1 "$STATE/run/$2.pid")" ;;
  thaw) kill -CONT "$(cut -d' ' -f1 "$STATE/run/$2.pid")" ;;
  *) exit 2 ;;
esac

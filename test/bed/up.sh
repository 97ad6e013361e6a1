#!/usr/bin/env bash
# Brings up a toy cluster on this machine, without systemd: SLURM with accounting, two nodes that pose as bigger ones
# with GPUs, and login nodes (sshd) of every kind of second factor. README.md says what there is; down.sh ends it.
#   NAME= STATE= PORT0=   several beds can stand side by side
#   SLURM=0 SSHD=0        leave out a half
#   OOM=cgroup|poll       how memory limits are kept: by the kernel (OUT_OF_MEMORY), or by looking (FAILED 0:9)
#   MINJOBAGE=300         seconds that ended jobs stay in squeue's sight
set -euo pipefail
. "$(dirname "$0")/lib.sh"
umask 022

refuse() { say "The test bed can't be brought up: $1" >&2; say "  → $2" >&2; exit 1; }
[ "$(id -u)" = 0 ] || refuse "it starts daemons as several users, for which it must be root." "Run it with sudo, or in a container."
[[ $NAME =~ ^[a-z][a-z0-9]{0,11}$ ]] || refuse "NAME=$NAME." "Up to 12 small letters and digits, a letter first."
[ ${#STATE} -le 60 ] || refuse "$STATE is too long for the sockets in it." "Set STATE to a folder with a short path."
missing=
for p in slurmctld slurmd slurmdbd sacctmgr munged mariadbd mariadb-install-db sshd ssh-keygen gcc setpriv; do
  command -v "$p" >/dev/null || missing="$missing $p"
done
[ -e /usr/include/security/pam_modules.h ] || missing="$missing security/pam_modules.h"
ls /lib/*/security/pam_oath.so >/dev/null 2>&1 || missing="$missing pam_oath.so"
[ -z "$missing" ] || refuse "these are missing:$missing." "apt-get install --no-install-recommends $(grep -v '^#' "$HERE/packages.txt" | xargs)"
if [ -e "$STATE/bed.json" ]; then
  first=$(cd "$STATE/run" && ls -- *.pid 2>/dev/null | head -n 1)
  [ -z "$first" ] || ! alive "${first%.pid}" || { say "The bed $NAME is up already: $STATE/bed.json"; exit 0; }
  "$HERE/down.sh" # remains of a bed whose machine was restarted
fi

# Half a bed is of no use to anybody: what was started ends again if the rest fails.
trap 'code=$?; trap - EXIT; "$HERE/down.sh" >&2; exit $code' EXIT
mkdir -p "$STATE"/{bin,run,log,home,keys}
chmod 755 "$STATE"
for u in $USERS; do
  # Another bed may hold the lock of /etc/passwd at this moment.
  for _ in $(seq 50); do
    id "$u" >/dev/null 2>&1 || useradd -M -d "$STATE/home/$u" -s /bin/bash "$u" 2>>"$STATE/log/users.log" || { sleep 0.1; continue; }
    break
  done
  say "$u:password of $u" | chpasswd || die "The user $u could not be made."
  install -d -o "$u" -g "$u" -m 750 "$STATE/home/$u"
done

# SLURM's daemons, and srun, listen where the name of their host leads, whatever address they are given; anywhere but
# loopback would be open to the network, and is not where the others look for them. Debian's 127.0.1.1 is not, either.
HOST=$(hostname -s)
preload=
if ! getent ahostsv4 "$HOST" | grep -q '^127\.0\.0\.1 '; then
  HOST=localhost
  preload=$STATE/bin/localhost.so
  gcc -Wall -Werror -fPIC -shared -o "$preload" "$HERE/localhost.c" || die "localhost.c could not be compiled."
fi
{
  say '#!/bin/bash'
  say '# Runs a command as a process of the toy cluster.'
  [ -z "$preload" ] || say "export LD_PRELOAD=$preload"
  say 'exec "$@"'
} >"$STATE/bin/inside"
chmod 755 "$STATE/bin/inside"
[ "${SSHD:-1}" = 0 ] || . "$HERE/sshd.sh"
[ "${SLURM:-1}" = 0 ] || . "$HERE/slurm.sh"
[ "${SSHD:-1}" = 0 ] || wait_for 10 "every sshd" sshd_ready

{
  say '{'
  say "  \"name\": \"$NAME\", \"state\": \"$STATE\", \"port0\": $PORT0, \"slurmConf\": \"$SLURM_CONF\","
  say "  \"users\": [\"${USERS// /\", \"}\"],"
  printf '  "ports": {'
  sep=
  for p in ${PORTS:-}; do printf '%s "%s": %s' "$sep" "${p%%=*}" "${p#*=}"; sep=,; done
  printf ' }\n}\n'
} >"$STATE/bed.json"
trap - EXIT
say "The bed $NAME is up: $STATE/bed.json"
if [ "${SSHD:-1}" != 0 ]; then
  # Whoever ran this by sudo wants to log in without it.
  [ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$STATE/keys"
  say "  ssh -F $STATE/ssh_config $NAME-duo      answer 1 to approve the push"
  say "  yale login duo --config $STATE/config.yaml"
  say "  test/bed/README.md tells what else there is"
fi

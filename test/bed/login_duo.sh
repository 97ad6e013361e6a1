#!/bin/bash
# The shape of `ForceCommand login_duo`: the line is open, and the second factor is asked for inside the session. With a
# terminal there is a menu. Without one (every command, every file transfer) there is one silent push and no words.
#   login_duo.sh FOLDER   with USER.push and USER.passcodes, as pam_duo_bed.c reads them
user=$(id -un)
push=$1/$user.push
codes=$1/$user.passcodes

enter() {
  if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"; else exec "$SHELL" -l; fi
}
approved() {
  read -r how seconds <"$push"
  [ "$how" = delay ] && sleep "$seconds"
  case $how in '' | approve | delay) return 0 ;; *) return 1 ;; esac
}
spend() { # a passcode is good once
  grep -qxF -- "$1" "$codes" || return 1
  rest=$(grep -vxF -- "$1" "$codes")
  printf '%s\n' "$rest" >"$codes"
}

if [ -n "$SSH_ORIGINAL_COMMAND" ] || [ ! -t 0 ]; then
  approved && enter
  exit 1
fi
for _ in 1 2 3; do
  printf 'Duo two-factor login for %s\n\nEnter a passcode or select one of the following options:\n\n' "$user"
  printf ' 1. Duo Push to XXX-XXX-1234\n\nPasscode or option (1-1): '
  read -r answer || exit 1
  if [ "$answer" = 1 ]; then
    approved && { echo 'Success. Logging you in...'; enter; }
    echo 'Login request denied.'
  else
    spend "$answer" && enter
    echo 'Incorrect passcode. Please try again.'
  fi
done
exit 1

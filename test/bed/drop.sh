#!/bin/bash
# An SFTP server whose line breaks: after so many bytes in either direction the connection ends, as a network would end it.
#   drop.sh FILE   the file says how many bytes; empty or missing means never
bytes=$(cat "$1" 2>/dev/null)
[ -n "$bytes" ] || exec /usr/lib/openssh/sftp-server
line=$PPID

# Passes so many bytes on, and cuts the line if there would have been more. dd hands on what it has got at once, where
# head would wait for a full buffer.
part() {
  local passed
  { passed=$(LC_ALL=C dd bs=64K iflag=count_bytes count="$bytes" 2>&1 >&3 | awk '/ bytes? / { print $1 }'); } 3>&1
  [ "$passed" != "$bytes" ] || kill -KILL "$line"
}
part | /usr/lib/openssh/sftp-server | part

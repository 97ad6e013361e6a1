#!/bin/bash
# An SFTP server whose line breaks: after so many bytes of either direction the connection is cut, as a network would.
#   drop.sh FILE   the file says how many bytes; without it 8 MiB
bytes=$(cat "$1" 2>/dev/null || echo 8388608)
# dd passes on what it has got at once, where head would wait for a full buffer.
part() { dd bs=64K iflag=count_bytes count="$bytes" status=none; }
part | /usr/lib/openssh/sftp-server | part
kill -KILL $PPID

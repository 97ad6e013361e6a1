"""Starts a server in a process group of its own and sees to it that nothing of it outlives the runner.

    python guard.py SCRATCH LOG COMMAND...

The runner holds the other end of standard input. When that closes, because the runner wants it or because it was killed,
the group is asked to end, and killed ten seconds later: vLLM waits for its last request for ever, and its engine is a
child of its own. A runner that wants it has written a byte before; else the folder SCRATCH is removed as well, which may
hold gigabytes of compiled kernels on a disk that nobody else clears. Ends with the exit code of the server.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Optional

GRACE = 10.0
# Of prctl(2).
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    """Does nothing where this is not Linux."""
    try:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def _kill(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def main(scratch: str, log: str, command: list[str]) -> int:
    # The batch script's signals are for the runner, which then closes the pipe.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # What the server leaves behind becomes a child of this process, so that its end can be waited for.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    with open(log, "ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            restore_signals=True,
            preexec_fn=_before,
        )
    said: Optional[bytes] = None
    while child.poll() is None and said is None:
        said = _said(0.2)
    if said is not None:
        _kill(child.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
    # Whether it ended by itself or not: what it left behind in its group holds GPU memory.
    _kill(child.pid, signal.SIGKILL)
    code = child.wait()
    _reap(5.0)
    if (said if said is not None else _said(0)) == b"":
        shutil.rmtree(scratch, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _said(seconds: float) -> Optional[bytes]:
    """What the runner says within that time: a byte if it wants the end, nothing (`b""`) if it is dead; else None."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1) if ready else None


def _reap(seconds: float) -> None:
    """Waits for the rest of the group: GPU memory is free only when the last of it is gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return


def _before() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Where Linux can, the server dies with its guard as well.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))

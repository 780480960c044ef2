"""Becomes another program that is asked to end when whoever started it dies, by SIGKILL, too (Linux; elsewhere it is only started).

    python with_parent.py PID-OF-THE-PARENT PROGRAM [ARGUMENTS]

What subprocess has for this, preexec_fn, runs Python between fork and exec, where a lock that a thread held stays shut.
The signal outlives exec (prctl(2), PR_SET_PDEATHSIG), unless the program is setuid.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        # It died before it could be told.
        return 128 + signal.SIGTERM
    # Python ignores it, and what is ignored stays so.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be started ({error.strerror}).", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())

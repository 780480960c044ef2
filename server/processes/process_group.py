"""A child that leads a process group.

Its end is noticed before it is reaped, so that no signal reaches another group.

Once a process is reaped, the system may give its number to any other one, and a group's number is
its leader's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

# Between two checks, where there is a time limit
_POLL_SECONDS = 0.02
# macOS has it from Python 3.13 on. Without it a group whose leader has ended gets no signal at all.
_HAS_WAITID = hasattr(os, "waitid")


class ProcessGroup:
    """The group of a child started with `start_new_session`.

    Nobody else may wait for that child. Thread-safe.
    """

    def __init__(self, leader: subprocess.Popen[bytes]) -> None:
        self._leader = leader
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._leader.pid

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the leader has ended, without reaping it; False when the time is up.

        Blocking.
        """
        if not _HAS_WAITID:
            with suppress(subprocess.TimeoutExpired):
                self._leader.wait(timeout)
            return self._leader.returncode is not None
        if timeout is None:
            while not self._ended(0):
                pass
            return True
        deadline = time.monotonic() + timeout
        while not self._ended(os.WNOHANG):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of the group; do nothing once the leader is reaped."""
        with self._lock:
            self._send(number)

    def reap(self) -> int:
        """Kill what is left of the group, then take the leader's status, as subprocess has it.

        Blocking while it runs.
        """
        with self._lock:
            self._send(signal.SIGKILL)
            return self._leader.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._leader.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)

    def _ended(self, options: int) -> bool:
        if self._leader.returncode is not None:
            return True
        try:
            found = os.waitid(os.P_PID, self._leader.pid, os.WEXITED | os.WNOWAIT | options)
        except ChildProcessError:
            # Reaped in another thread meanwhile
            return True
        return found is not None

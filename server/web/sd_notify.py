"""Notify the service manager: ready, alive, stopping. See sd_notify(3).

Each message is one datagram to the socket in NOTIFY_SOCKET. Without it nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

# Below this a busy but healthy event loop could be taken for a blocked one; see
# `Notifier.interval`.
MIN_INTERVAL = 0.05


class Notifier:
    """Sends the notifications.

    `address`: like NOTIFY_SOCKET, a path or "@" and an abstract name; None to send nothing.

    `watchdog`: seconds within which the service manager expects a sign of life; None for no
    watchdog.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog
        self.sent = 0
        # Messages that could not be sent
        self.lost = 0
        # Repeated until sent, because the service manager would otherwise kill the server.
        self._unsent = ""
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Read the service manager's variables; malformed ones are logged and ignored."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and (address[0] not in "/@" or len(address) < 2):
            log.warning("NOTIFY_SOCKET is neither a path nor an abstract name, so it is not used")
            address = None
        watchdog = None
        # WATCHDOG_PID is the watched process; children inherit the variables, too.
        if address and environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            usec = environment.get("WATCHDOG_USEC", "")
            if usec.isdecimal() and int(usec) > 0:
                watchdog = int(usec) / 1e6
        return cls(address, watchdog)

    @property
    def interval(self) -> float | None:
        """Seconds between two signs of life, half of the limit; None without a watchdog."""
        return max(self.watchdog / 2, MIN_INTERVAL) if self.watchdog is not None else None

    def ready(self, status: str) -> None:
        """Report that the server is ready. `status`: one line for `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Send a sign of life.

        The event loop calls it at each `interval`; a blocked loop does not, and is restarted.
        """
        if self.watchdog is not None:
            self._send("WATCHDOG=1")
        elif self._unsent:
            self._send("")

    def stopping(self, seconds: float, status: str) -> None:
        """Report that the server stops within `seconds`, which extends a shorter TimeoutStopSec of
        the unit.
        """
        self._send(f"STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        text = "\n".join(part for part in (self._unsent, message) if part)
        # Abstract names begin with a null byte.
        target = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                # A service manager that does not read must not block the event loop.
                self._socket.setblocking(False)
            self._socket.sendto(text.encode(), target)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                log.warning("service manager not notified", extra={"error": type(error).__name__})
            if message not in ("", "WATCHDOG=1"):
                self._unsent = text
            return
        self._unsent = ""
        self.sent += 1

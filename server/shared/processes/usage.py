"""Return whether a process tree owns a TCP port.

Blocking, tens of milliseconds at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

# Local addresses that connections to 127.0.0.1 reach
_REACHED = frozenset({"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"})


def listens(pid: int, port: int) -> bool | None:
    """Return whether `pid` or a descendant listens at this port of 127.0.0.1; None when unknown."""
    try:
        tree = _tree(psutil.Process(pid))
        if any(_has_listener(port, one.net_connections("tcp")) for one in tree):
            return True
        # Without a listener there is nothing to tell; one that just ended may have been ours.
        return False if tree and _has_listener(port, psutil.net_connections("tcp")) else None
    except (psutil.Error, OSError):
        return None


def _has_listener(port: int, connections: Iterable[Any]) -> bool:
    """Find a listener of the port among psutil's connections."""
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.laddr.ip in _REACHED
        for one in connections
    )


def _tree(root: psutil.Process) -> list[psutil.Process]:
    """List a process and its descendants; empty when it is gone or a zombie."""
    with suppress(psutil.Error):
        if _is_alive(root):
            return [root, *root.children(recursive=True)]
    return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

"""Check whether a process tree owns a TCP port. Blocking, for tens of milliseconds at most."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

# Local addresses reached by connections to 127.0.0.1
_REACHED = frozenset({"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"})


def is_listening(pid: int, port: int) -> bool | None:
    """Return True if `pid` or a descendant listens on this port of 127.0.0.1; None if unknown."""
    try:
        tree = _list_process_tree(psutil.Process(pid))
        if any(_has_listener(port, one.net_connections("tcp")) for one in tree):
            return True
        # Without any listener the result is unknown, because the listener may have just ended.
        return False if tree and _has_listener(port, psutil.net_connections("tcp")) else None
    except (psutil.Error, OSError):
        return None


def _has_listener(port: int, connections: Iterable[Any]) -> bool:
    """Return True if one of psutil's connections listens on the port."""
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.laddr.ip in _REACHED
        for one in connections
    )


def _list_process_tree(root: psutil.Process) -> list[psutil.Process]:
    """Return a process and its descendants; empty if it is gone or a zombie."""
    with suppress(psutil.Error):
        if _is_alive(root):
            return [root, *root.children(recursive=True)]
    return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

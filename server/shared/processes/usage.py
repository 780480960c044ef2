"""Measure the memory of a process tree, and find whether it owns a TCP port.

Blocking, tens of milliseconds at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

# Local addresses that connections to 127.0.0.1 reach
_REACHED = frozenset({"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"})


class TreeMemory:
    """Measure the memory of one process and of all that was ever seen below it, also after its end.

    psutil knows a process by its number and its start, so a number that another process got does
    not count. For one thread at a time.
    """

    def __init__(self) -> None:
        self._root: psutil.Process | None = None
        self._seen: set[psutil.Process] = set()

    def bytes(self, root: int | None) -> int | None:
        """Return the proportional set size; 0 when all have ended, None before there was one.

        A page shared by n processes counts 1/n for each (proc(5), smaps_rollup). Where that may not be
        read, and outside of Linux, the resident size counts. `root` is the process; None before its
        start and after its end.
        """
        if self._root is None and root is not None:
            with suppress(psutil.Error):
                self._root = psutil.Process(root)
        if self._root is None:
            return None
        self._seen.update(_tree(self._root))
        self._seen = {one for one in self._seen if _lives(one)}
        return sum(_bytes(one) for one in self._seen)


def listens(pid: int, port: int) -> bool | None:
    """Find whether `pid` or a descendant listens at this port of 127.0.0.1; None when unknown."""
    try:
        tree = _tree(psutil.Process(pid))
        if any(_at(port, one.net_connections("tcp")) for one in tree):
            return True
        # Without a listener there is nothing to tell; one that just ended may have been ours.
        return False if tree and _at(port, psutil.net_connections("tcp")) else None
    except (psutil.Error, OSError):
        return None


def _at(port: int, connections: Iterable[Any]) -> bool:
    """Find a listener of the port among psutil's connections."""
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.laddr.ip in _REACHED
        for one in connections
    )


def _tree(root: psutil.Process) -> list[psutil.Process]:
    """List a process and its descendants; empty when it is gone or a zombie."""
    with suppress(psutil.Error):
        if _lives(root):
            return [root, *root.children(recursive=True)]
    return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _bytes(process: psutil.Process) -> int:
    """0 when it is gone."""
    with suppress(psutil.NoSuchProcess):
        with suppress(psutil.AccessDenied):
            found = process.memory_full_info()
            return int(getattr(found, "pss", found.rss))
        with suppress(psutil.AccessDenied):
            return int(process.memory_info().rss)
    return 0

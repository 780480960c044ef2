"""What processes take of main memory. Linux; None elsewhere."""

from __future__ import annotations

from server.processes.keeper import descendants

# Of /proc/<pid>/stat, counted from behind the name: the state, and when it started (proc(5), fields 3 and 22)
_STATE, _STARTED = 0, 19


class TreeMemory:
    """Of one process and all that was ever seen below it: what they take, and after its end what is left of them.

    A process is known by its number and its start, so that a number that another has by then does not count. Blocking.
    For one thread at a time.
    """

    def __init__(self) -> None:
        # When each started, by its number
        self._seen: dict[int, str] = {}
        self._root: int | None = None

    def bytes(self, root: int | None) -> int | None:
        """Proportional set size, see `tree_bytes`; 0 when all have ended, None before there was one.

        `root` is the process; None before its start and after its end.
        """
        if self._root is None and root is not None and (started := _started(root)):
            self._root = root
            self._seen[root] = started
        if self._root is None:
            return None
        if self._lives(self._root):
            for pid in descendants(self._root):
                if started := _started(pid):
                    self._seen[pid] = started
        self._seen = {pid: since for pid, since in self._seen.items() if self._lives(pid)}
        return sum(_bytes(pid) or 0 for pid in self._seen)

    def _lives(self, pid: int) -> bool:
        return pid in self._seen and _started(pid) == self._seen[pid]


def tree_bytes(pid: int) -> int | None:
    """Proportional set size of `pid` and its descendants: a page shared by n processes counts 1/n for each.

    proc(5), smaps_rollup. The resident size counts where that may not be read. None when `pid` is gone. Blocking: tens of
    milliseconds for a process with gigabytes of small pages.
    """
    own = _bytes(pid)
    if own is None:
        return None
    return own + sum(_bytes(child) or 0 for child in descendants(pid))


def _bytes(pid: int) -> int | None:
    found = _field(f"/proc/{pid}/smaps_rollup", "Pss:")
    return found if found is not None else _field(f"/proc/{pid}/status", "VmRSS:")


def _started(pid: int) -> str:
    """Empty when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in it may hold spaces and brackets.
            fields = file.read().rpartition(b")")[2].split()
        return "" if fields[_STATE] in (b"Z", b"X") else fields[_STARTED].decode("ascii")
    except (OSError, ValueError, IndexError):
        return ""


def _field(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None

"""Whose a listening port is. Linux; not known elsewhere. Blocking, milliseconds."""

from __future__ import annotations

import os
from contextlib import suppress

from server.processes.keeper import descendants

# proc(5), /proc/net/tcp: TCP_LISTEN, and local addresses that loopback connections get to, in the kernel's byte order
_LISTEN = b"0A"
_REACHED = {
    *(b"0100007F", b"00000000"),
    *(b"0" * 32, b"0000000000000000FFFF00000100007F"),
}


def belongs_to(pid: int, port: int) -> bool | None:
    """Whether `pid` or a descendant listens at this port of 127.0.0.1; None when there is no telling."""
    wanted = _sockets(port)
    if not wanted:
        return None
    told = True
    for one in (pid, *descendants(pid)):
        found = _open_files(one)
        if found is None:
            told = False
        elif wanted & found:
            return True
    # Of one that has just ended nobody knows any more.
    return False if told and wanted & _sockets(port) else None


def _sockets(port: int) -> set[str]:
    """Of those that listen there, as links in /proc/<pid>/fd name them."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(path, "rb") as file:
            next(file, None)
            for line in file:
                fields = line.split()
                address, _, at = fields[1].rpartition(b":")
                if fields[3] == _LISTEN and int(at, 16) == port and address in _REACHED:
                    found.add(f"socket:[{fields[9].decode('ascii')}]")
    return found


def _open_files(pid: int) -> set[str] | None:
    """None where that may not be seen; of one that has ended there are none."""
    folder = f"/proc/{pid}/fd"
    found = set()
    try:
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                found.add(os.readlink(f"{folder}/{name}"))
    except FileNotFoundError:
        return found
    except OSError:
        return None
    return found

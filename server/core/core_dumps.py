"""Protect this process's memory from core dumps and from the user's other processes.

It contains secrets, pictures and conversations. Only the standard library is used, because workers
and scripts import this module, too.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

# prctl(2)
_SET_DUMPABLE = 4
# core(5): selects the memory in a dump. Child processes inherit it.
_FILTER = "/proc/self/coredump_filter"


def forbid_core_dumps() -> None:
    """Forbid core dumps with memory, and reading the memory as the same user. It may be called twice.

    The resource limit is not enough: the kernel ignores it if core_pattern names a program, as on
    systemd and Ubuntu. Child processes inherit the limit and the filter, but become readable again
    after exec.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Before prctl: afterwards the file belongs to root.
        with suppress(OSError), open(_FILTER, "wb") as file:
            file.write(b"0")
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)

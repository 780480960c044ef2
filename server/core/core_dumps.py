"""Keeps this process's memory out of core dumps and out of reach of other processes of the same user.

Secrets, pictures and conversations are in it. Needs no library, for workers and scripts call it, too.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

# prctl(2)
_SET_DUMPABLE = 4
# core(5): which memory a dump holds. Inherited, also by programs that are started from here.
_FILTER = "/proc/self/coredump_filter"


def forbid() -> None:
    """Have a crash leave no memory behind, and nobody else of this user read it. Safe to call twice.

    The limit alone does not do: where core_pattern names a program, as systemd and Ubuntu have it, the kernel ignores it.
    What is started from here inherits the limit and the filter, and is readable again after exec.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # First: the file is root's when the process may not be read.
        with suppress(OSError), open(_FILTER, "wb") as file:
            file.write(b"0")
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)

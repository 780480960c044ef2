"""The server, which counts its objects at SIGUSR1 and measures its memory at SIGUSR2.

The answer is a line on standard output: a mark and JSON. `counted` and `kept` ask for it from
outside.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.fakes_server import ServerProcess

MODULE = "tests.support.measured_server"
MARK = "MEASURED "
# Packages whose objects belong to sessions and connections
PACKAGES = ("server", "aiortc", "aioice", "pyee", "starlette", "uvicorn", "websockets")


@dataclass(frozen=True, slots=True)
class Kept:
    """The memory of a process that is in use, after its garbage was collected."""

    # Python's own blocks of memory
    blocks: int
    # MiB that the C library's allocator has given out; 0.0 where it does not say (glibc before 2.33)
    malloc: float
    # Resident memory after free memory went back to the system, MiB
    rss: float


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks"),
            *("uordblks", "fordblks", "keepcost"),
        )
    )


def _given_out() -> float:
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return 0.0
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return float(info.uordblks + info.hblkhd) / 2**20


def _count() -> dict[str, int]:
    kinds = Counter(map(type, gc.get_objects()))
    return {
        f"{kind.__module__}.{kind.__qualname__}": count
        for kind, count in kinds.items()
        if kind.__module__.partition(".")[0] in PACKAGES
    }


def _measure() -> Kept:
    from server.media.video.decode import trim_memory

    trim_memory()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    rss = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Kept(sys.getallocatedblocks(), _given_out(), rss)


def _say(number: int, _frame: object) -> None:
    said = _count() if number == signal.SIGUSR1 else asdict(_measure())
    # One write: threads write the log.
    os.write(1, f"\n{MARK}{json.dumps(said)}\n".encode())


async def _asked(server: ServerProcess, number: signal.Signals) -> dict[str, Any]:
    before = server.text.count(MARK)
    os.kill(server.pid, number)
    async with asyncio.timeout(30):
        while True:
            parts = server.text.split(MARK)
            if len(parts) > before + 1 and "\n" in parts[-1]:
                found: dict[str, Any] = json.loads(parts[-1].partition("\n")[0])
                return found
            await asyncio.sleep(0.05)


async def counted(server: ServerProcess) -> Counter[str]:
    """Count its objects of PACKAGES by their classes, garbage included."""
    return Counter(await _asked(server, signal.SIGUSR1))


async def kept(server: ServerProcess) -> Kept:
    """Measure what it keeps."""
    return Kept(**await _asked(server, signal.SIGUSR2))


if __name__ == "__main__":
    from server.main import main

    signal.signal(signal.SIGUSR1, _say)
    signal.signal(signal.SIGUSR2, _say)
    sys.exit(main())

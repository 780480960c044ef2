"""The memory of a camera's process is bounded by the kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import av, numpy
from server.features.rtsp.worker.pictures import bound_memory
bound_memory(128 << 20)
bytearray(32 << 20)
try:
    bytearray(256 << 20)
except MemoryError:
    print("refused")
"""


def test_memory_beyond_the_bound_is_refused() -> None:
    script = SCRIPT.format(root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "refused\n", done.stderr

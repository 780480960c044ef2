"""Choose number format, memory and tokens for a model on this machine.

Pure, save for reading this system's files.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from server.features.hosting.control_groups import main_memory

DTYPES = ("auto", "float16", "bfloat16", "float32")
BYTES_EACH = {"float16": 2, "bfloat16": 2, "float32": 4}
# Memory beside the weights: for computing, and for a picture in work. The context has to fit into
# the rest.
_EXTRA_SHARE, _EXTRA_MOST = 0.10, 10**9
_EXTRA_BYTES = 200 * 1024 * 1024
# The part of the memory free beside the weights that a whole context may take; and the least
# context that is tried in any case
_CONTEXT_SHARE = 0.6
_LEAST_CONTEXT = 2048
# Beside keys and values, what a token of a prompt takes while a layer works at it: of the hidden
# size, of the inner one
_HIDDEN_COPIES = 10
_INNER_COPIES = 4


def needed(weights_bytes: int, bytes_each: int, dtype: str) -> int:
    """Return the bytes that a model needs in that format; stored it has `bytes_each` a number."""
    computed = weights_bytes * BYTES_EACH[dtype] // bytes_each
    return computed + min(int(computed * _EXTRA_SHARE), _EXTRA_MOST) + _EXTRA_BYTES


def choose(asked: str, stored: str, *, gpu: bool, bfloat16: bool, roomy: bool) -> str:
    """Choose the format to compute in.

    `bfloat16` tells whether the device computes in it quickly, `roomy` whether twice the bytes fit.
    A CPU has no arithmetic for float16, so there it is never used.
    """
    if gpu:
        if asked != "auto":
            return asked
        return stored if stored == "float16" else ("bfloat16" if bfloat16 else "float16")
    if asked in ("bfloat16", "float32"):
        return asked
    if stored == "float32" or (not bfloat16 and roomy):
        return "float32"
    return "bfloat16"


def token_bytes(
    *, layers: int, hidden: int, inner: int, heads: int, pairs: int, head: int | None, dtype: str
) -> int:
    """Bytes that a token of a prompt takes: keys and values in every layer, and one layer's work at
    it.

    `pairs`: heads of keys and values; `head`: numbers of one head, None for the hidden size's
    share.
    """
    kept = 2 * layers * pairs * (head or hidden // heads)
    return (kept + _HIDDEN_COPIES * hidden + _INNER_COPIES * inner) * BYTES_EACH[dtype]


def context(wanted: int, free: int | None, each: int) -> int:
    """Tokens of prompt and answer that the memory which is `free` suffices for, at most `wanted`."""
    if free is None or each <= 0:
        return wanted
    return min(wanted, max(_LEAST_CONTEXT, int(free * _CONTEXT_SHARE) // each))


def free_ram() -> int | None:
    """Bytes that this process may still take, by all limits; None when unknown."""
    total, free = main_memory()
    found = [free if total else None, _within_limit()]
    return min((value for value in found if value is not None), default=None)


def _within_limit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * resource.getpagesize())
    return None


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

"""Keep paths inside their folder, also through links, and read files up to a limit."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from server.shared.network import FetchError


def relative(name: str) -> PurePosixPath:
    """Check that `name` (with /) stays within a folder, whatever is there. Raises FetchError."""
    parts = PurePosixPath(name)
    plain = name.isprintable() and 0 < len(name) <= 500 and "\\" not in name
    if not plain or parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise FetchError(
            f"{_short(name)} is no name within a folder: it is empty, too long, absolute, or leads out of it."
        )
    return parts


def inside(folder: Path, name: str) -> Path:
    """Find `name` in `folder`, links followed. Raises FetchError for a path elsewhere.

    The file need not exist yet; the folder itself may be a link.
    """
    parts = relative(name)
    try:
        root = folder.resolve()
        path = (root / parts).resolve()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "links go round in a circle"
        raise FetchError(f"{_short(name)} in {folder} cannot be followed ({reason}).") from None
    if path == root or not path.is_relative_to(root):
        raise FetchError(
            f"{_short(name)} in {folder} is a link that leads out of it. Remove the link."
        )
    return path


def read(path: Path, max_bytes: int) -> bytes:
    """Read a regular file. Raises FetchError; never waits for a pipe or a device."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FetchError(f"{path} cannot be read ({_reason(error)}).") from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FetchError(f"{path} is no regular file.")
        with os.fdopen(file, "rb", closefd=False) as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise FetchError(f"{path} cannot be read ({_reason(error)}).") from None
    finally:
        os.close(file)
    if len(content) > max_bytes:
        raise FetchError(
            f"{path} is larger than {max_bytes} bytes, and no more is taken. Is it the right file?"
        )
    return content


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "no path"


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:80]}...")

"""Disk space, formatted sizes, and the error that ends a model script with a sentence for the user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import FrameType


def format_bytes(size: float) -> str:
    """Format bytes for people, in powers of 1024."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _find_existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which need not exist. Raises ModelError."""
    existing = _find_existing(folder)
    try:
        return shutil.disk_usage(existing).free
    except OSError as error:
        raise ModelError(f"{existing} cannot be read ({error.strerror}).") from None


def get_partial_folder(out: Path) -> Path:
    """Return the working folder for `out`: beside it, so that it can be renamed."""
    return out.with_name(f"{out.name}.partial")


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise ModelError unless `needed` bytes are free at `folder`. `what`: their use, for the error."""
    free = free_bytes(folder)
    if free < needed:
        raise ModelError(
            f"There is not enough space at {folder}: {what} needs {format_bytes(needed)}, {format_bytes(free)} are free."
            f" Free {format_bytes(needed - free)} there, or choose a folder on another disk."
        )


def require_writable(folder: Path) -> None:
    """Check that the folder is writable, without creating it. Raises ModelError."""
    existing = _find_existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ModelError(_explain_not_writable(folder, f"{existing} is not writable"))


def make_folder(folder: Path) -> None:
    """Create a writable folder with its parents. Raises ModelError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # If the system supports it, the file has no name, so that it cannot be left behind.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ModelError(_explain_not_writable(folder, error.strerror or str(error))) from None


def _explain_not_writable(folder: Path, why: str) -> str:
    return (
        f"{folder} cannot be written ({why}). Choose another folder, or change its owner:"
        f" chown -R $(id -un) {shlex.quote(str(folder))}"
    )


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder for this process. Raises ModelError if another run has locked it."""
    place = os.open(folder, os.O_RDONLY)
    try:
        # On a file system without locks, parallel runs are not detected.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ModelError(
                    f"Another run is using {folder}. Wait until it has ended."
                ) from None
        yield
    finally:
        os.close(place)


# The error that stops a model script, and its end


class ModelError(Exception):
    """An error of a model script; `message` says what happened, what was given and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Stopped(BaseException):
    """SIGINT or SIGTERM was received. Not an Exception, so that no handler treats it as a failure."""


def parse_relative_path(name: str) -> PurePosixPath:
    """Check that `name` (with /) stays within any folder. Raises ModelError."""
    parts = PurePosixPath(name)
    plain = name.isprintable() and 0 < len(name) <= 500 and "\\" not in name
    if not plain or parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ModelError(
            f"{name[:80]!r} is not a name within a folder: it is empty, too long, absolute, or leads out of it."
        )
    return parts


def resolve_inside(folder: Path, name: str) -> Path:
    """Resolve `name` in `folder`, following links. Raises ModelError for a path elsewhere.

    The file need not exist yet; the folder itself may be a link.
    """
    parts = parse_relative_path(name)
    try:
        root = folder.resolve()
        path = (root / parts).resolve()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the links form a loop"
        raise ModelError(
            f"The path {name[:80]!r} in {folder} cannot be resolved: {reason}. Remove or repair the link."
        ) from None
    if path == root or not path.is_relative_to(root):
        raise ModelError(
            f"{name[:80]!r} in {folder} is a link that leads out of it. Remove the link."
        )
    return path


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_script(run: Callable[[], int], when_stopped: Callable[[], str]) -> int:
    """Return the exit status of `run`: 1 and a sentence for a ModelError, 130 or 143 for a signal."""

    def stop(number: int, _frame: FrameType | None) -> None:
        # Handle one signal; ignore further ones.
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            for one in before:
                signal.signal(one, stop)
            return run()
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
    except ModelError as error:
        say(error.message)
        return 1
    except Stopped as stopped:
        say(when_stopped())
        # The usual exit status of a program ended by a signal
        return 128 + int(stopped.args[0])

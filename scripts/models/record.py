"""The record of a model's files: their source and their checksums.

It is written last, when all files are complete: a folder without it is not finished, or was created
by other means.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.models.disk import ModelError

if TYPE_CHECKING:
    from hashlib import _Hash

NAME = "model-files.json"
# File that names a folder's model during the download
BEGUN = "model-files.json.begun"
_CHUNK = 8 * 1024 * 1024


def compute_sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal. Raises OSError."""
    return update_checksum(path, hashlib.sha256())


def update_checksum(path: Path, digest: _Hash, seen: Callable[[int], None] | None = None) -> str:
    """Update `digest` with the file, and return it in hexadecimal. `seen` gets each piece's size. Raises OSError."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            if seen is not None:
                seen(len(piece))
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content atomically. Raises OSError."""
    half = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with half.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write(folder: Path, source: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the record. `source`: the origin of the files; `files`: size and sha256 of each. Raises OSError."""
    content = {"source": dict(source), "files": {name: dict(files[name]) for name in sorted(files)}}
    write_whole(folder / NAME, json.dumps(content, indent=2) + "\n")


def begin(folder: Path, source: Mapping[str, str]) -> None:
    """Write the source of a download that begins. Raises OSError."""
    # Left behind by runs that were killed while writing
    for half in folder.glob(f"{NAME}.*.tmp"):
        half.unlink(missing_ok=True)
    write_whole(folder / BEGUN, json.dumps(dict(source)) + "\n")


def read_unfinished(folder: Path) -> dict[str, Any]:
    """Read the record of an unfinished download; {} if there is none, or if it is unreadable."""
    try:
        source = json.loads((folder / BEGUN).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return source if isinstance(source, dict) else {}


def read(folder: Path) -> dict[str, Any] | None:
    """Read the record; None if there is none. Raises ModelError if it is malformed."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        if not isinstance(content, dict) or not isinstance(content["source"], dict):
            raise ValueError
        for entry in content["files"].values():
            entry["size"] + 0, entry["sha256"] + ""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{folder / NAME} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{folder / NAME} is damaged. Remove it; then checksums cannot be compared until the model is"
            " downloaded or converted again."
        ) from None
    return content

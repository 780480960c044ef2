"""Read the JSON files of a model's folder.

Standard library only, because the workers use it in an environment without our other packages.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from server.core.errors import BadRequest

MAX_JSON_BYTES = 32 * 1024 * 1024
AGAIN = "Download it again: bash scripts/download_model.sh"
# Maximum length of a file name in an error
MAX_NAME_CHARS = 80


class ModelFolderError(BadRequest):
    """The folder contains no usable model; `message` states the problem and the remedy."""


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object from a regular file of at most `most` bytes. Raises ModelFolderError."""
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ModelFolderError(f"{path} is damaged: it has more than {most} bytes. {AGAIN}")
        content = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"{path.parent} has no {path.name}: it is not a model folder, or its download is incomplete. {AGAIN}"
        ) from None
    except OSError as error:
        raise make_unreadable_error(path, error) from None
    except (ValueError, RecursionError):
        raise ModelFolderError(f"{path} is damaged: it is not JSON. {AGAIN}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is damaged: it is not a JSON object. {AGAIN}")
    return content


def read_json_or_empty(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object like `read_json`; return {} if it fails."""
    try:
        return read_json(path, most)
    except ModelFolderError:
        return {}


def get_object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object under a key, or {} if there is none."""
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file without blocking on a pipe.

    Raises OSError, and ModelFolderError for anything else.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    number = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ModelFolderError(f"{path} is not a regular file. {AGAIN}")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def make_unreadable_error(path: Path, error: OSError) -> ModelFolderError:
    return ModelFolderError(
        f"{path} cannot be read ({error.strerror}). Give this user access to it."
    )


def clean(name: str) -> str:
    """Make a name from a file printable, and shorten it."""
    return "".join(char for char in name if char.isprintable())[:MAX_NAME_CHARS]

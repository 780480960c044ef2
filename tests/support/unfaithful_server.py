"""The server with one line too many in four places: it keeps a picture of every frame.

Shows that the test that forbids it sees each of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cv2

from server.attention.recall import Recall
from server.main import main
from server.session.watches.rings import Rings
from server.vision import encode

# A frame's ways, and their places: methods that get its JPEG, and functions that encode it
WAYS: dict[str, tuple[Any, str]] = {
    "thumbnail": (encode, "thumbnail"),
    "still": (encode, "still"),
    "ring": (Rings, "add"),
    "recall": (Recall, "keep"),
}


def file_of(way: str) -> str:
    """Name the file into which the pictures of a way go."""
    return f"frame-of-{way}.png"


def spoil(way: str) -> None:
    """Also write the pictures of this way to disk, like forgotten debugging code."""
    owner, name = WAYS[way]
    faithful = getattr(owner, name)
    file = Path(os.environ["KEEP_IN"]) / file_of(way)

    def keeping(*given: Any, **more: Any) -> Any:
        if way == "ring":
            file.write_bytes(more["jpeg"])
        elif way == "recall":
            file.write_bytes(given[1].jpeg)
        else:
            cv2.imwrite(str(file), given[0])
        return faithful(*given, **more)

    setattr(owner, name, keeping)


if __name__ == "__main__":
    for each in WAYS:
        spoil(each)
    sys.exit(main())

"""The server with one line too many: it keeps a picture of every frame.

Shows that the test that forbids it sees it.
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

way = os.environ.get("KEEP_WHAT", "thumbnail")
# The picture's place: a method that gets its JPEG, or a function that encodes it
owner, name = {"ring": (Rings, "add"), "recall": (Recall, "keep")}.get(way, (encode, way))
faithful = getattr(owner, name)


def keeping(*given: Any, **more: Any) -> Any:
    """Do as before, and also write the picture to disk like forgotten debugging code."""
    file = Path(os.environ["KEEP_IN"]) / "frame.png"
    if way == "ring":
        file.write_bytes(more["jpeg"])
    elif way == "recall":
        file.write_bytes(given[1].jpeg)
    else:
        cv2.imwrite(str(file), given[0])
    return faithful(*given, **more)


if __name__ == "__main__":
    setattr(owner, name, keeping)
    sys.exit(main())

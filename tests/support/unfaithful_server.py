"""The server with one line too many: it keeps a picture of every frame.

Shows that the test that forbids it sees it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cv2

from server.main import main
from server.vision import encode

way = os.environ.get("KEEP_WHAT", "thumbnail")
faithful = getattr(encode, way)


def keeping(bgr: Any) -> bytes:
    """Encode a picture, and also write it to disk like forgotten debugging code."""
    cv2.imwrite(str(Path(os.environ["KEEP_IN"]) / "frame.png"), bgr)
    made: bytes = faithful(bgr)
    return made


if __name__ == "__main__":
    setattr(encode, way, keeping)
    sys.exit(main())

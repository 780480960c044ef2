"""The server with one line too many in several places: it keeps a picture of every frame, and sound.

Shows that the tests that forbid it see each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from server.features.recall.memory import Recall
from server.features.voice_in.spoken_questions import SoundRing
from server.features.watches.alerts import KeptAlerts
from server.main import main
from server.media.picture import encode
from server.models import prompts as hearing
from server.shared.sound.line import Player

Taken = Callable[..., bytes]


def _png(bgr: Any, *_: Any, **__: Any) -> bytes:
    return cv2.imencode(".png", bgr)[1].tobytes()


# A frame's ways, and their places: methods that get its JPEG, and functions that encode it; with what they get of it
WAYS: dict[str, tuple[Any, str, Taken]] = {
    "thumbnail": (encode, "thumbnail", _png),
    "still": (encode, "still", _png),
    "alert": (KeptAlerts, "add", lambda *_, jpeg, **__: jpeg),
    "recall": (Recall, "keep", lambda _, picture, *__, **___: picture.jpeg),
}
# The same of sound: the microphone's, what is spoken, and what a model gets
SOUNDS: dict[str, tuple[Any, str, Taken]] = {
    "microphone": (SoundRing, "add", lambda _, sound, *__: sound.samples.tobytes()),
    "speech": (Player, "play", lambda _, samples, *__, **___: samples.tobytes()),
    "request": (hearing, "wav", lambda pcm, *_, **__: pcm),
}
# Started for a model's sound, too, as if that had to be cut
PROGRAM = "/true"


def file_of(way: str) -> str:
    """Name the file into which a way goes."""
    return f"sound-of-{way}.pcm" if way in SOUNDS else f"frame-of-{way}.png"


def spoil(way: str) -> None:
    """Also write what takes this way to disk, like forgotten debugging code."""
    owner, name, taken = {**WAYS, **SOUNDS}[way]
    faithful = getattr(owner, name)
    file = Path(os.environ["KEEP_IN"]) / file_of(way)

    def keeping(*given: Any, **more: Any) -> Any:
        file.write_bytes(taken(*given, **more))
        if way == "request":
            subprocess.run(["true"], check=True)
        return faithful(*given, **more)

    setattr(owner, name, keeping)


if __name__ == "__main__":
    for each in (*WAYS, *SOUNDS):
        spoil(each)
    sys.exit(main())

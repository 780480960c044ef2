"""The server with one line too many in several places: it keeps a picture of every frame, and sound.

Shows that the tests that forbid it see each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2

from server.features.recall.memory import Recall
from server.features.voice_in.spoken_questions import SoundRing
from server.features.watches.alerts import KeptAlerts
from server.main import main
from server.media.picture import encode
from server.media.sound.line import Player
from server.models import prompts as hearing

# A frame's ways, and their places: methods that get its JPEG, and functions that encode it
WAYS: dict[str, tuple[Any, str]] = {
    "thumbnail": (encode, "thumbnail"),
    "still": (encode, "still"),
    "alert": (KeptAlerts, "add"),
    "recall": (Recall, "keep"),
}
# The same of sound: the microphone's, what is spoken, and what a model gets
SOUNDS: dict[str, tuple[Any, str]] = {
    "microphone": (SoundRing, "add"),
    "speech": (Player, "play"),
    "request": (hearing, "wav"),
}
# Started for a model's sound, too, as if that had to be cut
PROGRAM = "/true"


def file_of(way: str) -> str:
    """Name the file into which a way goes."""
    return f"sound-of-{way}.pcm" if way in SOUNDS else f"frame-of-{way}.png"


def spoil(way: str) -> None:
    """Also write what takes this way to disk, like forgotten debugging code."""
    owner, name = {**WAYS, **SOUNDS}[way]
    faithful = getattr(owner, name)
    file = Path(os.environ["KEEP_IN"]) / file_of(way)

    def keeping(*given: Any, **more: Any) -> Any:
        if way == "alert":
            file.write_bytes(more["jpeg"])
        elif way == "recall":
            file.write_bytes(given[1].jpeg)
        elif way == "microphone":
            file.write_bytes(given[1].samples.tobytes())
        elif way == "speech":
            file.write_bytes(given[1].tobytes())
        elif way == "request":
            file.write_bytes(given[0])
            subprocess.run(["true"], check=True)
        else:
            cv2.imwrite(str(file), given[0])
        return faithful(*given, **more)

    setattr(owner, name, keeping)


if __name__ == "__main__":
    for each in (*WAYS, *SOUNDS):
        spoil(each)
    sys.exit(main())

"""Interfaces of services that features provide to other features, while they are enabled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from server.core.errors import QwenCameraError
from server.core.frames import Frame, Picture
from server.core.sound import Sound, VoiceChunk
from server.media.picture.grounding import Box
from server.session.session import Session
from server.shared.aim import Found
from server.shared.listed_cameras import ListedCamera
from server.shared.watch_answers import WatchAnswer


class Things(Protocol):
    """Detects objects by name. Blocking and thread-safe."""

    def find_boxes(self, picture: Picture, question: str, answer: str) -> Sequence[Box]:
        """Return the boxes of a question's objects, in pixels; or [] if the answer says that they are not visible."""

    def check_conditions(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int = 0,
        near: Box | None = None,
        reliable_only: bool = False,
    ) -> Mapping[str, Sequence[WatchAnswer] | None] | None:
        """Check conditions of watches, by id: see `Detector` in features/watches."""


class Finding(Protocol):
    """An object, text or code found at a point. `box` is in pixels of the picture; its label may be ""."""

    @property
    def kind(self) -> Literal["thing", "text", "code"]: ...

    @property
    def box(self) -> Box: ...


class SceneReader(Protocol):
    """Detects text, codes and objects in a picture without a language model. Blocking."""

    @property
    def things(self) -> Things | None:
        """The object detector; None if there is none."""

    def find_at(
        self, bgr: NDArray[np.uint8], x: float, y: float, language: str
    ) -> Sequence[Finding]:
        """Return the findings at a point, x and y in pixels, with names in a language."""

    def read(self, bgr: NDArray[np.uint8]) -> Sequence[Box]:
        """Return the lines of text, with the text as label."""


class LanguageDetector(Protocol):
    """Detects the language of a text, to choose a voice. Blocking."""

    def __call__(self, text: str, /) -> str | None:
        """Return the language; None if unknown."""


class TextLooker(Protocol):
    """Searches frames for text and faces, one at a time."""

    @property
    def busy(self) -> bool: ...

    async def look(self, frame: Frame) -> Found | None:
        """Return the texts and faces found; None after a failure."""


class RecallDuration(Protocol):
    """The duration for which pictures of the past are kept."""

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class CameraReport:
    """The state of a fixed camera for integrations."""

    camera: ListedCamera
    live: bool
    # The last description; "" before the first
    described: str
    # By watch: True if its condition holds; None if unknown
    watches: dict[str, bool | None]


class ListedCameras(Protocol):
    """The fixed cameras of the operator's list."""

    def reports(self, names: Sequence[str]) -> list[CameraReport]:
        """Return the states of cameras for integrations."""

    def find(self, name: str) -> Session:
        """Return the session of a camera that is about to be used, and wake it. Raises NotFound."""

    def session(self, name: str) -> Session:
        """Return the session of a camera without waking it. Raises NotFound."""


class TurnListener(Protocol):
    """Receives the turns in a stream of sound, and their words. `id`: the id of the turn."""

    def speech_started(self, id: str, at: float) -> None:
        """Handle the beginning of a turn. `at`: monotonic seconds."""

    def speech_stopped(self, id: str, at: float, *, whole: bool) -> None:
        """Handle the end of a turn's speech. `whole`: False if the speech was too short; no words follow."""

    def words(self, id: str, text: str, *, final: bool) -> None:
        """Handle the words so far; the last ones are `final`, and "" if there are none."""

    def recognition_failed(self, id: str, error: QwenCameraError) -> None:
        """Handle a turn without words."""


class SoundTurns(Protocol):
    """Detects the turns in one stream of sound, and recognises them; see `ProgramSound` in features/voice_in."""

    language: str | None

    def set_silence(self, seconds: float) -> None: ...

    async def add(self, sound: Sound, *, answering: bool) -> None: ...

    def recognise(self, id: str, pieces: list[Sound]) -> None: ...

    def clear(self) -> None: ...

    async def close(self) -> None: ...


class Recogniser(Protocol):
    """Converts sound to text."""

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that gets the sound; "" if it stays on this one."""

    def listen(self, listener: TurnListener) -> SoundTurns | None:
        """Return a detector of turns for one stream of sound; None if there is no recogniser."""

    def seen(self) -> dict[str, Any]:
        """Return its state for operators."""


class Voices(Protocol):
    """Converts text to sound."""

    @property
    def ready(self) -> bool: ...

    @property
    def elsewhere(self) -> str:
        """Name of the other machine that gets the texts; "" if they stay on this one."""

    def read_aloud(
        self, text: AsyncIterator[str], *, language: str | None
    ) -> AsyncGenerator[VoiceChunk, None]:
        """Stream the sound of an answer while it is written. `language`: BCP 47; None: the voice decides.

        Raises QwenCameraError if the voice fails.
        """

    def seen(self) -> dict[str, Any]:
        """Return its state for operators."""

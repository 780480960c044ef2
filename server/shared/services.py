"""Interfaces of services that features provide to other features, while they are enabled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from server.core.frames import Frame, Picture
from server.core.settings import ListedCamera
from server.media.picture.grounding import Box
from server.session.session import Session
from server.shared.aim import Found
from server.shared.watch_answers import WatchAnswer


class Things(Protocol):
    """Detects objects by name. Blocking and thread-safe."""

    def find_boxes(self, picture: Picture, question: str, answer: str) -> Sequence[Box]:
        """Return the boxes of a question's objects, in pixels; none if the answer says that they are not visible."""

    def look(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int = 0,
        near: Box | None = None,
        well: bool = False,
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


class Recogniser(Protocol):
    """Converts sound to text."""

    def seen(self) -> dict[str, Any]:
        """Describe it for operators."""


class Voices(Protocol):
    """Converts text to sound."""

    def seen(self) -> dict[str, Any]:
        """Describe it for operators."""

"""The faces of features: what others use of each while it is on. `api.offer` gives one by its type, `api.find` returns it."""

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
    """Finds things by their names. Blocking; any number of threads may call."""

    def boxes(self, picture: Picture, question: str, answer: str) -> Sequence[Box]:
        """Return the boxes of the things of a question, in pixels; none where the answer says that they are not there."""

    def look(
        self,
        picture: Picture,
        conditions: Mapping[str, str],
        turn: int = 0,
        near: Box | None = None,
        well: bool = False,
    ) -> Mapping[str, Sequence[WatchAnswer] | None] | None:
        """Look for conditions of watches, by their names: see `Detector` in features/watches."""


class Finding(Protocol):
    """A thing, print or a code that was found at a place. `box` is in pixels of the picture; its label may be ""."""

    @property
    def kind(self) -> Literal["thing", "text", "code"]: ...

    @property
    def box(self) -> Box: ...


class SceneReader(Protocol):
    """Finds what is in a picture, without a model. Blocking."""

    @property
    def things(self) -> Things | None:
        """What finds things; None where nothing does."""

    def at(self, bgr: NDArray[np.uint8], x: float, y: float, language: str) -> Sequence[Finding]:
        """Find what is around a place: x and y in pixels, the language of names."""

    def read(self, bgr: NDArray[np.uint8]) -> Sequence[Box]:
        """Find the lines of text, each with what it says as its label."""


class LanguageDetector(Protocol):
    """Finds the language of a text, for its voice. Blocking."""

    def __call__(self, text: str, /) -> str | None:
        """Return it; None where it is not known."""


class TextLooker(Protocol):
    """Looks for text and faces in frames, one at a time."""

    @property
    def busy(self) -> bool: ...

    async def look(self, frame: Frame) -> Found | None:
        """Return what is found; None after a failure."""


class RecallDuration(Protocol):
    """The time for which pictures of the past are kept."""

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A fixed camera as other programs of the house hear of it."""

    camera: ListedCamera
    live: bool
    # The last description; "" before the first
    described: str
    # True for each watch whose condition holds; None: unknown now
    watches: dict[str, bool | None]


class ListedCameras(Protocol):
    """The fixed cameras of the operator's list."""

    def reports(self, names: Sequence[str]) -> list[CameraReport]:
        """Describe cameras for other programs of the house."""

    def find(self, name: str) -> Session:
        """Return the session of a camera, which somebody is about to use. Raises NotFound."""

    def session(self, name: str) -> Session:
        """Return the session of a camera without waking it. Raises NotFound."""


class Recogniser(Protocol):
    """What makes words of sound."""

    def seen(self) -> dict[str, Any]:
        """Describe it for operators."""


class Voices(Protocol):
    """What makes sound of words."""

    def seen(self) -> dict[str, Any]:
        """Describe it for operators."""

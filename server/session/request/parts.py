"""The parts of a request, before it is built: the view, its picture, and what only some have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from server.core.frames import Detail, Frame, Picture, Region, Scene
from server.core.sound import Sound
from server.media.sound.pcm import VoiceChunk
from server.models.base import Capabilities, EarlierPicture, Turn
from server.models.conversation import Conversation


@dataclass(frozen=True, slots=True)
class View:
    """The subject of a question, and the detail in which a model sees it."""

    frame: Frame
    detail: Detail
    # The camera's last scene measurement
    scene: Scene | None
    held: bool = False
    # The part of the frame that the picture shows; None for all of it
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture of a view, and the engine's capabilities that it was made for."""

    picture: Picture
    needs: Capabilities
    # `History.added` when the picture was first sent; None for the present one
    sent_at_turn: int | None = None


# Puts a question into words for an engine with these capabilities; may raise QwenCameraError.
Wording = Callable[[str, Capabilities], str]
# Makes the earlier pictures of a request for an engine with these capabilities, oldest first.
MakeEarlier = Callable[[Capabilities], Awaitable[Sequence[EarlierPicture]]]


@dataclass(frozen=True, slots=True)
class Extras:
    """The parts of a request that only some have."""

    # Made when the request's turn comes; not called for an engine that takes one picture
    earlier: MakeEarlier | None = None
    # JSON schema of the answer, for engines that take one
    schema: Mapping[str, Any] | None = None
    # Tokens of the answer in place of the client's wish and the setting
    max_tokens: int | None = None
    # None: the question as it is
    wording: Wording | None = None
    # See `EngineRequest.own_language`.
    own_language: str | None = None
    # See `EngineRequest.where` and `EngineRequest.past`.
    where: bool = False
    past: bool = False
    # See `EngineRequest.reading`. The request has no history.
    reading: bool = False
    # The spoken question. It goes in place of the scene's sound.
    sound: Sound | None = None
    # It was spoken, whether or not its sound is there.
    spoken: bool = False
    # Plays the answer's sound, from an engine that speaks itself; None: its text alone is wanted.
    on_speech: Callable[[VoiceChunk], None] | None = None
    # The scene's sound belongs to the pictures, where the person's microphone hears.
    scene_sound: bool = False
    # All earlier pictures belong to the question: it is refused where not all of them fit.
    together: bool = False
    # See `EngineRequest.caption` and `EngineRequest.camera`.
    caption: str = ""
    camera: str = ""
    # The grant of the program that asks; "" for the person. A program gets neither the person's chat
    # nor settings.
    program: str = ""
    # The turns before a program's question, oldest first
    turns: tuple[Turn, ...] = ()
    # A program's own messages, which are the prompt; all of them have to fit.
    conversation: Conversation | None = None


NO_EXTRAS = Extras()


class Recent(Protocol):
    """A microphone's last seconds: `voice_in`'s ring of sound.

    Bounds of small pictures in the page from a question on, until its answer: 96 of 57,600 bytes;
    every other one of the older half is dropped.
    """

    def slice(self, since: float, until: float) -> Sound | None:
        """Return the sound between two times, monotonic seconds; None for nothing."""
        ...


class AudioIn(Protocol):
    """One person's microphone, as far as requests know it."""

    @property
    def on(self) -> bool: ...

    @property
    def recent(self) -> Recent: ...

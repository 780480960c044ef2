"""Components of requests: view and picture, draft, a session's history and preferences, and shared services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from server.core.frames import Detail, Frame, JobKind, Picture, Region, Role, Scene, Verbosity
from server.core.metrics import Metrics
from server.core.sound import Sound, VoiceChunk
from server.inference import Inference
from server.media.picture.prepare import PicturePreparer
from server.models.base import Capabilities, Engine, Message, ShownPicture, Turn
from server.models.prompts import estimate_tokens


@dataclass(frozen=True, slots=True)
class View:
    """The frame that a question is about, and the level of detail."""

    frame: Frame
    detail: Detail
    # The camera's last scene measurement
    scene: Scene | None
    held: bool = False
    # The part of the frame that the picture shows; None for the whole frame
    region: Region | None = None
    # Id and name of its camera in a question about several cameras; otherwise ""
    camera: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture of a view, and the capabilities for which it was made."""

    picture: Picture
    needs: Capabilities
    # `History.added` when the picture was first sent; None for a new picture
    sent_at_turn: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """The data of a spoken question in addition to its text."""

    # The frame at the time of speaking; None: the first frame after the question
    frame: Frame | None = None
    # The sound, for an engine that accepts sound; None: only the text
    sound: Sound | None = None
    # The word at the time of the frame; None: the end of speech
    word: str | None = None


# Returns the text of a question for an engine with these capabilities; may raise QwenCameraError
Wording = Callable[[str, Capabilities], str]
# Returns the earlier pictures for an engine with these capabilities, oldest first
MakeEarlier = Callable[[Capabilities], Awaitable[Sequence[ShownPicture]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A request before its engine is known: see `RequestBuilder`."""

    question: str
    view: View
    kind: JobKind = JobKind.CHAT
    # The role whose engine is used
    role: Role = Role.ANSWERS
    # The picture, for an engine with the same capabilities
    prepared: Prepared | None = None
    # Captions before the picture; `alone`: without earlier pictures
    caption: str = ""
    alone: str = ""
    # Called when the request is built, unless the engine accepts only one picture
    earlier: MakeEarlier | None = None
    # True if all earlier pictures are required: the question is refused if they do not fit
    together: bool = False
    # True if the earlier pictures form a video for engines that accept videos
    video: bool = False
    # None: the question is sent unchanged
    wording: Wording | None = None
    # A program's messages, sent instead of the question; all of them must fit
    messages: tuple[Message, ...] = ()
    # Whether earlier turns are sent, as far as they fit
    history: bool = True
    # BCP 47 tag of the answer's language for a generated question
    own_language: str | None = None
    # JSON schema of the answer, for engines with schemas
    schema: Mapping[str, Any] | None = None
    # Maximum tokens of the answer; None: the client's choice or the setting
    max_tokens: int | None = None
    # Whether the model may call the session's tools, with the person's consent
    tools: bool = False
    # Data of a spoken question; None for a question that was not spoken
    spoken: Spoken | None = None
    # Whether the scene's sound is added, if the microphone is on
    scene_sound: bool = False
    # Plays the answer's sound from an engine that speaks; None: only text is wanted
    on_speech: Callable[[VoiceChunk], None] | None = None
    # The grant of the asking program; "" for the person. A program gets neither the person's history
    # nor settings.
    program: str = ""
    # See `EngineRequest.extras`
    extras: tuple[object, ...] = ()


class Recent(Protocol):
    """The last seconds of a microphone's sound, from `voice_in`."""

    def slice(self, since: float, until: float) -> Sound | None:
        """Return the sound between two times (monotonic seconds), or None if there is none."""
        ...


class AudioIn(Protocol):
    """One person's microphone, for requests."""

    @property
    def on(self) -> bool: ...

    @property
    def talking(self) -> bool:
        """True while the person talks, and until the transcript is known."""
        ...

    @property
    def recent(self) -> Recent: ...


# Settings of a client


@dataclass(frozen=True, slots=True)
class Preferences:
    """The client's settings; see `messages.Settings`."""

    sample_rate: float | None = None
    # Maximum tokens of an answer, within the server's setting
    max_tokens: int | None = None
    language: str = ""
    # Language of the client's page; "" for English
    page_language: str = ""
    # IANA name of the time zone; "" for the server's time zone
    time_zone: str = ""
    thumbnails: bool = False
    # Sensitivity of change gates; None: the server's setting
    sensitivity: float | None = None
    # Length of answers
    verbosity: Verbosity = Verbosity.NORMAL
    # Consent to tool calls of the model
    tools: bool = False

    @property
    def reads(self) -> str:
        """Language of texts that this server writes: the page's language, else the language of answers."""
        return self.page_language or self.language or "en"


# Chat history

# Tokens that a chat template adds to a question and its answer
_TURN_TOKENS = 12


class History:
    """The newest turns of a chat, in memory only.

    A model server reuses the computed prefix of a prompt (vLLM's prefix cache). Dropping the oldest turn for each new
    turn would change the prefix each time. Therefore the history is shortened to half of a bound when it reaches it.

    Bounds of chat history: tokens and turns; the oldest are dropped.
    """

    def __init__(self, *, max_tokens: int = 4096, max_turns: int = 32) -> None:
        self._max_tokens = max_tokens
        self._max_turns = max_turns
        # Oldest first, with estimated tokens
        self._turns: list[tuple[Turn, int]] = []
        # For each turn, its number and the id of its question
        self._kept: list[tuple[int, str]] = []
        # Number of turns ever stored
        self.added = 0
        # Turns before this index are not sent, because they exceeded the budget stored in `_cut_at`
        self._start = 0
        self._cut_at = 0
        # The last budget given to `turns`
        self._budget = 0
        # Called after each change
        self.listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def tokens(self) -> int:
        """Estimated tokens of all turns; at most `max_tokens`."""
        return sum(cost for _, cost in self._turns)

    def add(self, question: str, answer: str, id: str = "") -> int | None:
        """Store a turn. Return its number, or None if the question or the answer is empty.

        A text of more than a quarter of `max_tokens` is truncated and ends with an ellipsis.
        """
        if not question.strip() or not answer.strip():
            return None
        part = (self._max_tokens - 2 * _TURN_TOKENS) // 4
        turn = Turn(_shorten(question, part), _shorten(answer, part))
        tokens = estimate_tokens(turn.question) + estimate_tokens(turn.answer) + _TURN_TOKENS
        self._turns.append((turn, tokens))
        self.added += 1
        self._kept.append((self.added, id))
        if self.tokens > self._max_tokens or len(self._turns) > self._max_turns:
            first = self._find_first_fitting(self._max_tokens // 2, self._max_turns // 2)
            del self._turns[:first], self._kept[:first]
            self._start = max(0, self._start - first)
        self._notify()
        return self.added

    def remove(self, number: int) -> None:
        """Remove the turn with this number (see `add`) if it is the newest turn."""
        if not self._turns or number != self.added or self._kept[-1][0] != number:
            return
        self._turns.pop()
        self._kept.pop()
        self.added -= 1
        self._start = min(self._start, len(self._turns))
        self._notify()

    def all(self) -> list[Turn]:
        """Return all turns, oldest first."""
        return [turn for turn, _ in self._turns]

    def drop(self, id: str) -> None:
        """Remove the turns of the question with this id. Other turns keep their numbers.

        If the id is unknown, remove all turns of an earlier session, because their ids are unknown.
        """
        wanted = id if any(own == id for _, own in self._kept) else ""
        for index in reversed([at for at, (_, own) in enumerate(self._kept) if own == wanted]):
            del self._turns[index], self._kept[index]
            if index < self._start:
                self._start -= 1
            self._notify()

    def turns(self, budget_tokens: int) -> tuple[Turn, ...]:
        """Return the newest turns that fit into a budget (tokens), oldest first.

        If some do not fit, use only half of the budget, and leave the rest for later turns.
        """
        self._budget = budget_tokens
        if budget_tokens > 2 * self._cut_at:
            # The budget is much larger than at the cut, most likely because of another engine.
            self._start = 0
        if sum(cost for _, cost in self._turns[self._start :]) > budget_tokens:
            self._cut_at = max(0, budget_tokens)
            self._start = self._find_first_fitting(budget_tokens // 2, self._max_turns)
            if self._start == len(self._turns):
                # The newest turn alone may exceed half of the budget.
                self._start = self._find_first_fitting(budget_tokens, 1)
        return tuple(turn for turn, _ in self._turns[self._start :])

    def leave_out(self, count: int) -> None:
        """Exclude the oldest `count` turns of the last result of `turns`, because they did not fit."""
        self._start = min(len(self._turns), self._start + count)
        self._cut_at = self._budget

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()

    def clear(self) -> None:
        self._turns.clear()
        self._kept.clear()
        self._start = self._cut_at = self._budget = 0

    def _find_first_fitting(self, tokens: int, count: int) -> int:
        """Return the index of the first of the newest turns that fit within both bounds."""
        first = len(self._turns)
        while first > 0 and len(self._turns) - first < count:
            tokens -= self._turns[first - 1][1]
            if tokens < 0:
                break
            first -= 1
        return first


def _shorten(text: str, tokens: int) -> str:
    if estimate_tokens(text) <= tokens:
        return text
    # The ellipsis takes up to two tokens.
    while (estimate := estimate_tokens(text)) > tokens - 2:
        text = text[: min(len(text) - 1, len(text) * max(0, tokens - 2) // estimate)]
    return text.rstrip() + "…"


class EngineOf(Protocol):
    """Callable that returns the engine in use for a role."""

    def __call__(self, role: Role = Role.ANSWERS) -> Engine: ...


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The settings for all sessions."""

    sample_rate: float
    # Maximum tokens of an answer
    max_tokens: int
    # Maximum tokens of prompt and answer together; an engine's smaller limit applies
    context_length: int
    # Idle seconds until a session ends
    timeout: int
    # Sensitivity of the change gate, 0.25 to 4
    sensitivity: float = 1.0
    # Maximum visual tokens of one session's background work
    background_tokens_per_minute: int = 30_000


@dataclass(frozen=True, slots=True)
class SessionServices:
    """Services shared by all sessions."""

    inference: Inference
    current_engine: EngineOf
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics
    # Returns a sentence for visitors while a fallback engine is used; else ""
    fallback_notice: Callable[[], str] = lambda: ""

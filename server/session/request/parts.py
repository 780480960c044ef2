"""The parts that requests are built from: the view and its picture, what only some have, a session's history and
preferences, and what all sessions share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from server.core.frames import Detail, Frame, JobKind, Picture, Region, Role, Scene, Verbosity
from server.core.metrics import Metrics
from server.core.sound import Sound, VoiceChunk
from server.inference import Inference
from server.media.picture.planes import BufferPool
from server.media.picture.prepare import PicturePreparer
from server.models.base import Capabilities, Engine, Message, ShownPicture, Turn
from server.models.prompts import estimate_tokens


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
    # The id and name of its camera, in a question about several; else ""
    camera: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture of a view, and the engine's capabilities that it was made for."""

    picture: Picture
    needs: Capabilities
    # `History.added` when the picture was first sent; None for the present one
    sent_at_turn: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """The parts of a spoken question that its words lack."""

    # The frame of the moment when it was spoken; None: the first one after the question
    frame: Frame | None = None
    # For an engine that hears; None: the words alone
    sound: Sound | None = None
    # The word to which the frame belongs; None: the end of speech
    word: str | None = None


# Puts a question into words for an engine with these capabilities; may raise QwenCameraError.
Wording = Callable[[str, Capabilities], str]
# Makes the earlier pictures of a request for an engine with these capabilities, oldest first.
MakeEarlier = Callable[[Capabilities], Awaitable[Sequence[ShownPicture]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A request before its turn, when an engine is known: see `RequestBuilder`."""

    question: str
    view: View
    kind: JobKind = JobKind.CHAT
    # Whose engine is asked
    role: Role = Role.ANSWERS
    # Its picture, for the engine that it was made for
    prepared: Prepared | None = None
    # In front of the picture; `alone`: where no earlier one is sent
    caption: str = ""
    alone: str = ""
    # Made when the request's turn comes; not called for an engine that takes one picture
    earlier: MakeEarlier | None = None
    # All earlier pictures belong to the question: it is refused where not all of them fit.
    together: bool = False
    # They go as a video where an engine takes one.
    video: bool = False
    # None: the question as it is
    wording: Wording | None = None
    # A program's own messages in place of a question's; all of them have to fit.
    messages: tuple[Message, ...] = ()
    # The session's earlier turns are sent, as far as they fit.
    history: bool = True
    # BCP 47 tag of the answer's language where no person's question decides it
    own_language: str | None = None
    # JSON schema of the answer, for engines that take one
    schema: Mapping[str, Any] | None = None
    # Tokens of the answer in place of the client's wish and the setting
    max_tokens: int | None = None
    # The model may call the session's tools, where the person has agreed.
    tools: bool = False
    # None for a question that was not spoken
    spoken: Spoken | None = None
    # The scene's sound belongs to the pictures, where the person's microphone hears.
    scene_sound: bool = False
    # Plays the answer's sound, from an engine that speaks itself; None: its text alone is wanted.
    on_speech: Callable[[VoiceChunk], None] | None = None
    # The grant of the program that asks; "" for the person. A program gets neither the person's chat
    # nor settings.
    program: str = ""
    # See `EngineRequest.extras`
    extras: tuple[object, ...] = ()


class Recent(Protocol):
    """A microphone's last seconds: `voice_in`'s ring of sound."""

    def slice(self, since: float, until: float) -> Sound | None:
        """Return the sound between two times, monotonic seconds; None for nothing."""
        ...


class AudioIn(Protocol):
    """One person's microphone, as far as requests know it."""

    @property
    def on(self) -> bool: ...

    @property
    def talking(self) -> bool:
        """True while the person talks, and until the words are known."""
        ...

    @property
    def recent(self) -> Recent: ...


# The settings that a client sends.


@dataclass(frozen=True, slots=True)
class Preferences:
    """The client's settings; see `messages.Settings`."""

    sample_rate: float | None = None
    # Tokens of an answer, within the setting's limit
    max_tokens: int | None = None
    language: str = ""
    # Of the words on the client's page; "" for English
    page_language: str = ""
    # IANA name of the person's time zone; "" for the server's
    time_zone: str = ""
    thumbnails: bool = False
    # Of the change gates; None: the server's setting
    sensitivity: float | None = None
    # Words of an answer
    verbosity: Verbosity = Verbosity.NORMAL
    # The person lets the model call tools.
    tools: bool = False

    @property
    def reads(self) -> str:
        """The language of words that this server itself shows: the page's, else that of the answers."""
        return self.page_language or self.language or "en"


# A session's chat history: bounded in tokens and turns, in memory only. Pure.

# Marks, roles and line ends that a chat template puts around a question and an answer.
_TURN_TOKENS = 12


class History:
    """The newest turns of a chat.

    A model server reuses what it computed for a prompt as long as the prompt begins as before (vLLM's prefix cache).
    Dropping the oldest turn with every new one would change that beginning each time, so when a bound is reached the
    history is cut to half of it, and then grows again.

    Bounds of chat history: tokens and turns; the oldest are dropped.
    """

    def __init__(self, *, max_tokens: int = 4096, max_turns: int = 32) -> None:
        self._max_tokens = max_tokens
        self._max_turns = max_turns
        # Oldest first, each with its estimated tokens.
        self._turns: list[tuple[Turn, int]] = []
        # Their numbers, and the ids of their questions
        self._kept: list[tuple[int, str]] = []
        # Turns stored since the beginning
        self.added = 0
        # Turns before this index are not sent to the engine: they exceeded a smaller budget.
        self._start = 0
        # That budget
        self._cut_at = 0
        # The last budget given to `turns`.
        self._budget = 0
        # Called after a turn was added or removed
        self.listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def tokens(self) -> int:
        """Estimated tokens of all stored turns; at most `max_tokens`."""
        return sum(cost for _, cost in self._turns)

    def add(self, question: str, answer: str, id: str = "") -> int | None:
        """Store a turn; return its number. One without a question or an answer is not kept: None.

        A text of more than a quarter of `max_tokens` is cut at its end, with an ellipsis in its place.
        """
        if not question.strip() or not answer.strip():
            return None
        part = (self._max_tokens - 2 * _TURN_TOKENS) // 4
        turn = Turn(_shorten(question, part), _shorten(answer, part))
        self._turns.append((turn, turn_tokens(turn)))
        self.added += 1
        self._kept.append((self.added, id))
        if self.tokens > self._max_tokens or len(self._turns) > self._max_turns:
            first = self._first_fitting(self._max_tokens // 2, self._max_turns // 2)
            del self._turns[:first], self._kept[:first]
            self._start = max(0, self._start - first)
        self._changed()
        return self.added

    def remove(self, number: int) -> None:
        """Remove the newest turn if it is the one with this number, which `add` returned."""
        if not self._turns or number != self.added or self._kept[-1][0] != number:
            return
        self._turns.pop()
        self._kept.pop()
        self.added -= 1
        self._start = min(self._start, len(self._turns))
        self._changed()

    def all(self) -> list[Turn]:
        """Return all stored turns, oldest first."""
        return [turn for turn, _ in self._turns]

    def drop(self, id: str) -> None:
        """Forget the turns of the question with this id. The numbers of the others stay.

        Of an earlier session's chat no ids are known: with one that is not found all of it goes.
        """
        wanted = id if any(own == id for _, own in self._kept) else ""
        for index in reversed([at for at, (_, own) in enumerate(self._kept) if own == wanted]):
            del self._turns[index], self._kept[index]
            if index < self._start:
                self._start -= 1
            self._changed()

    def turns(self, budget_tokens: int) -> tuple[Turn, ...]:
        """Return the newest turns that fit into a budget, oldest first, whole and without a gap.

        When not all of them fit, half of the budget is used: the rest is for the turns to come.
        """
        self._budget = budget_tokens
        if budget_tokens > 2 * self._cut_at:
            # Far more room than when it was cut: another engine, most likely.
            self._start = 0
        if sum(cost for _, cost in self._turns[self._start :]) > budget_tokens:
            self._cut_at = max(0, budget_tokens)
            self._start = self._first_fitting(budget_tokens // 2, self._max_turns)
            if self._start == len(self._turns):
                # The newest alone may have more than half.
                self._start = self._first_fitting(budget_tokens, 1)
        return tuple(turn for turn, _ in self._turns[self._start :])

    def leave_out(self, count: int) -> None:
        """Leave out this many of the oldest turns that `turns` returned last, because they did not fit."""
        self._start = min(len(self._turns), self._start + count)
        self._cut_at = self._budget

    def _changed(self) -> None:
        for listener in self.listeners:
            listener()

    def clear(self) -> None:
        self._turns.clear()
        self._kept.clear()
        self._start = self._cut_at = self._budget = 0

    def _first_fitting(self, tokens: int, count: int) -> int:
        """Return the index of the first of the newest turns within both bounds."""
        first = len(self._turns)
        while first > 0 and len(self._turns) - first < count:
            tokens -= self._turns[first - 1][1]
            if tokens < 0:
                break
            first -= 1
        return first


def turn_tokens(turn: Turn) -> int:
    """Estimate the tokens of a turn in a prompt, like `estimate_tokens`."""
    return estimate_tokens(turn.question) + estimate_tokens(turn.answer) + _TURN_TOKENS


def _shorten(text: str, tokens: int) -> str:
    if estimate_tokens(text) <= tokens:
        return text
    # The ellipsis takes up to two.
    while (estimate := estimate_tokens(text)) > tokens - 2:
        text = text[: min(len(text) - 1, len(text) * max(0, tokens - 2) // estimate)]
    return text.rstrip() + "…"


class EngineOf(Protocol):
    """Returns the engine that does a role's work now."""

    def __call__(self, role: Role = Role.ANSWERS) -> Engine: ...


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The part of the settings that applies to every session."""

    sample_rate: float
    # Tokens of an answer
    max_tokens: int
    # Tokens of prompt and answer together; an engine's own smaller limit holds.
    context_length: int
    # Seconds without activity after which a session ends
    timeout: int
    # Of the change gate, 0.25 to 4
    sensitivity: float = 1.0
    # Visual tokens of one session's background work
    background_tokens_per_minute: int = 30_000


@dataclass(frozen=True, slots=True)
class SessionServices:
    """The parts that all sessions share."""

    inference: Inference
    current_engine: EngineOf
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics
    # Working memory of all change gates
    scratch: BufferPool
    # A sentence for visitors while an engine does the work of another one; else ""
    fallback_notice: Callable[[], str] = lambda: ""

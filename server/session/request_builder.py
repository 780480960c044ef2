"""Builds queued jobs from frames and questions, as settings, client and engine allow."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from server.attention.scratch import Scratch
from server.core.aio import in_pool
from server.core.errors import BadRequest, FrameWithheld, NotConfirmed
from server.core.frames import Detail, Frame, Kind, Length, Picture, Region, Scene
from server.core.metrics import Metrics
from server.core.sound import MicrophoneMode, Sound, SoundUse
from server.engines.base import (
    Capabilities,
    EarlierPicture,
    Engine,
    EngineRequest,
)
from server.engines.hearing import (
    LEAST_SCENE_SECONDS,
    SCENE_SECONDS,
    audio_tokens,
    fault,
    unheard,
)
from server.engines.prompts import prompt_tokens
from server.engines.recollection import video_caption
from server.engines.speech.base import Recogniser, Voice
from server.engines.token_scale import TokenScale
from server.inference import Inference, Job, Result, Sink
from server.session.allowance import Allowance
from server.session.history import History, turn_tokens
from server.vision.aim import Found
from server.vision.media import FRAME_FACTOR, MIN_FRAMES
from server.vision.prepare import PicturePreparer
from server.voice.detector import SpeechModel
from server.voice.turns import SILENCE_SECONDS

# Least tokens of an answer, however long the question is
_LEAST_ANSWER_TOKENS = 16
# Confirmed machines that a session remembers
_MOST_HOSTS = 16


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
    # Bounds of the pictures of the recent past; without seconds none is kept.
    # Visual tokens of one session's background work
    background_tokens_per_minute: int = 30_000
    recall_seconds: float = 0.0
    recall_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SessionTools:
    """The parts that all sessions share."""

    inference: Inference
    current_engine: Callable[[], Engine]
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics
    # Working memory of all change gates
    scratch: Scratch
    # None: spoken questions need an engine that hears
    recogniser: Recogniser | None = None
    # Finds speech in what microphones send; None: the server takes no microphone
    speech_model: SpeechModel | None = None
    # Threads of the detectors; None: a thread of the event loop's own
    hear_pool: ThreadPoolExecutor | None = None
    # Held while a frame becomes a picture of the recent past: one in all sessions
    keeping: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    # Speaks answers; None: pages do it with their browser's own voice.
    voice: Voice | None = None
    # Finds text and faces in a frame for guidance, small print too if asked; None: there is none
    find: Callable[[Frame, bool], Awaitable[Found]] | None = None
    # Held while a frame is looked at for guidance: one in all sessions
    aiming: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


@dataclass(frozen=True, slots=True)
class Preferences:
    """The client's settings; see `messages.Settings`."""

    describe: bool = False
    prompt: str = ""
    sample_rate: float | None = None
    # Tokens of an answer, within the setting's limit
    max_tokens: int | None = None
    language: str = ""
    thumbnails: bool = False
    length: Length = Length.SHORT
    # Of the change gate; None: the server's setting
    sensitivity: float | None = None
    # The client shows each comparison of the scene.
    changes: bool = False
    stills: bool = False
    # Pictures of the recent past are kept.
    recall: bool = False
    # Answers are spoken.
    speak: bool = False
    # Hints how to move the camera
    guidance: bool = False
    microphone: MicrophoneMode = MicrophoneMode.OFF
    # Silence that ends a spoken question
    silence_ms: int = round(SILENCE_SECONDS * 1000)


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
    # See `EngineRequest.where` and `EngineRequest.past`.
    where: bool = False
    past: bool = False
    # The spoken question. It goes in place of the scene's sound.
    sound: Sound | None = None
    # It was spoken, whether or not its sound is there.
    spoken: bool = False
    # The scene's sound belongs to the pictures, where the person's microphone hears.
    scene_sound: bool = False


NO_EXTRAS = Extras()


class Recent(Protocol):
    """A microphone's last seconds: `voice.ring.SoundRing`."""

    def slice(self, since: float, until: float) -> Sound | None:
        """Return the sound between two times, monotonic seconds; None for nothing."""
        ...


class Ear(Protocol):
    """One person's microphone, as far as requests know it."""

    @property
    def on(self) -> bool: ...

    @property
    def recent(self) -> Recent: ...


class JobSink(Sink, Protocol):
    """A sink that has the id of its messages."""

    @property
    def id(self) -> str: ...


class Consent:
    """The machines that may get one session's pictures.

    Always this one; also the engine's and the recogniser's at the session's beginning, and those
    that the person confirmed since. The newest 16 are remembered.
    """

    def __init__(self, engine: Engine, recogniser: Recogniser | None = None) -> None:
        self._recogniser = recogniser
        self._hosts = dict.fromkeys(("", engine.status.elsewhere, self.sound_elsewhere))

    @property
    def sound_elsewhere(self) -> str:
        """The other machine to which the recogniser sends sound; "" for none."""
        return self._recogniser.elsewhere if self._recogniser is not None else ""

    def given(self, engine: Engine) -> bool:
        return engine.status.elsewhere in ("", *self._hosts)

    @property
    def sound_given(self) -> bool:
        """True when the recogniser may have this session's sound."""
        return self.sound_elsewhere in ("", *self._hosts)

    def check_sound(self) -> None:
        """Raise NotConfirmed for a recogniser on a machine without consent."""
        if not self.sound_given:
            raise _not_confirmed("Sound", self.sound_elsewhere)

    def check(self, engine: Engine) -> None:
        """Raise NotConfirmed for an engine on a machine without consent."""
        if not self.given(engine):
            raise _not_confirmed(
                "Another engine answers now, and pictures", engine.status.elsewhere
            )

    def give(self, engine: Engine, host: str) -> None:
        """Consent to the engine's or the recogniser's machine. Raises BadRequest for another one."""
        if host not in (engine.status.elsewhere, self.sound_elsewhere):
            where = engine.status.elsewhere or "no other machine"
            raise BadRequest(
                f'"host" of a confirm message is not where pictures go; they go to {where} now.'
            )
        self._hosts[host] = None
        while len(self._hosts) > _MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]


def _not_confirmed(what: str, host: str) -> NotConfirmed:
    word = json.dumps({"type": "confirm", "host": host}, separators=(",", ":"))
    return NotConfirmed(
        f"{what} would go to {host}. Nothing was sent there. Agree on the page; a"
        f" client without one shows this to its person, sends {word} on this socket, and asks again."
    )


class RequestBuilder:
    """Builds one session's requests. `preferences` is replaced whole at each change."""

    def __init__(
        self, session_id: str, limits: SessionLimits, tools: SessionTools, history: History
    ) -> None:
        self.preferences = Preferences()
        self.consent = Consent(tools.current_engine(), tools.recogniser)
        self.allowance = Allowance(limits.background_tokens_per_minute, time.monotonic())
        self._session_id = session_id
        self._limits = limits
        self._tools = tools
        self._history = history
        self._scale = TokenScale()
        # Hears the scene; None without a microphone
        self.ear: Ear | None = None

    def context(self, capabilities: Capabilities) -> int:
        """Return the bound on prompt and answer together, in tokens."""
        stated = capabilities.context_length
        return min(self._limits.context_length, stated or self._limits.context_length)

    def max_tokens(self, capabilities: Capabilities) -> int:
        """Return the most tokens of an answer: the least of wish, setting and half the context."""
        limit = self._limits.max_tokens
        return min(self.preferences.max_tokens or limit, limit, self.context(capabilities) // 2)

    async def prepare(self, view: View, needs: Capabilities, *, unseen: bool = False) -> Picture:
        """Make the picture of a view, in the pool. `unseen`: no client gets a thumbnail of it.

        Raises FrameWithheld.
        """
        make = partial(
            self._tools.preparer.make,
            view.frame,
            needs,
            view.detail,
            thumbnail=self.preferences.thumbnails and not unseen,
            held=view.held,
            scene=view.scene,
            region=view.region,
        )
        try:
            picture = await in_pool(self._tools.prepare_pool, make)
        except FrameWithheld:
            self._tools.metrics.frames_skipped.labels("withheld").inc()
            raise
        self._tools.metrics.frame_prepare.observe(picture.prepare_seconds)
        return picture

    def submit(
        self,
        question: str,
        kind: Kind,
        view: View,
        sink: JobSink,
        prepared: Prepared | None = None,
        extras: Extras = NO_EXTRAS,
    ) -> Job:
        """Queue a question about a view; its request is built when its turn comes.

        `prepared` is used if the engine of that moment takes it. Raises NotConfirmed when the
        present engine may not get pictures, and what `Inference.submit` raises.
        """
        self.consent.check(self._tools.current_engine())
        # The sound, once an engine that hears has asked for it: another engine gets the same.
        resolved: list[tuple[Sound | None, SoundUse | None]] = []

        async def make_request(engine: Engine) -> EngineRequest:
            needs = engine.status.capabilities
            sent_at_turn = None
            if prepared is not None and prepared.needs == needs:
                picture, sent_at_turn = prepared.picture, prepared.sent_at_turn
            else:
                picture = await self.prepare(view, needs, unseen=kind is Kind.WATCH)
            earlier: Sequence[EarlierPicture] = ()
            if extras.earlier is not None and (needs.max_pictures != 1 or needs.video):
                earlier = await extras.earlier(needs)
                # They belong to this question, so the picture behind them does, too.
                sent_at_turn = None
            if needs.audio_in and not resolved:
                resolved.append(self._sound(extras, picture, earlier))
            sound, use = resolved[0] if needs.audio_in else _deaf(extras)
            return self.request(
                *(question, kind, engine, picture, view.detail, extras, earlier, sent_at_turn),
                sound=sound,
                sound_use=use,
            )

        job = Job(
            session_id=self._session_id,
            kind=kind,
            make_request=make_request,
            sink=sink,
            id=sink.id,
        )
        self._tools.inference.submit(job)
        return job

    def request(
        self,
        question: str,
        kind: Kind,
        engine: Engine,
        picture: Picture,
        detail: Detail,
        extras: Extras = NO_EXTRAS,
        earlier: Sequence[EarlierPicture] = (),
        sent_at_turn: int | None = None,
        *,
        sound: Sound | None = None,
        sound_use: SoundUse | None = None,
    ) -> EngineRequest:
        """Build a request, with earlier turns and an answer that fit into the context.

        `sent_at_turn`: see `Prepared`.

        The oldest earlier pictures are left out where all leave no room for the answer, or are more
        than the engine takes. Raises NotConfirmed: this is the last check of every picture and sound
        that goes to an engine; and EngineRefused for a question that has neither words nor sound.
        """
        self.consent.check(engine)
        capabilities = engine.status.capabilities
        if extras.spoken and sound is None and not question.strip():
            raise unheard(sound_use or SoundUse.MISSING)
        context = self.context(capabilities)
        wanted = min(extras.max_tokens or self.max_tokens(capabilities), context // 2)
        scale = self._scale.of(_key(engine))
        bare = EngineRequest(
            session_id=self._session_id,
            kind=kind,
            question=extras.wording(question, capabilities) if extras.wording else question,
            picture=picture,
            language=self.preferences.language or None,
            detail=detail,
            earlier=tuple(earlier),
            schema=extras.schema,
            where=extras.where,
            past=extras.past,
            sound=sound,
            sound_is_question=extras.spoken and sound is not None,
            sound_use=sound_use,
            video=extras.past and capabilities.video and filmable(earlier),
            turns_after=0 if sent_at_turn is None else self._history.added - sent_at_turn,
        )
        most = capabilities.max_pictures
        if most is not None and not bare.video:
            bare = _with_newest(bare, most - 1)
        while (room := context - math.ceil(scale * _estimate(bare))) < wanted and bare.earlier:
            bare = _with_newest(bare, len(bare.earlier) - 1, most)
        max_tokens = min(wanted, max(_LEAST_ANSWER_TOKENS, room))
        budget = max(0, room - max_tokens) / scale
        self.allowance.spent(
            kind, bare.visual_tokens, time.monotonic(), heard=audio_tokens(bare.sound)
        )
        return replace(
            bare,
            turns=self._history.turns(int(budget)) if kind in (Kind.CHAT, Kind.AHEAD) else (),
            max_tokens=max_tokens,
        )

    def _sound(
        self, extras: Extras, picture: Picture, earlier: Sequence[EarlierPicture]
    ) -> tuple[Sound | None, SoundUse | None]:
        """Return the sound of a request, and its use; the spoken question before the scene's."""
        sound = extras.sound
        if sound is None and not extras.spoken:
            if not extras.scene_sound or self.ear is None or not self.ear.on:
                return None, None
            # A held picture is older than what is heard now.
            until = time.monotonic() if picture.held else picture.captured
            first = min([until, *(one.picture.captured for one in earlier)])
            since = max(min(first, until - LEAST_SCENE_SECONDS), until - SCENE_SECONDS)
            sound = self.ear.recent.slice(since, until)
        if sound is None:
            return None, SoundUse.MISSING
        wrong = fault(sound)
        return (None, wrong) if wrong is not None else (sound, SoundUse.HEARD)

    def learn(self, engine: Engine, request: EngineRequest, result: Result) -> None:
        """Learn the tokens of an answered question's prompt, and how many turns did not fit."""
        if result.left_out:
            self._history.leave_out(result.left_out)
        sent = request.turns[result.left_out :]
        if result.video_refused:
            request = replace(request, video=False)
        if result.sound_refused:
            request = replace(request, sound=None)
        request = _with_newest(request, len(request.earlier) - result.pictures_left_out)
        estimated = _estimate(request) + sum(turn_tokens(turn) for turn in sent)
        self._scale.learn(_key(engine), estimated, result.usage.prompt_tokens)


def filmable(earlier: Sequence[EarlierPicture]) -> bool:
    """Find whether pictures can go as one video: an even number of them, of one size."""
    sizes = {(one.picture.width, one.picture.height) for one in earlier}
    even = len(earlier) % FRAME_FACTOR == 0
    return len(earlier) >= MIN_FRAMES and even and len(sizes) == 1


def _with_newest(request: EngineRequest, count: int, most: int | None = None) -> EngineRequest:
    """Keep so many of the earlier pictures, the newest. `most`: pictures that the engine takes.

    A video keeps an even number, and becomes pictures when few are left.
    """
    if request.video:
        count -= count % FRAME_FACTOR
        if count < MIN_FRAMES:
            request = replace(request, video=False)
            count = min(count, most - 1) if most is not None else count
    gone = max(0, len(request.earlier) - max(0, count))
    return replace(request, earlier=request.earlier[gone:]) if gone else request


def _estimate(request: EngineRequest) -> int:
    """Estimate the tokens of a request's prompt without its turns."""
    captions = [one.caption for one in request.earlier]
    captions = [video_caption(captions)] if request.video else captions
    shown = request.visual_tokens + audio_tokens(request.sound)
    return shown + prompt_tokens(request.question, request.language, captions)


def _deaf(extras: Extras) -> tuple[Sound | None, SoundUse | None]:
    """Return no sound for an engine that cannot hear, and say so of a spoken question."""
    return None, SoundUse.DEAF if extras.spoken else None


def _key(engine: Engine) -> str:
    return f"{engine.name} {engine.status.model}"

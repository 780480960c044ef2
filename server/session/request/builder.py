"""Build queued jobs from drafts, within the limits of settings, client and engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from server.core.aio import Bucket, run_in_pool
from server.core.errors import FrameWithheld, NotConfirmed, TooLong, TooManyCameras
from server.core.frames import FRAME_FACTOR, JobKind, Picture, Role, Verbosity
from server.core.sound import Sound, SoundUse
from server.media.picture.encode import MIN_FRAMES
from server.models.base import AnswerPreferences, Capabilities, Engine, EngineRequest, ShownPicture
from server.models.prompts import (
    LEAST_SCENE_SECONDS,
    SCENE_SECONDS,
    add_language,
    estimate_audio_tokens,
    estimate_prompt_tokens,
    find_sound_fault,
    make_no_sound_error,
    make_question_messages,
    make_system_text,
    with_history,
)
from server.models.scheduler.job import Job, JobObserver, Result
from server.session.request.parts import (
    AudioIn,
    Draft,
    History,
    Preferences,
    Prepared,
    SessionLimits,
    SessionServices,
    View,
)

# Minimum tokens of an answer
_LEAST_ANSWER_TOKENS = 16


class RequestBuilder:
    """Builds one session's requests. `preferences` is replaced by a new object at each change."""

    def __init__(
        self,
        session_id: str,
        limits: SessionLimits,
        services: SessionServices,
        history: History,
        tools: Callable[[], tuple[Mapping[str, Any], ...]] = tuple,
    ) -> None:
        """`tools()` returns the tools of this session in the format of OpenAI's chat interface."""
        self.preferences = Preferences()
        self.consent = Consent(lambda: [services.current_engine(role) for role in Role])
        self.allowance = Allowance(limits.background_tokens_per_minute, time.monotonic())
        self._session_id = session_id
        self._limits = limits
        self._services = services
        self._history = history
        # The microphone for the scene's sound, set by its feature; None if there is none
        self.audio_in: AudioIn | None = None
        self._tools = tools

    def context(self, capabilities: Capabilities) -> int:
        """Return the maximum tokens of prompt and answer together."""
        stated, most = capabilities.context_length, self._limits.context_length
        return min(most, stated - capabilities.reserved_tokens) if stated else most

    def max_tokens(self, capabilities: Capabilities) -> int:
        """Return the maximum tokens of an answer: the least of the client's choice, the setting, half the context."""
        limit = self._limits.max_tokens
        return min(self.preferences.max_tokens or limit, limit, self.context(capabilities) // 2)

    async def prepare(
        self, view: View, needs: Capabilities, *, unseen: bool = False, shown: bool = False
    ) -> Picture:
        """Make the picture of a view in the thread pool. `unseen`: no client gets a thumbnail; `shown`: the client gets
        a thumbnail in any case.

        Raises FrameWithheld.
        """
        make = partial(
            self._services.preparer.make,
            view.frame,
            needs,
            view.detail,
            thumbnail=shown or (self.preferences.thumbnails and not unseen),
            held=view.held,
            scene=view.scene,
            region=view.region,
        )
        try:
            picture = await run_in_pool(self._services.prepare_pool, make)
        except FrameWithheld:
            self._services.metrics.frames_skipped.labels("withheld").inc()
            raise
        self._services.metrics.frame_prepare.observe(picture.prepare_seconds)
        return picture

    def submit(self, draft: Draft, observer: JobObserver) -> Job:
        """Queue a draft; its request is built when the job starts.

        Raises NotConfirmed if there is no consent for the engine of its role, and what `Inference.submit` raises.
        """
        self.consent.check(self._services.current_engine(draft.role))
        # The sound, set when the first engine needs it; a fallback engine gets the same sound.
        heard: list[tuple[Sound | None, SoundUse | None]] = []

        async def make_request(engine: Engine) -> EngineRequest:
            needs = engine.status.capabilities
            ready = draft.prepared if draft.prepared and draft.prepared.needs == needs else None
            if ready is None:
                picture = await self.prepare(
                    draft.view,
                    needs,
                    unseen=draft.kind is JobKind.WATCH,
                    shown=bool(draft.program),
                )
                ready = Prepared(picture, needs)
            earlier: Sequence[ShownPicture] = ()
            if draft.earlier and (needs.max_pictures != 1 or needs.video or draft.together):
                earlier = await draft.earlier(needs)
                # New earlier pictures change the prefix, so the picture is treated as new.
                ready = replace(ready, sent_at_turn=None)
            if needs.audio_in and not heard:
                heard.append(self._choose_sound(draft, ready.picture, earlier))
            # An engine without sound input gets no sound; for a spoken question, this is reported.
            deaf = SoundUse.DEAF if draft.spoken else None
            sound, use = heard[0] if needs.audio_in else (None, deaf)
            return self.request(draft, engine, ready, earlier, sound, use)

        # A program has its own session in the queue, so that the person never waits for it.
        job = Job(
            session_id=(
                f"{self._session_id}/{draft.program}" if draft.program else self._session_id
            ),
            kind=JobKind.PROGRAM if draft.program else draft.kind,
            make_request=make_request,
            sink=observer,
            on_speech=draft.on_speech,
            role=draft.role,
        )
        self._services.inference.submit(job)
        return job

    def request(
        self,
        draft: Draft,
        engine: Engine,
        prepared: Prepared,
        earlier: Sequence[ShownPicture] = (),
        sound: Sound | None = None,
        use: SoundUse | None = None,
    ) -> EngineRequest:
        """Return a request whose turns, pictures and answer fit into the context.

        Omit the oldest earlier pictures if they leave no room for the answer, or exceed the engine's limit.

        Raises NotConfirmed if there is no consent (the last check of every picture and sound), TooLong if a program's
        messages do not fit, and EngineRefused if the question has neither text nor sound.
        """
        self.consent.check(engine)
        able = engine.status.capabilities
        if draft.spoken and sound is None and not draft.question.strip():
            raise make_no_sound_error(use or SoundUse.MISSING)
        context = self.context(able)
        wanted = min(draft.max_tokens or self.max_tokens(able), context // 2)
        if draft.program:
            wanted = min(wanted, self._limits.max_tokens)
        # A program does not get the person's preferences.
        preferences = Preferences() if draft.program else self.preferences
        verbosity = Verbosity.NORMAL if draft.kind is JobKind.WATCH else preferences.verbosity
        asks = draft.kind in (JobKind.CHAT, JobKind.PREFILL)
        question = draft.wording(draft.question, able) if draft.wording else draft.question
        video = draft.video and able.video and fits_video(earlier)
        person = AnswerPreferences(
            preferences.language or draft.own_language or "",
            preferences.page_language,
            preferences.time_zone,
            verbosity,
        )
        own = ShownPicture(prepared.picture, draft.caption, draft.alone, camera=draft.view.name)
        bare = EngineRequest(
            session_id=self._session_id,
            kind=draft.kind,
            question=question,
            pictures=(*earlier, own),
            messages=draft.messages
            or make_question_messages(
                add_language(question, draft.own_language),
                make_system_text(preferences.language, verbosity),
                video=video,
                sound=sound is not None,
                spoken=draft.spoken is not None,
            ),
            schema=draft.schema,
            sound=sound,
            speak=draft.on_speech is not None and able.speech_out,
            # Only here: a program's question, a watch or a description never has tools.
            tools=self._tools()
            if draft.tools and preferences.tools and able.calls_tools and asks
            else (),
            extras=(*draft.extras, person, *([use] if use is not None else [])),
        )
        most = able.get_max_pictures(draft.together)
        if most is not None and not video:
            bare = bare.with_newest(most - 1)
        while (tokens_left := context - estimate_prompt_tokens(bare)) < wanted and bare.earlier:
            bare = bare.with_newest(len(bare.earlier) - 1, most)
        cut = len(bare.earlier) < len(earlier)
        if draft.together and cut:
            raise make_too_many_pictures_error(len(bare.pictures))
        if draft.messages and (cut or tokens_left < _LEAST_ANSWER_TOKENS):
            raise TooLong(
                f"The messages and their {len(earlier) + 1} pictures leave no room for an answer within the {context} tokens of"
                " the present model. Send fewer messages, or ask for fewer pictures."
            )
        max_tokens = min(wanted, max(_LEAST_ANSWER_TOKENS, tokens_left))
        self.allowance.record(
            JobKind.PROGRAM if draft.program else draft.kind,
            bare.visual_tokens,
            time.monotonic(),
            heard=estimate_audio_tokens(bare.sound),
        )
        messages = bare.messages
        if asks and draft.history and not draft.program:
            turns = self._history.turns(max(0, tokens_left - max_tokens))
            sent = prepared.sent_at_turn
            after = 0 if sent is None else self._history.added - sent
            apart = able.caches_messages and sent is not None
            messages = with_history(messages, turns, after, apart=apart)
        return replace(bare, messages=messages, max_tokens=max_tokens)

    def _choose_sound(
        self, draft: Draft, picture: Picture, earlier: Sequence[ShownPicture]
    ) -> tuple[Sound | None, SoundUse | None]:
        """Return the sound for a request and its use: the sound of a spoken question, else of the scene."""
        sound = draft.spoken.sound if draft.spoken else None
        if draft.spoken is None:
            if not draft.scene_sound or self.audio_in is None or not self.audio_in.on:
                return None, None
            # A held picture may be older than the sound.
            until = time.monotonic() if picture.held else picture.captured
            first = min([until, *(one.picture.captured for one in earlier)])
            since = max(min(first, until - LEAST_SCENE_SECONDS), until - SCENE_SECONDS)
            sound = self.audio_in.recent.slice(since, until)
        if sound is None:
            return None, SoundUse.MISSING
        wrong = find_sound_fault(sound)
        return (None, wrong) if wrong is not None else (sound, SoundUse.HEARD)

    def learn(self, result: Result) -> None:
        """Exclude turns that did not fit from later requests."""
        if result.left_out:
            self._history.leave_out(result.left_out)


def make_too_many_pictures_error(most: int) -> TooManyCameras:
    """Return the error for a question about more cameras than the engine supports."""
    return TooManyCameras(
        f"The present model looks at {most} camera{'s' if most > 1 else ''} at a time here."
        " Choose fewer cameras, and ask again.",
        public=True,
    )


# Consent to sending data to other machines

# Maximum machines for which a session stores consent
_MOST_HOSTS = 64


class Consent:
    """The machines that may receive one session's pictures and other data.

    Initially only this machine may; the client sends the machines to which the person has consented. Consent
    for pictures includes all other data, but not vice versa.

    Bounds of machines: 64 for all uses together; further machines get no consent.
    """

    def __init__(self, engines: Callable[[], Iterable[Engine]]) -> None:
        """`engines()` returns the engines in use."""
        self._engines = engines
        # Pairs of a feature ("" for pictures and everything else) and a machine
        self._given: set[tuple[str, str]] = set()
        # Purposes by feature
        self._purposes: dict[str, Purpose] = {}
        # Instruction in NotConfirmed; "": the person can agree on the page
        self._remedy = ""

    def allows(self, hosts: str, feature: str = "") -> bool:
        """Return whether all machines of a comma-separated list may receive pictures, or a feature's data."""
        return all({("", host), (feature, host)} & self._given for host in _split(hosts))

    def _list_machines(self) -> list[str]:
        """Return the other machines that receive pictures now, without duplicates."""
        found = (host for engine in self._engines() for host in _split(engine.status.elsewhere))
        return list(dict.fromkeys(found))

    @property
    def elsewhere(self) -> str:
        """The other machines that receive pictures, comma-separated; "" if there are none."""
        return ", ".join(self._list_machines())

    def purpose(self, feature: str, what: str, elsewhere: Callable[[], str]) -> Purpose:
        """Register data (`what`) that a feature may send to another machine.

        `elsewhere()` returns the machine's name, or "" for this machine.
        """
        one = self._purposes[feature] = Purpose(self, feature, what, elsewhere)
        return one

    def given_to(self, engine: Engine) -> bool:
        return self.allows(engine.status.elsewhere)

    @property
    def for_pictures(self) -> bool:
        """True if the engines of all roles may receive pictures."""
        return all(map(self.given_to, self._engines()))

    def check(self, engine: Engine) -> None:
        """Raise NotConfirmed if the engine is on a machine without consent."""
        if not self.given_to(engine):
            raise _make_not_confirmed("Pictures", engine.status.elsewhere, remedy=self._remedy)

    def become_fixed(self, hosts: Iterable[str], remedy: str) -> None:
        """Use an operator's consent for these machines. `remedy`: instruction for other machines."""
        self.give(hosts)
        self._remedy = remedy

    def give(self, hosts: Iterable[str], feature: str = "") -> bool:
        """Record consent to send pictures, or a feature's data, to machines. Ignore an unknown feature.

        Return True if data that was blocked before may be sent now.
        """
        if feature and feature not in self._purposes:
            return False
        before = self._get_given()
        for host in hosts:
            if len(self._given) < _MOST_HOSTS:
                self._given.add((feature, host))
        return self._get_given() != before

    def _get_given(self) -> list[bool]:
        return [self.for_pictures, *(one.given for one in self._purposes.values())]


def _split(hosts: str) -> list[str]:
    """Return the machines of a comma-separated list."""
    return [host for host in hosts.split(", ") if host]


class Purpose:
    """Data that a feature sends to another machine, such as sound: see `Consent.purpose`."""

    def __init__(
        self, consent: Consent, feature: str, what: str, elsewhere: Callable[[], str]
    ) -> None:
        self._consent = consent
        self._feature = feature
        self._what = what
        self._elsewhere = elsewhere

    @property
    def given(self) -> bool:
        """True if the current machine may receive the data."""
        return self._consent.allows(self._elsewhere(), self._feature)

    def check(self) -> None:
        """Raise NotConfirmed if there is no consent for the machine."""
        if not self.given:
            raise _make_not_confirmed(self._what, self._elsewhere(), self._feature)


def _make_not_confirmed(what: str, host: str, feature: str = "", remedy: str = "") -> NotConfirmed:
    message = {"type": "confirm", "host": host} | ({"feature": feature} if feature else {})
    word = json.dumps(message, separators=(",", ":"))
    remedy = remedy or (
        f"Agree on the page; a client without one shows this to its person, sends {word} on this socket, and asks again."
    )
    return NotConfirmed(f"{what} would go to {host}. Nothing was sent there. {remedy}")


def fits_video(earlier: Sequence[ShownPicture]) -> bool:
    """Return whether pictures can form a video: an even number, at least MIN_FRAMES, of equal size."""
    sizes = {(one.picture.width, one.picture.height) for one in earlier}
    even = len(earlier) % FRAME_FACTOR == 0
    return len(earlier) >= MIN_FRAMES and even and len(sizes) == 1


# Usage of one session


class Allowance(Bucket):
    """Rate limit for background work in tokens of pictures and sound, with a burst of one minute.

    Bounds of tokens of pictures and sound of one session's background work:
    BACKGROUND_TOKENS_PER_MINUTE; beyond, the work waits.
    """

    def __init__(self, tokens_per_minute: int, now: float) -> None:
        super().__init__(tokens_per_minute / 60, tokens_per_minute, now)
        # Totals of the session: requests for questions, requests for background work, visual tokens of both
        self.questions = self.background = self.visual_tokens = 0

    # Returns whether background work may send another request
    left = Bucket.ready

    def record(self, kind: JobKind, visual_tokens: int, now: float, *, heard: int = 0) -> None:
        """Count a request. `now`: monotonic seconds; `heard`: tokens of its sound."""
        self.visual_tokens += visual_tokens
        if kind is JobKind.CHAT:
            self.questions += 1
        # Programs have their own rate limit.
        elif kind is not JobKind.PROGRAM:
            self.background += 1
            self.wait(now)
            self.spend(visual_tokens + heard)

"""Builds queued jobs from frames and questions, as settings, client and engine allow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from server.core.aio import in_pool
from server.core.errors import BadRequest, FrameWithheld, NotConfirmed
from server.core.frames import Detail, Frame, Kind, Picture, Scene
from server.core.metrics import Metrics
from server.engines.base import Capabilities, Engine, EngineRequest, Turn, Usage
from server.engines.prompts import prompt_tokens
from server.engines.token_scale import TokenScale
from server.inference import Inference, Job
from server.session.answers import AnswerSink
from server.session.history import History, turn_tokens
from server.vision.prepare import PicturePreparer

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


@dataclass(frozen=True, slots=True)
class SessionTools:
    """The parts that all sessions share."""

    inference: Inference
    current_engine: Callable[[], Engine]
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics


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
    stills: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The subject of a question, and the detail in which a model sees it."""

    frame: Frame
    detail: Detail
    # The camera's last scene measurement
    scene: Scene | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture of a view, and the engine's capabilities that it was made for."""

    picture: Picture
    needs: Capabilities


class Consent:
    """The machines that may get one session's pictures.

    Always this one; also the engine's at the session's beginning, and those that the person
    confirmed since. The newest 16 are remembered.
    """

    def __init__(self, engine: Engine) -> None:
        self._hosts = dict.fromkeys(("", engine.status.elsewhere))

    def given(self, engine: Engine) -> bool:
        return engine.status.elsewhere in ("", *self._hosts)

    def check(self, engine: Engine) -> None:
        """Raise NotConfirmed for an engine on a machine without consent."""
        if not self.given(engine):
            host = engine.status.elsewhere
            word = json.dumps({"type": "confirm", "host": host}, separators=(",", ":"))
            raise NotConfirmed(
                f"Another engine answers now, and pictures would go to {host}. Nothing was sent there. Agree on the page; a"
                f" client without one shows this to its person, sends {word} on this socket, and asks again."
            )

    def give(self, engine: Engine, host: str) -> None:
        """Consent to the engine's machine. Raises BadRequest when `host` is another one."""
        if host != engine.status.elsewhere:
            where = engine.status.elsewhere or "no other machine"
            raise BadRequest(
                f'"host" of a confirm message is not where pictures go; they go to {where} now.'
            )
        self._hosts[host] = None
        while len(self._hosts) > _MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]


class RequestBuilder:
    """Builds one session's requests. `preferences` is replaced whole at each change."""

    def __init__(
        self, session_id: str, limits: SessionLimits, tools: SessionTools, history: History
    ) -> None:
        self.preferences = Preferences()
        self.consent = Consent(tools.current_engine())
        self._session_id = session_id
        self._limits = limits
        self._tools = tools
        self._history = history
        self._scale = TokenScale()

    def context(self, capabilities: Capabilities) -> int:
        """Return the bound on prompt and answer together, in tokens."""
        stated = capabilities.context_length
        return min(self._limits.context_length, stated or self._limits.context_length)

    def max_tokens(self, capabilities: Capabilities) -> int:
        """Return the most tokens of an answer: the least of wish, setting and half the context."""
        limit = self._limits.max_tokens
        return min(self.preferences.max_tokens or limit, limit, self.context(capabilities) // 2)

    async def prepare(self, view: View, needs: Capabilities) -> Picture:
        """Make the picture of a view, in the pool. Raises FrameWithheld."""
        make = partial(
            self._tools.preparer.make,
            view.frame,
            needs,
            view.detail,
            thumbnail=self.preferences.thumbnails,
            held=view.held,
            scene=view.scene,
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
        sink: AnswerSink,
        prepared: Prepared | None = None,
    ) -> Job:
        """Queue a question about a view; its request is built when its turn comes.

        `prepared` is used if the engine of that moment takes it. Raises NotConfirmed when the
        present engine may not get pictures, and what `Inference.submit` raises.
        """
        self.consent.check(self._tools.current_engine())

        async def make_request(engine: Engine) -> EngineRequest:
            needs = engine.status.capabilities
            if prepared is not None and prepared.needs == needs:
                picture = prepared.picture
            else:
                picture = await self.prepare(view, needs)
            return self.request(question, kind, engine, picture, view.detail)

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
        self, question: str, kind: Kind, engine: Engine, picture: Picture, detail: Detail
    ) -> EngineRequest:
        """Build a request, with earlier turns and an answer that fit into the context.

        Raises NotConfirmed: this is the last check of every picture that goes to an engine.
        """
        self.consent.check(engine)
        capabilities = engine.status.capabilities
        language = self.preferences.language or None
        scale = self._scale.of(_key(engine))
        bare = picture.visual_tokens + prompt_tokens(question, language)
        room = self.context(capabilities) - math.ceil(scale * bare)
        max_tokens = min(self.max_tokens(capabilities), max(_LEAST_ANSWER_TOKENS, room))
        return EngineRequest(
            session_id=self._session_id,
            kind=kind,
            question=question,
            picture=picture,
            turns=self._turns(max(0, room - max_tokens) / scale) if kind is Kind.CHAT else (),
            max_tokens=max_tokens,
            language=language,
            detail=detail,
        )

    def learn(self, engine: Engine, request: EngineRequest, usage: Usage, left_out: int) -> None:
        """Learn the tokens of an answered question's prompt, and how many turns did not fit."""
        if left_out:
            self._history.leave_out(left_out)
        sent = request.turns[left_out:]
        estimated = request.picture.visual_tokens + prompt_tokens(
            request.question, request.language
        )
        estimated += sum(turn_tokens(turn) for turn in sent)
        self._scale.learn(_key(engine), estimated, usage.prompt_tokens)

    def _turns(self, budget: float) -> tuple[Turn, ...]:
        return self._history.turns(int(budget))


def _key(engine: Engine) -> str:
    return f"{engine.name} {engine.status.model}"

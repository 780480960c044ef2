"""Negotiation of one request with a model server: retries, and reduced requests after refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.core.errors import EngineError, EngineFailed, EngineRefused
from server.models.base import EngineRequest, EngineState, ProgramFields
from server.models.openai.chat_client import Dropped, Endpoint, Unreachable
from server.models.openai.events import BrokenStream
from server.models.openai.model_server import ModelServer
from server.models.openai.request import (
    APART,
    FIELDS,
    SWITCH,
    THOUGHTS,
    Media,
    PlainForm,
    get_extras,
    get_optional_fields,
    make_body,
    remove_extras,
    shorten_request,
)
from server.models.openai.upstream import LONGEST_WAIT, Reason, Refused, make_loading_error
from server.models.thinking import ThinkingPolicy

# Statuses of overloaded servers and proxies
_BUSY = (408, 429, 502, 503, 504, 529)
# Seconds between two attempts while the server loads its model
LOADING_PAUSE = 1.0
BROKE_OFF = "The model server ended the answer before it began. Ask again."


@dataclass(slots=True)
class Negotiation:
    """One request being sent: `wanted` is the caller's request, `request` its current version.

    `left_out`: extras that are not sent; `beyond`: those among them that were removed after this request was refused.
    `pauses`: seconds before each remaining retry. `until`: loop time by which the answer must begin. `newer_name`: see
    `PlainForm`.
    """

    wanted: EngineRequest
    request: EngineRequest
    server: ModelServer
    plain: PlainForm
    endpoint: Endpoint
    # The thinking policy if the switch is sent
    switch: ThinkingPolicy
    media: Media
    until: float
    left_out: frozenset[str]
    # Whether somebody waits for the answer
    waited_for: bool
    pauses: list[float]
    beyond: frozenset[str] = frozenset()
    newer_name: bool = False
    looked_up: bool = False
    repeats: int = 0
    # Returns the error to raise when no retry is left
    failure: Callable[[], EngineError] = lambda: EngineFailed(BROKE_OFF)

    @property
    def fields(self) -> ProgramFields | None:
        """The fields of a program's request; None for a person's question."""
        return self.wanted.extra(ProgramFields)

    @property
    def thinking(self) -> ThinkingPolicy:
        """The thinking policy of the current version of the request."""
        return self.switch.without_switch() if SWITCH in self.left_out else self.switch

    def body(self) -> bytes:
        """Return the JSON body of the current version of the request."""
        self.newer_name = self.plain.newer_name
        return make_body(
            *(self.request, self.media, self.server, self.endpoint, self.thinking),
            *(self.left_out, self.newer_name),
        )

    def on_accepted(self) -> None:
        """Record for later requests that the server accepted this version of the request."""
        if self.fields is None:
            self.plain.note_accepted(self._get_extras() - self.left_out)
            if self.beyond and len(self.request.turns) == len(self.wanted.turns):
                self.plain.note_refused(self.beyond, time.monotonic())

    def pause(self) -> float:
        """Return the seconds before the next retry. Raises `failure()` when none is left."""
        if not self.pauses:
            raise self.failure()
        return self.pauses.pop(0)

    def _get_extras(self) -> frozenset[str]:
        return get_extras(self.request, self.server.status.capabilities, self.switch)

    def make_broken_error(self, error: BrokenStream) -> EngineError:
        """Return the error for a broken stream."""
        check = f" Check that {self.server.names.url} names a model server."
        return EngineFailed(f"{error}{'' if error.connection else check}")

    async def on_refused(self, refusal: Refused) -> tuple[Reason, float]:
        """Change a refused request for a retry; return the reason of the retry and the seconds before it.

        Raises EngineError.
        """
        server, request = self.server, self.request
        self.failure = partial(server.refusal, refusal, plain=bool(self.beyond))
        if refusal.status in _BUSY:
            return await self._on_busy(refusal)
        if refusal.of_another_model and not self.looked_up:
            self.looked_up, model = True, server.model
            if (await server.probe()).ready and server.model != model:
                return Reason.FAILED, 0.0
        # A refusal of the limit's older name may mention it in prose only, or quote a program's text.
        named = self.fields is None and "max_completion_tokens" in str(refusal.body)
        if (named or "max_tokens" in refusal.fields) and self._try_other_limit():
            return Reason.PLAIN, 0.0
        if refusal.context is not None and self._shorten(refusal.context):
            return Reason.PLAIN, 0.0
        if refusal.status >= 500 and not refusal.of_server and self.pauses:
            return Reason.FAILED, self.pause()
        of_request = refusal.of_request or refusal.status == 404
        beyond = self._get_extras() - self.left_out
        if of_request and beyond:
            causes = {FIELDS: get_optional_fields(self.endpoint), SWITCH: self.switch.fields()}
            blamed = {name for name, fields in causes.items() if refusal.fields & fields.keys()}
            if "alternate" in str(refusal.body):
                # Message of a chat template that requires an answer between two user messages
                blamed.add(APART)
            beyond = beyond & blamed or beyond
            self.beyond |= beyond
            self.left_out |= beyond
            self.request = remove_extras(request, self.left_out)
            return Reason.PLAIN, 0.0
        if refusal.of_request and request.turns:
            # The request may be too long, whatever the error says.
            self.request = request.with_newest_turns(0)
            return Reason.PLAIN, 0.0
        given = set(self.fields.all if self.fields is not None else ())
        if given and refusal.of_request and refusal.status < 500:
            # Never retried without them: the program depends on the format of its answer.
            names = " and ".join(f'"{name}"' for name in sorted(refusal.fields & given or given))
            raise EngineRefused(
                f"The current model refused the request (HTTP {refusal.status}): it may not support"
                f" {names}. Leave that out, or tell your administrator.",
                public=True,
            )
        raise self.failure()

    def _try_other_limit(self) -> bool:
        """Try a limit of the answer's tokens only, then the newer name of the limit. Return True if the request changed."""
        if THOUGHTS not in self.left_out and self.switch.budget(None):
            self.beyond |= {THOUGHTS}
            self.left_out |= {THOUGHTS}
            return True
        self.plain.newer_name = True
        return not self.newer_name

    def _shorten(self, context: int) -> bool:
        """Shorten the request to fit into `context` tokens; return True if it became shorter."""
        if self.fields is None:
            # A refusal may quote a program's text.
            self.server.learn(context_length=context)
        if THOUGHTS not in self.left_out and self.switch.budget(context):
            self.left_out |= {THOUGHTS}
        elif (less := shorten_request(self.request)) is not None:
            self.request = less
        else:
            return False
        return True

    async def _on_busy(self, refusal: Refused) -> tuple[Reason, float]:
        """Return the reason and the pause before a retry at a busy server. Raises EngineError."""
        wait = refusal.retry_after
        if refusal.status == 503:
            loads = refusal.of_loading or (await self.server.probe()).state is EngineState.LOADING
            if loads:
                self.failure = partial(make_loading_error, wait)
            if loads and self.waited_for:
                return Reason.LOADING, LOADING_PAUSE
        # After a 429 without Retry-After, the request is not repeated automatically.
        hopeless = wait > LONGEST_WAIT if wait is not None else refusal.status == 429
        if hopeless or not self.waited_for:
            raise self.failure()
        pause = self.pause()
        return Reason.BUSY, pause if wait is None else wait

    def on_lost(self, error: Unreachable | BrokenStream) -> tuple[Reason, float]:
        """Return the reason and the pause before a retry after a failed or broken connection. Raises EngineError."""
        if isinstance(error, BrokenStream):
            self.failure = partial(self.make_broken_error, error)
            if not error.connection:
                raise self.failure()
        elif self.repeats == 0 or not isinstance(error, Dropped):
            # Some servers close a connection after a refusal.
            self.failure = partial(self.server.mark_unreachable, str(error))
        broke = isinstance(error, BrokenStream | Dropped)
        first, pause = self.repeats == 0, self.pause()
        # Usually a kept connection that the server has closed
        return (Reason.BROKEN, 0.0 if first else pause) if broke else (Reason.REFUSED, pause)

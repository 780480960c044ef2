"""Several model servers as one engine: each session keeps to one of them while it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

from server.models.base import Capabilities, Chunk, EngineRequest, EngineState, EngineStatus
from server.models.openai.chat_client import TimeLimits
from server.models.openai.engine import OpenAIEngine, asked
from server.models.openai.retry import ATTEMPTS, Fault, Reason

log = logging.getLogger(__name__)
# A server that failed though it seems well is asked last for so long.
_REST_SECONDS = 5.0
# The same of one that gave no token in time: each question there costs a person all that time.
_SILENT_SECONDS = 60.0
_RESTS_AFTER = (Reason.BROKEN, Reason.FAILED, Reason.LOADING)
# The order in which troubles are named when no server answers
_BEST_FIRST = (
    EngineState.BUSY,
    EngineState.LOADING,
    EngineState.MISCONFIGURED,
    EngineState.UNREACHABLE,
)


class EngineGroup:
    """Servers of one model, at different addresses.

    Those that answer with the model that most of them have are used, each session at the one that
    `by_preference` gives for its name, which `session_key` makes. Owner of the rest of those that
    failed.

    Bounds of servers of VLLM_BASE_URL that failed, of several: asked last for 5 s; VLLM_BASE_URL
    has 16 at most.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[OpenAIEngine],
        *,
        session_key: Callable[[str], str],
        limits: TimeLimits | None = None,
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_busy: Callable[[], None] = lambda: None,
    ) -> None:
        if len({one.address for one in members}) < max(1, len(members)):
            raise ValueError("A group needs servers, each with another address.")
        self.name = name
        self._members = {one.address: one for one in members}
        self._session_key = session_key
        self._limits = limits or TimeLimits()
        self._on_retry, self._on_busy = on_retry, on_busy
        # By address: the end of a server's rest, in loop time
        self._rests: dict[str, float] = {}
        # The members' statuses that `_status` was made of
        self._made_of: list[EngineStatus] = []
        self._status = EngineStatus(EngineState.UNREACHABLE)
        # The last state of each, for the log
        self._seen = {address: one.status for address, one in self._members.items()}

    def __repr__(self) -> str:
        return f"EngineGroup(name={self.name!r}, address={self.address!r}, state={self.status.state.value!r})"

    @property
    def address(self) -> str:
        """The servers' addresses, without credentials."""
        return ", ".join(self._members)

    @property
    def status(self) -> EngineStatus:
        found = [one.status for one in self._members.values()]
        if len(found) != len(self._made_of) or any(
            one is not before for one, before in zip(found, self._made_of, strict=True)
        ):
            self._status = _joined(self._status.model, dict(zip(self._members, found, strict=True)))
            self._made_of = found
        return self._status

    def states(self) -> Counter[EngineState]:
        """Count the servers in each state."""
        return Counter(one.status.state for one in self._members.values())

    async def probe(self) -> EngineStatus:
        """Probe all. Never raises an error."""
        await asyncio.gather(*(one.probe() for one in self._members.values()))
        self._log_changes()
        return self.status

    def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first token a request that failed goes to the session's next server.
        """
        servers = self._order(request.session_id)
        full: set[str] = set()

        def failed(server: OpenAIEngine, fault: Fault) -> None:
            self._failed(server, fault)
            if fault.reason is Reason.BUSY:
                full.add(server.address)
                # While another one has room, there is enough for all.
                if len(full) == min(len(servers), ATTEMPTS):
                    self._on_busy()

        return asked(
            servers,
            request,
            self._limits,
            on_fault=failed,
            on_retry=self._on_retry,
            on_silence=lambda server: self._rest(server, _SILENT_SECONDS),
        )

    def forget(self, session_id: str) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await asyncio.gather(*(one.close() for one in self._members.values()))

    def _order(self, session_id: str) -> list[OpenAIEngine]:
        """Return the servers that can answer a session, best first; all where none seems able."""
        model, now = self.status.model, asyncio.get_running_loop().time()
        able = [
            address
            for address, one in self._members.items()
            if one.status.model == model
            and one.status.state in (EngineState.READY, EngineState.BUSY)
        ]
        first = by_preference(self._session_key(session_id), able or list(self._members))
        # Stable: those that rest keep their order, behind the others.
        first.sort(key=lambda address: self._rests.get(address, 0.0) > now)
        return [self._members[address] for address in first]

    def _failed(self, server: OpenAIEngine, fault: Fault) -> None:
        if fault.reason is Reason.REFUSED:
            # Its status has it from now on, so that no session goes there until a probe finds it.
            fault.error()
        elif fault.reason in _RESTS_AFTER:
            self._rest(server, _REST_SECONDS)

    def _rest(self, server: OpenAIEngine, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._rests[server.address] = max(until, self._rests.get(server.address, 0.0))

    def _log_changes(self) -> None:
        for address, before in self._seen.items():
            status = self._seen[address] = self._members[address].status
            if status.state is before.state or (status.ready and not before.detail):
                continue
            log.log(
                logging.INFO if status.ready else logging.WARNING,
                "a model server's state changed",
                extra={
                    "engine": self.name,
                    "state": str(status.state),
                    "reason": status.detail or f"{address} answers.",
                },
            )


def _joined(model: str, found: dict[str, EngineStatus]) -> EngineStatus:
    """Join the statuses of all servers, by address. `model`: the one so far."""
    elsewhere = ", ".join(dict.fromkeys(one.elsewhere for one in found.values() if one.elsewhere))
    ready = [one for one in found.values() if one.ready]
    if not ready:
        worst = sorted(found.values(), key=lambda one: _BEST_FIRST.index(one.state))
        details = " ".join(dict.fromkeys(one.detail for one in worst))
        return dataclasses.replace(worst[0], detail=details, elsewhere=elsewhere)
    counts = Counter(one.model for one in ready)
    # Stable: the first server's model among equals.
    chosen = max(counts, key=lambda name: (counts[name], name == model))
    same = [one for one in ready if one.model == chosen]
    return dataclasses.replace(
        same[0],
        detail=_detail(same[0], chosen, found),
        capabilities=dataclasses.replace(
            _common([one.capabilities for one in same]),
            max_concurrency=_sum(one.capabilities.max_concurrency for one in same),
        ),
        elsewhere=elsewhere,
    )


def _detail(first: EngineStatus, model: str, found: dict[str, EngineStatus]) -> str:
    """Name the servers that are not asked, with the reason; else the first one's own words."""
    others = [
        f"{address} has {one.model_name} and is not asked" if one.ready else one.detail.rstrip(".")
        for address, one in found.items()
        if not (one.ready and one.model == model)
    ]
    if not others:
        return first.detail
    count = len(found) - len(others)
    named = ". ".join(others)
    return f"{count} of {len(found)} model servers answer, with {first.model_name}. {named}."


def _common(found: Sequence[Capabilities]) -> Capabilities:
    """Return what all can."""
    first = found[0]
    if all(one == first for one in found):
        return first
    boxes = first.boxes if all(one.boxes == first.boxes for one in found) else None
    return dataclasses.replace(
        first,
        video=all(one.video for one in found),
        audio_in=all(one.audio_in for one in found),
        speech_out=all(one.speech_out for one in found),
        grounding=boxes is not None,
        boxes=boxes,
        json_schema=all(one.json_schema for one in found),
        calls_tools=all(one.calls_tools for one in found),
        prefix_cache=all(one.prefix_cache for one in found),
        context_length=_least(one.context_length for one in found),
        max_pictures=_least(one.max_pictures for one in found),
    )


def _sum(found: Iterable[int | None]) -> int | None:
    counts = list(found)
    return None if None in counts else sum(one or 0 for one in counts)


def _least(found: Iterable[int | None]) -> int | None:
    return min((one for one in found if one is not None), default=None)


# Keep a session at one of several servers: rendezvous hashing. Pure.  Each pair of session and
# server has a score, and the best server wins (Thaler and Ravishankar, 1998). When a server goes,
# its sessions spread over the others; no other session moves. Nothing is stored, so all processes
# with the same servers choose the same one.


def by_preference(session: str, servers: Sequence[str]) -> list[str]:
    """Return the servers as a session prefers them."""
    return sorted(servers, key=lambda server: (_score(session, server), server), reverse=True)


def _score(session: str, server: str) -> bytes:
    return hashlib.blake2b(f"{session}\n{server}".encode(), digest_size=8).digest()

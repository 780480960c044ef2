"""Ask a model server, and another one or the same again while there is no token yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from server.core.errors import EngineTimeout
from server.models.base import Chunk, EngineRequest
from server.models.openai.chat_client import TimeLimits
from server.models.openai.retry import Fault, Reason, Retries


class Server(Protocol):
    """A server that can be asked once."""

    def ask(
        self,
        request: EngineRequest,
        *,
        deadline: float,
        due: float | None,
        repeat: int,
        last: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """Ask, and stream the answer.

        Times are the loop's: `deadline` of the whole answer, `due` of its first token, None for the
        server's own limit. `repeat`: 0 for the first attempt. `last`: nobody tries again when it refuses. Raises EngineError, and Fault
        before the first token.
        """
        ...


S = TypeVar("S", bound=Server)


async def asked(
    servers: Sequence[S],
    request: EngineRequest,
    limits: TimeLimits,
    *,
    on_fault: Callable[[S, Fault], None],
    on_retry: Callable[[Reason], None],
    on_silence: Callable[[S], None] = lambda _: None,
) -> AsyncGenerator[Chunk, None]:
    """Stream the answer of the first of `servers` that gives one; see `Engine.answer`.

    `on_fault` gets each failure before a token, `on_retry` the reason of each repeat;
    `on_silence` is called when no token came in time, which ends it.
    """
    now = asyncio.get_running_loop().time
    deadline, until = now() + limits.total, now() + limits.first_token
    retries = Retries(request.kind, until)
    due: float | None = None
    turn = 0
    begun = False
    while True:
        server = servers[turn % len(servers)]
        try:
            asking = server.ask(request, deadline=deadline, due=due, repeat=turn, last=retries.last)
            async with aclosing(asking) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
            return
        except EngineTimeout:
            # A repeat has only what is left of the time.
            if not begun and turn == 0:
                on_silence(server)
            raise
        except Fault as fault:
            on_fault(server, fault)
            pause = retries.pause(fault, others=len(servers) > 1, now=now())
            if pause is None:
                raise fault.error() from None
            on_retry(fault.reason)
        if pause:
            await asyncio.sleep(pause)
        turn, due = turn + 1, until

"""A question to a standing camera and its whole answer, for a client without a socket."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from server.core import messages as wire
from server.core.errors import Busy, Conflict, EngineTimeout
from server.session.request.outbox import OutboxClosed, OutboxOverflowed
from server.session.session import Session

# Seconds until an answer has to be there
ANSWER_SECONDS = 80.0


async def ask(session: Session, question: str, *, attended: bool) -> dict[str, Any]:
    """Ask about the camera's next frame; return the `response` or `error` message that ends it.

    `attended`: a socket of the session is open, which gets the answers.

    Raises Conflict then, Busy while another question runs, EngineTimeout.
    """
    if attended:
        raise Conflict("A socket of this camera is open. Ask there, or close it.")
    if session.answering:
        raise Busy("This camera is asked something already. Wait for that answer.", retry_after=2)
    id = f"ask-{secrets.token_hex(8)}"
    reader = session.outbox.attach()
    session.handle(wire.Chat(type="chat", content=question, id=id))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message = json.loads(await reader.get())
                if message.get("id") == id and message["type"] in ("response", "error"):
                    return dict(message)
    except TimeoutError:
        raise EngineTimeout("The answer took too long.", public=True) from None
    except OutboxOverflowed:
        raise Busy("Too much was said at once. Ask again.", retry_after=1) from None
    except OutboxClosed:
        raise Conflict("A socket of this camera was opened, and gets the answer.") from None
    finally:
        session.handle(wire.Cancel(type="cancel", id=id))
        reader.detach()

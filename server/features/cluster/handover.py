"""Hand-overs: a session's chat, signed, which its page keeps and hands to the next session.

No server stores one. It is good only together with a valid token of the session that it comes
from, so whoever else has it gets nowhere. This process takes each one once.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from server.auth import Claims, Signer, TokenIssuer, TokenRefused
from server.core.errors import HandoverRefused
from server.features.cluster.messages import Handover, HandoverSettings, Moved, Resume, Resumed
from server.session.part import SessionContext, SessionPart

# Characters of a hand-over. A message of a client has 64 KiB, its token 4,096 characters.
MAX_HANDOVER_CHARS = 40_000
# Bytes of its turns as JSON: base64 makes four characters of three bytes; some are for the rest.
MAX_TURNS_BYTES = (MAX_HANDOVER_CHARS - 1000) * 3 // 4
MAX_TURNS = 32
# Hand-overs that were taken, by name
MAX_TAKEN = 10_000
# Hand-overs that a session looks at: a page brings one.
MAX_TRIES = 3

Turns = list[tuple[str, str]]

_REASONS = {
    "expired": "is too old",
    "other": "was not made by this server, or was changed",
    "session": "belongs to another session, or the token of its session is no longer valid",
    "ended": "is of a session that has ended for good",
    "taken": "was taken over already",
    "begun": "came after the first answer",
}


def refused(reason: str) -> HandoverRefused:
    """Build the error for a hand-over that is not taken."""
    return HandoverRefused(
        "A new session began. It does not remember the earlier chat:"
        f" its hand-over {_REASONS[reason]}."
    )


class Handovers:
    """Signs hand-overs, and checks those that pages bring.

    Bounds of hand-overs that this process has taken: the ids of 10,000; the oldest is dropped.
    """

    def __init__(
        self,
        secret: str,
        tokens: TokenIssuer,
        life: int,
        ended: Callable[[Claims], bool] = lambda claims: False,
    ) -> None:
        """`secret` is common to all replicas; `life`: seconds that a hand-over is good for;
        `ended(claims)`: this process knows that the session has ended for good.
        """
        self._ended = ended
        self._signer = Signer(secret, max_chars=MAX_HANDOVER_CHARS)
        self._tokens = tokens
        self._life = life
        self._taken: OrderedDict[str, None] = OrderedDict()

    def sign(self, session_id: str, turns: Sequence[tuple[str, str]], now: float) -> str:
        """Sign the newest turns (question and answer, the oldest first) that fit.

        `now` is in seconds since the epoch.
        """
        kept: list[tuple[str, str]] = []
        left = MAX_TURNS_BYTES
        for turn in reversed(turns[-MAX_TURNS:]):
            left -= len(json.dumps(turn)) + 1
            if left < 0:
                break
            kept.append(turn)
        return self._signer.sign(
            {
                "sid": session_id,
                "iat": int(now),
                "exp": int(now) + self._life,
                "jti": secrets.token_urlsafe(16),
                "turns": kept[::-1],
            }
        )

    def take(self, handover: str, token: str) -> Turns:
        """Check a hand-over and the token of its session, and return its turns, once.

        Raises HandoverRefused.
        """
        try:
            claims = self._signer.read(handover)
        except TokenRefused as error:
            raise refused("expired" if error.reason == "expired" else "other") from None
        try:
            owner = self._tokens.verify(token)
        except TokenRefused:
            raise refused("session") from None
        if claims.get("sid") != owner.session_id:
            raise refused("session")
        if self._ended(owner):
            raise refused("ended")
        turns, name = _typed(claims.get("turns")), claims.get("jti")
        if turns is None or not isinstance(name, str) or len(name) > 64:
            raise refused("other")
        if name in self._taken:
            raise refused("taken")
        self._taken[name] = None
        if len(self._taken) > MAX_TAKEN:
            self._taken.popitem(last=False)
        return turns


def _typed(turns: Any) -> Turns | None:
    if not isinstance(turns, list) or len(turns) > MAX_TURNS:
        return None
    for turn in turns:
        if not (isinstance(turn, list) and len(turn) == 2):
            return None
        if not all(isinstance(text, str) for text in turn):
            return None
    return [(question, answer) for question, answer in turns]


class HandingOver(SessionPart):
    """One session's side: sends the signed chat after each change of it, and takes one into a new session."""

    def __init__(self, context: SessionContext, handovers: Handovers) -> None:
        self._id = context.id
        self._history = context.history
        self._outbox = context.outbox
        self._handovers = handovers
        # The page keeps them, so it can go to another replica by itself.
        self.wanted = False
        # The hand-over that was taken; empty before
        self._taken = ""
        self._tries = 0
        # True while a chat is taken in, turn by turn
        self._taking = False
        self.handlers = {Resume: self.resume, HandoverSettings: self._set}
        context.history.on_change = self.send

    def _set(self, message: HandoverSettings) -> None:
        if message.handover is not None:
            self.wanted = message.handover
        if message.handover:
            self.send()

    def send(self) -> None:
        """Give the page the chat as it is now."""
        if self._taking or not self.wanted:
            return
        turns = [(turn.question, turn.answer) for turn in self._history.all()]
        if turns:
            signed = self._handovers.sign(self._id, turns, time.time())
            self._outbox.put(Handover(handover=signed))

    def resume(self, message: Resume) -> None:
        """Take the chat of an earlier session, before this one's first question.

        The same message again is answered again: its page may have missed the answer. Raises
        HandoverRefused.
        """
        if self._taken and message.handover == self._taken:
            self._outbox.put(Resumed(turns=len(self._history)))
            self.send()
            return
        self._tries += 1
        if self._tries > MAX_TRIES:
            raise refused("other")
        if self._history.added:
            raise refused("begun")
        turns = self._handovers.take(message.handover, message.token)
        self._taken = message.handover
        self._taking = True
        for question, answer in turns:
            self._history.add(question, answer)
        self._taking = False
        self._outbox.put(Resumed(turns=len(self._history)))
        self.send()

    def leave(self) -> None:
        """Tell the page to go to another replica now."""
        self.send()
        self._outbox.put(Moved())

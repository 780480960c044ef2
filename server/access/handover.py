"""Hand-overs: a session's chat, signed, which its page keeps and hands to the next session. Pure.

No server stores one. It is good only together with a valid token of the session that it comes
from, so whoever else has it gets nowhere. This process takes each one once.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from server.auth import Claims, Signer, TokenIssuer, TokenRefused
from server.core.errors import HandoverRefused

# Characters of a hand-over. A message of a client has 64 KiB, its token 4,096 characters.
MAX_HANDOVER_CHARS = 40_000
# Bytes of its turns as JSON: base64 makes four characters of three bytes; some are for the rest.
MAX_TURNS_BYTES = (MAX_HANDOVER_CHARS - 1000) * 3 // 4
MAX_TURNS = 32
# Hand-overs that were taken, by name
MAX_TAKEN = 10_000

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
        """`secret` is common to all gateways; `life`: seconds that a hand-over is good for;
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

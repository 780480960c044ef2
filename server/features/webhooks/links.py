"""Pictures of alerts under addresses that nobody guesses and that live a minute. Pure."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

# Seconds from the attempt that sends a link to its end
LINK_SECONDS = 60.0
# Links at a time; the oldest is dropped.
MOST_LINKS = 128


@dataclass(frozen=True, slots=True)
class _Linked:
    jpeg: bytes = field(repr=False)
    # The session whose picture it is
    source: str = field(repr=False)
    webhook: str
    # Monotonic seconds
    until: float


class Links:
    """The pictures by the random words of their addresses. `now` is monotonic seconds.

    Bounds of pictures of alarms under links: 128, a minute each; the oldest is dropped.
    """

    def __init__(self) -> None:
        self._linked: OrderedDict[str, _Linked] = OrderedDict()

    def __len__(self) -> int:
        return len(self._linked)

    def make(self, jpeg: bytes, source: str, webhook: str, now: float) -> tuple[str, int]:
        """Keep a picture; return the word of its address, of 256 random bits, and the number of pictures that were
        dropped for it.
        """
        self.expire(now)
        word = secrets.token_urlsafe(32)
        self._linked[word] = _Linked(jpeg, source, webhook, now + LINK_SECONDS)
        dropped = 0
        while len(self._linked) > MOST_LINKS:
            self._linked.popitem(last=False)
            dropped += 1
        return word, dropped

    def get(self, word: str, now: float) -> bytes | None:
        """Return a picture; None for an unknown one, and for one that is over."""
        self.expire(now)
        found = self._linked.get(word)
        return found.jpeg if found is not None and found.until > now else None

    def expire(self, now: float) -> None:
        """Free the pictures whose minute is over: they are in the order of their ends."""
        while self._linked and next(iter(self._linked.values())).until <= now:
            self._linked.popitem(last=False)

    def end(self, source: str, kept: Sequence[str] = ()) -> None:
        """Free the pictures of a source, but those for the webhooks `kept`."""
        linked = self._linked
        for word in [
            word for word, one in linked.items() if one.source == source and one.webhook not in kept
        ]:
            del linked[word]

    def clear(self) -> None:
        self._linked.clear()

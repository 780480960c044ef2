"""Recognise outdated attempts of a page, so that an abandoned offer or socket that arrives late
replaces no newer one.

After a cut, TCP, a proxy or a tunnel delivers everything that the page has sent meanwhile, and the
newest attempt may be the first to arrive.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from server.core.errors import BadRequest, Conflict

# Pages of one session whose newest attempt is stored; the least recently seen is dropped.
MAX_PAGES = 8
MAX_NUMBER = 2**31 - 1
_PAGE = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The `number`th attempt of the page with id `page`."""

    page: str
    number: int

    @classmethod
    def read(cls, page: str | None, number: str | None) -> Attempt | None:
        """Parse the query's `page` and `attempt`; None when both are absent. Raises BadRequest."""
        if page is None and number is None:
            return None
        if _PAGE.fullmatch(page or "") and _NUMBER.fullmatch(number or ""):
            value = int(number or "")
            if 1 <= value <= MAX_NUMBER:
                return cls(page or "", value)
        raise BadRequest(
            "page and attempt go together: page is a name of up to 32 letters, digits, _ and - that the page gave itself,"
            f" attempt a number from 1 to {MAX_NUMBER} that grows with each attempt. Give both or neither."
        )


class Attempts:
    """The attempts of one kind (offers or sockets) in one session.

    None, a client without numbers, always passes.

    Bounds of newest attempts of a session's pages: 8 pages; the least recently seen is dropped.
    """

    def __init__(self) -> None:
        # Page to the least number that is not late; last seen last.
        self._least: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._least)

    def take(self, attempt: Attempt | None) -> None:
        """Begin an attempt: earlier ones are late from now on.

        It may come twice, because browsers repeat requests.

        Raises Conflict when it is late itself.
        """
        self.check(attempt)
        if attempt is not None:
            self._set(attempt.page, attempt.number)

    def end(self, attempt: Attempt | None) -> None:
        """End an attempt, which is late itself from now on.

        Raises Conflict when a newer one has begun.
        """
        self.check(attempt)
        if attempt is not None:
            self._set(attempt.page, attempt.number + 1)

    def check(self, attempt: Attempt | None) -> None:
        """Raise Conflict for a late attempt."""
        if attempt is not None and attempt.number < self._least.get(attempt.page, 0):
            raise Conflict(
                "This attempt comes late: its page has begun a newer one, or ended it. Nothing was changed."
            )

    def _set(self, page: str, least: int) -> None:
        self._least[page] = least
        self._least.move_to_end(page)
        if len(self._least) > MAX_PAGES:
            self._least.popitem(last=False)

"""Which attempt of a page is its newest, so that one that was given up and comes through late takes nobody's place.

A link that was cut holds back what a page sent (TCP sends it again, a proxy or a tunnel has it), and lets go of all of
it when it is whole again: the newest may be the first to arrive.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from server.core.errors import BadRequest, Conflict

# Pages of one session whose newest attempt is remembered; the one unheard of longest goes.
MAX_PAGES = 8
MAX_NUMBER = 2**31 - 1
_PAGE = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The `number`th attempt of a page that calls itself `page`."""

    page: str
    number: int

    @classmethod
    def read(cls, page: str | None, number: str | None) -> Attempt | None:
        """From the query's `page` and `attempt`; None when neither is given. Raises BadRequest."""
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
    """Of one kind (offers, or sockets) in one session. An attempt of None is somebody's who does not count: it passes."""

    def __init__(self) -> None:
        # The least number that is not late, by page; the one heard of last is the last.
        self._least: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._least)

    def take(self, attempt: Attempt | None) -> None:
        """It begins: earlier ones are late from now on. The same one may come twice, as browsers repeat requests.

        Raises Conflict for one that is late itself.
        """
        self.check(attempt)
        if attempt is not None:
            self._set(attempt.page, attempt.number)

    def end(self, attempt: Attempt | None) -> None:
        """Its page wants no more of it: it is late itself from now on. Raises Conflict when a newer one has begun."""
        self.check(attempt)
        if attempt is not None:
            self._set(attempt.page, attempt.number + 1)

    def check(self, attempt: Attempt | None) -> None:
        """Raises Conflict for one that is late."""
        if attempt is not None and attempt.number < self._least.get(attempt.page, 0):
            raise Conflict(
                "This attempt comes late: its page has begun a newer one, or ended it. Nothing was changed."
            )

    def _set(self, page: str, least: int) -> None:
        self._least[page] = least
        self._least.move_to_end(page)
        if len(self._least) > MAX_PAGES:
            self._least.popitem(last=False)

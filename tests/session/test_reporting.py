"""The state of a session: sent at each report, and features hear of it when more than a count has changed."""

from __future__ import annotations

from server.session.part import SessionContext, SessionPart
from tests.support.rooms import room


class Counting(SessionPart):
    def __init__(self, context: SessionContext) -> None:
        self.reports = self.greetings = 0

    def on_reported(self) -> None:
        self.reports += 1

    def greet(self) -> None:
        self.greetings += 1


async def test_a_part_hears_of_what_has_changed_alone() -> None:
    async with room(counting=Counting) as one:
        part: Counting = one.session.part("counting")
        one.session.greet()
        assert (part.reports, part.greetings) == (1, 1)
        one.session.report()
        assert part.reports == 1
        one.camera()
        one.session.report()
        assert part.reports == 2
        # A new socket gets all anew.
        one.session.greet()
        assert (part.reports, part.greetings) == (3, 2)
        assert [message["type"] for message in await one.rest()].count("ready") == 1

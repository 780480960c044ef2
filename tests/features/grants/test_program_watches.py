"""A program's wait for alerts; its watches are in test_programs.py."""

from __future__ import annotations

import asyncio

import pytest

from server.core.errors import Unauthorized
from server.features.grants.programs import programs_of
from tests.features.grants.test_programs import grant_in, looked_through

pytestmark = pytest.mark.asyncio


async def test_the_end_of_its_access_ends_a_wait_for_alerts() -> None:
    """At once; an alert of after it goes to nobody."""
    async with looked_through() as one:
        programs = programs_of(one.session)
        grant = grant_in(one)
        task = asyncio.create_task(programs.watches.alerts(grant, 0, 25.0))
        await asyncio.sleep(0)
        assert programs.end(grant.id)
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(task, 5)

"""One desk for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest.mock import patch

import pytest_asyncio

from tests.clients.python.desk import Desk, desk_of


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> AsyncIterator[Desk]:
    """One person for all tests, whose programs have a larger share than the programs of a real one."""
    with patch("server.features.grants.grants.ALL_SHARE", 100):
        async with desk_of() as one:
            yield one

"""The engine that ENGINE names and no feature brings: the server starts, and says what is missing."""

from __future__ import annotations

import pytest

from server.core.errors import EngineUnavailable
from server.models.selector import EngineSelector, MissingEngine
from tests.support.fakes import FakeEngine, make_request


async def test_it_says_what_is_missing() -> None:
    missing = MissingEngine("local")
    assert not (await missing.probe()).ready
    assert "ENGINE is local" in missing.status.detail
    assert missing.status.visitor_detail
    with pytest.raises(EngineUnavailable, match="FEATURES"):
        await anext(missing.answer(make_request()))


def test_the_engine_of_its_name_takes_its_place() -> None:
    """Others come behind it."""
    engines = EngineSelector([MissingEngine("local")])
    other, local = FakeEngine("builtin"), FakeEngine("local")
    engines.add(other)
    assert [one.name for one in engines.engines] == ["local", "builtin"]
    assert engines.current is other
    engines.add(local)
    assert engines.engines == (local, other)
    assert engines.current is local

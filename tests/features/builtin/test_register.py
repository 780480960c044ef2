"""What the feature adds to the server: its engine, a text's language, a finder of print and faces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from config import load
from server.app.program import Program
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.reader import Finder
from tests.support.fakes import until
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import running

GERMAN = "Auf dem Tisch steht eine rote Tasse, und daneben liegt ein Buch."


@contextmanager
def program(**settings: Any) -> Iterator[Program]:
    one = Program(load(None, **settings))
    try:
        yield one
    finally:
        one.pools.close()


@pytest.mark.parametrize(("features", "code"), [("builtin", "de"), ("", None)])
def test_the_language_of_an_answer_is_told(features: str, code: str | None) -> None:
    with program(features=features, engine="vllm") as one:
        assert one.language_of(GERMAN) == code
        assert isinstance(one.feature("builtin"), Finder) == bool(features)
        assert [engine.name for engine in one.engines.engines] == ["vllm"]


async def test_its_models_load_once_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []

    async def warm(engine: BuiltinEngine) -> None:
        warmed.append(engine)

    monkeypatch.setattr(BuiltinEngine, "warm", warm)
    async with FakeOpenAI() as fake, running(engine="auto", vllm_base_url=fake.base_url) as run:
        await until(lambda: run.program.engines.current.name == "vllm")
        before = len(warmed)
        await fake.close()
        run.program.engines.lost(run.program.engines.engines[0])
        await until(lambda: run.program.engines.current.name == "builtin")
        await until(lambda: len(warmed) > before)
    async with running(engine="builtin"):
        await until(lambda: len(warmed) > before + 1)


@pytest.mark.parametrize("named", [True, False])
def test_other_features_find_things_where_they_are_named(named: bool) -> None:
    with program(features="builtin,pointing,watches", engine="vllm", name_things=named) as one:
        assert (one.feature("builtin").things is not None) is named

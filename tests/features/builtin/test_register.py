"""The feature's additions to the server: its engine, a text's language, a finder of print and faces."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, load
from server.app.app import Program, build
from server.features.builtin.beside import parse_detector_condition
from server.features.builtin.detector import CLASSIFIER, DETECTOR, FOLDER
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.finder import Finder
from server.features.builtin.language import LANGUAGES
from server.features.builtin.thing_words import ThingWords, get_thing_words
from server.models.base import Delta, Engine
from server.shared.services import LanguageDetector
from tests.features.builtin.test_beside import as_sent
from tests.features.builtin.test_engine import request as asked_of
from tests.features.builtin.test_engine import scene
from tests.support.clients import page_of, soon
from tests.support.fakes import until
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import running, with_model

OFF = "No, the microphone is off: I get what is typed."
GERMAN = "Auf dem Tisch steht eine rote Tasse, und daneben liegt ein Buch."


@contextmanager
def program(**settings: Any) -> Iterator[Program]:
    one = build(load(None, **settings))
    try:
        yield one
    finally:
        one.pools.close()


@pytest.mark.parametrize(("features", "code"), [("builtin", "de"), ("", None)])
def test_the_language_of_an_answer_is_told(features: str, code: str | None) -> None:
    with program(features=features, engine="vllm") as one:
        detect = one.added.provided.get(LanguageDetector)
        assert (detect is not None and detect(GERMAN)) == (code or False)
        assert isinstance(one.added.provided.get(Finder), Finder) == bool(features)
        assert [engine.name for engine in one.engines.engines] == ["vllm"]


async def test_words_are_read_in_a_thread_before_a_message_needs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of all languages, with a model server, too: the first goal reads none on the event loop."""
    readers: list[str] = []
    read = ThingWords.__init__

    def noted(words: ThingWords, code: str) -> None:
        readers.append(threading.current_thread().name)
        read(words, code)

    monkeypatch.setattr(ThingWords, "__init__", noted)
    get_thing_words.cache_clear()
    async with FakeOpenAI() as fake, with_model(fake) as run, page_of(run) as page:
        await soon(lambda: len(readers) == len(LANGUAGES))
        await page.send(type="goal", thing="something red")
        await page.next("target")
    assert len(readers) == len(LANGUAGES)
    assert all(name.startswith("heavy") for name in readers)


async def test_no_condition_is_kept_when_a_session_has_ended() -> None:
    """The reading goes with the session; a watch of another session is read again."""
    async with FakeOpenAI() as fake, with_model(fake) as run, page_of(run) as page:
        assert parse_detector_condition("my cat Mimi appears") is None
        assert parse_detector_condition.cache_info().currsize
        await run.program.sessions.end(page.session_id, "session_ended")
        assert not parse_detector_condition.cache_info().currsize


async def test_its_models_load_once_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []

    async def warm(engine: BuiltinEngine) -> None:
        warmed.append(engine)

    monkeypatch.setattr(BuiltinEngine, "warm", warm)
    async with FakeOpenAI() as fake, running(engine="auto", vllm_base_url=fake.base_url) as run:
        await until(lambda: run.program.engines.current.name == "vllm")
        before = len(warmed)
        await fake.close()
        run.program.engines.mark_lost(run.program.engines.engines[0])
        await until(lambda: run.program.engines.current.name == "builtin")
        await until(lambda: len(warmed) > before)
    async with running(engine="builtin"):
        await until(lambda: len(warmed) > before + 1)


async def test_it_says_whether_the_microphone_of_a_session_is_on() -> None:
    """Not that of another session, nor once this one has ended."""
    async with running(engine="builtin") as run, page_of(run) as page, page_of(run) as other:
        engine = run.program.engines.current
        listening = run.program.sessions.find(page.session_id).part("voice_in")
        asked = "Can you hear me?"
        assert await said(engine, page.session_id, asked) == OFF
        listening.detection = object()
        assert await said(engine, page.session_id, asked) == "Yes."
        assert await said(engine, other.session_id, asked) == OFF
        listening.detection = None
        assert await said(engine, page.session_id, asked) == OFF
        await run.program.sessions.end(other.session_id, "session_ended")
        assert await said(engine, other.session_id, asked) == OFF


async def said(engine: Engine, session_id: str, question: str) -> str:
    request = replace(asked_of(scene(), question), session_id=session_id)
    chunks = [chunk async for chunk in engine.answer(request)]
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta))


@pytest.mark.parametrize("named", [True, False])
def test_other_features_find_things_where_they_are_named(named: bool) -> None:
    with program(features="builtin,pointing,watches", engine="vllm", name_things=named) as one:
        assert (one.added.provided[Finder].things is not None) is named


@pytest.mark.parametrize(("name", "file"), [("detector", DETECTOR), ("classifier", CLASSIFIER)])
def test_an_operator_names_models_with_their_checksums(
    tmp_path: Path, name: str, file: str
) -> None:
    """Another file in their place is not used, and without a checksum the server does not start."""
    own = Path(shutil.copy(FOLDER / file, tmp_path / "own.onnx"))
    path, checksum = f"thing_{name}", f"thing_{name}_sha256"
    given: dict[str, Any] = {"features": "builtin", "engine": "builtin", path: own}
    found = []
    for digest in (sha256(own.read_bytes()).hexdigest(), "0" * 64):
        with program(**given, **{checksum: digest}) as one:
            things = one.added.provided[Finder].things
            found.append(len(things.find_boxes(as_sent("coffee"), "Where is the cup?", "There.")))
    assert found == [1, 0]
    with pytest.raises(ConfigError, match=f"{checksum.upper()} is empty"):
        load(None, **given)

"""The built-in engine: objects, text, codes, colours and changes without a language model.

It uses no network. The words of each language are in `languages/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from server.app.api import Api
    from server.features.builtin.detector import ThingFinder
    from server.session.part import SessionContext


def register(api: Api) -> None:
    """Register the engine, the detection of text, faces and objects, and the language detector."""
    from functools import partial

    from server.core.aio import TaskSet, run_in_pool
    from server.core.frames import Role
    from server.features.builtin.beside import DetectorAid, parse_detector_condition
    from server.features.builtin.engine import BuiltinEngine
    from server.features.builtin.finder import Finder
    from server.features.builtin.glance import GlancePart, Glancer, get_counter
    from server.features.builtin.language import detect_language
    from server.features.builtin.reader import TextReader
    from server.features.builtin.seeking import warm as read_words
    from server.shared.services import LanguageDetector, SceneReader

    # Shared, because the models take 100 MB.
    reader, things = TextReader(), _make_finder(api)
    finder = Finder(reader, DetectorAid(things) if things is not None else None)
    api.provide(Finder, finder)
    api.provide(SceneReader, finder)
    api.provide(LanguageDetector, detect_language)
    # The cache holds the text of visitors' watches.
    api.on_session_ended(lambda _: parse_detector_condition.cache_clear())
    tasks = TaskSet("builtin")

    def start() -> None:
        """Read the words in a thread, so that the first goal or watch does not block the event loop."""
        tasks.spawn(run_in_pool(api.pools.heavy, read_words), name="words")

    api.run("builtin words", start=start, close=tasks.close)
    if not api.settings.has_engine("builtin"):
        return
    engine = BuiltinEngine(heavy=api.pools.heavy, reader=reader, finder=things)
    glancer = Glancer(engine, api.pools.heavy, reader, things)
    get_counter(api.metrics)

    def make_part(context: SessionContext) -> GlancePart:
        engine.set_microphone(context.id, partial(context.part, "voice_in"))
        return GlancePart(context, glancer)

    api.add_session_part(make_part)

    def warm() -> None:
        """Load the models once a role uses this engine."""
        if engine in map(api.engines.of, Role):
            tasks.spawn(engine.warm(), name="warm")

    api.engines.add(engine, last=True)
    api.on_engine_changed(warm)
    api.on_session_ended(engine.forget)
    api.run("builtin", start=warm, close=tasks.close)


def _make_finder(api: Api) -> ThingFinder | None:
    """Return the object detector; None if NAME_THINGS is off."""
    from server.features.builtin.detector import (
        CLASSIFIER,
        DETECTOR,
        FOLDER,
        ModelFile,
        ThingFinder,
    )
    from server.features.builtin.settings import BuiltinSettings

    settings = BuiltinSettings.of(api.settings)
    if not settings.name_things:
        return None

    def choose_file(own: str, path: Path | None, sha256: str) -> ModelFile:
        return ModelFile(FOLDER / own) if path is None else ModelFile(path, sha256)

    return ThingFinder(
        choose_file(DETECTOR, settings.thing_detector, settings.thing_detector_sha256),
        choose_file(CLASSIFIER, settings.thing_classifier, settings.thing_classifier_sha256),
    )

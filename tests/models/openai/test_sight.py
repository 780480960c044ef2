"""The choice of a server's model: one that accepts pictures, tested once, and reported."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from server.core.errors import EngineUnavailable
from server.models.base import EngineState
from server.models.openai.engine import OpenAIEngine
from server.models.selector import EngineSelector
from tests.models.asking import PATIENT, Build, collect
from tests.support.clients import soon
from tests.support.fakes import FakeEngine
from tests.support.fakes_openai import Behaviour, FakeOpenAI


@pytest.fixture
def engine(build: Build) -> OpenAIEngine:
    return build(limits=PATIENT)


def modalities(*names: str) -> dict[str, Any]:
    return {"architecture": {"input_modalities": list(names)}}


def llama(name: str, *capabilities: str) -> dict[str, Any]:
    return {"name": name, "capabilities": list(capabilities)}


@pytest.mark.parametrize(
    ("cards", "others", "why"),
    [
        ({"b": modalities("text", "image"), "a": modalities("text")}, {}, "its server says so"),
        ({"b": {"capabilities": {"vision": True}}}, {}, "its server says so"),
        ({"b": {"input_modalities": ["text", "image"]}}, {}, "its server says so"),
        (
            {"a": {"owned_by": "organization_owner"}},
            {
                "/api/v0/models": {
                    "data": [
                        {"id": "a", "type": "llm", "state": "loaded"},
                        {"id": "b", "type": "vlm", "state": "not-loaded"},
                        {"id": "c", "type": "embeddings", "state": "loaded"},
                    ]
                }
            },
            "its server says so",
        ),
        (
            {"a": {"owned_by": "library"}},
            {
                "/api/show": {
                    "a": {"capabilities": ["completion"]},
                    "b": {"capabilities": ["completion", "vision"]},
                    "c": {"capabilities": ["embedding"]},
                },
                "/api/ps": {"models": [{"name": "a"}]},
            },
            "its server says so",
        ),
    ],
    ids=["openrouter", "mistral", "plain", "lm studio", "ollama"],
)
async def test_what_a_server_tells_decides(
    fake: FakeOpenAI,
    engine: OpenAIEngine,
    cards: dict[str, dict[str, Any]],
    others: dict[str, Any],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Text models and embeddings are passed over, none is shown a picture, and the reason is told."""
    fake.models, fake.cards, fake.others = ["a", "c", "b"], cards, others
    caplog.set_level(logging.INFO)
    status = await engine.probe()
    assert (status.state, status.model) == (EngineState.READY, "b")
    assert f"takes pictures ({why})" in status.detail
    assert "one of 3 listed" in status.detail
    assert fake.count == 0
    said = [record for record in caplog.records if record.message == "a model was chosen"]
    assert len(said) == 1
    assert (await engine.probe()).model == "b"
    assert len([one for one in caplog.records if one.message == "a model was chosen"]) == 1


async def test_families_decide_where_nobody_tells(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """By names: embeddings never answer, a vision-language model does."""
    fake.models = [
        "nomic-embed-text",
        "llama-3.1-8b",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "gemma-3-4b-it",
    ]
    assert (await engine.probe()).model == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert fake.count == 0


async def test_files_decide_where_they_are_at_hand(
    fake: FakeOpenAI, engine: OpenAIEngine, tmp_path: Path
) -> None:
    """The config.json of a folder on this machine that the server names."""
    for name, config in (("text", {"model_type": "llama"}), ("sees", {"model_type": "qwen2_5_vl"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        fake.cards[name] = {"root": str(tmp_path / name)}
    fake.models = ["text", "sees"]
    status = await engine.probe()
    assert status.model == "sees"
    assert "by its own files" in status.detail


async def test_else_one_is_shown_a_picture_once(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A small one, for one token; the next look asks nobody again."""
    fake.models, fake.blind = ["one", "two", "three"], {"one"}
    status = await engine.probe()
    assert status.model == "two"
    assert "one was shown to it" in status.detail
    assert [seen.body["model"] for seen in fake.requests] == ["one", "two"]
    assert fake.last.body["max_tokens"] == 1
    assert len(fake.last.jpeg or b"") < 2000
    await engine.probe()
    await engine.probe()
    assert fake.count == 2


async def test_nobody_is_asked_while_answers_are_in_work(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """A busy server is not given more to do."""
    fake.models = ["one", "two"]
    engine._answering = 1
    assert (await engine.probe()).model == "one"
    assert fake.count == 0
    engine._answering = 0
    await engine.probe()
    assert fake.count == 1


async def test_a_silent_model_is_asked_once_and_in_bounded_time(
    fake: FakeOpenAI, engine: OpenAIEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a result of the test the server's first model answers."""
    monkeypatch.setattr("server.models.openai.known_server._ASK_SECONDS", 0.1)
    fake.models, fake.first_token = ["one"], 5.0
    assert (await engine.probe()).model == "one"
    assert engine.status.ready
    await engine.probe()
    assert fake.count == 1


async def test_loaded_ones_go_first(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Among those that see, and the one that is asked already stays among equals."""
    sees = {"capabilities": {"vision": True}}
    fake.models = ["a", "b"]
    fake.cards = {"a": {**sees, "state": "not-loaded"}, "b": {**sees, "state": "loaded"}}
    status = await engine.probe()
    assert status.model == "b"
    assert "is loaded" in status.detail
    fake.cards = {"a": sees, "b": sees}
    assert (await engine.probe()).model == "b"


async def test_a_server_without_a_model_that_sees_is_not_ready(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """The reason lists the models there; the next engine answers."""
    fake.models, fake.blind = ["one", "nomic-embed-text"], {"one"}
    spare = FakeEngine("builtin")
    selector = EngineSelector([engine, spare], interval=60, seeking=60)
    try:
        await selector.start()
        await soon(lambda: engine.status.state is EngineState.MISCONFIGURED)
        assert "takes pictures (one, nomic-embed-text)" in engine.status.detail
        assert selector.current is spare
    finally:
        await selector.close()


async def test_model_name_wins_until_the_model_refuses_a_picture(
    fake: FakeOpenAI, build: Build
) -> None:
    """Nobody doubts a name that was set; a refusal in earnest makes the engine not ready."""
    fake.models = ["seeing-vl", "text"]
    engine = build(model="text", limits=PATIENT)
    assert (await engine.probe()).model == "text"
    assert engine.status.ready
    assert fake.count == 0
    fake.blind = {"text"}
    with pytest.raises(EngineUnavailable, match="takes pictures"):
        await collect(engine)
    assert engine.status.state is EngineState.MISCONFIGURED
    assert (await engine.probe()).state is EngineState.MISCONFIGURED


@pytest.mark.parametrize(
    "words",
    [
        "fake is not a multimodal model",
        "At most 0 image(s) may be provided in one prompt.",
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "Model does not support images. Please use a model that does.",
        "Invalid content type. image_url is only supported by certain models",
    ],
)
async def test_a_model_that_refuses_pictures_is_left_for_one_that_sees(
    fake: FakeOpenAI, engine: OpenAIEngine, words: str
) -> None:
    """In the middle of a question: it goes to another model at once."""
    fake.models = ["first-vl", "second-vl"]
    fake.blind, fake.blind_words = {"first-vl"}, words
    assert (await engine.probe()).model == "first-vl"
    assert (await collect(engine))[0] == ["I ", "see ", "a ", "cup."]
    assert fake.last.body["model"] == "second-vl"


async def test_a_server_that_was_away_is_asked_anew(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Another one may have come in its place."""
    fake.models, fake.blind = ["one"], {"one"}
    assert (await engine.probe()).state is EngineState.MISCONFIGURED
    await fake.close()
    await engine.probe()
    fake.blind = set()
    await fake.start()
    assert (await engine.probe()).ready


async def test_rubbish_about_models_is_no_error(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Malformed answers of its own interface are ignored."""
    fake.models = ["one-vl", "two-vl"]
    fake.cards = {
        "one-vl": {"owned_by": "library", "capabilities": 3, "architecture": [], "type": []}
    }
    fake.others = {"/api/ps": [1], "/api/show": {"one-vl": 3, "two-vl": []}}
    assert (await engine.probe()).model == "one-vl"
    fake.behaviour = Behaviour.NOT_OPENAI
    assert (await engine.probe()).state is EngineState.MISCONFIGURED
    assert dataclasses.is_dataclass(engine.status)

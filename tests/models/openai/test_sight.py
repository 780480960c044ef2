"""The choice of a server's model: one that accepts pictures, tested once, and reported."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from server.models.base import EngineState
from server.models.openai.discovery import Listed, choose, listed, to_ask, words
from server.models.openai.engine import OpenAIEngine
from server.models.selector import EngineSelector
from server.models.thinking import OFF_FIELDS
from tests.models.asking import PATIENT, Build, collect
from tests.support.clients import soon
from tests.support.fakes import FakeEngine
from tests.support.fakes_openai import Behaviour, FakeOpenAI


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
    qwen = "Qwen/Qwen2.5-VL-7B-Instruct"
    fake.models = ["nomic-embed-text", "llama-3.1-8b", qwen, "gemma-3-4b-it"]
    assert (await engine.probe()).model == qwen
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


async def test_nobody_is_asked_during_answers(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
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
    selector = EngineSelector(engine, interval=60, seeking=60)
    selector.add(spare)
    try:
        await selector.start()
        await soon(lambda: engine.status.state is EngineState.MISCONFIGURED)
        assert "takes pictures (one, nomic-embed-text)" in engine.status.detail
        assert selector.current is spare
    finally:
        await selector.close()


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


def sees(name: str, **card: Any) -> bool | None:
    return listed({}, [{"id": name, **card}])[0].sees


@pytest.mark.parametrize(
    ("names", "takes"),
    [
        # Of families that see, however servers write them
        ("qwen2.5vl:7b Qwen/Qwen3-VL-8B-Instruct llava:13b llama3.2-vision:11b", True),
        ("gemma3:4b google/gemma-3-27b-it pixtral-12b OpenGVLab/InternVL3-8B", True),
        ("moondream2 minicpm-v:8b gpt-4o-mini HuggingFaceTB/SmolVLM2-2.2B-Instruct", True),
        ("mistral-small3.2:24b zai-org/GLM-4.1V-9B-Thinking Qwen2.5-Omni-7B fake-vl", True),
        # Embeddings, speech and guards, also those of families that see
        ("nomic-embed-text bge-m3 whisper-large-v3 Qwen3-VL-Embedding-2B llama-guard-3", False),
        # They may see or not.
        ("llama3.1:8b gemma3:1b mistral novel-writer /models/x", None),
    ],
)
def test_what_names_say(names: str, takes: bool | None) -> None:
    assert {name: sees(name) for name in names.split()} == dict.fromkeys(names.split(), takes)


def test_what_is_told_goes_before_the_name() -> None:
    """A card, or llama.cpp's second list, knows better."""
    assert sees("some-vl", capabilities=["completion"]) is False
    assert sees("mistral", modalities={"input": ["text", "image"]}) is True
    data = {"models": [{"name": "x.gguf", "capabilities": ["completion", "multimodal"]}]}
    assert listed(data, [{"id": "x.gguf"}])[0].sees is True


def test_order_of_choice() -> None:
    """Sees before unknown, loaded before not, the one asked now, then the server's order."""
    a, b = Listed("a"), Listed("b")
    c, d = Listed("c", True), Listed("d", True, loaded=True)
    blind = Listed("e", False, loaded=True)
    assert choose([blind, a, c, d], "") == d
    assert choose([blind, a, c], "a") == c
    assert choose([a, b], "b") == b
    assert choose([a, b], "gone") == a
    assert choose([blind], "e") is None
    assert choose([], "") is None


def test_who_is_shown_a_picture() -> None:
    """Those of whom nobody knows, loaded ones first; nobody where one is known to see."""
    models = [Listed("a"), Listed("b", loaded=True), Listed("c", False)]
    assert to_ask(models) == ["b", "a"]
    assert to_ask([*models, Listed("d", True)]) == []


def test_words_for_operators() -> None:
    one = Listed("a", True, "by its name", True)
    assert words(one, 3) == "one of 3 listed; takes pictures (by its name), is loaded"
    assert words(Listed("a"), 1) == "the only one listed; may take pictures"


QWEN_OFF = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}


def props(**more: Any) -> dict[str, Any]:
    """Of llama.cpp's server."""
    return {
        "default_generation_settings": {"params": {"n_predict": -1, "stream": True}, "n_ctx": 4096},
        "total_slots": 2,
        "model_alias": "mine",
        "model_ftype": "Q4_K - Medium",
        "model_path": "/models/Qwen3-VL-4B-Instruct-Q4_K_M.gguf",
        "modalities": {"vision": True, "video": True, "audio": False},
        "media_marker": "<__media_YoNhud46VdDqbuFmKYEO9PY7A4ARzRfg__>",
        "endpoint_slots": True,
        "chat_template": "{%- for message in messages %}{{ message.content }}{%- endfor %}",
        "chat_template_caps": {},
        "build_info": "b9100-00dc8057",
        "is_sleeping": False,
        **more,
    }


def show(*capabilities: str, **more: Any) -> dict[str, Any]:
    """Of Ollama."""
    return {
        "modelfile": '# Modelfile generated by "ollama show"',
        "parameters": 'temperature                    1\nnum_ctx                        6144\nstop                           "x"',
        "template": "{{ .Prompt }}",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "qwen25vl",
            "families": ["qwen25vl"],
            "parameter_size": "8.3B",
            "quantization_level": "Q4_K_M",
        },
        "model_info": {
            "general.architecture": "qwen25vl",
            "general.parameter_count": 8292166656,
            "qwen25vl.context_length": 128000,
            "tokenizer.ggml.tokens": [],
        },
        "capabilities": list(capabilities),
        **more,
    }


V0 = {
    "id": "mine",
    "object": "model",
    "type": "vlm",
    "publisher": "mlx-community",
    "arch": "qwen2_vl",
    "compatibility_type": "mlx",
    "quantization": "4bit",
    "state": "not-loaded",
    "max_context_length": 32768,
}


def listing(**more: Any) -> dict[str, Any]:
    """Of LM Studio."""
    return {"data": [V0 | more]}


@pytest.fixture
def told_engine(fake: FakeOpenAI, build: Build) -> OpenAIEngine:
    fake.models, fake.max_model_len = ["mine"], None
    return build(limits=PATIENT)


def served(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.__dict__["reason"] for one in caplog.records if one.message == "a model is served"]


async def test_llama_cpp_tells_by_its_props(
    fake: FakeOpenAI, told_engine: OpenAIEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Its slots bound the answers at a time, its file names the family; it is asked once, and the log has one line."""
    caplog.set_level(logging.INFO)
    fake.card, fake.others = {"owned_by": "llamacpp"}, {"/props": props()}
    for _ in range(3):
        capabilities = (await told_engine.probe()).capabilities
    assert (capabilities.max_concurrency, capabilities.context_length) == (2, 4096)
    assert (capabilities.geometry.factor, capabilities.grounding) == (32, True)
    assert not capabilities.audio_in
    assert (fake.count, fake.other_requests) == (0, ["/props"])
    assert served(caplog) == [
        "mine: of the family Qwen3-VL; takes pictures, a context of 4,096 tokens, 2 at a time (by /props)."
    ]


async def test_an_unknown_model_is_known_by_asking(
    fake: FakeOpenAI, told_engine: OpenAIEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Of no family: sound by its modalities, and thinking off from the first request, by its template."""
    caplog.set_level(logging.INFO)
    template = "{%- if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
    told = props(
        model_path="/models/novel.gguf",
        modalities={"vision": True, "audio": True},
        chat_template=template,
    )
    fake.card, fake.others = {"owned_by": "llamacpp"}, {"/props": told}
    assert (await told_engine.probe()).capabilities.audio_in
    assert (await collect(told_engine))[0] == ["I ", "see ", "a ", "cup."]
    assert fake.count == 1
    assert {name: fake.last.body.get(name) for name in OFF_FIELDS} == OFF_FIELDS
    assert (
        "of no known family; takes pictures, hears, has a switch for thinking" in served(caplog)[0]
    )


@pytest.mark.parametrize(
    ("card", "path", "told", "calls"),
    [
        ("llamacpp", "/props", props(chat_template="{%- if tools %}{{ tools }}{% endif %}"), True),
        ("llamacpp", "/props", props(), False),
        ("library", "/api/show", show("completion", "vision", "tools"), True),
        ("library", "/api/show", show("completion", "vision"), False),
        ("organization_owner", "/api/v0/models", listing(capabilities=["tool_use"]), True),
        ("organization_owner", "/api/v0/models", listing(), False),
    ],
)
async def test_its_server_knows_best_whether_a_model_calls_tools(
    fake: FakeOpenAI, told_engine: OpenAIEngine, card: str, path: str, told: Any, calls: bool
) -> None:
    """Whatever its family does, as with the first two, or is not known to do."""
    fake.card = {"owned_by": card}
    fake.others = {path: {"mine": told} if path == "/api/show" else told, "/api/ps": {"models": []}}
    assert (await told_engine.probe()).capabilities.calls_tools is calls


async def test_an_older_llama_cpp_without_eyes(fake: FakeOpenAI, told_engine: OpenAIEngine) -> None:
    """Its list does not say what the model takes: nobody shows it a picture."""
    fake.card = {"owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}
    fake.others = {
        "/props": {"total_slots": 1, "modalities": {"vision": False}, "chat_template": "..."}
    }
    assert (await told_engine.probe()).state is EngineState.MISCONFIGURED
    assert fake.count == 0


async def test_a_llama_cpp_with_several_models_is_not_asked(
    fake: FakeOpenAI, told_engine: OpenAIEngine
) -> None:
    """It would load one for the question; its list says what each takes."""
    sees = {"owned_by": "llamacpp", "architecture": {"input_modalities": ["text", "image"]}}
    fake.models, fake.card, fake.others = ["a", "b"], sees, {"/props": props()}
    assert (await told_engine.probe()).capabilities.max_concurrency is None
    assert fake.other_requests == []


@pytest.mark.parametrize("wanted", ["", "mine"])
async def test_ollama_tells_by_show(
    fake: FakeOpenAI, caplog: pytest.LogCaptureFixture, wanted: str, build: Build
) -> None:
    """Of a model with a name of somebody's own, which MODEL_NAME may name."""
    caplog.set_level(logging.INFO)
    fake.models, fake.max_model_len = ["mine"], None
    shown = show("completion", "vision", "thinking")
    fake.card = {"owned_by": "library"}
    fake.others = {"/api/show": {"mine": shown}, "/api/ps": {"models": []}}
    told_engine = build(model=wanted, limits=PATIENT)
    for _ in range(2):
        capabilities = (await told_engine.probe()).capabilities
    assert (capabilities.geometry.factor, capabilities.context_length) == (28, 6144)
    assert capabilities.max_concurrency is None
    await collect(told_engine)
    assert fake.last.body["reasoning_effort"] == "none"
    assert fake.other_requests.count("/api/show") == 1
    assert len(served(caplog)) == 1
    assert "of the family Qwen2.5-VL; takes pictures, has a switch" in served(caplog)[0]


async def test_ollama_is_known_by_models_of_others_alone(fake: FakeOpenAI, build: Build) -> None:
    """It names each model's owner by its namespace; another server's owners mean nothing."""
    for name, owner, asked in (
        ("openbmb/minicpm-v9:latest", "openbmb", True),
        ("hf.co/somebody/novel-GGUF:Q4_K_M", "somebody", True),
        ("somebody/novel", "somebody", False),
        ("somebody/novel:free", "elsewhere", False),
    ):
        fake.models, fake.card = [name], {"owned_by": owner}
        fake.others = {"/api/show": {name: show("completion", "vision")}, "/api/ps": {"models": []}}
        fake.other_requests.clear()
        told_engine = build(limits=PATIENT)
        try:
            await told_engine.probe()
            assert ("/api/show" in fake.other_requests) is asked
        finally:
            await told_engine.close()


async def test_lm_studio_tells_by_its_own_list(fake: FakeOpenAI, told_engine: OpenAIEngine) -> None:
    """Its architecture is the family; a loaded model's context beats the largest."""
    fake.card = {"owned_by": "organization_owner"}
    fake.others = {"/api/v0/models": listing()}
    capabilities = (await told_engine.probe()).capabilities
    assert (capabilities.geometry.factor, capabilities.context_length) == (28, 32768)
    assert fake.count == 0
    await fake.close()
    await told_engine.probe()
    fake.others["/api/v0/models"] = listing(state="loaded", loaded_context_length=4096)
    await fake.start()
    assert (await told_engine.probe()).capabilities.context_length == 4096


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"total_slots": 0, "default_generation_settings": [], "modalities": "vision"},
        {"total_slots": "2", "default_generation_settings": {"n_ctx": -1}, "model_path": 3},
        {"total_slots": 10**9, "modalities": {"vision": 1}, "chat_template": None},
    ],
)
async def test_rubbish_tells_nothing(
    fake: FakeOpenAI, told_engine: OpenAIEngine, told: object
) -> None:
    """The model is shown a picture, as any unknown one."""
    fake.card, fake.others = {"owned_by": "llamacpp"}, {"/props": told}
    capabilities = (await told_engine.probe()).capabilities
    assert (capabilities.max_concurrency, capabilities.context_length) == (None, None)
    assert told_engine.status.ready
    assert fake.count == 1


async def test_a_family_that_thinks_is_asked_not_to_from_the_first_request(
    fake: FakeOpenAI, told_engine: OpenAIEngine
) -> None:
    """By its name alone."""
    fake.models, fake.thoughts = ["qwen3.5:4b"], ["Hm."]
    assert (await collect(told_engine))[0] == ["I ", "see ", "a ", "cup."]
    assert {name: fake.last.body.get(name) for name in QWEN_OFF} == QWEN_OFF
    assert fake.count == 1


async def test_a_family_without_a_switch(fake: FakeOpenAI, told_engine: OpenAIEngine) -> None:
    """Nothing is sent that it might refuse."""
    fake.models = ["qwen2.5vl:7b"]
    await collect(told_engine)
    assert not OFF_FIELDS.keys() & fake.last.body.keys()

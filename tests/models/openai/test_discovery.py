"""A model server before a question: its machine, its list, and its description of its models."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config import load
from server.core.errors import EngineError, EngineUnavailable
from server.core.setting_text import get_other_machine
from server.media.patches.ice import get_own_addresses
from server.models.base import EngineState, Trouble
from server.models.openai.chat_client import Endpoint
from server.models.openai.discovery import ModelInfo, choose
from server.models.openai.engine import OpenAIEngine
from server.models.selector import EngineProber, EngineSelector
from server.models.thinking import OFF_FIELDS
from tests.models.asking import PATIENT, QUICK, Build, collect, request
from tests.support.clients import soon
from tests.support.fakes import FakeEngine
from tests.support.fakes_openai import Behaviour, FakeOpenAI

NO_LIST = [
    (404, {"error": {"message": "Not Found"}}),
    (404, "<html><body>Not Found</body></html>"),
    (404, ""),
    (403, {"error": "You may not list models."}),
    (400, {"detail": "no such route"}),
    (405, {}),
    (500, "Internal Server Error"),
    (501, {}),
    (200, "<html><body>It works!</body></html>"),
    (200, ""),
    (200, {"error": {"message": ""}}),
    (200, {"data": {"id": "m"}}),
    (200, {"data": None}),
    (200, 5),
    (200, {"data": []}),
    (200, []),
]


# Its list


@pytest.mark.parametrize("listing", NO_LIST)
@pytest.mark.parametrize("health", [200, 404])
async def test_a_name_does_for_a_server_without_a_list(
    fake: FakeOpenAI, build: Build, listing: tuple[Any, ...], health: int
) -> None:
    """A question decides; without a name the operator reads which setting takes it."""
    fake.listing, fake.health = listing, health
    engine = build(model="fake-vl", limits=PATIENT)
    status = await engine.probe()
    assert (status.state, status.model) == (EngineState.READY, "fake-vl"), status.detail
    assert (await collect(engine))[0] == ["I ", "see ", "a ", "cup."]
    assert fake.other_requests == []
    nameless = await build(limits=PATIENT).probe()
    assert not nameless.ready
    assert "MODEL_NAME" in nameless.detail


@pytest.mark.parametrize("wanted", ["", "fake-vl"])
@pytest.mark.parametrize(
    "listing",
    [
        [{"id": "fake-vl"}],
        {"models": [{"id": "fake-vl"}]},
        {"data": [{"id": "fake-vl"}, {"id": 3}, {"name": "x"}, None, {"id": "bad\n"}]},
        {"models": [{"name": "fake-vl"}], "data": [{"id": "fake-vl"}]},
    ],
)
async def test_lists_of_other_forms(
    fake: FakeOpenAI, build: Build, listing: Any, wanted: str
) -> None:
    fake.listing = (200, listing)
    status = await build(model=wanted, limits=PATIENT).probe()
    assert (status.state, status.model) == (EngineState.READY, "fake-vl")
    assert status.detail == ""


@pytest.mark.parametrize(
    ("wanted", "listed", "context"),
    [
        ("llava", "llava:latest", 8192),
        ("Qwen2.5VL:7b", "qwen2.5vl:7b", 8192),
        ("gemini-2.5-flash", "models/gemini-2.5-flash", 8192),
        ("qwen/qwen2.5-vl:free", "qwen/qwen2.5-vl", None),
        ("gpt-4o", "gpt-4o-2024-08-06", None),
        ("openai/gpt-4o", "openai/*", None),
    ],
)
async def test_a_name_that_is_not_listed_counts(
    fake: FakeOpenAI, build: Build, wanted: str, listed: str, context: int | None
) -> None:
    """A question decides. The list describes it, too, where servers leave the difference out."""
    fake.models = ["a", "b", "c", listed]
    engine = build(model=wanted, limits=PATIENT)
    status = await engine.probe()
    assert (status.state, status.model) == (EngineState.READY, wanted)
    assert f"does not have {wanted} (MODEL_NAME)" in status.detail
    assert (f"{listed}, a, b, …" if context else "a, b, c, …") in status.detail
    assert status.capabilities.context_length == context
    with pytest.raises(EngineUnavailable, match=r"Set MODEL_NAME to one that it serves: .*a, b"):
        await collect(engine)
    fake.models.append(wanted)
    await collect(engine)
    assert fake.last.body["model"] == wanted


@pytest.mark.parametrize("wanted", ["", "fake-vl"])
@pytest.mark.parametrize(
    ("listing", "health", "state", "words"),
    [
        ((401, {}), 200, EngineState.MISCONFIGURED, "VLLM_API_KEY"),
        ((429, {}), 200, EngineState.BUSY, "429"),
        ((503, {}), 200, EngineState.LOADING, "loading its model"),
        ((502, {}), 200, EngineState.UNREACHABLE, "502"),
        ((500, {}), 503, EngineState.UNREACHABLE, "500"),
        ((404, {}), 503, EngineState.MISCONFIGURED, "/v1"),
        ((400, [{"error": {"code": 400}}]), 503, EngineState.MISCONFIGURED, "VLLM_API_KEY may be"),
    ],
)
async def test_a_server_in_trouble_is_not_used(
    fake: FakeOpenAI,
    build: Build,
    wanted: str,
    listing: tuple[Any, ...],
    health: int,
    state: EngineState,
    words: str,
) -> None:
    """A name is no help against a wrong key, nor while its own health is bad."""
    fake.listing, fake.health = listing, health
    status = await build(model=wanted, limits=PATIENT).probe()
    assert status.state is state
    assert words in status.detail


@pytest.mark.parametrize("wanted", ["", "fake-vl"])
@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://me:secret@new.example/v1/models", "to https://new.example/v1. Set"),
        ("/{api}/v1/models", "/{api}/v1. Set VLLM_BASE_URL to that."),
        ("/login?next=/v1/models", "/login. Set VLLM_BASE_URL to a model server's address."),
        ("mailto:me@new.example", "elsewhere. Set"),
        ("https://:80/", "elsewhere. Set"),
        ("", "elsewhere. Set"),
    ],
)
async def test_a_server_that_has_moved(
    fake: FakeOpenAI, build: Build, wanted: str, code: int, location: str, shown: str
) -> None:
    """Its new address is named, and nothing goes there."""
    fake.listing = (code, "", *([f"location: {location}"] if location else []))
    status = await build(model=wanted, limits=PATIENT).probe()
    assert (status.state, status.trouble) == (EngineState.MISCONFIGURED, Trouble.PROTOCOL)
    assert shown in status.detail
    assert "VLLM_BASE_URL" in status.detail
    assert "secret" not in status.detail
    assert fake.probes == 1


async def test_a_list_at_another_path(fake: FakeOpenAI, build: Build) -> None:
    """Only a slash more: the address is right, and a name does."""
    fake.listing = (307, "", "location: /v1/models/")
    nameless = await build(limits=PATIENT).probe()
    assert "wants another path than /models" in nameless.detail
    assert "Set VLLM_BASE_URL" not in nameless.detail
    engine = build(model="fake-vl", limits=PATIENT)
    await collect(engine)
    fake.reply = (308, "", "location: https://new.example/v1/chat/completions")
    with pytest.raises(EngineUnavailable, match=r"to https://new.example/v1. Set VLLM_BASE_URL"):
        await collect(engine)


@pytest.mark.parametrize(
    ("path", "reply", "words", "not_said"),
    [
        ("/v1", (404, {"detail": "Not Found"}), "VLLM_BASE_URL", "MODEL_NAME"),
        ("/v1", (404, "<html>"), "VLLM_BASE_URL", "MODEL_NAME"),
        ("/v1", (405, {"detail": "no"}), "VLLM_BASE_URL", "MODEL_NAME"),
        ("/v1", (404, {"error": {"message": "no"}}), "though it lists it. Set MODEL", "VLLM_"),
        (
            "/v1",
            (400, {"error": {"message": "no", "code": "model_not_found"}}),
            "MODEL_NAME",
            "VLLM_",
        ),
        ("", (404, {"error": {"message": "no"}}), "VLLM_BASE_URL", "key"),
        ("/v1/chat/completions", (404, {"detail": "Not Found"}), "VLLM_BASE_URL", "key"),
        ("/v1", (403, {"error": {"message": "flagged"}}), "question", "key"),
        ("/v1", (402, {"error": {"message": "pay"}}), "credit", "pictures"),
    ],
)
async def test_a_refused_question_names_the_settings_at_fault(
    fake: FakeOpenAI, path: str, reply: tuple[Any, ...], words: str, not_said: str
) -> None:
    """The server has listed the model at /v1, and no list elsewhere; its state stays."""
    fake.reply = reply
    address = f"http://127.0.0.1:{fake.port}{path}"
    engine = OpenAIEngine("vllm", Endpoint(address, model="fake-vl"), limits=PATIENT)
    try:
        status = await engine.probe()
        assert (status.ready, "VLLM_BASE_URL" in status.detail) == (True, path != "/v1")
        with pytest.raises(EngineError) as raised:
            await collect(engine)
        assert engine.status.ready
    finally:
        await engine.close()
    assert words in raised.value.message
    assert not_said not in raised.value.message


# The choice among several models


def modalities(*names: str) -> dict[str, Any]:
    return {"architecture": {"input_modalities": list(names)}}


@pytest.mark.parametrize(
    ("cards", "others"),
    [
        ({"b": modalities("text", "image"), "a": modalities("text")}, {}),
        ({"b": {"capabilities": {"vision": True}}}, {}),
        ({"b": {"input_modalities": ["text", "image"]}}, {}),
        (
            {"a": {"owned_by": "organization_owner"}},
            {
                "/api/v0/models": {
                    "data": [
                        {"id": "a", "type": "llm", "state": "loaded"},
                        {"id": "b", "type": "vlm", "state": "loaded"},
                        {"id": "c", "type": "embeddings", "state": "loaded"},
                    ]
                }
            },
        ),
        (
            {"a": {"owned_by": "library"}},
            {
                "/api/show": {
                    "a": {"capabilities": ["completion"]},
                    "b": {"capabilities": ["completion", "vision"]},
                    "c": {"capabilities": ["embedding"]},
                },
                "/api/ps": {"models": [{"name": "a"}, {"name": "b"}]},
            },
        ),
    ],
    ids=["openrouter", "mistral", "plain", "lm studio", "ollama"],
)
async def test_what_a_server_says_decides(
    fake: FakeOpenAI,
    engine: OpenAIEngine,
    cards: dict[str, dict[str, Any]],
    others: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Text models and embeddings are passed over, none is shown a picture, and the reason is told."""
    fake.models, fake.cards, fake.others = ["a", "c", "b"], cards, others
    caplog.set_level(logging.INFO)
    for _ in range(2):
        status = await engine.probe()
        assert (status.state, status.model) == (EngineState.READY, "b")
        assert "b: one of 3 listed; takes pictures (its server says so)" in status.detail
    assert fake.count == 0
    assert len(served(caplog)) == 1


def served(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.__dict__["reason"] for one in caplog.records if one.message == "model served"]


@pytest.mark.parametrize(
    ("names", "cards", "chosen"),
    [
        (
            ["nomic-embed-text", "llama-3.1-8b", "Qwen/Qwen2.5-VL-7B-Instruct", "gemma-3-4b-it"],
            {},
            "Qwen/Qwen2.5-VL-7B-Instruct",
        ),
        (["mistral", "mine"], {"mine": {"root": "Qwen/Qwen3-VL-8B-Instruct"}}, "mine"),
        (["mistral", "mine"], {"mine": {"model_type": "qwen2_5_vl"}}, "mine"),
        # The server's word counts for more.
        (["some-vl", "x"], {"some-vl": {"capabilities": ["completion"]}, "x": {}}, "x"),
    ],
)
async def test_families_decide_where_the_server_says_nothing(
    fake: FakeOpenAI, build: Build, names: list[str], cards: dict[str, Any], chosen: str
) -> None:
    """By names and types; no known family is shown a picture."""
    fake.models, fake.cards, fake.behaviour = names, cards, Behaviour.NORMAL
    assert (await build(limits=PATIENT).probe()).model == chosen
    assert fake.count == (chosen == "x")


async def test_a_folder_tells_the_family(
    fake: FakeOpenAI, engine: OpenAIEngine, tmp_path: Path
) -> None:
    """The URL of a model with any name, on this machine."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    fake.models, fake.cards = ["text", "mine"], {"mine": {"root": str(tmp_path)}}
    status = await engine.probe()
    assert status.model == "mine"
    assert "takes pictures (by its family)" in status.detail
    assert fake.count == 0


def test_order_of_choice() -> None:
    """Sees before unknown, loaded before not, the one asked now, then the server's order."""
    a, b = ModelInfo("a"), ModelInfo("b")
    c, d = ModelInfo("c", True), ModelInfo("d", True, loaded=True)
    blind = ModelInfo("e", False, loaded=True)
    assert choose([blind, a, c, d], "") == d
    assert choose([blind, a, c], "a") == c
    assert choose([a, b], "b") == b
    assert choose([a, b], "gone") == a
    assert choose([blind], "e") is None
    assert choose([], "") is None


# The test picture


@pytest.mark.parametrize(
    ("code", "words"),
    [(400, "not a multimodal model"), (400, "Something raw happened"), (422, "")],
)
async def test_one_unknown_model_is_shown_a_picture_once(
    fake: FakeOpenAI, engine: OpenAIEngine, code: int, words: str
) -> None:
    """A small one, for one token. Any refusal counts, and nobody else is shown one: a question decides."""
    fake.models, fake.refuses_pictures = ["one", "two", "three"], {"one": (code, words)}
    for _ in range(3):
        status = await engine.probe()
        assert (status.state, status.model) == (EngineState.READY, "two")
    assert [seen.body["model"] for seen in fake.requests] == ["one"]
    assert fake.last.body["max_tokens"] == 1
    assert len(fake.last.jpeg or b"") < 2000


@pytest.mark.parametrize(
    "behaviour", [Behaviour.INTERNAL, Behaviour.HANGS_UP, Behaviour.RATE_LIMITED, Behaviour.BUSY]
)
async def test_a_model_that_does_not_answer_to_the_picture(
    fake: FakeOpenAI, engine: OpenAIEngine, behaviour: Behaviour
) -> None:
    """Nothing is known: a question decides."""
    fake.models, fake.behaviour = ["one"], behaviour
    assert (await engine.probe()).ready
    fake.behaviour = Behaviour.NORMAL
    status = await engine.probe()
    assert (status.state, status.model, fake.count) == (EngineState.READY, "one", 1)


async def test_nobody_is_shown_one_during_answers(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A busy server is not given more to do."""
    await engine.probe()
    fake.hold()
    async with aclosing(engine.answer(request())) as chunks:
        await anext(chunks)
        fake.models = ["one", "two"]
        assert (await engine.probe()).model == "one"
        assert fake.count == 1
    await engine.probe()
    assert fake.count == 2


async def test_a_server_without_a_model_that_sees_is_not_ready(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """The reason lists the models there; the next engine answers."""
    fake.models, fake.blind = ["one", "nomic-embed-text"], {"one"}
    spare = FakeEngine("builtin")
    selector = EngineSelector(engine, prober=EngineProber(interval=60, seeking=60))
    selector.add(spare)
    try:
        await selector.start()
        await soon(lambda: engine.status.state is EngineState.MISCONFIGURED)
        assert "takes pictures (one, nomic-embed-text)" in engine.status.detail
        assert "MODEL_NAME" in engine.status.detail
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


# What a server says of its models


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
        "parameters": 'temperature                    1\nstop                           "x"',
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


def ollama(*loaded: dict[str, Any], **more: Any) -> dict[str, Any]:
    shown = show("completion", "vision", "thinking", **more)
    return {"/api/show": {"mine": shown}, "/api/ps": {"models": list(loaded)}}


def lm_studio(**more: Any) -> dict[str, Any]:
    card = {
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
    return {"/api/v0/models": {"data": [card | more]}}


ALTERNATING = "{{ raise_exception('Roles must alternate') }}"
NUM_CTX = {"parameters": "num_ctx                        6144"}


@pytest.mark.parametrize("wanted", ["", "mine"])
@pytest.mark.parametrize(
    ("owner", "others", "known"),
    [
        (
            "llamacpp",
            {"/props": props()},
            {"context_length": 4096, "max_concurrency": 2, "factor": 32, "calls_tools": False},
        ),
        ("llamacpp", {"/props": props()}, {"prefix_cache": True, "caches_messages": False}),
        (
            "llamacpp",
            {"/props": props(model_path="/models/Qwen3.5-0.8B-Q8_0.gguf")},
            {"prefix_cache": True, "caches_messages": True},
        ),
        (
            "llamacpp",
            {"/props": props(model_path="/Qwen3.5-2B.gguf", chat_template=ALTERNATING)},
            {"prefix_cache": False, "caches_messages": False},
        ),
        (
            "llamacpp",
            {"/props": props(chat_template="{%- if tools %}{{ tools }}{% endif %}")},
            {"calls_tools": True, "audio_in": False},
        ),
        (
            "llamacpp",
            {"/props": props(modalities={"vision": True, "audio": True}, model_path="/novel.gguf")},
            {"audio_in": True, "factor": 28},
        ),
        (
            "library",
            ollama({"name": "mine", "context_length": 4096}),
            {"context_length": 4096, "loaded": True, "max_concurrency": None, "factor": 28},
        ),
        (
            "library",
            ollama({"model": "Mine:latest", "context_length": "4096"}),
            {"context_length": 4096, "loaded": True},
        ),
        (
            "library",
            ollama({"name": "mine", "context_length": 4096}, **NUM_CTX),
            {"context_length": 4096},
        ),
        ("library", ollama({"name": "mine"}, **NUM_CTX), {"context_length": 6144}),
        ("library", ollama({"name": "mine"}), {"context_length": None, "loaded": True}),
        (
            "library",
            ollama({"name": "other", "context_length": 4096}),
            {"context_length": None, "loaded": False, "calls_tools": False, "audio_in": False},
        ),
        (
            "library",
            {**ollama(), "/api/show": {"mine": show("completion", "vision", "audio", "tools")}},
            {"calls_tools": True, "audio_in": True},
        ),
        # An older one, without /api/ps
        ("library", {"/api/show": {"mine": show("vision")}}, {"loaded": None}),
        (
            "organization_owner",
            lm_studio(),
            {"context_length": None, "loaded": False, "factor": 28, "calls_tools": False},
        ),
        ("organization_owner", lm_studio(state=None), {"context_length": 32768}),
        (
            "organization_owner",
            lm_studio(state="loaded", loaded_context_length=4096, capabilities=["tool_use"]),
            {"context_length": 4096, "loaded": True, "calls_tools": True},
        ),
        ("somebody", {"/props": props(), **lm_studio(), **ollama()}, {"context_length": None}),
    ],
)
async def test_sources_of_facts(
    fake: FakeOpenAI,
    build: Build,
    caplog: pytest.LogCaptureFixture,
    owner: str,
    others: dict[str, Any],
    known: dict[str, Any],
    wanted: str,
) -> None:
    """The same with a model that the settings name; what does not change is asked for once."""
    caplog.set_level(logging.INFO)
    fake.models, fake.max_model_len = ["mine"], None
    fake.card, fake.others = {"owned_by": owner}, others
    engine = build(model=wanted, limits=PATIENT)
    for _ in range(3):
        status = await engine.probe()
    assert status.ready
    found = {name: getattr(status.capabilities, name, None) for name in known} | {
        "factor": status.capabilities.geometry.factor,
        "loaded": status.loaded,
    }
    assert {name: found[name] for name in known} == known
    assert fake.count == (owner == "somebody" and not wanted)
    counts = {path: fake.other_requests.count(path) for path in others}
    once = {"/props", "/api/show"}
    asked = (
        dict.fromkeys(others, 0)
        if owner == "somebody"
        else {p: 1 if p in once else 3 for p in others}
    )
    assert counts == asked
    assert len(served(caplog)) == 1


async def test_what_changes_with_loading_is_read_at_each_probe(
    fake: FakeOpenAI, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """A context below the model's own is logged once; a model that was put away keeps the one it had."""
    caplog.set_level(logging.INFO)
    fake.models, fake.max_model_len, fake.card = ["mine"], None, {"owned_by": "library"}
    engine = build(model="mine", limits=PATIENT)
    seen = []
    for context in (None, 4096, 4096, None, 128000):
        loaded = [] if context is None else [{"name": "mine", "context_length": context}]
        fake.others = ollama(*loaded)
        status = await engine.probe()
        seen.append((status.loaded, status.capabilities.context_length))
    assert seen == [(False, None), (True, 4096), (True, 4096), (False, 4096), (True, 128000)]
    hints = [
        reason
        for one in caplog.records
        if "OLLAMA_CONTEXT_LENGTH" in (reason := str(one.__dict__.get("reason")))
    ]
    assert len(hints) == 1
    assert "4,096 of 128,000 tokens" in hints[0]


@pytest.mark.parametrize(
    ("owner", "others", "server"),
    [
        ("organization_owner", lm_studio(), "LM Studio"),
        ("library", ollama(), "Ollama"),
    ],
)
async def test_a_model_that_is_not_loaded_is_told_before_the_first_question(
    fake: FakeOpenAI, build: Build, owner: str, others: dict[str, Any], server: str
) -> None:
    """The engine stays ready: the server loads it for a question, as a rule."""
    fake.models, fake.card, fake.others = ["mine"], {"owned_by": owner}, others
    status = await build(limits=PATIENT).probe()
    assert status.ready
    assert f"mine is not loaded in {server}" in status.detail


@pytest.mark.parametrize("wanted", ["", "mine"])
async def test_a_question_waits_while_llama_cpp_loads(
    fake: FakeOpenAI, build: Build, wanted: str
) -> None:
    """Its list is there from the start; all else, its properties too, comes with the model."""
    fake.models, fake.card, fake.max_model_len = ["mine"], {"owned_by": "llamacpp"}, None
    fake.health, fake.reply, fake.others = 503, (503, {}), {"/props": (503, {})}
    engine = build(model=wanted, limits=PATIENT)
    status = await engine.probe()
    assert (status.state, status.model, fake.count) == (EngineState.LOADING, "mine", 0)
    asking = asyncio.create_task(collect(engine))
    await fake.wait_for(2)
    fake.health, fake.reply, fake.others = 200, None, {"/props": props()}
    await asking
    status = await engine.probe()
    assert (status.state, status.capabilities.context_length) == (EngineState.READY, 4096)


@pytest.mark.parametrize(
    ("owner", "path", "others"),
    [
        ("llamacpp", "/props", {"/props": props()}),
        ("library", "/api/show", ollama(**NUM_CTX)),
    ],
)
@pytest.mark.parametrize(("code", "asked"), [(404, 1), (405, 1), (500, 2), (503, 2), (401, 2)])
async def test_a_source_that_fails_is_asked_again(
    fake: FakeOpenAI,
    build: Build,
    owner: str,
    path: str,
    others: dict[str, Any],
    code: int,
    asked: int,
) -> None:
    """At the next probe; one that is not there is not."""
    fake.models, fake.max_model_len, fake.card = ["mine"], None, {"owned_by": owner}
    engine = build(model="mine", limits=PATIENT)
    fake.others = others | {path: (code, {})}
    assert (await engine.probe()).ready
    fake.others = others
    for _ in range(2):
        status = await engine.probe()
    assert fake.other_requests.count(path) == asked
    assert (status.capabilities.context_length is not None) is (asked == 2)


@pytest.mark.parametrize("code", [400, 404])
async def test_a_refusal_while_nothing_is_loaded_says_so(
    fake: FakeOpenAI, build: Build, code: int
) -> None:
    """LM Studio does not load for a question where that is switched off, and says so in any words."""
    fake.models, fake.card = ["mine"], {"owned_by": "organization_owner"}
    fake.others = lm_studio()
    fake.refuses_pictures = {"mine": (code, "Something raw happened")}
    engine = build(limits=PATIENT)
    await engine.probe()
    with pytest.raises(EngineUnavailable, match="Load a model there"):
        await collect(engine)
    fake.others = lm_studio(state="loaded")
    fake.refuses_pictures = {}
    assert (await engine.probe()).detail == ""
    await collect(engine)


async def test_a_slow_source_delays_no_probe(fake: FakeOpenAI, build: Build) -> None:
    """Its facts come with a later probe, within the time of one."""
    asked: list[str] = []

    async def answer(one: httpx2.Request) -> httpx2.Response:
        asked.append(one.url.path)
        if one.url.path == "/v1/models":
            cards = [{"id": name, "owned_by": "library"} for name in ("text", "mine")]
            return httpx2.Response(200, json={"data": cards})
        if one.url.path == "/api/show":
            name = json.loads(one.content)["model"]
            if asked.count("/api/show") == 2:
                raise httpx2.ReadTimeout("too late")
            return httpx2.Response(200, json=show("vision" if name == "mine" else "completion"))
        return httpx2.Response(200, json={"models": []})

    engine = build(limits=QUICK, transport=httpx2.MockTransport(answer), model="")
    assert (await engine.probe()).ready
    assert (await engine.probe()).model == "mine"
    assert asked.count("/api/show") == 3


async def test_a_blind_llama_cpp_is_shown_no_picture(fake: FakeOpenAI, build: Build) -> None:
    """An older one, whose list does not say what the model takes."""
    fake.models, fake.card = ["mine"], {"owned_by": "llamacpp", "meta": {"n_ctx_train": 131072}}
    fake.others = {"/props": {"total_slots": 1, "modalities": {"vision": False}}}
    assert (await build(limits=PATIENT).probe()).state is EngineState.MISCONFIGURED
    assert fake.count == 0


async def test_a_llama_cpp_with_several_models_is_not_asked(fake: FakeOpenAI, build: Build) -> None:
    """It would load one for the question; its list says what each takes, and which is loaded."""
    sees = {"owned_by": "llamacpp", **modalities("text", "image")}
    fake.models, fake.card, fake.others = ["a", "b"], sees, {"/props": props()}
    fake.cards = {"a": {"status": {"value": "unloaded"}}, "b": {"status": {"value": "loaded"}}}
    status = await build(limits=PATIENT).probe()
    assert (status.model, status.loaded) == ("b", True)
    assert status.capabilities.max_concurrency is None
    assert fake.other_requests == []


@pytest.mark.parametrize(
    ("name", "owner", "asked"),
    [
        ("openbmb/minicpm-v9:latest", "openbmb", True),
        ("hf.co/somebody/novel-GGUF:Q4_K_M", "somebody", True),
        ("somebody/novel", "somebody", False),
        ("somebody/novel:free", "elsewhere", False),
        ("somebody/novel:free", ["library"], False),
    ],
)
async def test_ollama_is_known_by_models_of_others_alone(
    fake: FakeOpenAI, build: Build, name: str, owner: Any, asked: bool
) -> None:
    """It names each model's owner by its namespace; another server's owners mean nothing."""
    fake.models, fake.card = [name], {"owned_by": owner}
    fake.others = {"/api/show": {name: show("completion", "vision")}, "/api/ps": {"models": []}}
    await build(limits=PATIENT).probe()
    assert ("/api/show" in fake.other_requests) is asked


# Thinking, from the first request


THINKS = props(
    model_path="/models/novel.gguf",
    chat_template="{%- if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}",
)


@pytest.mark.parametrize(
    ("name", "owner", "others", "off"),
    [
        ("mine", "llamacpp", {"/props": THINKS}, True),
        ("mine", "library", ollama(), True),
        ("qwen3.5:4b", "", {}, True),
        # Nothing is sent that it might refuse.
        ("qwen2.5vl:7b", "", {}, False),
    ],
)
async def test_a_model_that_thinks_is_asked_not_to_from_the_first_request(
    fake: FakeOpenAI, build: Build, name: str, owner: str, others: dict[str, Any], off: bool
) -> None:
    """By its template, its server's word, or its family."""
    fake.models, fake.card, fake.others = [name], {"owned_by": owner}, others
    await collect(build(limits=PATIENT))
    assert ("reasoning_effort" in fake.last.body) is off
    assert bool(OFF_FIELDS.keys() & fake.last.body.keys()) is off
    assert fake.count == 1


# The machine


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://127.0.0.1:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://localhost:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://[::1]:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://127.0.0.1:8002/v1", ""),
        ("http://vllm:8001/v1", ""),
        ("http://vllm:8002/v1", "vllm"),
        ("http://192.0.2.7:8001/v1", ""),
        ("http://192.0.2.7:8002/v1", "192.0.2.7"),
        ("https://models.example.org/v1", "gpu.example.org"),
    ],
)
async def test_the_operator_names_the_machines_behind_an_address(url: str, other: str) -> None:
    """A router or a tunnel on this machine leads elsewhere; a container's name or an own address may not."""
    text = (
        "127.0.0.1:8001=gpu-1.example.org, 127.0.0.1:8001=gpu-2.example.org, vllm:8001=here,"
        " 192.0.2.7:8001=here, models.example.org:443=gpu.example.org"
    )
    machines = load(env_file=None, engine_machines=text).machines
    assert get_other_machine(url, machines) == other
    engine = OpenAIEngine("vllm", Endpoint(url, machines=machines))
    assert engine.status.elsewhere == other
    await engine.close()


async def test_an_address_of_this_machine_is_another_until_it_is_named() -> None:
    """An address or a name may belong to another machine tomorrow; the setting stays."""
    mine = [address for address in get_own_addresses() if ":" not in address]
    if not mine:
        pytest.skip("This machine has no address beyond loopback.")
    async with FakeOpenAI(host="0.0.0.0") as server:
        at = f"{mine[0]}:{server.port}"
        for machines, other in (({}, mine[0]), ({at: ""}, "")):
            engine = OpenAIEngine("vllm", Endpoint(f"http://{at}/v1", machines=machines))
            status = await engine.probe()
            await engine.close()
            assert (status.ready, status.elsewhere) == (True, other)

"""The remote engine against a whole model server that can misbehave in every way."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from scripts.local_certificate import Identity, Keeper
from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from server.core.frames import Geometry
from server.models.base import Delta, EarlierPicture, EngineState, Finished, Turn, Usage
from server.models.openai import bounded_http, upstream
from server.models.openai.chat_client import Endpoint, SettingNames, TimeLimits
from server.models.openai.engine import (
    SESSION_HEADER,
    EngineGroup,
    OpenAIEngine,
    SessionKeys,
    by_preference,
)
from server.models.openai.upstream import Reason
from tests.models.asking import (
    JPEG,
    PATIENT,
    QUICK,
    REPEATING,
    Build,
    collect,
    partial,
    picture,
    request,
)
from tests.support.fakes import until
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS, at_once

KEY = "canary-key-5a17"


async def test_answer_streams_word_by_word_and_ends_with_usage(engine: OpenAIEngine) -> None:
    """Pieces come as they were sent, then one Finished with the server's own counts."""
    texts, end = await collect(engine)
    assert texts == ["I ", "see ", "a ", "cup."]
    assert end == Finished("stop", Usage(640, 4, 64))


async def test_request_has_frame_order_and_limits(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """The picture is a data URL with the very bytes; system, turns, frame, question in this order."""
    turns = (Turn("Before?", "Yes."),)
    _, end = await collect(engine, request("Now<|im_end|>?", turns=turns, max_tokens=77))
    assert end.left_out == 0
    seen = fake.last
    assert seen.jpegs == [JPEG]
    assert [role for role, _ in seen.texts] == ["system", "user", "assistant", "user"]
    assert seen.texts[-1] == ("user", "Now?")
    assert [part["type"] for part in seen.body["messages"][-1]["content"]] == ["image_url", "text"]
    assert seen.body["max_tokens"] == 77
    assert seen.body["stream_options"] == {"include_usage": True}
    assert "priority" not in seen.body


async def test_a_cut_answer_says_length(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    fake.finish_reason = "length"
    assert (await collect(engine))[1].finish_reason == "length"


async def test_pieces_arrive_when_they_are_sent(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    await engine.probe()
    fake.between_tokens = 5.0
    stream = engine.answer(request())
    assert await anext(stream) == Delta("I ")
    # The server is still at it.
    assert fake.running == 1
    await stream.aclose()


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        (Behaviour.SILENT, EngineTimeout, "did not begin"),
        (Behaviour.KEEP_ALIVE_ONLY, EngineTimeout, "did not begin"),
        (Behaviour.ERROR_EVENT, EngineRefused, "400"),
        (Behaviour.FULL_EVENT, EngineUnavailable, "busy"),
        (Behaviour.HTML, EngineFailed, "OpenAI-compatible"),
        (Behaviour.ENDLESS, EngineFailed, "no chat answer"),
        (Behaviour.BUSY, EngineUnavailable, "busy"),
        (Behaviour.LOADING, EngineLoading, "loading"),
        (Behaviour.UNAUTHORIZED, EngineUnavailable, "VLLM_API_KEY"),
        (Behaviour.CONTEXT_LENGTH, EngineRefused, "8,192 tokens"),
        (Behaviour.BAD_REQUEST, EngineRefused, "400"),
        (Behaviour.INTERNAL, EngineFailed, "500"),
        (Behaviour.ENDS_EARLY, EngineFailed, "before it was complete"),
        (Behaviour.DIES, EngineFailed, "broke in mid-answer"),
        (Behaviour.STALLS, EngineTimeout, "fell silent"),
        (Behaviour.ERROR_LATER, EngineFailed, "500"),
        (Behaviour.GARBAGE, EngineFailed, "no chat answer"),
        (Behaviour.STRANGE_JSON, EngineFailed, "no chat answer"),
    ],
)
async def test_each_misbehaviour_has_its_own_error(
    fake: FakeOpenAI, build: Build, behaviour: Behaviour, error: type[EngineError], words: str
) -> None:
    """Errors come before or after pieces as it happened, in our words, without the server's text."""
    engine = build(limits=QUICK if error is EngineTimeout else PATIENT)
    await engine.probe()
    fake.behaviour = behaviour
    async with asyncio.timeout(30):
        texts, raised = await partial(engine)
    assert type(raised) is error
    assert words in raised.message
    assert "raw" not in raised.message
    pieces = {
        Behaviour.ENDS_EARLY: 2,
        Behaviour.DIES: 2,
        Behaviour.STALLS: 2,
        Behaviour.ERROR_LATER: 2,
        Behaviour.GARBAGE: 1,
        Behaviour.STRANGE_JSON: 1,
    }
    assert len(texts) == pieces.get(behaviour, 0)
    assert fake.running == 0 or await asyncio.wait_for(fake.last.done.wait(), AT_ONCE_SECONDS)
    # Whatever happened, the next answer works.
    fake.behaviour = Behaviour.NORMAL
    assert len((await collect(engine))[0]) == 4


async def test_rate_limit_says_when_to_come_back(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    await engine.probe()
    fake.behaviour = Behaviour.RATE_LIMITED
    _, raised = await partial(engine)
    assert isinstance(raised, EngineUnavailable)
    assert raised.retryable
    assert raised.retry_after == 7


async def test_an_endless_answer_meets_the_total_limit(fake: FakeOpenAI, build: Build) -> None:
    """Data events alone do not keep an answer alive for ever."""
    fake.answer_for = lambda _body, _jpeg: ["x "] * 1000
    fake.between_tokens = 0.02
    limits = dataclasses.replace(QUICK, total=0.3)
    engine = build(limits=limits)
    texts, raised = await partial(engine)
    assert isinstance(raised, EngineTimeout)
    assert "0.3 s" in raised.message
    assert 3 < len(texts) < 20


async def test_slow_prefill_behind_an_early_role_event_has_the_first_token_limit(
    fake: FakeOpenAI, build: Build
) -> None:
    """The role alone does not begin the answer: first_token goes on, not between_tokens."""
    limits = dataclasses.replace(QUICK, first_token=1.0, between_tokens=0.1)
    engine = build(limits=limits)
    fake.before_text = 0.3
    assert len((await collect(engine))[0]) == 4


async def test_a_whole_answer_needs_no_done(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """After finish_reason only usage is missing, so the end is waited for a second at most."""
    fake.behaviour = Behaviour.NEVER_DONE
    async with at_once():
        texts, end = await collect(engine)
    assert len(texts) == 4
    assert end.finish_reason == "stop"


async def test_closing_the_generator_closes_the_upstream_stream_at_once(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """aclose() in mid-answer stops the generation upstream."""
    fake.between_tokens = NEVER_SECONDS
    stream = engine.answer(request())
    await anext(stream)
    async with at_once():
        await stream.aclose()
        await fake.last.done.wait()
    assert fake.last.closed_early


@pytest.mark.parametrize("first_token", [0.0, 5.0])
async def test_cancelling_the_consumer_closes_the_upstream_stream(
    fake: FakeOpenAI, engine: OpenAIEngine, first_token: float
) -> None:
    """Also while waiting for the first token."""
    fake.first_token = first_token
    fake.between_tokens = 5.0
    task = asyncio.create_task(collect(engine))
    await fake.wait_for(1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(fake.last.done.wait(), AT_ONCE_SECONDS)
    assert fake.last.closed_early


async def test_a_tenth_cancelled_leaves_the_others_exact(fake: FakeOpenAI, build: Build) -> None:
    """100 answers at a time, every 10th stopped: 90 are whole and nothing is left at the server."""
    engine = build(limits=None)
    fake.answer_for = lambda body, _jpeg: [body["messages"][-1]["content"][1]["text"], " a", " b"]
    fake.between_tokens = 0.05

    async def one(n: int) -> str | None:
        stream = engine.answer(request(f"q{n}", session_id=f"s{n % 7}"))
        text = ""
        async for chunk in stream:
            if isinstance(chunk, Delta):
                text += chunk.text
            if n % 10 == 0:
                await stream.aclose()
                return None
        return text

    answers = await asyncio.gather(*(one(n) for n in range(100)))
    assert answers == [None if n % 10 == 0 else f"q{n} a b" for n in range(100)]
    for seen in fake.requests:
        await asyncio.wait_for(seen.done.wait(), AT_ONCE_SECONDS)
    assert fake.running == 0
    assert sum(seen.closed_early for seen in fake.requests) == 10


@pytest.mark.parametrize("behaviour", [Behaviour.REFUSES_FIELD, Behaviour.REFUSES_FIELD_422])
async def test_a_refused_field_is_dropped_for_good(
    fake: FakeOpenAI, behaviour: Behaviour, build: Build
) -> None:
    """The request is sent again once without what was named, and later requests never have it."""
    fake.behaviour = behaviour
    fake.refused_fields = {"stream_options", "priority"}
    engine = build(fields={"temperature": 0.2, "priority": 3})
    assert len((await collect(engine))[0]) == 4
    assert fake.count == 2
    assert fake.requests[0].body["priority"] == 3
    assert not fake.refused_fields & set(fake.last.body)
    assert "temperature" in fake.last.body
    await collect(engine)
    assert fake.count == 3


async def test_a_refused_field_that_it_needs_fails(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A required field is not left out, and the request is not repeated."""
    fake.behaviour = Behaviour.REFUSES_FIELD
    fake.refused_fields = {"messages"}
    _, raised = await partial(engine)
    assert isinstance(raised, EngineRefused)
    assert fake.count == 1


async def test_a_model_that_went_is_looked_up_anew(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """After a restart with another model, the first model of the list is used at once."""
    await collect(engine)
    fake.models = ["other-vl"]
    texts, _ = await collect(engine)
    assert len(texts) == 4
    assert fake.last.body["model"] == "other-vl"
    assert engine.status.model == "other-vl"


async def test_a_configured_model_that_went_is_an_error_that_says_so(
    fake: FakeOpenAI, build: Build
) -> None:
    """A fixed MODEL_NAME is never replaced by another."""
    engine = build(model="fake-vl")
    await engine.probe()
    fake.models = ["other-vl"]
    _, raised = await partial(engine)
    assert "MODEL_NAME" in raised.message
    assert engine.status.state is EngineState.MISCONFIGURED
    assert "other-vl" in engine.status.detail


class Dropping(httpx2.AsyncHTTPTransport):
    """The first `drops` answers to a question are a connection that breaks."""

    def __init__(self, drops: int) -> None:
        super().__init__()
        self.drops = drops

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST" and self.drops:
            self.drops -= 1
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        return await super().handle_async_request(request)


@pytest.mark.parametrize("drops", [1, 2, 3])
async def test_a_kept_connection_that_was_closed_is_tried_again_twice(
    fake: FakeOpenAI, drops: int, monkeypatch: pytest.MonkeyPatch, build: Build
) -> None:
    """A server closes an unused connection, or every one after a failure, just when it is used."""
    monkeypatch.setattr(upstream, "_PAUSES", (0.01, 0.02))
    engine = build(limits=None, transport=Dropping(drops))
    if drops < 3:
        assert len((await collect(engine))[0]) == 4
        assert engine.status.ready
        return
    texts, raised = await partial(engine)
    assert (texts, type(raised)) == ([], EngineUnavailable)
    assert engine.status.state is EngineState.UNREACHABLE


async def test_probe_learns_model_context_and_geometry(
    fake: FakeOpenAI, engine: OpenAIEngine, tmp_path: Path
) -> None:
    """The served model's own folder tells its factor and pixel limits."""
    size = {"shortest_edge": 65536, "longest_edge": 1_000_000}
    config = {"patch_size": 16, "merge_size": 2, "size": size}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    fake.card = {"root": str(tmp_path), "owned_by": "vllm"}
    status = await engine.probe()
    assert status.state is EngineState.READY
    assert status.model == "fake-vl"
    assert status.capabilities.context_length == 8192
    assert status.capabilities.geometry == Geometry(32, 65536, 1_000_000)
    assert status.capabilities.json_schema


@pytest.mark.parametrize(
    ("behaviour", "state", "words"),
    [
        (Behaviour.LOADING, EngineState.LOADING, "loading its model"),
        (Behaviour.UNAUTHORIZED, EngineState.MISCONFIGURED, "VLLM_API_KEY"),
        (Behaviour.HTML, EngineState.MISCONFIGURED, "OpenAI-compatible"),
        (Behaviour.NOT_OPENAI, EngineState.MISCONFIGURED, "OpenAI-compatible"),
        (Behaviour.NO_MODELS, EngineState.MISCONFIGURED, "MODEL_NAME"),
        (Behaviour.SILENT, EngineState.UNREACHABLE, "does not answer"),
    ],
)
async def test_probe_tells_what_is_wrong(
    fake: FakeOpenAI, build: Build, behaviour: Behaviour, state: EngineState, words: str
) -> None:
    """Each state has a sentence that says what to do."""
    engine = build(limits=QUICK if behaviour is Behaviour.SILENT else PATIENT)
    fake.behaviour = behaviour
    status = await engine.probe()
    assert status.state is state
    assert words in status.detail
    fake.behaviour = Behaviour.NORMAL
    assert (await engine.probe()).ready


@pytest.mark.parametrize(
    ("behaviour", "setting"),
    [
        (Behaviour.UNAUTHORIZED, "WATCHES_API_KEY"),
        (Behaviour.GARBAGE, "WATCHES_BASE_URL"),
        (Behaviour.HTML, "WATCHES_BASE_URL"),
    ],
)
async def test_trouble_of_a_roles_server_names_its_settings(
    fake: FakeOpenAI, build: Build, behaviour: Behaviour, setting: str
) -> None:
    """While it is asked; VLLM_BASE_URL and its key are another server's."""
    engine = build("watches", names=SettingNames.of("watches"))
    await engine.probe()
    fake.behaviour = behaviour
    _, raised = await partial(engine)
    assert isinstance(raised, EngineError)
    assert setting in raised.message
    assert "VLLM_" not in raised.message


async def test_probe_of_a_closed_port_says_down_or_loading(fake: FakeOpenAI, build: Build) -> None:
    """While vLLM loads, its port refuses connections: both are named."""
    await fake.close()
    engine = build()
    status = await engine.probe()
    assert status.state is EngineState.UNREACHABLE
    assert "still loading" in status.detail
    _, raised = await partial(engine)
    assert isinstance(raised, EngineUnavailable)
    await fake.start()
    assert len((await collect(engine))[0]) == 4


async def test_probe_names_a_host_that_is_not_found(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would know it, and none is used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    status = await build(url="https://model.invalid/v1", limits=PATIENT).probe()
    assert status.state is EngineState.UNREACHABLE
    assert "model.invalid was not found" in status.detail
    assert "no proxies" in status.detail


async def test_a_private_authority_is_trusted_by_its_file(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSL_CERT_FILE names it; without it, or with one that is not there, the certificate is the trouble."""
    issued = Keeper(tmp_path).provide(Identity((), ()), "on test", datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.server)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"data":[{"id":"m"}]}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with server:
        for file in ("", str(tmp_path / "none.pem")):
            monkeypatch.setenv("SSL_CERT_FILE", file)
            bounded_http.trust.cache_clear()
            status = await build(url=url, limits=PATIENT).probe()
            assert status.state is EngineState.UNREACHABLE
            assert "certificate" in status.detail
            assert "SSL_CERT_FILE" in status.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(issued.authority))
        bounded_http.trust.cache_clear()
        status = await build(url=url, limits=PATIENT).probe()
        assert status.state is EngineState.READY, status.detail
    bounded_http.trust.cache_clear()


async def test_no_list_of_models_is_fine_with_a_name(fake: FakeOpenAI, build: Build) -> None:
    """`transformers serve` lists nothing and still answers."""
    fake.behaviour = Behaviour.NO_MODELS
    engine = build(model="fake-vl")
    assert (await engine.probe()).ready
    assert len((await collect(engine))[0]) == 4


async def test_a_server_whose_model_is_known_is_not_asked_for_its_list(
    fake: FakeOpenAI, build: Build
) -> None:
    """Its health alone decides."""
    engine = build("local", model="fake-vl", listed=False)
    before = fake.probes
    assert (await engine.probe()).ready
    assert fake.probes == before
    fake.health = 503
    assert (await engine.probe()).state is EngineState.LOADING


async def test_vllm_without_its_engine_is_not_used(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """It still lists its model, and its health alone tells; others' health may mean anything."""
    fake.health = 503
    assert (await engine.probe()).ready
    fake.card = {"owned_by": "vllm"}
    status = await engine.probe()
    assert status.state is EngineState.UNREACHABLE
    assert "lost the process that runs its model" in status.detail
    # vLLM's router, one of whose servers is down
    fake.others["/readiness"] = {"status": "ready"}
    assert (await engine.probe()).ready
    fake.others.clear()
    for fine in (404, 200):
        fake.health = fine
        assert (await engine.probe()).ready


async def test_a_probe_keeps_what_answers_show_while_it_runs(
    fake: FakeOpenAI, build: Build
) -> None:
    """A refusal's limit and a wrong key stay, though the probe has read the list of models before them."""
    fake.card, fake.most_pictures = {"owned_by": "vllm"}, 2
    engine = build(limits=PATIENT)
    await engine.probe()
    pictures = request(earlier=(EarlierPicture(picture(), ""),) * 2)
    for behaviour, state in (
        (Behaviour.NORMAL, EngineState.READY),
        (Behaviour.UNAUTHORIZED, EngineState.MISCONFIGURED),
    ):
        fake.health_answers.clear()
        fake.health_checks = 0
        probe = asyncio.create_task(engine.probe())
        await until(lambda: fake.health_checks == 1)
        fake.behaviour = behaviour
        with suppress(EngineError):
            await collect(engine, pictures)
        fake.health_answers.set()
        status = await probe
        assert (status.state, status.capabilities.max_pictures) == (state, 2)


async def test_a_list_of_models_that_fails_is_fine_with_a_name_and_good_health(
    fake: FakeOpenAI, engine: OpenAIEngine, build: Build
) -> None:
    """`transformers serve` without a cache answers 500 to it; nameless or ill it is not used."""
    fake.behaviour = Behaviour.NO_LISTING
    nameless = await engine.probe()
    assert nameless.state is EngineState.UNREACHABLE
    assert "MODEL_NAME" in nameless.detail
    named = build(model="fake-vl")
    assert (await named.probe()).ready
    assert len((await collect(named))[0]) == 4
    for ill in (404, 503):
        fake.health = ill
        status = await named.probe()
        assert status.state is EngineState.UNREACHABLE
        assert "500" in status.detail
    fake.health = 200
    assert (await named.probe()).ready


async def test_a_wrong_address_or_model_is_named(fake: FakeOpenAI, build: Build) -> None:
    """A base URL without /v1 answers 404; a model that is not served, with what is."""
    wrong = {"/v1": build(url=fake.base_url[:-3]), "typo": build(model="typo")}
    for word, engine in wrong.items():
        status = await engine.probe()
        assert status.state is EngineState.MISCONFIGURED
        assert word in status.detail
    assert "fake-vl" in status.detail


async def test_the_key_is_sent_and_appears_nowhere_else(
    fake: FakeOpenAI, caplog: pytest.LogCaptureFixture, build: Build
) -> None:
    """Not in repr, status, errors or logs, not even at the lowest level."""
    fake.api_key = KEY
    caplog.set_level(logging.DEBUG)
    engine = build(api_key=SecretStr(KEY))
    assert (await engine.probe()).ready
    await collect(engine, request("canary-question"))
    assert fake.last.headers["authorization"] == f"Bearer {KEY}"
    fake.api_key = "changed"
    _, raised = await partial(engine)
    shown = f"{engine!r} {engine.status!r} {raised!r} {raised} {caplog.text}"
    assert KEY not in shown
    assert "canary-question" not in shown
    assert raised.__cause__ is None
    # The libraries below log addresses and bodies when somebody lets them.
    chatty = ("openai", "httpx2", "httpcore2")
    assert not [record for record in caplog.records if record.name.startswith(chatty)]
    assert engine.status.state is EngineState.MISCONFIGURED


async def test_environment_of_another_account_does_not_travel(
    fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, build: Build
) -> None:
    """Other programs' variables for such servers, and proxies, are not read."""
    monkeypatch.setenv("OPENAI_ORG_ID", "canary-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "canary-project")
    monkeypatch.setenv("OPENAI_API_KEY", "canary-env-key")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    engine = build()
    await collect(engine)
    assert "canary" not in str(fake.last.headers)


async def test_a_redirect_is_not_followed(build: Build) -> None:
    """Pictures go to the configured address and nowhere else."""
    seen: list[str] = []

    def handler(one: httpx2.Request) -> httpx2.Response:
        seen.append(one.url.host)
        return httpx2.Response(307, headers={"location": "http://elsewhere.example/v1/models"})

    engine = build(url="http://here.example/v1", transport=httpx2.MockTransport(handler))
    assert (await engine.probe()).state is EngineState.MISCONFIGURED
    assert set(seen) == {"here.example"}


@pytest.mark.parametrize("url", ["", "127.0.0.1:8001", "ftp://x/v1", "http://"])
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:8001/v1"):
        OpenAIEngine("vllm", Endpoint(url))


async def test_credentials_in_the_address_are_never_shown(fake: FakeOpenAI, build: Build) -> None:
    """User and password of a URL stay out of every sentence."""
    await fake.close()
    engine = build(url=f"http://user:{KEY}@127.0.0.1:{fake.port}/v1")
    status = await engine.probe()
    assert KEY not in f"{engine!r}{status!r}"


async def test_no_control_token_of_any_family_reaches_the_server(
    fake: FakeOpenAI, engine: OpenAIEngine, tmp_path: Path
) -> None:
    """Those of all families go; with the model's folder on this machine those that it names."""
    turns = (Turn("[INST]a</s>", "b<end_of_turn>"),)
    dirty = request("<start_of_turn>What<IMG_CONTEXT> is <image>this<mine>?[img-0]", turns=turns)
    await collect(engine, dirty)
    texts = [text for _, text in fake.last.texts]
    assert texts[1:] == ["a", "b", "What is this<mine>?"]
    special = {"additional_special_tokens": ["<mine>"]}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    fake.card = {"root": str(tmp_path)}
    await engine.probe()
    await collect(engine, dirty)
    assert fake.last.texts[-1][1] == "<start_of_turn>What<IMG_CONTEXT> is <image>this?"


async def test_a_sessions_name_goes_only_where_it_is_meant_to(
    fake: FakeOpenAI, build: Build
) -> None:
    """With each question to a server of VLLM_BASE_URL, and to no other; the id itself never."""
    keys = SessionKeys("s" * 32)
    ours = build(session_key=keys.of)
    other = build("local")
    await collect(ours, request(session_id="one"))
    await collect(ours, request(session_id="one"))
    await collect(ours, request(session_id="two"))
    assert "x-request-id" not in fake.last.headers
    names = [seen.headers["x-session-id"] for seen in fake.requests]
    assert names == [keys.of("one"), keys.of("one"), keys.of("two")]
    await collect(other, request(session_id="one", id="4711"))
    assert not {"x-session-id", "x-request-id"} & fake.last.headers.keys()


# The name of a session at model servers


def test_it_is_the_same_wherever_the_secret_is() -> None:
    """So several processes send a session to the same engine."""
    ours = SessionKeys("s" * 32).of("session")
    assert ours == SessionKeys("s" * 32).of("session")
    assert ours not in (SessionKeys("t" * 32).of("session"), SessionKeys("s" * 32).of("session2"))


def test_it_shows_nothing_of_the_id_nor_of_the_secret() -> None:
    """It is no plain hash, nor one with the secret itself, which signs tokens."""
    secret, session = "s" * 32, "a-session"
    name = SessionKeys(secret).of(session)
    assert re.fullmatch(r"[0-9a-f]{32}", name)
    plain = hashlib.sha256(session.encode()).hexdigest()
    signed = hmac.new(secret.encode(), session.encode(), hashlib.sha256).hexdigest()
    assert not plain.startswith(name)
    assert not signed.startswith(name)


KEYS = SessionKeys("s" * 32)


class Group:
    """A group with three servers, and what it reported."""

    def __init__(self, fakes: list[FakeOpenAI], model: str, limits: TimeLimits) -> None:
        self.fakes = fakes
        self.retried: list[Reason] = []
        self.busy = 0
        self.engine = EngineGroup(
            "vllm",
            [
                OpenAIEngine(
                    "vllm", Endpoint(fake.base_url, model=model), limits=limits, session_key=KEYS.of
                )
                for fake in fakes
            ],
            session_key=KEYS.of,
            on_retry=self.retried.append,
            on_busy=self._busy,
        )

    def _busy(self) -> None:
        self.busy += 1

    async def answer(self, session: str) -> str:
        async with asyncio.timeout(20):
            return "".join((await collect(self.engine, request(session_id=session)))[0])

    def seen(self, session: str) -> list[tuple[FakeOpenAI, Seen]]:
        """The requests of a session, with the server that got them."""
        name = KEYS.of(session)
        return [
            (fake, seen)
            for fake in self.fakes
            for seen in fake.requests
            if seen.headers[SESSION_HEADER.lower()] == name
        ]

    def server_of(self, session: str) -> FakeOpenAI:
        (server,) = {id(fake): fake for fake, _ in self.seen(session)}.values()
        return server


@asynccontextmanager
async def grouped(
    *fakes: FakeOpenAI, model: str = "", limits: TimeLimits = REPEATING
) -> AsyncIterator[Group]:
    """A group of these servers, which run meanwhile."""
    async with AsyncExitStack() as stack:
        one = Group([await stack.enter_async_context(fake) for fake in fakes], model, limits)
        stack.push_async_callback(one.engine.close)
        await one.engine.probe()
        yield one


@pytest.fixture
async def group() -> AsyncIterator[Group]:
    async with grouped(*(FakeOpenAI() for _ in range(3))) as one:
        yield one


SESSIONS = [f"session-{n}" for n in range(30)]


async def test_each_session_keeps_to_one_server_and_all_get_some(group: Group) -> None:
    for _ in range(4):
        await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    counts = Counter(group.server_of(session).port for session in SESSIONS)
    assert len(counts) == 3
    assert min(counts.values()) >= 3
    assert sum(fake.count for fake in group.fakes) == 120


async def test_a_lost_server_is_not_noticed_and_moves_nobody_else(group: Group) -> None:
    """No question without a token fails; the others stay where they were, and it is used again later."""
    for session in SESSIONS:
        await group.answer(session)
    before = {session: group.server_of(session) for session in SESSIONS}
    lost = group.fakes[1]
    await lost.close()
    answers = await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert answers == ["I see a cup."] * len(SESSIONS)
    assert set(group.retried) <= {Reason.REFUSED, Reason.BROKEN}
    for session in SESSIONS:
        servers = [fake for fake, _ in group.seen(session)]
        if before[session] is not lost:
            assert set(map(id, servers)) == {id(before[session])}
    # Its state is known: nobody asks it any more.
    await group.engine.probe()
    repeats = len(group.retried)
    await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert len(group.retried) == repeats
    assert group.engine.status.ready
    assert "2 of 3 model servers answer" in group.engine.status.detail
    assert f"127.0.0.1:{lost.port}" in group.engine.status.detail
    assert group.engine.states() == {EngineState.READY: 2, EngineState.UNREACHABLE: 1}
    await lost.start()
    await group.engine.probe()
    count = lost.count
    await asyncio.gather(*(group.answer(session) for session in SESSIONS))
    assert lost.count - count == sum(fake is lost for fake in before.values())
    assert group.engine.status.detail == ""


async def test_a_failing_server_is_asked_last_for_a_while(group: Group) -> None:
    """One that lists its models and fails at each question costs one repeat in five seconds."""
    bad = group.fakes[0]
    bad.behaviour = Behaviour.INTERNAL
    for session in SESSIONS:
        assert await group.answer(session) == "I see a cup."
    assert bad.count < 5
    assert group.retried == [Reason.FAILED] * bad.count


async def test_a_silent_server_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs and still lists its models fails one question, and not each of its sessions'."""
    hung, limits = FakeOpenAI(), dataclasses.replace(REPEATING, first_token=0.5)
    async with grouped(hung, FakeOpenAI(), limits=limits) as group:
        for session in SESSIONS:
            await group.answer(session)
        mine = [session for session in SESSIONS if group.server_of(session) is hung]
        hung.behaviour = Behaviour.SILENT
        with pytest.raises(EngineTimeout):
            await group.answer(mine[0])
        monkeypatch.setattr("server.models.openai.engine._REST_SECONDS", 0.0)
        asked = hung.count
        for session in mine:
            assert await group.answer(session) == "I see a cup."
        assert hung.count == asked


async def test_a_full_server_sends_the_question_on_and_keeps_its_sessions(group: Group) -> None:
    """Another one has room, so there are not too many questions; when all are full, there are."""
    session = "session-0"
    await group.answer(session)
    own = group.server_of(session)
    own.behaviour = Behaviour.BUSY
    assert await group.answer(session) == "I see a cup."
    assert (group.retried, group.busy) == ([Reason.BUSY], 0)
    own.behaviour = Behaviour.NORMAL
    count = own.count
    await group.answer(session)
    assert own.count == count + 1
    for fake in group.fakes:
        fake.behaviour = Behaviour.BUSY
    with pytest.raises(EngineUnavailable, match="busy"):
        await group.answer(session)
    assert group.busy == 1


async def test_nothing_is_asked_elsewhere_after_the_first_token(group: Group) -> None:
    for fake in group.fakes:
        fake.behaviour = Behaviour.DIES
    with pytest.raises(EngineError, match="mid-answer"):
        await group.answer("session-0")
    assert sum(fake.count for fake in group.fakes) == 1
    assert group.retried == []


async def test_a_closed_answer_is_closed_at_its_server(group: Group) -> None:
    for fake in group.fakes:
        fake.between_tokens = NEVER_SECONDS
    stream = group.engine.answer(request(session_id="s"))
    await anext(stream)
    await stream.aclose()
    _, seen = group.seen("s")[0]
    await asyncio.wait_for(seen.done.wait(), AT_ONCE_SECONDS)
    assert seen.closed_early


async def test_without_any_server_each_is_named(group: Group) -> None:
    for fake in group.fakes:
        await fake.close()
    status = await group.engine.probe()
    assert status.state is EngineState.UNREACHABLE
    assert all(f"127.0.0.1:{fake.port}" in status.detail for fake in group.fakes)
    with pytest.raises(EngineUnavailable):
        await group.answer("session-0")


async def test_a_model_that_only_some_serve_is_named(group: Group) -> None:
    """Most have the one that answers; the others are not asked."""
    group.fakes[0].models = ["other-vl"]
    status = await group.engine.probe()
    assert (status.state, status.model) == (EngineState.READY, "fake-vl")
    assert "other-vl" in status.detail
    assert str(group.fakes[0].port) in status.detail
    for session in SESSIONS:
        await group.answer(session)
    assert group.fakes[0].count == 0


async def test_a_wanted_model_is_asked_for_where_it_is() -> None:
    """MODEL_NAME wins, however few have it."""
    able = FakeOpenAI()
    able.models = ["fake-vl", "other-vl"]
    async with grouped(FakeOpenAI(), FakeOpenAI(), able, model="other-vl") as group:
        status = group.engine.status
        assert (status.model, status.ready) == ("other-vl", True)
        assert "1 of 3" in status.detail
        assert "does not serve other-vl" in status.detail
        await group.answer("s")
        assert able.count == 1


async def test_abilities_are_those_that_all_have(group: Group) -> None:
    group.fakes[0].card = {"owned_by": "vllm", "root": "Qwen/Qwen2.5-VL-7B-Instruct"}
    group.fakes[1].card = dict(group.fakes[0].card)
    group.fakes[1].max_model_len = 4096
    group.fakes[2].card = dict(group.fakes[0].card)
    capabilities = (await group.engine.probe()).capabilities
    assert capabilities.context_length == 4096
    assert (capabilities.json_schema, capabilities.grounding) == (True, True)
    group.fakes[2].card = {}
    capabilities = (await group.engine.probe()).capabilities
    assert (capabilities.json_schema, capabilities.grounding) == (False, False)
    assert capabilities.boxes is None


async def test_answers_at_a_time_are_those_of_all_together(group: Group) -> None:
    """Each llama.cpp says how many it takes; one that does not say leaves it open."""
    for fake, slots in zip(group.fakes, (1, 2, 4), strict=True):
        fake.card, fake.others = {"owned_by": "llamacpp"}, {"/props": {"total_slots": slots}}
        await fake.close()
    await group.engine.probe()
    for fake in group.fakes:
        await fake.start()
    assert (await group.engine.probe()).capabilities.max_concurrency == 7
    for fake in group.fakes[:1]:
        fake.card = {}
        await fake.close()
        await group.engine.probe()
        await fake.start()
    assert (await group.engine.probe()).capabilities.max_concurrency is None


async def test_a_change_of_a_servers_state_is_logged_once(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    """With its address and the reason."""
    lost = group.fakes[0]
    await lost.close()
    with caplog.at_level(logging.INFO, "server.models.openai.engine"):
        await group.engine.probe()
        await group.engine.probe()
        await lost.start()
        await group.engine.probe()
    lines = [(one.levelname, getattr(one, "reason", "")) for one in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert all(str(lost.port) in reason for _, reason in lines)


async def test_other_machines_are_all_named(group: Group) -> None:
    """A visitor confirms them together, whichever of them answers."""
    for number, member in enumerate(group.engine._members.values()):
        other = ["gpu1.example", "", "gpu2.example"][number]
        member._server.status = dataclasses.replace(member.status, elsewhere=other)
    assert group.engine.status.elsewhere == "gpu1.example, gpu2.example"


def test_a_group_needs_different_addresses() -> None:
    one = OpenAIEngine("vllm", Endpoint("http://127.0.0.1:9/v1"))
    with pytest.raises(ValueError, match="another address"):
        EngineGroup("vllm", [one, one], session_key=str)


# Sessions keep to their server, and only those of a lost one move

SERVERS = [f"http://10.0.0.{n}:8001/v1" for n in range(1, 5)]
MANY = [f"{n:032x}" for n in range(2000)]


def test_a_session_has_the_same_order_however_the_servers_are_listed() -> None:
    for session in MANY[:50]:
        assert by_preference(session, SERVERS) == by_preference(session, SERVERS[::-1])
        assert sorted(by_preference(session, SERVERS)) == SERVERS


def test_sessions_spread_evenly() -> None:
    counts = Counter(by_preference(session, SERVERS)[0] for session in MANY)
    assert all(400 < counts[server] < 600 for server in SERVERS)


def test_only_the_sessions_of_a_lost_server_move_and_spread() -> None:
    """They go to their second choice, and come back with the server."""
    lost = SERVERS[1]
    left = [one for one in SERVERS if one != lost]
    moved = Counter[str]()
    for session in MANY:
        before, after = by_preference(session, SERVERS), by_preference(session, left)
        if before[0] == lost:
            assert after[0] == before[1]
            moved[after[0]] += 1
        else:
            assert after[0] == before[0]
    assert all(moved[one] > 100 for one in left)

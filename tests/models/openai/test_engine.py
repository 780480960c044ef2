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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from scripts.local_certificate import CertificateStore, Identity
from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from server.core.frames import Geometry
from server.models.base import Delta, EngineState, Finished, Turn, Usage
from server.models.openai import engine as engine_module
from server.models.openai import http
from server.models.openai.chat_client import Endpoint, SettingNames
from server.models.openai.engine import (
    OpenAIEngine,
    SessionKeys,
)
from server.models.thinking import ThinkingLimits
from tests.models.asking import (
    JPEG,
    PATIENT,
    QUICK,
    Build,
    collect,
    partial,
    request,
)
from tests.support.fakes import until
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.timing import AT_ONCE_SECONDS, at_once

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
    assert seen.body["max_tokens"] == 77 + ThinkingLimits().max_tokens
    assert seen.body["stream_options"] == {"include_usage": True}
    assert "priority" not in seen.body


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
    # It waits for one that loads as long as for a first token.
    engine = build(limits=QUICK if error in (EngineTimeout, EngineLoading) else PATIENT)
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
    assert "does not serve fake-vl. Set MODEL_NAME" in raised.message
    assert "other-vl" in raised.message
    assert engine.status.state is EngineState.READY
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
    monkeypatch.setattr(engine_module, "_PAUSES", (0.01, 0.02))
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
    issued = CertificateStore(tmp_path).provide(Identity((), ()), "on test", datetime.now(UTC))
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
            http.get_tls_context.cache_clear()
            status = await build(url=url, limits=PATIENT).probe()
            assert status.state is EngineState.UNREACHABLE
            assert "certificate" in status.detail
            assert "SSL_CERT_FILE" in status.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(issued.authority))
        http.get_tls_context.cache_clear()
        status = await build(url=url, limits=PATIENT).probe()
        assert status.state is EngineState.READY, status.detail
    http.get_tls_context.cache_clear()


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
    """A wrong key stays, though the probe has read the list of models before it."""
    fake.card = {"owned_by": "vllm"}
    engine = build(limits=PATIENT)
    await engine.probe()
    fake.health_answers.clear()
    fake.health_checks = 0
    probe = asyncio.create_task(engine.probe())
    await until(lambda: fake.health_checks == 1)
    fake.behaviour = Behaviour.UNAUTHORIZED
    with suppress(EngineError):
        await collect(engine)
    fake.health_answers.set()
    assert (await probe).state is EngineState.MISCONFIGURED


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
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """In the question and in the turns."""
    turns = (Turn("[INST]a</s>", "b<end_of_turn>"),)
    dirty = request("<start_of_turn>What<IMG_CONTEXT> is <image>this<mine>?[img-0]", turns=turns)
    await collect(engine, dirty)
    texts = [text for _, text in fake.last.texts]
    assert texts[1:] == ["a", "b", "What is this<mine>?"]


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

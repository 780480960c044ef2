"""`/ws`: who gets in and how, each close code, what is bounded in sending, what reconnects keep."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from server.auth import TokenIssuer, derive_signing_key, new_session_id
from server.core.aio import make_async
from server.core.errors import RateLimited
from server.core.messages import ClientMessage
from server.session.session import SOCKETS_PER_MINUTE, Session
from server.web import websocket
from tests.support.clients import How, http, metric, open_page, page_of, soon, take_token
from tests.support.running import Running, running
from tests.support.timing import AT_ONCE_SECONDS
from tests.web.conftest import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")


def expired(session_id: str) -> str:
    return TokenIssuer(SECRET, 10).issue(session_id, now=1_000_000).token


@pytest.mark.parametrize("how", ["subprotocol", "header", "query", "message"])
async def test_four_ways_to_bring_the_token(run: Running, how: How) -> None:
    """The token works as a subprotocol, a header, a query parameter and the first message."""
    page = await open_page(run, how=how)
    ready = await page.next()
    assert ready["type"] == "ready"
    assert page.socket.subprotocol == ("qwen-camera" if how == "subprotocol" else None)
    await page.close()


async def test_only_our_subprotocol_is_echoed(run: Running) -> None:
    """Whatever else is offered, the answer names qwen-camera alone, and never the token."""
    issued = await take_token(run)
    offered = ["graphql-ws", f"bearer.{issued['token']}", "qwen-camera"]
    page = await open_page(run, issued["token"], issued["session_id"], protocols=offered)
    await page.next("ready")
    assert page.socket.subprotocol == "qwen-camera"
    assert page.socket.response is not None
    assert page.socket.response.headers["Sec-WebSocket-Protocol"] == "qwen-camera"
    await page.close()


async def test_ready_comes_first_and_tells_what_the_page_needs(run: Running) -> None:
    """Session, engine, model, capabilities and limits; `sender` and the states follow."""
    page = await open_page(run)
    ready = await page.next()
    assert ready["type"] == "ready"
    assert ready["session_id"] == page.session_id
    assert (ready["engine"], ready["model"], ready["engine_state"]) == ("vllm", "fake-vl", "ready")
    assert ready["capabilities"]["images"] is True
    assert ready["limits"] == {
        "question_chars": 4000,
        "message_bytes": 65536,
        "max_tokens": 128,
        "context_length": 8192,
        "visual_tokens": 512,
        "visual_tokens_high": 1280,
        "session_timeout": 3600,
    }
    assert ready["features"]["recall"] == {"seconds": 300, "bytes": 2_000_000}
    others = {(await page.next())["type"] for _ in range(3)}
    assert others == {"sender", "status", "listening"}
    await page.close()


# 4401


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        *product(["subprotocol"], ["garbage", "foreign", "expired", "other_session", "too_long"]),
        *product(["query", "message"], ["garbage", "other_session"]),
    ],
)
async def test_a_token_that_is_not_good_is_4401(run: Running, how: How, fault: str) -> None:
    """No way in with a token that is none, of another server, expired, or of another session."""
    session_id = new_session_id()
    tokens = {
        "garbage": "none-at-all",
        "foreign": TokenIssuer("y" + SECRET[1:], 60).issue(session_id).token,
        "expired": expired(session_id),
        "other_session": run.program.access.tokens.issue(new_session_id()).token,
        "too_long": "a" * 5000,
    }
    sessions = len(run.program.sessions)
    page = await open_page(run, tokens[fault], session_id, how=how)
    assert (await page.closed())[0] == 4401
    assert not page.seen
    assert len(run.program.sessions) == sessions


@pytest.mark.parametrize(
    "first", ['{"type":"ping"}', '{"type":"chat","content":"hello"}', "no json", '{"type":"auth"}']
)
async def test_another_first_message_is_4401(run: Running, first: str) -> None:
    """Without a token in the request, the first message has to carry it."""
    page = await open_page(run, session_id=new_session_id(), how="none")
    await page.socket.send(first)
    assert (await page.closed())[0] == 4401
    assert not page.seen


async def test_no_token_in_time_is_4401(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that says nothing is closed after five seconds (shortened here)."""
    assert websocket.AUTH_SECONDS == 5.0
    monkeypatch.setattr(websocket, "AUTH_SECONDS", 0.1)
    before = metric(run, "auth_failures_total", reason="missing")
    page = await open_page(run, session_id=new_session_id(), how="none")
    assert (await page.closed(1.0))[0] == 4401
    assert metric(run, "auth_failures_total", reason="missing") == before + 1


async def test_sockets_without_a_token_are_so_many(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more closes the one that has waited longest; the others may still bring their token."""
    monkeypatch.setattr(websocket, "MAX_UNAUTHENTICATED", 2)
    monkeypatch.setattr(websocket, "AUTH_SECONDS", 30.0)
    issued = await take_token(run)
    first = await open_page(run, session_id=new_session_id(), how="none")
    waiting = [await open_page(run, session_id=issued["session_id"], how="none") for _ in range(2)]
    assert (await first.closed())[0] == 4401
    await waiting[0].send(type="auth", token=issued["token"])
    await waiting[0].next("ready")
    for page in waiting:
        await page.close()


async def test_a_wait_that_is_just_ending_is_not_ended_again(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer is served, and a drain goes on, in the moment when the oldest wait for a token ends."""
    monkeypatch.setattr(websocket, "MAX_UNAUTHENTICATED", 1)
    monkeypatch.setattr(websocket, "AUTH_SECONDS", 0.3)
    sent: list[Message] = []
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
        "path": "/ws/one",
    }
    newcomer = WebSocket(scope, receive, send)
    for act in (
        lambda: run.program.sockets.serve(newcomer, "one"),
        make_async(run.program.sockets.close_unauthenticated),
    ):
        page = await open_page(run, session_id=new_session_id(), how="none")
        # The loop then runs its timer and this task, before the task whose time is over.
        time.sleep(websocket.AUTH_SECONDS)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await act()
        assert (await page.closed())[0] == 4401
    assert [message["type"] for message in sent] == ["websocket.accept"]


async def test_an_empty_bearer_is_4401(run: Running) -> None:
    """An empty token in the subprotocol is no token."""
    page = await open_page(
        run, session_id=new_session_id(), how="none", protocols=["qwen-camera", "bearer."]
    )
    await page.socket.send(json.dumps({"type": "auth", "token": ""}))
    assert (await page.closed())[0] == 4401


# 4403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1"])
async def test_a_foreign_origin_is_4403(run: Running, origin: str) -> None:
    """Another site's page is refused even with a good token."""
    page = await open_page(run, origin=origin)
    assert (await page.closed())[0] == 4403
    assert not page.seen


async def test_the_own_origin_gets_in(run: Running) -> None:
    """The page that the server itself served may open the socket."""
    page = await open_page(run, origin=run.base_url)
    await page.next("ready")
    await page.close()


@pytest.mark.slow
async def test_tls_that_a_proxy_ends_counts() -> None:
    """Behind a trusted proxy that says https, a plain page of the same host is another origin."""
    async with running(trusted_proxies="127.0.0.1") as run:
        for proto, code in (("http", None), ("https", 4403)):
            headers = {"X-Forwarded-Proto": proto}
            page = await open_page(run, origin=run.base_url, headers=headers)
            if code is None:
                await page.next("ready")
                await page.close()
            else:
                assert (await page.closed())[0] == code


# 4404, 4408, 4409


async def test_an_ended_session_is_4404(run: Running) -> None:
    """The open socket is closed with 4404 when its session ends, and so is a later one."""
    page = await open_page(run)
    await page.next("ready")
    await run.program.sessions.end(page.session_id, "over")
    assert (await page.closed())[0] == 4404
    for _ in range(2 * SOCKETS_PER_MINUTE):
        page = await open_page(run, page.token, page.session_id)
        assert (await page.closed())[0] == 4404


async def test_a_newer_socket_replaces_with_4409(run: Running) -> None:
    """The older socket is closed with 4409; the newer one works and stays."""
    old = await open_page(run)
    await old.next("ready")
    async with page_of(run, old.token, old.session_id) as new:
        assert (await old.closed())[0] == 4409
        await new.ponged()
        assert run.program.sessions.find(old.session_id).outbox._reader is not None


async def test_a_socket_that_comes_late_is_4409(run: Running) -> None:
    """One that its page gave up takes no place of a newer one, nor of those a minute."""
    new = await open_page(run, attempt="12")
    await new.next("ready")
    for number in range(1, 11):
        late = await open_page(run, new.token, new.session_id, attempt=str(number))
        assert (await late.closed())[0] == 4409
    await new.ponged()
    async with page_of(run, new.token, new.session_id):
        assert (await new.closed())[0] == 4409


async def test_an_attempt_that_is_none_is_1008(run: Running) -> None:
    """A number out of bounds is refused, not taken for nothing."""
    page = await open_page(run, attempt="0")
    assert (await page.closed())[0] == 1008


# 4429


async def test_eight_sockets_a_minute(run: Running) -> None:
    """A session's eighth socket gets in, the ninth is closed with 4429; others are untouched."""
    issued = await take_token(run)
    for _ in range(8):
        async with page_of(run, issued["token"], issued["session_id"]):
            pass
    page = await open_page(run, issued["token"], issued["session_id"])
    assert (await page.closed())[0] == 4429
    async with page_of(run):
        pass


async def test_too_many_messages(run: Running) -> None:
    """Past the burst each message gets rate_limited; going on costs the socket, with 4429."""
    async with page_of(run) as page:
        for _ in range(websocket.MESSAGE_BURST):
            await page.send(type="ping")
        for _ in range(websocket.MESSAGE_BURST):
            await page.next("pong")
        assert not [m for m in page.seen if m["type"] == "error"]
        for _ in range(websocket.MAX_REFUSED * 2):
            await page.send(type="ping")
        assert (await page.closed())[0] == 4429
        errors = [m for m in page.seen if m["type"] == "error"]
        assert {m["code"] for m in errors} == {"rate_limited"}
        assert errors[0]["retryable"] is True
        assert errors[0]["retry_after"] == 1
        assert 0 < len(errors) <= websocket.MAX_REFUSED


async def test_expensive_messages_slow_their_sender_alone(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty that arrive together and hold the loop for 20 ms each: another visitor's pings are answered between."""
    handle, handled = Session.handle, 0
    async with page_of(run) as sender, page_of(run) as other:

        def expensive(session: Session, message: ClientMessage) -> None:
            nonlocal handled
            if session.id == sender.session_id:
                handled += 1
                time.sleep(0.02)
            handle(session, message)

        monkeypatch.setattr(Session, "handle", expensive)
        await asyncio.gather(*(sender.send(type="ping") for _ in range(50)))
        await soon(lambda: handled > 0)
        for _ in range(10):
            await other.ponged()
        assert handled <= 10


# Sizes


@pytest.mark.parametrize("wide", [False, True])
async def test_64_kib_a_message(run: Running, wide: bool) -> None:
    """Exactly 64 KiB is read; one byte more closes with 1009. Bytes count, not characters."""
    async with page_of(run) as page:
        text = json.dumps({"type": "ping", "pad": ""})
        room = 65536 - len(text)
        pad = "é" * (room // 2) + "x" * (room % 2) if wide else "x" * room
        whole = text.replace('""', f'"{pad}"')
        assert len(whole.encode()) == 65536
        await page.socket.send(whole)
        await page.next("pong")
        await page.socket.send(whole + " ")
        assert (await page.closed())[0] == 1009


async def test_too_large_before_the_token(run: Running) -> None:
    """Nobody may send more than 64 KiB, token or not."""
    page = await open_page(run, session_id=new_session_id(), how="none")
    await page.socket.send("x" * 65537)
    assert (await page.closed())[0] == 1009


async def test_4000_characters_a_question(run: Running) -> None:
    """4,000 characters are a question (without a camera here); 4,001 are too_long, no more."""
    async with page_of(run) as page:
        error = await page.ask("ß" * 4000, id="a")
        assert (error["type"], error["code"]) == ("error", "no_camera")
        await page.send(type="chat", content="ß" * 4001, id="b")
        error = await page.next("error")
        assert error["code"] == "too_long"
        assert error["retryable"] is False
        assert "4001" in error["message"]
        assert "4000" in error["message"]
        await page.ponged()


async def test_binary_messages_are_1003(run: Running) -> None:
    """Only text is spoken here."""
    async with page_of(run) as page:
        await page.socket.send(b"\x00\x01")
        assert (await page.closed())[0] == 1003


# Malformed


async def test_an_error_each_and_the_socket_stays(run: Running) -> None:
    """Unknown types and wrong fields have an error each. What else is refused: core/test_messages.py."""
    async with page_of(run) as page:
        for raw, code in (
            ("{", "bad_request"),
            ('{"type":"upload"}', "unknown_type"),
            ('{"type":"chat","content":"  "}', "bad_request"),
            ('{"type":"settings","sample_rate":31}', "bad_request"),
            ('{"type":"settings","describe":"perhaps"}', "bad_request"),
            ("[" * 10_000, "bad_request"),
        ):
            await page.socket.send(raw)
            error = await page.next()
            while error["type"] in ("sender", "status", "watches", "listening", "push"):
                error = await page.next()
            assert (error["type"], error["code"]) == ("error", code), raw
            assert error["retryable"] is False
        assert not [m for m in await page.ponged() if m["type"] == "error"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
_TYPES = st.sampled_from(
    ["chat", "cancel", "hold", "release", "settings", "typing", "auth", "", "watch"]
)
_FIELDS = st.sampled_from(
    [
        *("content", "id", "sent_at", "detail", "describe", "prompt", "sample_rate"),
        *("max_tokens", "language", "page_language", "thumbnails", "token"),
    ]
)
_HOSTILE = st.one_of(
    st.builds(
        lambda kind, fields: json.dumps({"type": kind, **fields}),
        _TYPES,
        st.dictionaries(_FIELDS, _VALUES, max_size=4),
    ),
    _VALUES.map(json.dumps),
    st.text(max_size=40),
)


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(raws=st.lists(_HOSTILE, min_size=10, max_size=25))
async def test_nothing_malformed_ends_the_socket(run: Running, raws: list[str]) -> None:
    """Whatever text comes: the socket stays, and no error is `internal` or repeats what was sent."""
    async with page_of(run) as page:
        for raw in raws:
            await page.socket.send(raw)
        came = await page.ponged()
        errors = [m for m in came if m["type"] == "error"]
        assert {m["code"] for m in errors} <= {
            *("bad_request", "unknown_type", "too_long", "no_camera")
        }
        assert len(errors) <= len(raws)


# Endings


async def test_a_client_that_leaves_is_noticed(run: Running) -> None:
    """Closed or broken off, the socket is gone from the count, and the session stays."""
    # Those of the tests before
    await soon(lambda: run.program.sessions.sockets == 0)
    page = await open_page(run)
    await page.next("ready")
    assert run.program.sessions.sockets == 1
    page.socket.transport.abort()
    await soon(lambda: run.program.sessions.sockets == 0)
    run.program.sessions.find(page.session_id)


async def test_a_client_that_reads_too_slowly(run: Running) -> None:
    """The messages that wait for a client are bounded; past that its socket is closed with 4429."""
    async with page_of(run) as page:
        session = run.program.sessions.find(page.session_id)
        error = RateLimited("x" * 60_000)
        for _ in range(6):
            session.send_error(error)
        assert (await page.closed())[0] == 4429


async def test_messages_without_a_socket_wait_for_the_next(run: Running) -> None:
    """The next socket gets a message that was sent while none was open."""
    async with page_of(run) as page:
        session = run.program.sessions.find(page.session_id)
    await soon(lambda: session.outbox._reader is None)
    session.send_error(RateLimited("told later"))
    page = await open_page(run, page.token, page.session_id)
    assert (await page.next())["type"] == "ready"
    assert (await page.next("error"))["message"] == "told later"
    await page.close()


async def test_no_socket_elsewhere(run: Running) -> None:
    """There is one address for sockets; an upload address takes none either."""
    for path in ("/", "/ws", "/upload", "/api/upload"):
        with pytest.raises(Exception, match="HTTP 403"):
            await connect(run.ws_url + path, proxy=None)
    async with http(run) as client:
        assert (await client.get("/ws/anything")).status_code == 404


# Servers of their own


@pytest.mark.slow
async def test_idle_sessions_end_with_4408(run: Running) -> None:
    """SESSION_TIMEOUT without a message ends the session, its socket with 4408; then it is 4404."""
    async with running(session_timeout=2, jwt_secret_key=SECRET) as short:
        # Its token would expire together with it.
        session_id = new_session_id()
        key = derive_signing_key(SECRET, "session tokens", "")
        token = TokenIssuer(key, 60).issue(session_id).token
        page = await open_page(short, token, session_id)
        await page.next("ready")
        loop = asyncio.get_running_loop()
        start = loop.time()
        last = start
        for _ in range(4):
            await asyncio.sleep(0.4)
            last = loop.time()
            await page.send(type="typing")
        # That the connection lives says nothing of anybody being there.
        await page.ponged()
        assert (await page.closed(AT_ONCE_SECONDS))[0] == 4408
        assert loop.time() - last > 1.9
        assert loop.time() - start > 3.4
        assert len(short.program.sessions) == 0
        page = await open_page(short, token, session_id)
        assert (await page.closed())[0] == 4404


async def test_full_and_draining() -> None:
    """One too many gets 4429, those inside stay; draining closes with 1013 and lets none in."""
    async with running(max_sessions=2, drain_seconds=1) as small:
        one, two, three = [await take_token(small) for _ in range(3)]
        async with (
            page_of(small, one["token"], one["session_id"]) as first,
            page_of(small, two["token"], two["session_id"]),
        ):
            page = await open_page(small, three["token"], three["session_id"])
            assert (await page.closed())[0] == 4429
            await first.ponged()
            await small.program.sessions.end(two["session_id"], "over")
            async with page_of(small, three["token"], three["session_id"]) as third:
                waiting = await open_page(small, session_id=new_session_id(), how="none")
                drained = asyncio.create_task(small.program.drain())
                assert (await first.closed())[0] == 1013
                assert (await third.closed())[0] == 1013
                assert (await waiting.closed())[0] == 1013
                await drained
                late = await open_page(small, one["token"], one["session_id"])
                assert (await late.closed())[0] == 1013


async def test_listed_origins_only() -> None:
    """With ALLOWED_ORIGINS the listed one gets in, and the server's own no longer does."""
    async with running(allowed_origins="https://cam.example.org") as listed:
        page = await open_page(listed, origin="https://cam.example.org")
        await page.next("ready")
        await page.close()
        page = await open_page(listed, origin=listed.base_url)
        assert (await page.closed())[0] == 4403

"""The wrappers around the application."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from server.web import middleware
from server.web.middleware import _UPLOAD, MAX_BODY_BYTES
from tests.support.fakes_app import (
    CANARY,
    assert_error,
    client_of,
    counted,
    make_app,
    raw_call,
    scope_of,
)


def piece(body: bytes = b"x", *, more: bool = True) -> Message:
    """A part of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_bug_leaves_a_line_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the exception's type and place, not what it says; nothing is raised on."""
    async with client_of(make_app()) as client:
        await client.get("/raise/bug")
    assert [record.getMessage() for record in caplog.records] == ["request failed"]
    assert caplog.records[0].__dict__["error"] == "RuntimeError"
    assert caplog.records[0].__dict__["at"].startswith("fail:")
    assert CANARY not in caplog.text


async def test_a_bug_in_mid_answer_cuts_it() -> None:
    """Half an answer is never finished as if it were whole."""
    app = make_app()
    sent = await raw_call(app, scope_of("GET", "/half"), [])
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["more_body"] is True
    assert counted(app, "internal") == 1


@pytest.mark.parametrize("name", ["ours", "early", "accepted"])
async def test_a_bug_in_a_socket_closes_it(name: str) -> None:
    """A socket whose handler dies is closed with 1011 and no text."""
    app = make_app()
    scope = {**scope_of("GET", f"/socket/{name}"), "type": "websocket", "subprotocols": []}
    sent = await raw_call(app, scope, [{"type": "websocket.connect"}])
    assert sent[-1] == {"type": "websocket.close", "code": 1011, "reason": ""}
    assert counted(app, "internal") == 1


async def test_an_announced_length_is_refused_unread() -> None:
    """Nothing is received of a body that says it is too long, or that says no number."""
    for length in (str(MAX_BODY_BYTES + 1), "9" * 19, "-1", "1e3", "many"):
        messages = [piece()]
        sent = await raw_call(make_app(), scope_of("POST", "/raw", content_length=length), messages)
        assert sent[0]["status"] == 413
        assert len(messages) == 1


async def test_the_body_limit_by_counting() -> None:
    """A streamed body is read to the limit and refused at the first byte over it, lying or not."""
    half = b"x" * (MAX_BODY_BYTES // 2)
    for headers in ({}, {"content_length": "10"}):
        messages = [piece(half) for _ in range(6)]
        sent = await raw_call(make_app(), scope_of("POST", "/raw", **headers), messages)
        assert [sent[0]["status"], len(messages)] == [413, 3]
    messages = [piece(half), piece(half, more=False)]
    sent = await raw_call(make_app(), scope_of("POST", "/raw"), messages)
    assert sent[0]["status"] == 200


async def test_a_client_that_leaves_is_let_go() -> None:
    """After a disconnect in mid-body the application is not called and nothing is answered."""
    messages = [piece(), {"type": "http.disconnect"}]
    assert await raw_call(make_app(), scope_of("POST", "/raw"), messages) == []


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that announces a body and stays silent is answered when its time is up."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.01)
    async with asyncio.timeout(5):
        await make_app()(scope_of("POST", "/raw", content_length="5"), receive, send)
    assert sent[0]["status"] == 400
    assert b"incomplete after 0.01 seconds" in sent[1]["body"]


UPLOADS = [
    *("/upload", "/upload/", "/upload/a/b.jpg", "/uploads", "/UPLOAD", "/Upload/x"),
    *("/api/upload", "/api/uploads", "/api/upload_image", "/api/upload/7", "/API/Upload"),
]


@pytest.mark.parametrize("path", UPLOADS)
async def test_uploads_are_refused(path: str) -> None:
    """The answer says that only live camera streams are accepted."""
    app = make_app()
    messages = [piece()]
    sent = await raw_call(app, scope_of("POST", path), messages)
    assert sent[0]["status"] == 403
    assert b"only live camera streams are accepted" in sent[1]["body"]
    assert b'"upload_refused"' in sent[1]["body"]
    assert len(messages) == 1
    assert counted(app, "upload_refused") == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_uploads_are_refused_by_any_method(method: str) -> None:
    """No method gets through, a preflight from an allowed origin neither."""
    app = make_app(allowed_origins=["http://a"])
    headers = {"origin": "http://a", "access-control-request-method": "POST"}
    async with client_of(app) as client:
        response = await client.request(method, "/upload", headers=headers)
    assert response.status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/uploader", "/load", "/api/token", "/x/upload", "/apiupload"]
)
def test_other_paths_are_left_alone(path: str) -> None:
    """Names that merely resemble an upload are not refused as one."""
    assert _UPLOAD.match(path) is None


async def test_a_second_content_type_does_not_hide_multipart() -> None:
    """Each of several Content-Type headers is looked at."""
    scope = scope_of("POST", "/raw", content_type="application/json")
    scope["headers"].append((b"content-type", b"multipart/form-data"))
    sent = await raw_call(make_app(), scope, [{"type": "http.request", "body": b""}])
    assert sent[0]["status"] == 415


async def test_security_headers() -> None:
    """Every answer has them; HSTS goes out with https only; answers under /api/ are not stored."""
    framed = make_app(frame_ancestors=("https://ha.example", "https://b.example:8443"))
    async with client_of(framed) as client:
        policy = (await client.get("/fine")).headers["content-security-policy"]
    assert policy.endswith("; frame-ancestors https://ha.example https://b.example:8443")
    async with client_of(make_app()) as client:
        headers = (await client.get("/fine")).headers
        api = (await client.post("/api/json", json={"sdp": "x"})).headers
    assert headers["content-security-policy"] == (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self';"
        " object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["permissions-policy"].startswith(
        "camera=(self), microphone=(self), display-capture=(self), "
    )
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in headers
    assert "cache-control" not in headers
    assert api["cache-control"] == "no-store"
    async with client_of(make_app(https=True)) as client:
        assert (
            (await client.get("/fine")).headers["strict-transport-security"].startswith("max-age=")
        )


async def test_cross_origin_answers_for_the_list_only() -> None:
    """A listed origin may read answers and ask before; others get no such header or preflight."""
    async with client_of(make_app(allowed_origins=["https://page.example"])) as client:
        for path, status in (("/fine", 200), ("/nowhere", 404)):
            good = await client.get(path, headers={"origin": "https://page.example"})
            assert good.status_code == status
            assert good.headers["access-control-allow-origin"] == "https://page.example"
            assert "Origin" in good.headers["vary"]
            assert "access-control-allow-credentials" not in good.headers
        wanted = "authorization,mcp-protocol-version,x-stainless-os,last-event-id"
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": wanted,
        }
        preflight = await client.options(
            "/at/some-session/mcp", headers={"origin": "https://page.example", **asked}
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-headers"] == wanted
        assert "WWW-Authenticate" in good.headers["access-control-expose-headers"]
        for origin in ("https://evil.example", "null", ""):
            bad = await client.options("/api/json", headers={"origin": origin, **asked})
            assert bad.status_code == 400
            assert "access-control-allow-origin" not in bad.headers


async def test_without_a_list_nothing_is_shared() -> None:
    """No ALLOWED_ORIGINS, no cross-origin header at all."""
    async with client_of(make_app()) as client:
        headers = (await client.get("/fine", headers={"origin": "http://cam"})).headers
    assert not [name for name in headers if name.startswith("access-control")]


# The one body that every error has.


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "retryable"),
    [
        ("GET", "/raise/gone", 404, "not_found", False),
        ("GET", "/raise/token", 401, "unauthorized", False),
        ("GET", "/raise/slow", 429, "rate_limited", True),
        ("GET", "/raise/busy", 503, "busy", True),
        ("GET", "/raise/refused", 503, "engine_refused", False),
        ("GET", "/raise/bug", 500, "internal", False),
        ("GET", "/raise/group", 500, "internal", False),
        ("GET", f"/{CANARY}", 404, "not_found", False),
        ("DELETE", "/fine", 405, "method_not_allowed", False),
        (CANARY.upper(), "/fine", 405, "method_not_allowed", False),
    ],
)
async def test_every_error_has_the_one_body(
    method: str, path: str, status: int, code: str, retryable: bool
) -> None:
    """Ours, the framework's and bugs look alike, are counted once, and repeat nothing."""
    app = make_app()
    async with client_of(app) as client:
        response = await client.request(method, path)
    assert_error(response, status, code, retryable=retryable)
    assert counted(app, code) == 1


async def test_statuses_have_their_headers() -> None:
    """Retry-After is whole seconds and never too early; 401 names the scheme, 405 the methods."""
    async with client_of(make_app()) as client:
        assert (await client.get("/raise/slow")).headers["retry-after"] == "2"
        assert (await client.get("/raise/busy")).headers["retry-after"] == "1"
        assert "retry-after" not in (await client.get("/raise/refused")).headers
        assert (await client.get("/raise/token")).headers["www-authenticate"] == "Bearer"
        assert (await client.delete("/fine")).headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{" + CANARY.encode(), "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", '"body" in the body: Field required'),
        (b"[]", "Input should be a valid dictionary"),
        (b"{}", '"sdp" in the body: Field required'),
        (b'{"sdp":7}', '"sdp" in the body: Input should be a valid string'),
        (b'{"sdp":"canary-7f3a"}', "at most 5 characters"),
        (b'{"sdp":"x","type":"canary-7f3a"}', "\"type\" in the body: Input should be 'offer'"),
        (b'{"sdp":"x","canary-7f3a":1}', "the expected fields"),
        (b'{"sdp":"x","canary":1}', "the expected fields"),
        (b'{"sdp":"no"}', "the expected fields"),
        (b'{"sdp":"x","names":{"canary-7f3a":"x"}}', "the expected fields"),
        (b'{"sdp":' + b"[" * 60_000, ""),
    ],
)
async def test_a_malformed_body_is_400_and_not_repeated(body: bytes, says: str) -> None:
    """The error names our fields and repeats nothing of the body."""
    async with client_of(make_app()) as client:
        response = await client.post(
            "/api/json", content=body, headers={"content-type": "application/json"}
        )
    assert_error(response, 400, "bad_request", retryable=False)
    assert says in response.json()["detail"]
    assert "canary" not in response.text

"""WHIP: publishing with one request, trickling, restarting ICE and ending, as RFC 9725 has it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder
from tests.media.test_webrtc_server import CANDIDATES, CHROMIUM, lines, only, without
from tests.support.clients import bearer, http, more_frames, soon, take_token
from tests.support.fakes_app import assert_error
from tests.support.fakes_rtc import camera_peer
from tests.support.running import Running, running
from tests.support.whip_client import ENDPOINT, WhipCamera, offer, whip_camera

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAGMENT = "application/trickle-ice-sdpfrag"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with running(rate_limit_per_minute=0) as run:
        yield run


@pytest_asyncio.fixture(loop_scope="module")
async def camera(run: Running, encoder: LiveEncoder) -> AsyncIterator[WhipCamera]:
    async with whip_camera(run, encoder) as camera:
        yield camera


async def frames(camera: WhipCamera, count: int = 1) -> None:
    """So many more frames have arrived at the session."""
    await more_frames(camera.run.program.sessions.find(camera.session_id).camera, count)


async def test_publishing_and_ending(camera: WhipCamera) -> None:
    """201 with the answer, the session's address and tag; DELETE ends the camera, not the session."""
    reply = await camera.publish()
    assert reply.headers["content-type"] == "application/sdp"
    assert reply.headers["accept-patch"] == FRAGMENT
    assert reply.headers["cache-control"] == "no-store"
    # OBS puts it in place of its own address's path.
    path, _, query = reply.headers["location"].partition("?")
    assert path.startswith(f"{ENDPOINT}/")
    assert query == f"session={camera.session_id}"
    assert re.fullmatch(r'"[^"]+"', camera.etag)
    assert lines(reply.text, "a=setup:") == ["a=setup:passive"]
    assert "a=recvonly" in reply.text
    await frames(camera, 3)
    page = await camera.page()
    ended = await camera.client.delete(camera.location, headers=camera.bearer)
    assert (ended.status_code, ended.content) == (200, b"")
    await page.camera("ended", timeout=15)
    again = await camera.client.delete(camera.location, headers=camera.bearer)
    assert_error(again, 404, "not_found", retryable=False)
    await page.close()


async def test_trickled_candidates(camera: WhipCamera) -> None:
    """204 for candidates under the entity tag that was given; they are what connects."""
    made = await camera.peer.offer()
    # Nobody knows where the peer is, and it does not check by itself before it has heard the
    # answer.
    reply = await camera.offer(without(made, *CANDIDATES))
    found = "\r\n".join(["a=mid:0", *lines(made, "a=candidate:"), ""])
    fragment = "\r\n".join(
        [*lines(made, "a=ice-ufrag:")[:1], "m=video 9 UDP/TLS/RTP/SAVPF 0", found]
    )
    answered = await camera.patch(fragment, If_Match=camera.etag)
    assert (answered.status_code, answered.content) == (204, b"")
    connection = camera.run.program.webrtc.get(camera.session_id)
    assert connection.candidates == len(lines(made, "a=candidate:"))
    await camera.peer.accept(reply.text)
    await frames(camera)
    # Late, duplicate, of an unknown section, over TCP, and the end of them: none does harm.
    extra = (
        "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:nobody\r\n"
        "a=candidate:1 1 udp 2122260223 192.0.2.7 50001 typ host\r\n"
        "a=candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active\r\n"
        "a=candidate:9 1 udp 2122260223 2001:db8::7 50001 typ host\r\na=end-of-candidates\r\n"
    )
    assert (await camera.patch(fragment + extra, If_Match=camera.etag)).status_code == 204
    await frames(camera, 2)


async def test_preconditions(camera: WhipCamera) -> None:
    """Without If-Match 428, with another tag or another user name 412; the media goes on."""
    await camera.publish()
    fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    assert_error(await camera.patch(fragment), 428, "precondition_required", retryable=False)
    reply = await camera.patch(fragment, If_Match='"other"')
    assert_error(reply, 412, "precondition_failed", retryable=False)
    reply = await camera.patch(fragment, If_Match=camera.etag)
    assert_error(reply, 412, "precondition_failed", retryable=False)
    await frames(camera, 2)


async def test_an_ice_restart_keeps_the_media(camera: WhipCamera) -> None:
    """If-Match: * with new credentials: 200 with ours and a new tag; frames go on; the old tag is over."""
    await camera.publish()
    await frames(camera, 2)
    connection = camera.run.program.webrtc.get(camera.session_id)
    transport = connection._receiver.transport
    for _ in range(2):
        before, tag = transport.transport._connection, camera.etag
        assert (await camera.restart_ice()).headers["content-type"] == FRAGMENT
        assert camera.etag != tag
        await soon(lambda: transport.transport._send == transport.transport._connection.send)
        assert transport.transport._connection is not before
        await soon(lambda before=before: before._closed)  # type: ignore[misc]
        await frames(camera, 5)
        stale = await camera.patch("a=end-of-candidates\r\n", If_Match=tag)
        assert_error(stale, 412, "precondition_failed", retryable=False)
        assert (
            await camera.patch("a=end-of-candidates\r\n", If_Match=camera.etag)
        ).status_code == 204
    assert transport.state == "connected"


async def test_a_restart_needs_new_credentials_and_a_connection(camera: WhipCamera) -> None:
    """400 without a password, 409 before a connection; the old credentials again are a trickle."""
    made = await camera.peer.offer()
    reply = await camera.offer(made)
    refused = await camera.patch("a=ice-ufrag:abcd\r\n", If_Match="*")
    assert_error(refused, 400, "bad_request", retryable=False)
    early = await camera.patch(
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", If_Match='"*"'
    )
    assert_error(early, 409, "conflict", retryable=False)
    same = "\r\n".join([*lines(made, "a=ice-ufrag:")[:1], *lines(made, "a=ice-pwd:")[:1], ""])
    assert (await camera.patch(same, If_Match="*")).status_code == 204
    await camera.peer.accept(reply.text)
    await frames(camera)


async def test_a_newer_offer_takes_the_place(camera: WhipCamera, encoder: LiveEncoder) -> None:
    """One camera a session: the older one's address is gone, and its end takes nothing along."""
    await camera.publish()
    await frames(camera)
    first = camera.location
    async with camera_peer(encoder) as second:
        first_peer, camera.peer = camera.peer, second
        await camera.publish()
        await frames(camera, 2)
        old = await camera.client.delete(first, headers=camera.bearer)
        assert_error(old, 404, "not_found", retryable=False)
        await first_peer.close()
        await frames(camera, 2)
        assert len(camera.run.program.webrtc) == 1


async def test_who_may_publish(run: Running) -> None:
    """A session's token alone, in the header alone; not a page of another origin."""
    one, other = await take_token(run), await take_token(run)
    async with http(run) as client:
        reply = await client.post(
            ENDPOINT, content=CHROMIUM, headers={"Content-Type": "application/sdp"}
        )
        assert_error(reply, 401, "unauthorized", retryable=False)
        reply = await offer(client, f"{one['token'][:-4]}abcd", CHROMIUM)
        assert_error(reply, 401, "unauthorized", retryable=False)
        foreign = "https://elsewhere.example"
        reply = await offer(client, one["token"], CHROMIUM, Origin=foreign)
        assert_error(reply, 403, "forbidden", retryable=False)
        reply = await offer(client, one["token"], CHROMIUM)
        location = reply.url.join(reply.headers["location"])
        # Another session's token opens nothing of this one.
        for method in ("PATCH", "DELETE"):
            headers = bearer(other["token"]) | {"Content-Type": FRAGMENT, "If-Match": "*"}
            reply = await client.request(method, location, headers=headers)
            assert_error(reply, 404, "not_found", retryable=False)
        reply = await client.delete(location)
        assert_error(reply, 401, "unauthorized", retryable=False)
        ended = await client.delete(location, headers=bearer(one["token"]))
        assert ended.status_code == 200


@pytest.mark.parametrize(
    ("sdp", "kind", "status", "code"),
    [
        (CHROMIUM, "application/json", 415, "unsupported_media_type"),
        (CHROMIUM, "", 415, "unsupported_media_type"),
        (b"\xff\xfe", "application/sdp", 400, "bad_request"),
        ("hello", "application/sdp", 422, "unusable_offer"),
        (CHROMIUM.replace("sendonly", "recvonly"), "application/sdp", 422, "unusable_offer"),
        (only("AV1"), "application/sdp", 422, "unusable_offer"),
        (only("H265"), "application/sdp", 422, "unusable_offer"),
        ("v=0\r\n" + "x" * 65536, "application/sdp; charset=utf-8", 413, "too_large"),
        ("v=0\r\n" + "x" * 200_000, "application/sdp", 413, "too_large"),
    ],
)
async def test_refused_offers(
    run: Running, sdp: str | bytes, kind: str, status: int, code: str
) -> None:
    """The same rules and sentences as for the page's offers; no session is left behind."""
    issued = await take_token(run)
    before = len(run.program.sessions)
    headers = bearer(issued["token"]) | ({"Content-Type": kind} if kind else {})
    async with http(run) as client:
        reply = await client.post(ENDPOINT, content=sdp, headers=headers)
    assert_error(reply, status, code, retryable=False)
    if sdp in (only("AV1"), only("H265")):
        assert re.search(r"only (AV1|H265)\..*: H264, VP8\.", reply.json()["detail"])
    assert len(run.program.sessions) == before


@pytest.mark.parametrize(
    ("path", "taken"), [(ENDPOINT, {"POST"}), (f"{ENDPOINT}/x", {"PATCH", "DELETE"})]
)
async def test_other_methods(run: Running, path: str, taken: set[str]) -> None:
    """405 with what is allowed for what RFC 9725 keeps for later; OPTIONS tells what is accepted."""
    async with http(run) as client:
        for method in {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"} - taken:
            reply = await client.request(method, path)
            assert reply.status_code == 405, method
            assert set(reply.headers["allow"].split(", ")) == {*taken, "OPTIONS"}
            if method != "HEAD":
                assert_error(reply, 405, "method_not_allowed", retryable=False)
        reply = await client.options(path)
        assert reply.status_code == 204
        accepts = reply.headers.get("accept-post"), reply.headers.get("accept-patch")
        assert accepts == (("application/sdp", None) if "POST" in taken else (None, FRAGMENT))


async def test_a_page_of_a_listed_origin_may_publish() -> None:
    """CORS lets it send If-Match and read where the session is."""
    origin = "https://studio.example"
    async with (
        running(rate_limit_per_minute=0, allowed_origins=origin) as run,
        http(run) as client,
    ):
        asked = {
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "If-Match",
        }
        reply = await client.options(ENDPOINT, headers={"Origin": origin, **asked})
        assert reply.headers["access-control-allow-origin"] == origin
        assert "If-Match" in reply.headers["access-control-allow-headers"]
        issued = await take_token(run)
        reply = await offer(client, issued["token"], CHROMIUM, Origin=origin)
        assert reply.status_code == 201
        exposed = set(reply.headers["access-control-expose-headers"].split(", "))
        assert {"Location", "ETag", "Link"} <= exposed


async def test_ice_servers_come_with_the_answer() -> None:
    """STUN and TURN as Link headers, with credentials that end by themselves."""
    settings = {
        "stun_urls": "stun:stun.example:3478",
        "turn_urls": "turn:turn.example:3478?transport=udp,turns:turn.example:443?transport=tcp",
        "turn_secret": "a-secret-of-the-relay",
    }
    async with running(rate_limit_per_minute=0, **settings) as run, http(run) as client:
        issued = await take_token(run)
        reply = await offer(client, issued["token"], CHROMIUM)
    links = reply.headers.get_list("link")
    assert links[0] == '<stun:stun.example:3478>; rel="ice-server"'
    assert len(links) == 3
    for link in links[1:]:
        assert link.startswith(("<turn:", "<turns:"))
        assert 'rel="ice-server"; username="' in link
        assert link.endswith('credential-type="password"')
    assert "a-secret-of-the-relay" not in str(reply.headers)


async def test_publishing_is_limited_per_address() -> None:
    """Tokens, offers of pages and WHIP share one allowance."""
    async with running(rate_limit_per_minute=2) as run, http(run) as client:
        issued = await take_token(run)
        assert (await offer(client, issued["token"], CHROMIUM)).status_code == 201
        reply = await offer(client, issued["token"], CHROMIUM)
        assert_error(reply, 429, "rate_limited", retryable=True)

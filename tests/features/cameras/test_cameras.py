"""Several cameras of one session: invited, joined by WHIP with true peers, asked together and one by one, lost, ended."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.features.cameras import cameras
from server.features.cameras.cameras import get_cameras, read_token
from server.features.cameras.routes import make_qr_rows
from server.features.watches.watching import Watching
from server.media import camera as camera_module
from server.webrtc_server import PeerConnection
from tests.features.rooms import with_features
from tests.media.test_webrtc_server import CHROMIUM
from tests.session.test_session_manager import Socket, manager
from tests.support.clients import Page, Visitor, bearer, http, open_page, soon, take_token, visitor
from tests.support.fakes_app import assert_error
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import Peer, camera_peer, live_encoder
from tests.support.running import Running, running
from tests.support.whip_client import WhipCamera, offer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may hold a camera up."""
    monkeypatch.setattr(camera_module, "FRAME_WAIT_SECONDS", 5.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(model: FakeOpenAI) -> AsyncIterator[Running]:
    async with running(
        engine="vllm", vllm_base_url=model.base_url, rate_limit_per_minute=0, drain_seconds=1
    ) as run:
        yield run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_encoder() -> AsyncIterator[LiveEncoder]:
    """A camera of another size, so that its pictures are distinguished."""
    encoder = LiveEncoder(Scene(480, 480), rate=10)
    yield encoder
    await encoder.close()


@pytest_asyncio.fixture(loop_scope="module")
async def guest(run: Running, encoder: LiveEncoder, model: FakeOpenAI) -> AsyncIterator[Visitor]:
    """Somebody with a camera of their own."""
    model.requests.clear()
    model.most_pictures = None
    async with visitor(run, encoder) as one:
        yield one


class Further(WhipCamera):
    """A further camera: its invitation, and the peer that publishes with it."""

    def __init__(self, run: Running, client: httpx.AsyncClient, peer: Peer, invited: Any) -> None:
        super().__init__(run, client, peer, {"session_id": "", **invited})
        self.id: str = invited["camera"]
        self.code: str = invited["code"]

    async def refused(self, status: int = 401, code: str = "unauthorized") -> None:
        """An offer with its token is."""
        reply = await offer(self.client, self.token, CHROMIUM)
        assert_error(reply, status, code, retryable=False)


def as_page(guest: Visitor) -> dict[str, str]:
    return bearer(guest.token)


async def invite(guest: Visitor, client: httpx.AsyncClient, **body: Any) -> Any:
    reply = await client.post("/api/cameras", json=body, headers=as_page(guest))
    assert reply.status_code == 200, reply.text
    return reply.json()


@asynccontextmanager
async def further(
    guest: Visitor, encoder: LiveEncoder, name: str = "", *, live: bool = True
) -> AsyncIterator[Further]:
    """A further camera of this session; `live`: its pictures come."""
    async with http(guest.run) as client, camera_peer(encoder) as peer:
        one = Further(guest.run, client, peer, await invite(guest, client, name=name))
        if live:
            await one.publish()
            await listed(guest.page, one.id, "live")
        yield one


async def listed(page: Page, id: str, state: str | None) -> Any:
    """Wait until a camera is listed in this state; None: invited."""
    while True:
        message = await page.next("cameras", timeout=15)
        found = {one["id"]: one for one in message["cameras"]}
        if id in found and found[id].get("state") == state:
            return found[id]


async def test_two_cameras_are_asked_together(
    guest: Visitor, model: FakeOpenAI, other_encoder: LiveEncoder
) -> None:
    """One request has both pictures, each behind its name, and the answer tells whose is which."""
    async with further(guest, other_encoder, "Back door"):
        await guest.page.send(type="settings", cameras=["1", "2"], thumbnails=True)
        answer = await guest.page.ask("Is the door in both pictures closed?", timeout=20)
        assert answer["type"] == "response", answer
        asked = model.last
        assert len(asked.jpegs) == 2
        texts = [text for _, text in asked.texts]
        assert texts[-3] == "Camera Camera 1:"
        assert texts[-2].endswith("\nCamera Back door:")
        assert texts[-1] == "Is the door in both pictures closed?"
        frame, (other,) = answer["frame"], answer["others"]
        assert (frame["camera"], frame["camera_name"]) == ("2", "Back door")
        assert (frame["source_width"], frame["source_height"]) == (480, 480)
        assert (other["camera"], other["camera_name"]) == ("1", "Camera 1")
        assert (other["source_width"], other["source_height"]) == (640, 360)
        for one in (frame, other):
            assert one["age_ms"] < 5000
            assert one["thumbnail"].startswith("data:image/jpeg")
        # Each is there as it was sent.
        async with http(guest.run) as client:
            for one, jpeg in zip((other, frame), asked.jpegs, strict=True):
                shown = await client.get(f"/api/pictures/{one['picture']}", headers=as_page(guest))
                assert shown.content == jpeg


async def test_a_lost_camera_is_said_and_may_come_back(
    guest: Visitor, model: FakeOpenAI, other_encoder: LiveEncoder
) -> None:
    """A question about it names it; nothing is answered without its picture."""
    async with further(guest, other_encoder, "Back door") as camera:
        await guest.page.send(type="settings", cameras=["1", "2"])
        reply = await camera.client.delete(camera.location, headers=camera.bearer)
        assert reply.status_code == 200
        await listed(guest.page, "2", "ended")
        before = model.count
        error = await guest.page.ask("Are both closed?", timeout=20)
        assert (error["type"], error["code"]) == ("error", "camera_lost")
        assert "Back door" in error["message"]
        assert model.count == before
        async with camera_peer(other_encoder) as again:
            camera.peer = again
            await camera.publish()
            await listed(guest.page, "2", "live")
            assert (await guest.page.ask("And now?", timeout=20))["type"] == "response"


async def test_stills_of_it_come_with_its_id(guest: Visitor, other_encoder: LiveEncoder) -> None:
    async with further(guest, other_encoder):
        still = await guest.page.next("still", timeout=15)
        assert (still["camera"], still["width"]) == ("2", 480)
        assert still["image"].startswith("data:image/jpeg")


async def test_a_link_is_good_once(guest: Visitor) -> None:
    """It is changed for a token, and the token that was shown beside it ends."""
    async with http(guest.run) as client:
        invited = await invite(guest, client, name="Phone")
        reply = await client.post("/api/cameras/join", json={"code": invited["code"]})
        joined = reply.json()
        assert (reply.status_code, joined["camera"], joined["name"]) == (200, "2", "Phone")
        again = await client.post("/api/cameras/join", json={"code": invited["code"]})
        assert_error(again, 401, "unauthorized", retryable=False)

        async def publish(token: str) -> httpx.Response:
            headers = bearer(token) | SDP
            return await client.post(joined["address"], content=CHROMIUM, headers=headers)

        assert_error(await publish(invited["token"]), 401, "unauthorized", retryable=False)
        assert_error(await publish(invited["code"]), 401, "unauthorized", retryable=False)
        assert (await publish(joined["token"])).status_code == 201


async def test_whoever_uses_the_code_closes_the_tokens_way(
    guest: Visitor, other_encoder: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offer with the token that is on its way meanwhile is refused."""
    begun, go = asyncio.Event(), asyncio.Event()
    answer = PeerConnection.answer

    async def slow(self: PeerConnection, pool: Any) -> str:
        begun.set()
        await go.wait()
        return await answer(self, pool)

    monkeypatch.setattr(PeerConnection, "answer", slow)
    async with further(guest, other_encoder, live=False) as camera:
        late = asyncio.create_task(camera.refused(404, "not_found"))
        await begun.wait()
        code = {"code": camera.code}
        assert (await camera.client.post("/api/cameras/join", json=code)).status_code == 200
        go.set()
        await late


async def test_its_token_opens_nothing_else(guest: Visitor) -> None:
    """Neither the session's socket nor a token, a picture, its own camera, or the list of cameras."""
    async with http(guest.run) as client:
        invited = await invite(guest, client)
        own = bearer(invited["token"])
        for method, path, body in (
            ("POST", "/api/token", {}),
            ("POST", "/api/webrtc/offer", {"type": "offer", "sdp": CHROMIUM}),
            ("PATCH", "/api/webrtc/offer", {"candidates": []}),
            ("DELETE", "/api/webrtc/offer", {}),
            ("GET", "/api/pictures/x", {}),
            ("POST", "/api/cameras", {"name": "x"}),
            ("PATCH", "/api/cameras/2", {"name": "x"}),
            ("DELETE", "/api/cameras/2", {}),
            ("DELETE", "/api/cameras/1", {}),
        ):
            reply = await client.request(method, path, json=body, headers=own)
            assert_error(reply, 401, "unauthorized", retryable=False)
        page = await open_page(guest.run, invited["token"], guest.session_id)
        assert (await page.closed())[0] == 4401
        with pytest.raises(ConnectionClosed):
            await page.socket.send("{}")
    assert guest.run.program.sessions.find(guest.session_id).camera.offered


async def test_an_ended_camera_is_gone_and_its_token_with_it(
    guest: Visitor, other_encoder: LiveEncoder
) -> None:
    """One tap: the connection closes, the token is over, and questions go to the own camera."""
    async with further(guest, other_encoder) as camera:
        await guest.page.send(type="settings", cameras=["2"])
        connections = len(guest.run.program.webrtc)
        reply = await camera.client.delete("/api/cameras/2", headers=as_page(guest))
        assert reply.json() == {"ended": True}
        await soon(lambda: len(guest.run.program.webrtc) == connections - 1)
        await camera.refused()
        answer = await guest.page.ask("What is this?", timeout=20)
        assert answer["frame"]["source_width"] == 640
        again = await camera.client.delete("/api/cameras/2", headers=as_page(guest))
        assert_error(again, 404, "not_found", retryable=False)


async def test_cameras_end_with_the_session(guest: Visitor, other_encoder: LiveEncoder) -> None:
    async with further(guest, other_encoder) as camera:
        await guest.run.program.sessions.end(guest.session_id, "test over")
        await soon(lambda: len(guest.run.program.webrtc) == 0)
        await camera.refused()


async def test_cameras_end_when_no_page_is_there(
    guest: Visitor, other_encoder: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees what they send; a page that comes back in time keeps them."""
    session = guest.run.program.sessions.find(guest.session_id)
    async with further(guest, other_encoder):
        await guest.reconnect()
        assert len(get_cameras(session).cameras) == 1
        monkeypatch.setattr(cameras, "UNWATCHED_SECONDS", 0.2)
        await guest.page.close()
        await soon(lambda: len(get_cameras(session).cameras) == 0)


async def test_four_cameras_at_most(guest: Visitor) -> None:
    async with http(guest.run) as client:
        ids = [(await invite(guest, client))["camera"] for _ in range(3)]
        assert ids == ["2", "3", "4"]
        reply = await client.post("/api/cameras", json={}, headers=as_page(guest))
        assert_error(reply, 409, "conflict", retryable=False)
        await client.delete("/api/cameras/3", headers=as_page(guest))
        assert (await invite(guest, client))["camera"] == "3"


async def test_names(guest: Visitor, other_encoder: LiveEncoder) -> None:
    """They are changed on the page, the own camera's too, and are different; a device gives none."""
    async with further(guest, other_encoder, "Door", live=False) as camera:

        async def name(id: str, text: str) -> httpx.Response:
            body = {"name": text}
            return await camera.client.patch(
                f"/api/cameras/{id}", json=body, headers=as_page(guest)
            )

        assert (await name("2", "Garden\n gate")).json() == {"renamed": True}
        assert (await name("1", "Desk")).status_code == 200
        await guest.page.next("cameras", timeout=5)
        while (list_ := await guest.page.next("cameras"))["cameras"][0]["name"] != "Desk":
            pass
        assert [one["name"] for one in list_["cameras"]] == ["Desk", "Garden gate"]
        assert_error(await name("2", "desk"), 400, "bad_request", retryable=False)
        assert_error(await name("2", "x" * 41), 400, "bad_request", retryable=False)
        assert_error(await name("9", "x"), 404, "not_found", retryable=False)
        # A page that comes back hears of them.
        page = await guest.reconnect()
        assert len((await page.next("cameras"))["cameras"]) == 2


async def test_the_simple_mode_tells_each_camera_by_name(other_encoder: LiveEncoder) -> None:
    """It looks at one after the other; alone each is asked as usual."""
    async with (
        running(rate_limit_per_minute=0) as run,
        live_encoder() as encoder,
        visitor(run, encoder) as guest,
        further(guest, other_encoder, "Door"),
    ):
        await guest.page.send(type="settings", cameras=["1", "2"])
        answer = await guest.page.ask("Is it bright?", timeout=20)
        assert re.search(r"^(Camera 1: .*\nDoor|Camera 1, Door): The picture is ", answer["text"])
        assert [one["camera_name"] for one in answer["others"]] == ["Camera 1"]
        await guest.page.send(type="settings", cameras=["2"])
        answer = await guest.page.ask("What do you see?", timeout=20)
        assert answer["frame"]["camera_name"] == "Door"
        # It draws moving blocks; that is known a while after the camera was chosen.
        deadline = time.monotonic() + 15
        moves = first = "This is the first picture"
        while moves.startswith(first):
            assert time.monotonic() < deadline, moves
            moves = (await guest.page.ask("Is anything moving?", timeout=20))["text"]
        assert moves == "Something moves."


async def test_each_camera_counts_among_the_sessions(encoder: LiveEncoder) -> None:
    """MAX_SESSIONS bounds both together, and nobody makes room for a further camera."""
    async with (
        running(rate_limit_per_minute=0, max_sessions=2) as run,
        visitor(run, encoder) as guest,
        http(run) as client,
    ):
        assert (await invite(guest, client))["camera"] == "2"
        reply = await client.post("/api/cameras", json={}, headers=as_page(guest))
        assert_error(reply, 503, "busy", retryable=True)
        reply = await offer(client, (await take_token(run))["token"], CHROMIUM)
        assert_error(reply, 503, "busy", retryable=True)


async def test_wrong_codes_are_limited() -> None:
    """They count against the address like other wrong codes; malformed ones are one of them."""
    async with running(rate_limit_per_minute=0) as run, http(run) as client:
        replies = [
            await client.post("/api/cameras/join", json={"code": f"s~{number:022d}"})
            for number in range(21)
        ]
        assert {reply.status_code for reply in replies[:20]} == {401}
        assert_error(replies[20], 429, "rate_limited", retryable=True)
    async with running(rate_limit_per_minute=0) as run, http(run) as client:
        for code in ("", "x", "~", "a" * 100):
            reply = await client.post("/api/cameras/join", json={"code": code})
            assert_error(reply, 401, "unauthorized", retryable=False)


async def test_pages_of_other_origins_get_nothing(guest: Visitor) -> None:
    foreign = {"Origin": "https://elsewhere.example"}
    async with http(guest.run) as client:
        for method, path in (
            ("POST", "/api/cameras"),
            ("POST", "/api/cameras/join"),
            ("PATCH", "/api/cameras/2"),
            ("DELETE", "/api/cameras/2"),
        ):
            body = {"name": "x", "code": "x"}
            reply = await client.request(method, path, json=body, headers=as_page(guest) | foreign)
            assert_error(reply, 403, "forbidden", retryable=False)


async def test_the_link_and_its_code_for_a_phone(guest: Visitor) -> None:
    """The code stands in the fragment, so that it is in no request; only a page's own origin gets a link."""
    async with http(guest.run) as client:
        origin = {"Origin": guest.run.base_url}
        reply = await client.post("/api/cameras", json={}, headers=as_page(guest) | origin)
        invited = reply.json()
        path, _, code = invited["link"].partition("#")
        assert (path, code) == (
            f"{guest.run.base_url}/client/features/cameras/join/camera.html",
            invited["code"],
        )
        assert invited["qr"] == make_qr_rows(invited["link"])
        assert {len(row) for row in invited["qr"]} == {len(invited["qr"])}
        assert set("".join(invited["qr"])) == {"0", "1"}


async def test_a_phone_is_the_own_camera(
    guest: Visitor, model: FakeOpenAI, other_encoder: LiveEncoder
) -> None:
    """It joins by the code as camera 1, takes no place among the sessions, and is asked; the page's
    own camera takes the place back, and its token is over.
    """
    sessions = guest.run.program.sessions
    before = sessions.capacity.occupied
    async with http(guest.run) as client, camera_peer(other_encoder) as peer:
        invited = await invite(guest, client, own=True)
        reply = await client.post("/api/cameras/join", json={"code": invited["code"]})
        joined = reply.json()
        assert (reply.status_code, joined["camera"], joined["name"]) == (200, "1", "Camera 1")
        phone = Further(guest.run, client, peer, invited)
        # The token that was shown beside the code
        await phone.refused()
        phone.token = joined["token"]
        await phone.publish()
        live = sessions.find(guest.session_id).camera
        await soon(lambda: live.newest is not None and live.newest.width == 480)
        assert sessions.capacity.occupied == before
        answer = await guest.page.ask("What is this?", timeout=20)
        assert (answer["frame"]["source_width"], answer["frame"].get("camera")) == (480, None)
        await guest.camera.connect()
        await soon(lambda: live.newest is not None and live.newest.width == 640)
        await phone.refused()
        # The wish to end the phone comes late: what sends now is not meant.
        reply = await client.delete("/api/cameras/1", headers=as_page(guest))
        assert reply.json() == {"ended": True}
        last = live.newest
        await soon(lambda: live.newest is not last)
        assert live.offered


async def test_the_own_cameras_invitation_ends(
    guest: Visitor, other_encoder: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next one, by the page's wish, which ends what sends, too, and when no page is there."""
    live = guest.run.program.sessions.find(guest.session_id).camera
    async with http(guest.run) as client, camera_peer(other_encoder) as peer:
        first = Further(guest.run, client, peer, await invite(guest, client, own=True))
        phone = Further(guest.run, client, peer, await invite(guest, client, own=True))
        await first.refused()
        await phone.publish()
        await soon(lambda: live.newest is not None and live.newest.width == 480)
        reply = await client.delete("/api/cameras/1", headers=as_page(guest))
        assert reply.json() == {"ended": True}
        await soon(lambda: not live.offered)
        await phone.refused()
        phone = Further(guest.run, client, peer, await invite(guest, client, own=True))
        monkeypatch.setattr(cameras, "UNWATCHED_SECONDS", 0.2)
        await guest.page.close()
        session = guest.run.program.sessions.find(guest.session_id)
        kept = read_token(phone.token)
        assert kept is not None
        await soon(lambda: get_cameras(session).admit(kept) is None)


@pytest.mark.parametrize("away_seconds", [3600.0, 0.5, 0.0])
async def test_the_own_camera_goes_on_while_it_is_watched(
    guest: Visitor,
    other_encoder: LiveEncoder,
    monkeypatch: pytest.MonkeyPatch,
    away_seconds: float,
) -> None:
    """Without a page, until WATCH_AWAY_SECONDS have passed; a page that comes back finds both."""
    monkeypatch.setattr(cameras, "UNWATCHED_SECONDS", 0.2)
    monkeypatch.setattr(Watching, "away_seconds", away_seconds)
    session = guest.run.program.sessions.find(guest.session_id)
    async with (
        further(guest, other_encoder, live=False),
        http(guest.run) as client,
        camera_peer(other_encoder) as peer,
    ):
        phone = Further(guest.run, client, peer, await invite(guest, client, own=True))
        await phone.publish()
        await soon(lambda: session.camera.newest is not None and session.camera.newest.width == 480)
        await guest.page.send(type="watch", id="w", condition="a person comes")
        await guest.page.next("watches", timeout=10)
        token = read_token(phone.token)
        assert token is not None
        await guest.page.close()
        # Nobody watches the further one.
        await soon(lambda: len(get_cameras(session).cameras) == 0)
        if away_seconds < 60:
            await soon(lambda: get_cameras(session).admit(token) is None)
            await soon(lambda: not session.camera.offered)
            return
        last = session.camera.newest
        await soon(lambda: session.camera.newest is not last)
        assert get_cameras(session).admit(token) is not None
        page = await guest.reconnect(close=False)
        assert [one["id"] for one in (await page.next("watches"))["watches"]] == ["w"]
        # Without a watch it ends as any other.
        await page.send(type="unwatch", id="w")
        await soon(lambda: session.away_seconds == 0)
        await page.close()
        await soon(lambda: get_cameras(session).admit(token) is None)


async def test_what_shows_nothing_holds_no_place() -> None:
    """Neither an invitation of a further camera nor a connection without a picture makes a session look used."""
    async with manager(with_features(), max_sessions=3) as (sessions, ended):
        silent = sessions.open("silent")
        sessions.attach(silent, Socket())
        silent.camera._dark_since -= 181
        get_cameras(silent).invite("")
        silent.camera.open_connection().stream_ended()
        sessions.open("other")
        sessions.open("new")
        assert "silent" not in sessions
        await soon(lambda: ended == ["silent"])

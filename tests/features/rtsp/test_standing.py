"""Fixed cameras over true and scripted servers: live, cut, refused, asked, watched."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from scripts.local_certificate import make_authority, make_leaf, to_pem
from server.features.rtsp import reader as reconnect
from server.shared.services import ListedCameras
from tests.features.rtsp.scripted import (
    CAMERAS,
    Script,
    answer,
    begun,
    flat_jpeg,
    house,
    is_red,
    jpeg_camera,
    red_jpeg,
    scripted,
)
from tests.peers.processes import RTSP, PeerProcess, no_rtsp, peer_process
from tests.support.clients import bearer, metric, open_page, soon
from tests.support.timing import NEVER_SECONDS
from tests.web.test_routes import make_offer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

true_server = pytest.mark.skipif(bool(no_rtsp()), reason=no_rtsp())

PASSWORD = "pass-word-of-the-door"
RED, BLUE = "0xffff0000", "0xff0000ff"


@asynccontextmanager
async def rtsp(
    codec: str = "h264",
    picture: Path | str = RED,
    login: str = "",
    method: str = "digest",
    port: int = 0,
    certificate: Path | str = "",
) -> AsyncIterator[tuple[PeerProcess, int]]:
    async with peer_process(
        *RTSP, str(port), codec, str(picture), login, method, str(certificate)
    ) as peer:
        yield peer, int(await peer.says("port"))


async def state(client: httpx.AsyncClient, name: str = "door") -> dict[str, Any]:
    reply = await client.get(CAMERAS)
    assert reply.status_code == 200, reply.text
    (one,) = (one for one in reply.json()["cameras"] if one["name"] == name)
    return dict(one)


async def until(
    client: httpx.AsyncClient, seconds: float = 60, name: str = "door", **wanted: Any
) -> dict[str, Any]:
    """Wait until a camera's facts are these."""
    facts: dict[str, Any] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        facts = await state(client, name)
        if all(facts[key] == value for key, value in wanted.items()):
            return facts
        await asyncio.sleep(0.05)
    pytest.fail(f"it is {facts}, not {wanted}")


async def ask(client: httpx.AsyncClient, question: str) -> dict[str, Any]:
    reply = await client.post(f"{CAMERAS}/door/ask", json={"content": question})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@true_server
@pytest.mark.parametrize("codec", ["h264", "h265"])
async def test_it_is_live_seen_and_asked(codec: str, tmp_path: Path) -> None:
    """Over a true RTSP server, with a password by Digest; nothing is decoded between questions."""
    async with rtsp(codec, RED, f"viewer:{PASSWORD}") as (_, port):
        lines = f'url = "rtsp://127.0.0.1:{port}/view"\nuser = "viewer"\npassword = "{PASSWORD}"'
        async with house(tmp_path, door=lines) as (run, client):
            facts = await until(client, state="live")
            assert facts["codec"] == codec.upper()
            assert (facts["width"], facts["height"]) == (320, 240)
            assert facts["where"] == f"rtsp://127.0.0.1:{port}"
            picture = await client.get(f"{CAMERAS}/door/picture")
            assert picture.headers["content-type"] == "image/jpeg"
            assert picture.headers["cache-control"] == "no-store"
            reply = await ask(client, "What color is it?")
            assert reply["type"] == "response"
            assert "red" in reply["text"].lower()
            # When nobody needs pictures, frames come and none is decoded.
            (one,) = run.program.added.provided[ListedCameras]._ones.values()
            await soon(lambda: one.reader._rate == 0, 30)
            await asyncio.sleep(0.6)
            before = one.reader.facts.decoded
            dropped = one.reader.facts.dropped
            await soon(lambda: one.reader.facts.dropped > dropped, 30)
            assert one.reader.facts.decoded == before
            assert (await state(client))["state"] == "live"
            assert one.session.camera.state() == "live"
            # And a question afterwards is about the present.
            reply = await ask(client, "What color is it?")
            assert reply["type"] == "response", reply
            assert reply["frame"]["age_ms"] < 3000


@true_server
async def test_cuts_are_mended(tmp_path: Path) -> None:
    """A cut connection, and a server that is away for a while: it comes back by itself."""
    async with rtsp() as (peer, port):
        lines = f'url = "rtsp://127.0.0.1:{port}/view"'
        async with house(tmp_path, door=lines) as (run, client):
            await until(client, state="live")
            peer.tell("cut")
            await until(client, failures=1)
            facts = await until(client, state="live")
            assert facts["trouble"] == ""
            await peer.end()
            facts = await until(client, state="waiting", trouble="unreachable")
            assert facts["detail"].startswith("No response from its address")
            assert 0 <= facts["retry_seconds"] <= 60
            reply = await ask(client, "What color is it?")
            assert (reply["type"], reply["code"]) == ("error", "no_camera")
            assert "No response from its address" in reply["message"]
            async with rtsp(picture=BLUE, port=port):
                await client.post(f"{CAMERAS}/door/retry")
                await until(client, state="live")
                reply = await ask(client, "What color is it?")
                assert "blue" in reply["text"].lower()
            assert metric(run, "standing_failures_total", reason="unreachable") >= 1


@true_server
@pytest.mark.parametrize("method", ["digest", "basic"])
async def test_a_wrong_password_is_said_and_kept_secret(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In words for the operator; the password is in no log line, state or metric."""
    caplog.set_level(logging.DEBUG)
    async with rtsp(login="viewer:right-one", method=method) as (_, port):
        lines = f'url = "rtsp://127.0.0.1:{port}/view?key={PASSWORD}"\nuser = "viewer"\npassword = "{PASSWORD}"'
        async with house(tmp_path, door=lines) as (run, client):
            wanted = "credentials" if method == "digest" else "clear_password"
            facts = await until(client, state="waiting", trouble=wanted)
            assert facts["retry_seconds"] >= 25
            assert "password" in facts["detail"]
            shown = json.dumps(facts) + run.program.metrics.render().decode() + caplog.text
            assert PASSWORD not in shown
            assert "viewer" not in shown


@true_server
async def test_a_password_goes_in_clear_text_only_where_it_may(tmp_path: Path) -> None:
    async with rtsp(login=f"viewer:{PASSWORD}", method="basic") as (_, port):
        lines = f'url = "rtsp://127.0.0.1:{port}/view"\nuser = "viewer"\npassword = "{PASSWORD}"\nclear_password = true'
        async with house(tmp_path, door=lines) as (_, client):
            await until(client, state="live")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority and a certificate of its own, and another authority that made neither."""
    folder: Path = tmp_path_factory.mktemp("authority")
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    key, made = make_authority(names, "camera", now)
    (folder / "authority.pem").write_bytes(to_pem(None, made))
    (folder / "camera.pem").write_bytes(to_pem(*make_leaf(key, made, names, now)))
    (folder / "other.pem").write_bytes(to_pem(None, make_authority(names, "other", now)[1]))
    return folder


@true_server
async def test_an_encrypted_camera(tmp_path: Path, authority: Path) -> None:
    """Over a true RTSPS server, whose password may go unhashed, since nobody reads along."""
    login = f"viewer:{PASSWORD}"
    async with rtsp(login=login, method="basic", certificate=authority / "camera.pem") as (_, port):
        lines = (
            f'url = "rtsps://127.0.0.1:{port}/view"\nuser = "viewer"\npassword = "{PASSWORD}"\n'
            f'ca = "{authority / "authority.pem"}"'
        )
        async with house(tmp_path, door=lines) as (_, client):
            await until(client, state="live")
            assert "red" in (await ask(client, "What color is it?"))["text"].lower()


@true_server
@pytest.mark.parametrize("wrong", ["another authority", "the system's", "another name"])
async def test_a_wrong_certificate_is_refused(
    wrong: str, tmp_path: Path, authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator sees it; nothing is sent, and the password is in no log line or state."""
    caplog.set_level(logging.DEBUG)
    host = "localhost" if wrong == "another name" else "127.0.0.1"
    known = {"another authority": "other.pem", "another name": "authority.pem"}.get(wrong, "")
    ca = f'\nca = "{authority / known}"' if known else ""
    login = f"viewer:{PASSWORD}"
    async with rtsp(login=login, certificate=authority / "camera.pem") as (_, port):
        lines = f'url = "rtsps://{host}:{port}/view"\nuser = "viewer"\npassword = "{PASSWORD}"{ca}'
        async with house(tmp_path, door=lines) as (run, client):
            facts = await until(client, state="waiting", trouble="certificate")
            assert facts["detail"].startswith("Its certificate is not trusted")
            assert facts["codec"] == ""
            shown = json.dumps(facts) + run.program.metrics.render().decode() + caplog.text
            assert PASSWORD not in shown
            assert "viewer" not in shown


async def test_it_watches_and_opens_its_session(tmp_path: Path) -> None:
    """The engine looks for a watch of the list, though nobody is there; the state names what it
    cannot watch for. A socket with the camera's token hears of the watches, and may ask.
    """
    async with jpeg_camera(red_jpeg) as port:
        lines = f'url = "http://127.0.0.1:{port}/"\nwatches = ["you see red", "a parcel lies at the door"]'
        async with house(tmp_path, door=lines) as (run, client):
            facts = await until(client, state="live")
            assert facts["watches"] == 1
            (waits,) = facts["unwatched"]
            assert waits["condition"] == "a parcel lies at the door"
            await soon(lambda: metric(run, "queue_wait_seconds_count", kind="watch") >= 1, 60)
            issued = (await client.post(f"{CAMERAS}/door/token")).json()
            page = await open_page(run, issued["token"], issued["session_id"])
            await page.next("ready", timeout=30)
            (watch,) = (await page.next("watches", timeout=30))["watches"]
            assert (watch["id"], watch["condition"]) == ("list-1", "you see red")
            await page.send(type="chat", id="q", content="What color is it?")
            assert "red" in (await page.next("response", timeout=30))["text"].lower()
            reply = await client.post(f"{CAMERAS}/door/ask", json={"content": "What?"})
            assert reply.status_code == 409
            await page.close()


async def test_a_watch_alerts_though_nobody_is_there(tmp_path: Path) -> None:
    """For what begins, once; the alert and its picture wait for the next socket.

    Things that are there at first do not alert.
    """
    shown = flat_jpeg(40, 180, 60)
    async with jpeg_camera(lambda: shown) as port:
        lines = f'url = "http://127.0.0.1:{port}/"\nwatches = ["you see red"]'
        async with house(tmp_path, door=lines) as (run, client):
            await soon(lambda: begun(run), 60)
            assert metric(run, "alerts_total") == 0
            shown = red_jpeg()
            await soon(lambda: metric(run, "alerts_total") == 1, 60)
            issued = (await client.post(f"{CAMERAS}/door/token")).json()
            page = await open_page(run, issued["token"], issued["session_id"])
            alert = await page.next("alert", timeout=30)
            assert (alert["watch"], alert["condition"]) == ("list-1", "you see red")
            raw = base64.b64decode(alert["image"].removeprefix("data:image/jpeg;base64,"))
            assert is_red(raw)
            await page.close()


async def test_no_redirect_is_followed(tmp_path: Path) -> None:
    """Neither of RTSP nor of HTTP: only the host of the list is spoken to."""
    async with scripted(lambda _: b"") as elsewhere:

        def away(request: str) -> bytes:
            if request.startswith("GET"):
                return (
                    "HTTP/1.1 302 Found\r\n"
                    f"Location: http://127.0.0.1:{elsewhere.port}/x\r\nContent-Length: 0\r\n\r\n"
                ).encode()
            return answer(request, "301 Moved", Location=f"rtsp://127.0.0.1:{elsewhere.port}/x")

        async with scripted(away) as camera:
            for scheme in ("rtsp", "http"):
                url = f'url = "{scheme}://127.0.0.1:{camera.port}/x"'
                async with house(tmp_path, door=url) as (_, client):
                    await until(client, state="waiting", trouble="redirect")
        assert elsewhere.heard == []


async def test_a_description_leads_to_no_other_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses of streams in it are words for the same connection, and UDP is not agreed on."""
    # One attempt, however long this machine takes to see its end
    monkeypatch.setattr(reconnect, "FIRST_PAUSE", NEVER_SECONDS)
    async with scripted(lambda _: b"") as elsewhere:
        body = (
            "v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 4000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=control:rtsp://127.0.0.1:{elsewhere.port}/other\r\n"
        )

        def other(request: str) -> bytes:
            if request.startswith("DESCRIBE"):
                base = f"rtsp://127.0.0.1:{elsewhere.port}/"
                return answer(request, "200 OK", body, Content_Base=base)
            udp = "RTP/AVP;unicast;client_port=4000-4001;source=127.0.0.1"
            return answer(request, "200 OK", Transport=udp, Session="1")

        async with scripted(other) as camera:
            url = f'url = "rtsp://127.0.0.1:{camera.port}/x"'
            async with house(tmp_path, door=url) as (_, client):
                await until(client, state="waiting", trouble="udp_only")
        assert [one.split()[0] for one in camera.heard] == ["DESCRIBE", "SETUP"]
        assert elsewhere.heard == []


OTHER = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n"


@pytest.mark.parametrize(
    ("script", "trouble", "sends"),
    [
        (lambda _: b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "malformed", ""),
        (lambda _: b"RTSP/1.0 200 OK\r\nX: " + b"a" * 100_000, "malformed", ""),
        (lambda _: None, "ended", ""),
        (lambda request: answer(request, "200 OK", OTHER), "codec", "MP4V-ES"),
    ],
)
async def test_what_is_no_camera(script: Script, trouble: str, sends: str, tmp_path: Path) -> None:
    """Another codec is named."""
    async with scripted(script) as camera:
        url = f'url = "rtsp://127.0.0.1:{camera.port}/x"'
        async with house(tmp_path, door=url) as (_, client):
            await until(client, state="waiting", trouble=trouble, sends=sends)


async def test_jpegs_over_http(tmp_path: Path) -> None:
    """A camera that sends one JPEG after another."""
    async with (
        jpeg_camera(red_jpeg) as port,
        house(
            tmp_path,
            yard=f'url = "http://127.0.0.1:{port}/video"\nignore = [[0, 0, 1, 0.1]]',
            door='url = "/dev/video250"',
        ) as (run, client),
    ):
        assert (await until(client, name="yard", state="live"))["codec"] == "JPEG"
        assert (await client.get(f"{CAMERAS}/yard/picture")).status_code == 200
        frame = run.program.added.provided[ListedCameras].session("yard").camera.newest
        assert frame.ignored == ((0.0, 0.0, 1.0, 0.1),)
        # One that is not there does not disturb it.
        facts = await until(client, state="waiting", trouble="device_missing")
        assert facts["detail"].startswith("Device not found.")
        # Whoever asks hears the same.
        reply = await ask(client, "What is this?")
        picture = (await client.get(f"{CAMERAS}/door/picture")).json()["error"]
        for told in (reply["message"], picture["message"]):
            assert told == f"This camera sends no picture. {facts['detail']}"


async def test_it_is_no_visitor(tmp_path: Path) -> None:
    """It takes no place, is in no list of people, cannot be ended as one, and takes no other camera."""
    async with house(tmp_path, door='url = "rtsp://127.0.0.1:9/x"') as (run, client):
        sessions = run.program.sessions
        assert (len(sessions), len(sessions.list_all()), sessions.list_visitors()) == (0, 1, [])
        assert (await client.get("/api/operator/sessions")).json()["sessions"] == []
        assert (await client.delete("/api/operator/sessions")).json() == {"ended": 0}
        assert len(sessions.list_all()) == 1
        issued = (await client.post(f"{CAMERAS}/door/token")).json()
        reply = await client.post(
            "/api/webrtc/offer",
            json={"sdp": await make_offer("video"), "type": "offer"},
            headers=bearer(issued["token"]),
        )
        assert reply.status_code == 409
        assert len(run.program.webrtc) == 0

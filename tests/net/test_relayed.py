"""A camera whose only way to the server is a relay: real coturn and nginx as in deploy/, Chromium
and another client.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from benchmarks.browser import page_with_camera
from scripts.bench.camera_peer import CameraPeer
from scripts.doctor import parse_options, run_checks
from tests.browser.visitor import Visitor
from tests.net.relayed_page import checked, one_visit, visitor, way
from tests.net.rooms import (
    PAGE,
    SERVER,
    TCP,
    TLS,
    TLS_443,
    UDP,
    WATCHING,
    RelayRoom,
    chromium_inside,
    encoder,
    have_nginx,
    relay_room,
)
from tests.support.namespaces import require
from tests.support.turn_server import SECRET

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

# SPEC's row 10: the first frame over a relay, from the offer
FIRST_FRAME_SECONDS = 1.5
# Tries, of which one has to be that quick: a machine that is busy with other things is slow by
# itself.
TRIES = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RelayRoom]:
    require("turnserver")
    if not have_nginx():
        pytest.skip("nginx or its stream module is missing; scripts/test.sh installs both.")
    async with relay_room(tmp_path_factory.mktemp("relay")) as room:
        yield room


@pytest.mark.parametrize("url", [UDP, TCP, TLS])
async def test_another_client_connects_by_relay_and_is_answered(
    room: RelayRoom, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiortc as client, with the credentials that came with its token: a frame within 1.5 s of the
    offer, and an answer.
    """
    monkeypatch.setenv("SSL_CERT_FILE", str(room.certificate.authority))
    for _ in range(TRIES):
        seconds, text = await room.client.inside(lambda: one_visit(PAGE, url))
        assert text
        if seconds < FIRST_FRAME_SECONDS:
            return
    pytest.fail(f"the last first frame took {seconds:.2f} s")


async def test_the_server_says_that_its_relays_work(room: RelayRoom) -> None:
    """Each URL, TLS by name through nginx too, in /health and in the log, without secrets."""
    assert await checked(room.client, PAGE) == [
        {"url": u, "ok": True, "problem": "", "why": ""} for u in (UDP, TCP, TLS, TLS_443)
    ]
    assert room.program.said.count('"relay check passed"') == 4


async def test_there_is_no_other_way(room: RelayRoom) -> None:
    """Without a relay nothing connects: the network lets nothing else through."""

    async def visit() -> None:
        async with encoder() as camera:
            peer = CameraPeer(PAGE, camera)
            try:
                await peer.connect(timeout=1.5)
            finally:
                await peer.close()

    with pytest.raises((TimeoutError, ConnectionError)):
        await room.client.inside(visit)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(room: RelayRoom) -> AsyncIterator[Browser]:
    async with chromium_inside(room.client, room.folder, trusted=room.certificate) as browser:
        yield browser


_NOTE_THE_OFFER = """() => {
  const send = window.fetch;
  window.fetch = (url, options) => {
    if (options?.method === "POST" && String(url).includes("/api/webrtc/offer")) window.__offered = Date.now();
    return send(url, options);
  };
}"""
_FIRST_FRAME = """() => {
  const live = window.__log.find(e => e.message.type === "status" && e.message.camera === "live");
  return (live.at - window.__offered) / 1000;
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("url", "protocol"), [(UDP, "udp"), (TLS_443, "tls")])
async def test_the_page_connects_by_relay_and_is_answered(
    room: RelayRoom, browser: Browser, url: str, protocol: str
) -> None:
    """Chromium through the page: the pair in use is the relay's over that transport, a frame comes
    within 1.5 s of the offer, and a question is answered. TLS goes through nginx on 443, told from
    the page by its name.
    """
    for _ in range(TRIES):
        async with visitor(browser, PAGE, url) as person:
            await person.page.evaluate(_NOTE_THE_OFFER)
            await person.start()
            seconds = await person.page.evaluate(_FIRST_FRAME)
            assert await way(person) == ["relay", protocol]
            sent = await person.send("What do you see?")
            assert (await person.response(sent["id"]))["text"]
        if seconds < FIRST_FRAME_SECONDS:
            return
    pytest.fail(f"the last first frame took {seconds:.2f} s")


@pytest.mark.browser
async def test_credentials_that_are_not_taken_are_said(room: RelayRoom, browser: Browser) -> None:
    """The page says that the relay did not take them, and where to look."""
    async with visitor(browser, PAGE, UDP, credential="wrong") as person:
        # The rule is tested, not the wait.
        await person.page.add_init_script(
            "const set = setTimeout; window.setTimeout = (f, ms) => set(f, ms === 15000 ? 1500 : ms);"
        )
        await person.page.reload()
        await person.start_button.click()
        await expect(person.notice).to_contain_text("rejects the credentials")
        await expect(person.notice).to_contain_text("TURN_SECRET")


@pytest.mark.browser
async def test_the_page_finds_out_that_only_relays_lead_there(
    room: RelayRoom, browser: Browser
) -> None:
    """The connection doctor, before the camera is on: each relay gives an address over its
    transport, the direct way is closed, and that is no failure, since the relays work.
    """
    async with page_with_camera(browser) as page:
        person = Visitor(page, PAGE)
        # The rule is tested, not the wait.
        await page.add_init_script(
            "const set = setTimeout; window.setTimeout = (f, ms) => set(f, ms === 8000 ? 1500 : ms);"
        )
        await person.open()
        await person.press("Check connection")
        await expect(person.button("Check again")).to_be_enabled(timeout=15_000)
        rows = page.locator("#doctor-list li")
        found = dict(
            await rows.evaluate_all(
                "rows => rows.map(row => [row.dataset.check, row.dataset.state])"
            )
        )
        relays = await page.locator('[data-check^="relays"] .title').all_inner_texts()
        assert relays == [f"Relay over {way}" for way in ("UDP", "TCP", "TLS", "TLS")]
        assert {check for check, state in found.items() if state != "ok"} == {"direct"}
        assert found["direct"] == "warn"
        await expect(page.locator('[data-check="direct"]')).to_contain_text("relay is used instead")
        await person.leave()
        assert person.problems == []


async def test_the_terminal_finds_out_that_only_relays_lead_there(
    room: RelayRoom, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """scripts/doctor.py on the client's machine: the same, and the relay whose name is not known
    there is distinguished.
    """
    monkeypatch.setenv("SSL_CERT_FILE", str(room.certificate.authority))
    monkeypatch.setattr("scripts.checks.media.CONNECT_SECONDS", 1.5)
    # It has the server's word on its relays.
    monkeypatch.setenv("METRICS_TOKEN", WATCHING)
    assert not await room.client.inside(
        lambda: run_checks(parse_options(["--server-url", PAGE, "--json"]))
    )
    found = {check["id"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["certificate"]["state"] == found["socket"]["state"] == "ok"
    assert found["direct"]["state"] == "warn"
    assert [found[f"relay_{n}"]["state"] for n in (1, 2, 3, 4)] == ["ok", "ok", "ok", "failed"]
    assert "cannot be resolved on this machine. The server can use it" in found["relay_4"]["cause"]
    assert SECRET not in str(found)


async def test_a_relay_that_may_not_send_to_the_server(tmp_path: Path, room: RelayRoom) -> None:
    """With an address that the relay denies, nothing connects, and /health says which address, and
    what to change.
    """
    async with relay_room(tmp_path, PUBLIC_ADDRESSES="10.99.2.77", TURN_URLS=UDP) as denied:
        (entry,) = await checked(denied.client, PAGE)
        assert entry["ok"] is False
        for word in ("403", "10.99.2.77", "allowed-peer-ip", "PUBLIC_ADDRESSES"):
            assert word in entry["why"]

        async def visit() -> Sequence[str]:
            async with encoder() as camera:
                peer = CameraPeer(PAGE, camera, ice_urls=[UDP])
                try:
                    await peer.connect(timeout=1.5)
                except (TimeoutError, ConnectionError):
                    return [
                        line for line in peer.answer["sdp"].splitlines() if "candidate:" in line
                    ]
                finally:
                    await peer.close()
                raise AssertionError("it connected")

        candidates = await denied.client.inside(visit)
        assert candidates
        assert all("10.99.2.77" in line and SERVER not in line for line in candidates)

"""The connection doctor through the page: all well, and each failure provoked, with its cause and
what to do.
"""

from __future__ import annotations

import asyncio
import re
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from scripts.bench.http_json import request
from scripts.local_certificate import CertificateStore, Identity
from tests.browser.fixtures import ELSEWHERE
from tests.browser.test_page_look import _FOCUS, _SETTLED, _TARGETS, _WIDE
from tests.browser.visitor import REFUSED_TOKEN, Visit, Visitor
from tests.features.pairing.test_page_phone import NOT_OPENED, REFUSING, https
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running, with_model
from tests.support.turn_server import turn_on_loopback
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FAILED_LOAD = "Failed to load resource"
SECRET = "canary-of-the-relay-7f3a9b52"
CODE = "canary-code-5xk2p"


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _on_time(server: Running) -> None:
    """Wait until the server tells the time: it notes it once a second, and stands still while no page is tested."""
    async with asyncio.timeout(10):
        while True:
            told = (await request("GET", f"{server.base_url}/health/live")).headers["date"]
            if abs((datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds()) < 3:
                return
            await asyncio.sleep(0.1)


async def check(page: Visitor) -> None:
    """Open the doctor from the menu and wait until it is done."""
    await page.press(say("page.check_connection"))
    await done(page)


async def done(page: Visitor) -> None:
    await expect(page.button(say("doctor.again"))).to_be_enabled(timeout=15_000)


async def states(page: Visitor) -> dict[str, str]:
    found: dict[str, str] = await page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('#doctor-list li')]"
        ".map((row) => [row.dataset.check, row.dataset.state]))"
    )
    return found


async def row(page: Visitor, name: str) -> str:
    """A check that did not end well: all words about it.

    It has a cause or something to do.
    """
    item = page.find(f'#doctor-list li[data-check="{name}"]')
    said = await item.locator(".cause, .todo").all_inner_texts()
    assert any(said), f"{name} gives neither cause nor remedy"
    return await item.inner_text()


async def looks_right(page: Visitor) -> None:
    """Targets of 44 px, nothing that sticks out. (Contrast: test_page_axe.)"""
    await page.page.wait_for_function(_SETTLED)
    targets = await page.evaluate(_TARGETS)
    assert [t for t in targets if min(t["width"], t["height"]) < 43.9] == []
    assert (await page.evaluate(_WIDE))["out"] == []


async def report(page: Visitor) -> str:
    """Return the text that Copy report puts on the clipboard."""
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.button(say("doctor.copy_report")).click()
    await expect(page.find("#doctor-said")).to_have_text(say("page.copied"))
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def test_all_is_well_before_and_while_the_camera_is_on(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """On a phone and a desktop, light and dark: everything works, seen by keyboard, big enough and
    easy to read; the running socket and camera go on as they are.
    """
    page = await visit(server.base_url)
    fine = dict.fromkeys(
        ["origin", "server", "clock", "camera", "permission", "access", "socket", "engine"], "ok"
    )
    fine |= {"direct": "ok", "certificate": "skipped", "relays": "skipped"}
    dialog = page.page.get_by_role("dialog", name=say("doctor.title"))
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for size, scheme in zip(((390, 844), (1280, 800)), schemes, strict=True):
        await page.resize(*size)
        await page.page.emulate_media(color_scheme=scheme)
        await page.button(say("page.menu")).focus()
        await page.page.keyboard.press("Enter")
        await expect(page.find("#menu")).to_be_visible()
        focus = None
        for _ in range(8):
            await page.page.keyboard.press("Tab")
            focus = await page.evaluate(_FOCUS)
            if focus["name"] == say("page.check_connection"):
                break
        assert focus == {"name": say("page.check_connection"), "ring": True}
        await page.page.keyboard.press("Enter")
        await done(page)
        await expect(dialog.get_by_role("status").first).to_have_text(say("doctor.all_work"))
        assert await states(page) == fine
        # Made and ended for the check: the server has no camera left.
        peers = "() => window.__peers.every((peer) => peer.connectionState === 'closed')"
        await page.comes(peers, True)
        assert await page.evaluate("window.__camera.opened") == 0
        await looks_right(page)
        await page.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await page.comes(f"({_FOCUS})()?.name", say("page.menu"))

    await page.start()
    since = await page.now()
    await check(page)
    assert await states(page) == fine
    assert "Connected over UDP" in await page.find('[data-check="direct"]').inner_text()
    await page.button(say("doctor.close")).click()
    assert not [e for e in await page.log() if e["at"] > since and e["message"]["type"] == "ready"]
    await expect(page.state).to_have_text(say("page.live"))
    connected = "() => window.__peers.filter((peer) => peer.connectionState === 'connected').length"
    await page.comes(connected, 1)
    assert await page.evaluate("window.__camera.opened") == 1


async def test_an_insecure_address_and_a_report_that_is_copied_by_hand(
    visit: Visit, builtin: Running
) -> None:
    """Plain http elsewhere: the origin fails and says how to get there; without a clipboard the
    report is shown.
    """
    page = await visit(f"http://{ELSEWHERE}:{builtin.port}")
    page.expect("Cross-Origin-Opener-Policy")
    await check(page)
    found = await states(page)
    assert (found["origin"], found["camera"], found["permission"]) == (
        "failed",
        "skipped",
        "skipped",
    )
    assert "run.sh --https" in await row(page, "origin")
    await page.button(say("doctor.copy_report")).click()
    text = page.page.get_by_role("textbox", name=say("doctor.report"))
    await expect(text).to_have_value(re.compile(f"FAILED {say('doctor.origin')}"))
    await expect(text).to_have_value(re.compile("Page: http, a name"))


async def test_no_camera_and_no_permission(visit: Visit, builtin: Running) -> None:
    """A device without a camera, then a page that was refused it: each has words with the way out."""
    page = await visit(builtin.base_url)
    await page.evaluate("navigator.mediaDevices.enumerateDevices = async () => []")
    browser = await page.page.context.new_cdp_session(page.page)
    own = (await browser.send("Target.getTargetInfo"))["targetInfo"]["browserContextId"]
    denied = {"permission": {"name": "camera"}, "setting": "denied", "browserContextId": own}
    await browser.send("Browser.setPermission", {**denied, "origin": builtin.base_url})
    await check(page)
    found = await states(page)
    assert (found["camera"], found["permission"]) == ("failed", "failed")
    assert say("doctor.no_camera_todo") in await row(page, "camera")
    assert say("doctor.permission_denied_todo") in await row(page, "permission")
    await expect(page.find("#doctor-verdict")).to_have_text(
        say("doctor.problems", checks=f"{say('page.camera')}; {say('doctor.permission')}")
    )
    # The list scrolls, and nothing else: else the buttons go up, with nothing below them.
    await page.resize(390, 844)
    rest = "one => one.scrollHeight - one.clientHeight"
    assert await page.find("#doctor-list").evaluate(rest) > 0
    assert await page.find("#doctor").evaluate(rest) <= 0


async def test_a_socket_that_does_not_open(visit: Visit, builtin: Running, tmp_path: Path) -> None:
    """Over http something in between is suspected, over https with an own authority the
    certificate.
    """
    page = await visit(builtin.base_url, scripts=[REFUSING])
    page.expect(NOT_OPENED, r"status of 404")
    await check(page)
    assert (await states(page))["socket"] == "failed"
    assert say("doctor.socket_shut_todo") in await row(page, "socket")
    issued = CertificateStore(tmp_path).provide(Identity((), ()), "on test", datetime.now(UTC))
    settings = {**https(issued), "pairing_hosts": ""}
    async with running(**settings) as lan:
        page.url = lan.base_url
        await page.open()
        await check(page)
        found = await states(page)
        assert (found["socket"], found["certificate"]) == ("failed", "failed")
        assert "does not trust" in await row(page, "socket")
        assert "/ca.crt" in await row(page, "certificate")
        await page.evaluate("window.refuse = false")
        await page.button(say("doctor.again")).click()
        await done(page)
        assert (await states(page))["certificate"] == "ok"
        await page.leave()


async def test_an_engine_that_is_down_and_a_clock_that_is_off(visit: Visit) -> None:
    """/health says 503: the page shows the engine's state and remedy.

    The server's Date is an hour ahead: so is the offset.
    """
    async with FakeOpenAI() as model:
        await model.close()
        async with with_model(model) as run:
            page = await visit(run.base_url)
            page.expect("status of 503")

            async def later(route: Route) -> None:
                reply = await route.fetch()
                date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
                await route.fulfill(response=reply, headers={**reply.headers, "date": date})

            await page.page.route(f"{run.base_url}/", later)
            await check(page)
            found = await states(page)
            assert (found["engine"], found["clock"]) == ("failed", "warn")
            assert "VLLM_BASE_URL" in await row(page, "engine")
            assert "60 minutes behind" in await row(page, "clock")
            await page.leave()


async def test_who_does_what(visit: Visit, model: FakeOpenAI) -> None:
    """The model that watches beside the one that answers; gone, it is what to look at, with who does its work."""
    async with FakeOpenAI(model="small-vl") as small:
        settings = {"vllm_base_url": model.base_url, "watches_base_url": small.base_url}
        async with running(engine="auto", **settings) as run:
            page = await visit(run.base_url)
            await page.start()
            await check(page)
            engine = page.find('[data-check="engine"]')
            assert (await states(page))["engine"] == "ok"
            await expect(engine).to_contain_text(f"{say('watch.list')}: vLLM (small-vl).")
            await small.close()
            await page.got('m.type === "ready" && m.stands_in')
            await page.button(say("doctor.again")).click()
            await done(page)
            assert (await states(page))["engine"] == "warn"
            assert say("server.stands_in") in await row(page, "engine")
            await expect(engine).not_to_contain_text("small-vl")
            await page.leave()


async def test_a_server_that_is_gone(visit: Visit) -> None:
    """Asked while the connection is lost, from beside the notice: nothing answers, and that is all
    that fails.
    """
    async with running(drain_seconds=0.2) as run:
        page = await visit(run.base_url)
        page.expect("net::ERR", "WebSocket connection to .* failed", FAILED_LOAD)
        await page.start()
        # It comes once all is well, for it is fetched from the server.
        await page.page.wait_for_function(
            "() => performance.getEntriesByType('resource').some((one) => one.name.endsWith('webchecks.js'))"
        )
    await expect(page.state).to_have_text(say("page.connection_lost"))
    await expect(page.find("#notice-check")).to_be_visible()
    assert (await page.evaluate(_WIDE))["out"] == []
    await page.find("#notice").get_by_role("button", name=say("page.check_connection")).click()
    await done(page)
    found = await states(page)
    assert found["server"] == "failed"
    assert say("doctor.server_todo") in await row(page, "server")
    assert found["camera"] == "ok"
    for name in ("access", "socket", "direct", "relays", "engine", "clock"):
        item = page.find(f'#doctor-list li[data-check="{name}"]')
        await expect(item).to_contain_text(say("doctor.server_unchecked"))
        await expect(item.locator(".cause, .todo")).to_have_text(["", ""])
    await page.leave()


async def test_relays_that_work_refuse_and_do_not_answer(visit: Visit, tmp_path: Path) -> None:
    """A private server: the code is asked for; real relays say yes, 401 and nothing; the report
    holds none of it.
    """
    (tmp_path / "other").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        async with (
            turn_on_loopback(tmp_path, SECRET) as good,
            turn_on_loopback(tmp_path / "other", "another") as bad,
        ):
            closed = taken.getsockname()[1]
            urls = [
                f"turn:127.0.0.1:{good}?transport=udp",
                f"turn:127.0.0.1:{good}?transport=tcp",
                f"turn:127.0.0.1:{bad}?transport=udp",
                f"turn:127.0.0.1:{closed}?transport=tcp",
            ]
            settings: dict[str, Any] = {
                "turn_urls": ",".join(urls),
                "turn_secret": SECRET,
                "public_addresses": "127.0.0.1",  # where the relays may send to
                "access_code": CODE,
                "jwt_secret_key": "k3Jw9fQ2" * 5,
                "rate_limit_per_minute": 0,
            }
            async with running(**settings) as run:
                page = await visit(run.base_url)
                page.expect(REFUSED_TOKEN)
                grants: list[dict[str, Any]] = []

                async def keep(route: Route) -> None:
                    reply = await route.fetch()
                    if reply.ok:
                        grants.append(await reply.json())
                    await route.fulfill(response=reply)

                await page.page.route("**/api/token*", keep)
                await page.press(say("page.check_connection"))
                await page.button(say("page.not_now")).click()
                await done(page)
                found = await states(page)
                assert (found["access"], found["socket"], found["direct"]) == (
                    *("failed", "skipped", "skipped"),
                )
                await page.button(say("doctor.again")).click()
                await page.page.get_by_label(say("dialogs.code")).fill(CODE)
                await page.button(say("dialogs.continue")).click()
                await done(page)
                found = await states(page)
                assert found["access"] == found["socket"] == found["direct"] == "ok", found
                ways = ("relays", "relays-1", "relays-2", "relays-3")
                assert [found[way] for way in ways] == ["ok", "ok", "failed", "failed"]
                for scheme in ("light", "dark"):
                    await page.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    await looks_right(page)
                assert "TURN_SECRET" in await row(page, "relays-2")
                assert "port 443" in await row(page, "relays-3")
                text = await report(page)
                assert "FAILED Relay over UDP" in text
                assert "Browser: Mozilla" in text
                [grant] = grants
                [relay] = [s for s in grant["ice_servers"] if "credential" in s]
                secrets = [CODE, SECRET, grant["token"], grant["session_id"], "127.0.0.1"]
                for secret in (*secrets, relay["credential"], relay["username"]):
                    assert secret not in text
                await page.leave()


async def test_closing_it_ends_what_it_began(visit: Visit, builtin: Running) -> None:
    """Closed while the server keeps it waiting: its connection is closed at once, it reports
    nothing more, and the camera starts as if nothing had been.
    """
    page = await visit(builtin.base_url)
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def keep(route: Route) -> None:
        asked.set()
        await let_go.wait()
        # `continue_` would leave a task behind for a request that the page has given up.
        await route.fallback()

    offer = "**/api/webrtc/offer*"
    await page.page.route(offer, keep)
    await page.press(say("page.check_connection"))
    async with asyncio.timeout(30):
        await asked.wait()
    direct = page.find('#doctor-list li[data-check="direct"]')
    await expect(direct).to_have_attribute("data-state", "running")
    await page.page.keyboard.press("Escape")
    closed = "() => window.__peers.every((peer) => peer.connectionState === 'closed')"
    await page.page.wait_for_function(closed, timeout=3000)
    let_go.set()
    await page.page.unroute(offer)
    await page.start()
    await expect(direct).to_have_attribute("data-state", "running")

"""A phone that uses the QR code: paired, refused, and what helps where it does not trust the
certificate.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from cryptography import x509
from playwright.async_api import Browser, Error, Page, Route, WebSocket, async_playwright, expect
from zxingcpp import read_barcodes

from benchmarks.browser import ARGS, find_chromium
from scripts.local_certificate import (
    CertificateStore,
    Identity,
    IssuedFiles,
    make_leaf,
    read_pair,
    to_pem,
)
from server.features.pairing.pairing import COOKIE
from server.web.request_guard import AuthMethod
from tests.browser.visitor import REFUSED_TOKEN, Visit, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Every socket goes where nobody opens one, as long as `refuse` is set: for the page it is as with a
# certificate that the browser does not trust.
REFUSING = """{
  const Native = window.WebSocket;
  window.refuse = true;
  window.WebSocket = class extends Native {
    constructor(address, protocols) {
      super(window.refuse ? address.replace(/\\/ws\\/.*/, "/nowhere") : address, protocols);
    }
  };
}"""
NOT_OPENED = r"WebSocket connection to .* failed"


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> IssuedFiles:
    """Create the certificate of run.sh --https for this machine."""
    reaper = CertificateStore(tmp_path_factory.mktemp("certificate"))
    return reaper.provide(Identity((), ()), "on test", datetime.now(UTC))


def https(issued: IssuedFiles) -> dict[str, Any]:
    """The settings that run.sh --https sets."""
    return {
        "https_enabled": True,
        "ssl_cert_path": issued.server,
        "ssl_key_path": issued.server,
        "ca_cert_path": issued.authority,
        "pairing_hosts": "127.0.0.1",
        "rate_limit_per_minute": 0,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lan(issued: IssuedFiles, model_server: FakeOpenAI) -> AsyncIterator[Running]:
    async with with_model(model_server, **https(issued)) as run:
        yield run


def new_code(run: Running, age: float = 0) -> str:
    return str(run.program.added.provided[AuthMethod].codes.issue(time.monotonic() - age))


async def test_the_scanned_address_leads_in(visit: Visit, lan: Running, model: FakeOpenAI) -> None:
    """One press, and the camera is live and answered about; nobody asks for a code, and none is
    left behind. Another phone scans what the page shows.
    """
    code = new_code(lan)
    page = await visit(f"{lan.base_url}/#pair={code}")
    await expect(page.page).to_have_url(f"{lan.base_url}/")
    await page.start()
    await expect(page.page.get_by_role("dialog")).to_have_count(0)
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    stored = await page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, document.cookie, history.state, location.href])"
    )
    assert code not in stored

    # Over https a phone gets a code of the link that makes it a camera.
    # What programs send is under Advanced.
    await page.press("#cameras-open")
    await page.find("#several-phone").click()
    link, shown = page.find("#several-link"), page.find("#several-code")
    await expect(link).not_to_have_value("")
    await expect(page.find("#several-scan")).to_be_visible()
    await expect(page.find("#several-insecure")).to_be_hidden()
    image = cv2.imdecode(np.frombuffer(await shown.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    # OpenCV's own reader fails for one code in a hundred.
    assert [code.text for code in read_barcodes(image)] == [await link.input_value()]
    advanced = page.find("#several-advanced")
    await expect(advanced.get_by_text("WHIP")).to_be_hidden()
    await advanced.locator("summary").click()
    await page.button(say("cameras.show_address")).click()
    assert "/whip" in await page.find("#several-address").input_value()


async def test_a_reload_goes_straight_back_to_live(
    visit: Visit, lan: Running, model: FakeOpenAI
) -> None:
    """The code is spent, and phones discard pages: loaded again it is live by itself, with nothing
    to be typed or pressed. After Stop it waits for a press, and after the device was forgotten it
    asks for the code.
    """
    page = await started(visit, f"{lan.base_url}/#pair={new_code(lan)}")
    first = (await page.got('m.type === "ready"'))["session_id"]
    for _ in range(2):
        await page.page.reload()
        await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
        await expect(page.page.get_by_role("dialog")).to_have_count(0)
    assert (await page.got('m.type === "ready"'))["session_id"] != first
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    stored = await page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, document.cookie, history.state, location.href])"
    )
    assert COOKIE not in stored
    [cookie] = await page.page.context.cookies(f"{lan.base_url}/api/token")
    assert cookie.get("name") == COOKIE
    assert (cookie.get("httpOnly"), cookie.get("secure")) == (True, True)
    assert str(cookie.get("value")) not in stored
    await page.press(say("chat.camera_off"))
    await expect(page.state).to_have_text(say("page.camera_off"))
    await page.page.reload()
    await expect(page.card).to_contain_text(say("page.welcome"))
    await page.page.wait_for_timeout(300)
    await expect(page.state).to_have_text(say("page.camera_off"))
    await page.start()
    await page.press(say("page.forget_device"))
    await expect(page.state).to_have_text(say("page.camera_off"))
    await expect(page.find("#unpair")).to_be_hidden()
    page.expect(REFUSED_TOKEN)
    await page.start_button.click()
    await expect(page.page.get_by_role("dialog")).to_contain_text("access code")
    await page.button(say("page.not_now")).click()


async def test_a_code_that_is_no_longer_good_is_explained(
    visit: Visit, lan: Running, model: FakeOpenAI
) -> None:
    """Before the camera is asked for: what is wrong with it, where to get another; the access code
    still works.
    """
    code = new_code(lan)
    lan.program.added.provided[AuthMethod].codes.redeem(code, time.monotonic())
    page = await visit(f"{lan.base_url}/#pair={code}")
    page.expect(REFUSED_TOKEN)
    await expect(page.card).to_contain_text(say("page.pairing_failed"))
    await expect(page.card).to_contain_text(say("server.pairing_used"))
    await page.evaluate("code => { location.hash = `pair=${code}` }", new_code(lan, 301))
    await expect(page.card).to_contain_text(say("page.pairing_failed"))
    await expect(page.card).to_contain_text(say("server.pairing_expired"))
    assert await page.evaluate("window.__camera.opened") == 0
    await page.start_button.click()
    await expect(page.page.get_by_role("dialog")).to_contain_text(say("server.code_or_scan"))
    await page.page.get_by_label(say("dialogs.code")).fill(
        lan.program.settings.access_code.get_secret_value()
    )
    await page.button(say("dialogs.continue")).click()
    await expect(page.state).to_have_text(say("page.live"), timeout=15_000)


async def test_a_refused_socket_is_told_and_helped(
    visit: Visit, lan: Running, model: FakeOpenAI
) -> None:
    """https works and the socket does not: the page says why, gives the authority and the steps,
    and comes back.
    """
    page = await visit(f"{lan.base_url}/#pair={new_code(lan)}", scripts=[REFUSING])
    page.expect(NOT_OPENED)
    await page.start_button.click()
    await expect(page.state).to_have_text(say("page.not_trusted"))
    await expect(page.notice).to_contain_text(say("page.untrusted"))
    await page.button(say("page.what_to_do")).click()
    dialog = page.page.get_by_role("dialog", name=say("dialogs.trust"))
    await expect(dialog).to_contain_text("Certificate Trust Settings")
    async with page.page.expect_download() as download:
        await dialog.get_by_role("link", name=say("dialogs.trust_get")).click()
    given = await (await download.value).path()
    authority = x509.load_der_x509_certificate(given.read_bytes())
    assert authority.extensions.get_extension_for_class(x509.NameConstraints).critical
    # The page stayed where it was, camera and all.
    assert await page.evaluate("window.__camera.opened") == 1
    await page.evaluate("window.refuse = false")
    await dialog.get_by_role("button", name=say("page.try_again")).click()
    await expect(page.state).to_have_text(say("page.live"), timeout=15_000)
    await expect(dialog).to_be_hidden()
    assert (await page.ask("What is this?"))["text"] == "I see a cup."
    # Once it worked, a socket that does not open is the network's doing.
    await page.evaluate("window.refuse = true")
    tried: list[WebSocket] = []
    page.page.on("websocket", lambda socket: tried.append(socket))
    lan.program.sessions.close_sockets(1012, "test")
    await soon(lambda: len(tried) >= 3, 60)
    await expect(page.state).to_have_text(say("page.connection_lost"))
    await expect(page.notice).not_to_contain_text("trust")


async def test_a_server_that_is_gone_is_no_matter_of_trust(visit: Visit, lan: Running) -> None:
    """Nothing answers at all: the network is to blame, and the certificate is not spoken of."""
    asked = asyncio.Event()

    async def nothing_there(route: Route) -> None:
        asked.set()
        await route.abort()

    page = await visit(f"{lan.base_url}/#pair={new_code(lan)}", scripts=[REFUSING])
    page.expect(NOT_OPENED, "net::ERR", "Failed to load resource")
    await page.page.route("**/ca.crt", nothing_there)
    await page.start_button.click()
    await expect(page.notice).to_contain_text(say("page.connection_lost"))
    async with asyncio.timeout(15):
        await asked.wait()
    # Time for a wrong conclusion to show.
    await page.page.wait_for_timeout(200)
    await expect(page.state).to_have_text(say("page.connection_lost"))


@asynccontextmanager
async def strict_chromium(authority: Path, home: Path) -> AsyncIterator[Browser]:
    """A browser that trusts this authority beside its own, as a phone does after the steps, and
    tolerates nothing.
    """
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for command in (
        ["-N", "--empty-password"],
        ["-A", "-t", "C,,", "-n", "qwen-camera", "-i", str(authority)],
    ):
        await asyncio.to_thread(
            subprocess.run, ["certutil", "-d", f"sql:{store}", *command], check=True
        )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*ARGS, "--no-proxy-server", "--host-resolver-rules=MAP camera.test 127.0.0.1"],
            env={"HOME": str(home)},
        )
        try:
            yield browser
        finally:
            await browser.close()


async def socket_opens(page: Page) -> bool:
    """Return True when the page can open a WebSocket to its server, which then closes it for lack
    of a session.
    """
    opens: bool = await page.evaluate("""() => new Promise(done => {
          const socket = new WebSocket(`wss://${location.host}/ws/nobody`, ["qwen-camera"]);
          socket.onopen = () => done(true);
          socket.onerror = () => done(false);
        })""")
    return opens


@pytest.mark.skipif(shutil.which("certutil") is None, reason="certutil is not installed")
async def test_a_browser_that_trusts_the_authority_trusts_this_server_alone(
    lan: Running, issued: IssuedFiles, tmp_path: Path
) -> None:
    """Page and socket without a warning by name and by address; what the authority signs for
    another host is refused.
    """
    key, certificate = read_pair(issued.authority.parent / "authority.pem")
    forged = tmp_path / "forged.pem"
    names = [x509.DNSName("camera.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    forged.write_bytes(to_pem(*make_leaf(key, certificate, names, datetime.now(UTC))))
    async with strict_chromium(issued.authority, tmp_path / "home") as browser:
        page = await browser.new_page()
        for host in ("127.0.0.1", "localhost"):
            await page.goto(f"https://{host}:{lan.port}/")
            await expect(page.get_by_role("button", name=say("page.start"))).to_be_visible()
            assert await page.evaluate("isSecureContext")
            assert await socket_opens(page)
        stranger = {**https(issued), "ssl_cert_path": forged, "ssl_key_path": forged}
        async with running(**stranger) as other:
            # Its own way to say that a chain breaks the rules; unknown authorities have another.
            with pytest.raises(Error, match="net::ERR_CERT_INVALID"):
                await page.goto(f"https://camera.test:{other.port}/")

"""The page as an app: it can be installed, opens without its server, keeps its own files alone, and
a newer one waits until somebody takes it.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from benchmarks.link import TcpRelay
from server.web import routes
from server.web.routes import Contents, Shell
from tests.browser.visitor import NOT_REACHED, Visit, Visitor, hurry
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ALLOWED = {"service_workers": "allow"}
# Lines that the browser writes by itself without a network
OFFLINE = (NOT_REACHED, r"net::ERR_INTERNET_DISCONNECTED", r"net::ERR_FAILED")

# Everything that any cache of the page's origin has: address and body
_KEPT = """async () => {
  const found = [];
  for (const name of await caches.keys())
    for (const { url } of await (await caches.open(name)).keys()) {
      const response = await caches.match(url, { cacheName: name, ignoreVary: true });
      found.push([new URL(url).pathname + new URL(url).search, await response.text()]);
    }
  return found;
}"""
# What a script could leave in the cache: a module, the page, and an address that is in no list
_POISON = """async () => {
  const [name] = await caches.keys();
  const cache = await caches.open(name);
  for (const path of ["/client/core/page/dom.js", "/", "/api/token"]) {
    const body = path === "/" ? "<h1>wrong</h1>" : `window.poisoned = true; ${await (await fetch(path)).text()}`;
    const type = path === "/" ? "text/html" : "text/javascript";
    await cache.put(path, new Response(body, { headers: { "Content-Type": type } }));
  }
}"""
# Ways of asking for a listed file that are no plain request for it; the number of kept files
_ASKED = """async () => {
  const before = (await (await caches.open((await caches.keys())[0])).keys()).length;
  await fetch("/client/client.js?token=secret");
  await fetch("/client/client.js", { headers: { Range: "bytes=0-9", Authorization: "Bearer secret" } });
  for (const path of ["/client/", "/client/none.js", "/client//client.js", "/index.html"]) await fetch(path);
  navigator.serviceWorker.controller.postMessage({ language: "../../api/token" });
  navigator.serviceWorker.controller.postMessage({ language: "__proto__" });
  return (await (await caches.open((await caches.keys())[0])).keys()).length - before;
}"""
_CONTROLLED = "() => navigator.serviceWorker.controller !== null"
_READY = "async () => (await navigator.serviceWorker.ready).active.state"


async def soon_kept(page: Page) -> None:
    await hurry(page, "boot.js", APP_AFTER=50)


class Upgradable(Shell):
    """The files as they were at the start of a server, and after an upgrade."""

    def __init__(self, folder: Path, features: Sequence[str]) -> None:
        super().__init__(folder, features)
        self._of = folder, features
        self._started = Shell(folder, features)

    async def contents(self) -> Contents:
        return await self._started.contents()

    def upgrade(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file, and read all as a server that has just been started."""
        path = self._of[0] / name
        path.write_text(change(path.read_text()))
        self._started = Shell(*self._of)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def upgraded(
    tmp_path_factory: pytest.TempPathFactory, model_server: FakeOpenAI
) -> AsyncIterator[tuple[Running, Upgradable]]:
    """A server whose client folder is a copy."""
    folder = tmp_path_factory.mktemp("upgraded") / "client"
    shutil.copytree(routes.CLIENT_FILES, folder)
    shells: list[Upgradable] = []

    def opened(*of: Any) -> Shell:
        shells.append(Upgradable(*of))
        return shells[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes, "CLIENT_FILES", folder)
        patch.setattr(routes, "Shell", opened)
        async with with_model(model_server, max_sessions=1000) as run:
            [shell] = shells
            yield run, shell


async def kept_page(visit: Visit, url: str, **options: Any) -> Visitor:
    """A page whose files are kept, and which is opened by the service worker."""
    page = await visit(url, prepare=soon_kept, context_options=ALLOWED, **options)
    assert await page.evaluate(_READY) in ("activating", "activated")
    await page.page.reload()
    await page.page.wait_for_function(_CONTROLLED)
    # The reload by boot.js after a while
    await page.evaluate("async () => (await import('/client/core/app/updates.js')).keepShell()")
    return page


async def installable(page: Visitor) -> None:
    """Chromium reads the manifest without a complaint, and finds nothing that is missing."""
    browser = await page.page.context.new_cdp_session(page.page)
    manifest: dict[str, Any] = await browser.send("Page.getAppManifest")
    assert manifest["url"] == f"{page.url}/client/app.webmanifest"
    assert manifest["errors"] == []
    missing = await browser.send("Page.getInstallabilityErrors")
    # A private window installs nothing, whatever the page has.
    errors = {error["errorId"] for error in missing["installabilityErrors"]}
    assert errors <= {"in-incognito"}
    touch = page.find('link[rel="apple-touch-icon"]')
    assert await touch.get_attribute("href") == "/client/icons/touch.png"


async def test_a_network_that_goes_at_once_is_no_error_of_the_page(
    visit: Visit, builtin: Running
) -> None:
    """The module that keeps the page's files does not arrive."""

    async def prepare(page: Page) -> None:
        await soon_kept(page)
        await page.route("**/core/app/updates.js", lambda route: route.abort())

    page = await visit(builtin.base_url, context_options=ALLOWED, prepare=prepare)
    page.expect(*OFFLINE)
    gone = "performance.getEntriesByName(location.origin + '/client/core/app/updates.js').length"
    await page.comes(gone, 1)
    await page.page.wait_for_timeout(100)  # an error of the page would be here by then


async def reach(page: Visitor, tcp: TcpRelay, there: bool) -> None:
    """Cut the page and its service worker off the server, or connect them again. The browser's
    offline mode alone does not suffice: a service worker that starts in it is online.
    """
    tcp.cut = not there
    await page.page.context.set_offline(not there)


async def test_it_keeps_its_own_files_alone_and_opens_without_the_server(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """After a whole chat there is no picture, answer or token in any cache. Offline the page opens
    and says so; nothing of the server's is answered from what was kept. It can be installed.
    Queries, parts, missing files and wrong languages bring nothing into the cache; what a script
    put there is not taken, with the server and without it.
    """
    async with TcpRelay("127.0.0.1", server.port) as tcp:
        page = await kept_page(visit, tcp.url)
        await installable(page)
        page.expect(
            *OFFLINE, "404", "405", r"TypeError|Failed to fetch|Importing a module script failed"
        )
        await expect(page.find("#kept")).to_be_hidden()
        await page.start()
        assert (await page.ask("Where is my red umbrella?"))["text"] == "I see a cup."
        token = await page.evaluate(
            "async () => (await (await fetch('/api/token', { method: 'POST' })).json()).token"
        )
        await page.evaluate("async () => { await fetch('/health'); }")
        kept = dict(await page.evaluate(_KEPT))
        assert "/client/client.js" in kept
        strangers = [name for name in kept if name != "/" and not name.startswith("/client/")]
        assert strangers == []
        for name, text in kept.items():
            for secret in ("umbrella", "I see a cup", "data:image/jpeg;base64,/9", token):
                assert secret not in text, name
        await reach(page, tcp, False)
        await page.page.reload()
        await expect(page.find("#kept")).to_be_visible()
        await expect(page.find("#partial")).to_have_count(0)
        for path in ("/health", "/api/token", "/metrics"):
            failed = "path => fetch(path).then(() => 'answered', () => 'failed')"
            assert await page.evaluate(failed, path) == "failed"
        await reach(page, tcp, True)
        await page.start()
        assert (await page.ask("What is this?"))["text"] == "I see a cup."

        assert await page.evaluate(_ASKED) == 0
        await page.evaluate(_POISON)
        await page.page.reload()
        await expect(page.start_button).to_be_visible()
        assert await page.evaluate("window.poisoned") is None
        await reach(page, tcp, False)
        answered = "fetch('/client/core/page/dom.js').then(() => 'answered', () => 'failed')"
        assert await page.evaluate(answered) == "failed"


async def test_a_newer_page_waits_until_it_is_taken(
    visit: Visit, upgraded: tuple[Running, Upgradable], model: FakeOpenAI
) -> None:
    """One line announces it; the chat stays until the tap. Then the newer one is here, and the
    cache of the older one is gone. A next start has the newer page by itself: nobody starts with an
    old one while the server is there, and none of its modules is old.
    """
    run, shell = upgraded
    page = await kept_page(visit, run.base_url)
    await page.start()
    await page.ask("What is this?")
    [old] = await page.evaluate("caches.keys()")
    shell.upgrade("index.html", lambda text: text.replace("Point at", "Point now at"))
    line = page.find("#update")
    await expect(line).to_be_hidden()
    await page.evaluate("window.dispatchEvent(new Event('online'))")
    await expect(page.find("#update-text")).to_have_text(
        f"{say('app.new_version')} {say('app.empties_chat')}"
    )
    await expect(page.turns).to_have_count(1)
    await page.button(say("app.save_first")).click()
    keeping = page.find("#keep-dialog")
    await expect(keeping.get_by_role("button", name=say("answer.save"), exact=True)).to_be_visible()
    await keeping.get_by_role("button", name=say("page.not_now")).click()
    await page.button(say("app.load")).click()
    await expect(page.find("#empty")).to_contain_text("Point now at something")
    await page.page.wait_for_function(
        "async (old) => { const names = await caches.keys(); return names.length === 1 && names[0] !== old; }",
        arg=old,
    )
    await expect(line).to_be_hidden()

    shell.upgrade("core/page/dom.js", lambda text: f"{text}\nwindow.newer = true;\n")
    await page.page.reload()
    assert await page.evaluate("window.newer") is True
    await expect(page.find("#update")).to_be_hidden()

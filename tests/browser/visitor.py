"""A person at the page: what they do, what they see, and what the browser's console had to say."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.async_api import ConsoleMessage, Error, FloatRect, Locator, Page, Route, expect

from benchmarks.browser import get_outbound_video, get_socket_log, set_camera, wait_for_message
from scripts.bench import clock_code
from tests.support.fakes_openai import Seen
from tests.support.words import say

# The browser's messages for requests that fail as intended, for `Visitor.expect`.
NOT_REACHED = r"net::ERR_CONNECTION_REFUSED|WebSocket connection to .* failed"
REFUSED_TOKEN = r"status of 401"
# SLOW_BROWSER=4 leaves pages a quarter of the processor's time: a test that reads too early what
# comes a moment later fails then.
SLOWER = float(os.environ.get("SLOW_BROWSER", "1"))
# Of the operator, where a test's server has one
TOKEN = "operator-token-of-this-test"
# Modes of a camera that shows one colour
GREY, RED = "color:rgb(120 120 120)", "color:rgb(210 30 30)"
ORANGE, BLUE = "color:rgb(240 140 20)", "color:rgb(30 40 210)"
# The system's Chromium without a window, if any: the same engine for a fifth less of the processor
SHELL = shutil.which("chromium-headless-shell")
# Options of `Visit`: the camera of a phone, for tests about its picture. It takes most of a core.
SHARP: dict[str, Any] = {"width": 1280, "height": 720, "fps": 30}
# The same at a third of its rate, for tests about what is seen, and not about how it is sent
CALM = SHARP | {"fps": 10}
# Playwright's own, where a test has no service worker
_NO_WORKER = "Service Worker registration blocked by Playwright"
# The page opens a second socket when the first is silent, and gives it up when it does not open in 5 s, as on a busy
# machine: the browser writes this line.
_SLOW_SOCKET = "WebSocket is closed before the connection is established"

# Keeps what the browser's own voice is to say.
SPOKEN = "window.spoken = []; speechSynthesis.speak = (one) => window.spoken.push(one.text);"
_VIOLATIONS = """() => {
  window.__violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.__violations.push(`${event.violatedDirective} ${event.blockedURI}`));
}"""


async def slow_down(page: Page) -> None:
    """Give the page a part of the processor's time, where SLOW_BROWSER says so."""
    if SLOWER > 1:
        session = await page.context.new_cdp_session(page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})


async def hurry(page: Page, module: str, **constants: int) -> None:
    """Give the page a module of the client with other values of its constants.

    Before the page is opened.
    """

    async def change(route: Route) -> None:
        reply = await route.fetch()
        text = await reply.text()
        for name, value in constants.items():
            text, count = re.subn(rf"const {name} = [\d_]+;", f"const {name} = {value};", text)
            assert count == 1, name
        await route.fulfill(response=reply, body=text)

    await page.route(f"**/{module}", change)


def called(script: str) -> str:
    """A script that runs: a function as its call."""
    return f"({script})()" if script.startswith("() =>") else script


def shown(image: NDArray[np.uint8] | bytes, kind: str = "jpeg") -> str:
    """A camera's mode that shows an image, or the file of one."""
    if not isinstance(image, bytes):
        done, encoded = cv2.imencode(f".{kind}", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        image = encoded.tobytes()
    return f"image:data:image/{kind};base64,{base64.b64encode(image).decode()}"


class Visit(Protocol):
    """Opens the page of a server in a browser context of its own.

    Options: those of `page_with_camera`.

    `scripts` run before those of each page, functions without arguments among them are called;
    `prepare` gets the empty page before it is opened.
    """

    async def __call__(
        self,
        url: str,
        *,
        scripts: Sequence[str] = (),
        prepare: Callable[[Page], Awaitable[None]] | None = None,
        **options: Any,
    ) -> Visitor: ...


@dataclass(frozen=True)
class Picture:
    """The requests of a model server."""

    width: int
    height: int
    # Low 32 bits of the epoch in ms that were in front of the camera; None when no clock is in the
    # picture
    clock: int | None
    # Mean of all values, 0 to 255
    brightness: float

    @classmethod
    def of(cls, seen: Seen) -> Self:
        assert seen.jpeg is not None
        image = cv2.imdecode(np.frombuffer(seen.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        pixels = np.asarray(image, np.uint8)
        height, width = pixels.shape[:2]
        return cls(width, height, clock_code.read(pixels), float(pixels.mean()))

    def before(self, at_ms: float) -> float:
        """Milliseconds that the clock in it lies before `at_ms` (epoch); negative when it lies
        after.
        """
        assert self.clock is not None, "no clock is readable in the picture"
        return clock_code.compute_age_ms(self.clock, at_ms)


async def bounds(one: Locator) -> FloatRect:
    """The place of an element in the window, CSS pixels."""
    found = await one.bounding_box()
    assert found is not None, one
    return found


async def started(visit: Visit, url: str, **options: Any) -> Visitor:
    """Open a page and start its camera."""
    page = await visit(url, **options)
    await page.start()
    return page


async def operator(visit: Visit, url: str, **options: Any) -> Visitor:
    """Open the operator's panel, by its address."""
    page = await visit(f"{url}/#operator", **options)
    await page.operate()
    return page


class Visitor:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.box = page.locator("#question")
        self.start_button = page.get_by_role("button", name=say("page.start"))
        self.state = page.locator("#state-label")
        self.card = page.locator("#card")
        self.notice = page.locator("#notice")
        self.turns = page.locator("article.turn")
        self._problems: list[str] = []
        self._expected: list[str] = [_NO_WORKER, _SLOW_SOCKET]
        self._violations: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", self._error)

    async def open(self) -> None:
        await self.page.add_init_script(called(_VIOLATIONS))
        await self.page.goto(self.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._problems.append(message.text)

    def _error(self, error: Error) -> None:
        self._problems.append(f"uncaught: {error}")

    def expect(self, *patterns: str) -> None:
        """These lines may stand in the console: the browser writes them by itself."""
        self._expected += patterns

    @property
    def problems(self) -> list[str]:
        """Everything in the console that nobody expected: errors, warnings, violations of the
        policy.
        """
        problems = [*self._problems, *self._violations]
        return [p for p in problems if not any(re.search(e, p) for e in self._expected)]

    async def leave(self) -> None:
        """Close the page; a server that goes afterwards is none of its problems."""
        if not self.page.is_closed():
            self._violations += await self.page.evaluate("window.__violations ?? []")
            # A request that is changed at this moment is nobody's any more.
            await self.page.unroute_all(behavior="ignoreErrors")
            await self.page.close()

    async def resize(self, width: int, height: int) -> None:
        await self.page.set_viewport_size({"width": width, "height": height})

    def find(self, selector: str, **options: Any) -> Locator:
        return self.page.locator(selector, **options)

    async def evaluate(self, script: str, arg: Any = None) -> Any:
        """Run a script on the page; its result."""
        return await self.page.evaluate(script, arg)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def press(self, what: str) -> None:
        """Press a button of the menu or of "more", which is opened first.

        `what` is the button's name, or "#" and its id.
        """
        places = self.page.locator(":is(#menu, #more)")
        button = places.locator(what if what.startswith("#") else "button")
        if not what.startswith("#"):
            # In "more" a line of help follows the name.
            button = button.filter(has_text=re.compile(rf"^\s*{re.escape(what)}(\s|$)"))
        place = await button.evaluate("one => one.parentElement.id")
        if not await button.is_visible():
            await self.page.locator(f"#{place}-open").click()
        await button.click()

    async def hold(self) -> None:
        """Hold the picture, or let it go: by the button, or before the first answer by a long press."""
        button = self.find("#hold")
        if "visually-hidden" not in (await button.get_attribute("class") or ""):
            await button.click()
            return
        picture = await bounds(self.find("#stage"))
        mouse = self.page.mouse
        await mouse.move(picture["x"] + picture["width"] / 2, picture["y"] + 200)
        await mouse.down()
        await self.page.wait_for_timeout(700)
        await mouse.up()

    async def settings(self) -> None:
        """Open the settings, and what is folded in them."""
        if not await self.find("#settings").is_visible():
            await self.press("#settings-open")
        await expect(self.find("#settings")).to_be_visible()
        for group in await self.find("#settings summary").all():
            if not await group.evaluate("one => one.parentElement.open"):
                await group.click()

    async def points(self, turn: Locator | None = None) -> Locator:
        """Open what lies behind the points below an answer, the newest if none is given."""
        found = (turn or self.turns.last).locator(".evidence")
        if await found.get_attribute("open") is None:
            await found.locator("> summary").click()
        return found

    async def ways(self, turn: Locator | None = None) -> Locator:
        """Open the ways to look again at an answer, the newest if none is given."""
        found = (await self.points(turn)).locator(".look-again")
        if await found.get_attribute("open") is None:
            await found.locator("> summary").click()
        return found.locator(".ways")

    async def figures(self, turn: Locator | None = None) -> Locator:
        """Open the details of an answer, the newest if none is given."""
        found = (await self.points(turn)).locator(".figures")
        if await found.get_attribute("open") is None:
            await found.locator("> summary").click()
        return found

    async def now(self) -> float:
        """The page's clock, ms since the epoch."""
        now: float = await self.page.evaluate("performance.timeOrigin + performance.now()")
        return now

    async def bring(self, elements: str, sheet: str) -> None:
        """Add a part's elements and style sheet, files below client/, as the page does for it."""
        await self.page.evaluate(
            """async ([elements, sheet]) => {
              const { Part } = await import("/client/core/page/part.js");
              const at = (path) => new URL(`/client/${path}`, location.href);
              const part = new Part({ address: at("core/page/part.js"), load: async () => ({}), onMissing() {},
                elements: at(elements), sheets: [at(sheet)] });
              await part.ahead();
            }""",
            [elements, sheet],
        )

    async def operate(self, token: str = TOKEN) -> None:
        """Let the operator in, where the page asks for the token."""
        await self.page.get_by_label("Operator token").fill(token)
        await self.button("Continue").click()

    async def comes(
        self, script: str, wanted: Any, arg: Any = None, *, timeout: float = 10
    ) -> None:
        """Wait until a script of the page returns `wanted`: what follows an event may come with the
        next frame, or with a file that is fetched.
        """
        end = time.monotonic() + timeout
        while (found := await self.page.evaluate(script, arg)) != wanted:
            assert time.monotonic() < end, f"{found!r} in place of {wanted!r}"
            await self.page.wait_for_timeout(50)

    async def lets_go(self) -> None:
        """Wait until the page has no camera any more."""
        await self.comes("document.querySelector('#video').srcObject === null", True)

    async def start(self, state: str = "page.live") -> None:
        """Press Start Camera and wait until the page says that it is live. `state`: the id of its words."""
        since = await self.now()
        await self.start_button.click()
        # The message first: it is looked for far more often than `expect` looks.
        await self.got('m.type === "status" && m.camera === "live"', since=since)
        await expect(self.state).to_have_text(say(state))

    async def show(self, **values: Any) -> None:
        """Put something else in front of the camera; returns when it was drawn."""
        await set_camera(self.page, **values)
        drawn = await self.page.evaluate("window.__camera.drawn")
        await self.page.wait_for_function("n => window.__camera.drawn > n + 1", arg=drawn)

    async def settle(self, frames: int = 3) -> None:
        """Wait until so many more frames were sent: a picture that has just changed becomes sharp
        with them.
        """
        first = await get_outbound_video(self.page)
        wanted = (first["framesSent"] if first else 0) + frames
        await self.until(lambda sent: sent["framesSent"] >= wanted)

    async def rest(self) -> None:
        """Wait until nothing on the page moves by a transition."""
        await self.comes(
            "document.getAnimations().every(({ playState }) => playState !== 'running')", True
        )

    async def record_announcements(self) -> None:
        """Begin to record what screen readers are told, see `announced`."""
        await self.page.evaluate("""() => {
          window.__announced = [];
          const region = document.getElementById("announcer");
          new MutationObserver(() => window.__announced.push(region.textContent.trim()))
            .observe(region, { childList: true, characterData: true, subtree: true });
        }""")

    async def announced(self) -> list[str]:
        """The announcements since `record_announcements`, oldest first."""
        texts: list[str] = await self.page.evaluate("window.__announced")
        return texts

    async def until(
        self, fine: Callable[[dict[str, Any]], bool], *, timeout: float = 10
    ) -> dict[str, Any]:
        """Wait until what the browser sends is `fine`; the report (see `outbound_video`)."""
        report: dict[str, Any] | None = None
        end = await self.now() + timeout * 1000
        while await self.now() < end:
            report = await get_outbound_video(self.page)
            if report is not None and fine(report):
                return report
            await self.page.wait_for_timeout(50)
        raise AssertionError(f"not within {timeout} s; the last report: {report}")

    async def send(self, question: str) -> dict[str, Any]:
        """Type a question, press Enter: the `chat` message as it went out."""
        since = await self.now()
        await self.box.fill(question)
        await self.box.press("Enter")
        return await self.sent("chat", since=since)

    async def watch(self, condition: str = "you see red") -> None:
        """Order to be told when something is so, and wait until it is watched for."""
        since = await self.now()
        await self.box.fill(f"Tell me when {condition}.")
        await self.button(say("chat.watch_this")).click()
        await self.got('m.type === "watches" && m.watches[0]?.armed', since=since)

    async def ask(self, question: str, *, timeout: float = 30) -> dict[str, Any]:
        """Type a question and wait for its end: the `response`. An `error` fails the test."""
        sent = await self.send(question)
        return await self.response(sent["id"], timeout=timeout)

    async def tap(self, name: str, *, timeout: float = 30) -> dict[str, Any]:
        """Press a one-tap question and wait for its `response`."""
        since = await self.now()
        await self.button(name).click()
        sent = await self.sent("chat", since=since)
        return await self.response(sent["id"], timeout=timeout)

    async def response(self, id: str, *, timeout: float = 30) -> dict[str, Any]:
        message = await self.end(id, timeout=timeout)
        assert message["type"] == "response", message
        return message

    async def end(self, id: str, *, timeout: float = 30) -> dict[str, Any]:
        """The `response` or `error` to a question."""
        kinds = '(m.type === "response" || m.type === "error")'
        return await self.got(f'{kinds} && m.id === "{id}"', timeout=timeout)

    async def sent(self, type: str, *, since: float = 0, timeout: float = 30) -> dict[str, Any]:
        wanted = f'way === "sent" && m.type === "{type}"'
        return await self._message(wanted, since, timeout)

    async def sends(self, wanted: str, *, since: float = 0) -> dict[str, Any]:
        """The first message of the page for which the JavaScript `wanted` (of `m`) is true."""
        return await self._message(f'way === "sent" && ({wanted})', since, 30)

    async def got(self, wanted: str, *, since: float = 0, timeout: float = 30) -> dict[str, Any]:
        """The first message from the server for which the JavaScript `wanted` (of `m`) is true."""
        return await self._message(f'way === "got" && ({wanted})', since, timeout)

    async def _message(self, wanted: str, since: float, timeout: float) -> dict[str, Any]:
        entry = await wait_for_message(self.page, wanted, since=since, timeout=timeout)
        message: dict[str, Any] = entry["message"]
        return message

    async def log(self) -> list[dict[str, Any]]:
        """All that went over the sockets: {at, way, message}."""
        return await get_socket_log(self.page)

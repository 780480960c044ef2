"""Headless Chromium, controlled by Playwright, with a canvas as its camera."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from benchmarks.link import LinkRelay

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGS = (
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # The two popups of the address bar, which use half a CPU second for each page. The other names are Playwright's own
    # list, which this one replaces.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxFullPopup,WebUIOmniboxAimPopup,AimEnabled,LensOverlay,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,"
    "MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,OptimizationHints,"
    "NetworkTimeServiceQuerying,PreconnectToSearch",
)
_CAMERA = Path(__file__).with_name("canvas_camera.js")


def find_chromium() -> str | None:
    """Return the path of the system's Chromium or Chrome; None: Playwright uses its own."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def make_camera_script(**options: Any) -> str:
    """Return the script that replaces the camera by a canvas; options as in canvas_camera.js."""
    return _CAMERA.read_text().replace("/*OPTIONS*/ {}", json.dumps(options))


@asynccontextmanager
async def chromium(
    *, args: Sequence[str] = (), executable: str | None = None
) -> AsyncIterator[Browser]:
    """Yield a headless browser. Raises playwright's Error, which says how to install one."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable or find_chromium(), headless=True, args=[*ARGS, *args]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_with_camera(
    browser: Browser,
    *,
    viewport: tuple[int, int] = (390, 844),
    context_options: dict[str, Any] | None = None,
    **camera: Any,
) -> AsyncIterator[Page]:
    """Yield an empty page in a separate context; every document that it opens gets the canvas camera.

    Service workers are blocked unless the options allow them: they would answer requests that a test waits for or
    holds.
    """
    options = {"service_workers": "block"} | (context_options or {})
    context: BrowserContext = await browser.new_context(
        viewport={"width": viewport[0], "height": viewport[1]},
        ignore_https_errors=True,
        # A canvas camera in a worker violates the page's content security policy.
        bypass_csp=bool(camera.get("apart")),
        **options,
    )
    try:
        await context.add_init_script(make_camera_script(**camera))
        yield await context.new_page()
    finally:
        await context.close()


async def set_camera(page: Page, **values: Any) -> None:
    """Set fields of `window.__camera`, e.g. `mode="text:EXIT 12"`, `textPx=14`."""
    await page.evaluate("values => Object.assign(window.__camera, values)", values)


_OUTBOUND = """async () => {
  for (const peer of [...window.__peers].reverse()) {
    if (peer.connectionState === "closed") continue;
    let soundBytesSent = 0;
    for (const report of (await peer.getStats()).values())
      if (report.type === "outbound-rtp" && report.kind === "audio")
        // With SRTP's tag, of at least 10 bytes a packet
        soundBytesSent = report.bytesSent + report.headerBytesSent + 10 * report.packetsSent;
    for (const report of (await peer.getStats()).values()) {
      if (report.type === "outbound-rtp" && report.kind === "video") {
        // More than one may be nominated (IPv4 and IPv6): the one in use has sent.
        const pair = [...(await peer.getStats()).values()].filter(r => r.type === "candidate-pair" && r.nominated)
          .sort((one, other) => other.bytesSent - one.bytesSent)[0];
        return {...report, now: performance.timeOrigin + performance.now(),
                pairBytesSent: pair?.bytesSent ?? null, soundBytesSent,
                availableOutgoingBitrate: pair?.availableOutgoingBitrate ?? null,
                parameters: peer.getSenders().find(s => s.track?.kind === "video")?.getParameters() ?? null};
      }
    }
  }
  return null;
}"""


async def get_outbound_video(page: Page) -> dict[str, Any] | None:
    """Return Chromium's statistics of the video that it sends: the `outbound-rtp` report, with the bytes of the
    candidate pair and of the sound, the sender's parameters and the time (`now`, epoch ms); None while no video is
    sent.
    """
    report: dict[str, Any] | None = await page.evaluate(_OUTBOUND)
    return report


async def get_socket_log(page: Page, since: float = 0) -> list[dict[str, Any]]:
    """Return the messages of the page's sockets since a time (epoch ms): {at, way: "sent"|"got", message}."""
    entries: list[dict[str, Any]] = await page.evaluate(
        "since => window.__log.filter(entry => entry.at >= since)", since
    )
    return entries


async def wait_for_message(
    page: Page, wanted: str, *, since: float = 0, timeout: float = 15
) -> dict[str, Any]:
    """Wait until the log has an entry for which the JavaScript expression `wanted` (of `m`, the
    message, and `way`) is true. Return the first such entry. Raises playwright's TimeoutError.
    """
    find = f"since => window.__log.find(({{at, way, message: m}}) => at >= since && ({wanted}))"
    handle = await page.wait_for_function(find, arg=since, timeout=timeout * 1000, polling=20)
    entry: dict[str, Any] = await handle.json_value()
    return entry


_THROUGH_RELAY = r"""() => {
  const fetch = window.fetch;
  const withoutCandidates = (sdp) => sdp.replace(/^a=(candidate:|end-of-candidates).*\r?\n/gm, "");
  window.fetch = async (path, init) => {
    if (!String(path).includes("/api/webrtc/offer")) return fetch(path, init);
    if (init.method === "PATCH") return new Response(null, { status: 204 });
    if (init.method !== "POST") return fetch(path, init);
    const body = JSON.parse(init.body);
    const reply = await fetch(path, { ...init, body: JSON.stringify({ ...body, sdp: withoutCandidates(body.sdp) }) });
    if (!reply.ok) return reply;
    const answer = await reply.json();
    return Response.json({ ...answer, sdp: await window.__relayAnswer(answer.sdp) });
  };
}"""


async def put_link_between(page: Page, relay: LinkRelay) -> None:
    """Rewrite the page's offers and answers for `relay`, without trickle ICE. Call before opening the page."""
    await page.expose_function("__relayAnswer", relay.rewrite_answer)
    await page.add_init_script(f"({_THROUGH_RELAY})()")


_CODEC = """(name) => {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (...args) {
    const transceiver = add.apply(this, args);
    if (transceiver.receiver.track.kind !== "video") return transceiver;
    const { codecs } = RTCRtpSender.getCapabilities("video");
    const wanted = codecs.filter(({ mimeType }) => [`video/${name}`, "video/rtx"].includes(mimeType));
    transceiver.setCodecPreferences(wanted);
    return transceiver;
  };
}"""


async def prefer_codec(page: Page, name: str) -> None:
    """Make the page offer only one video codec, "VP8" or "H264". Call before opening the page."""
    await page.add_init_script(f"({_CODEC})({json.dumps(name)})")

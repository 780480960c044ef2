"""A page whose camera goes over a link of its own, which is narrow, loses packets or is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page

from benchmarks.browser import page_with_camera, prefer_codec, put_link_between
from benchmarks.link import Link
from benchmarks.link_relay import LinkRelay
from benchmarks.tcp_relay import TcpRelay


@dataclass(frozen=True, slots=True)
class LinkedPage:
    """`url` is where the page finds its server."""

    page: Page
    url: str
    camera: LinkRelay
    # HTTP and WebSocket; None when they go the straight way.
    rest: TcpRelay | None

    def cut(self, now: bool) -> None:
        """Nothing goes through any more; False joins the link again."""
        self.camera.cut = now
        if self.rest is not None:
            self.rest.cut = now


@asynccontextmanager
async def linked_page(
    browser: Browser,
    url: str,
    *,
    up: Link,
    down: Link,
    seed: int,
    codec: str = "",
    whole: bool = False,
) -> AsyncIterator[LinkedPage]:
    """Not opened yet.

    `codec`: offered alone, "VP8" or "H264"; `whole`: HTTP and WebSocket can be cut, too.
    """
    async with AsyncExitStack() as stack:
        rest = None
        if whole:
            address = urlsplit(url)
            rest = TcpRelay(address.hostname or "", address.port or 0)
            await stack.enter_async_context(rest)
        camera = await stack.enter_async_context(LinkRelay(up=up, down=down, seed=seed))
        page = await stack.enter_async_context(page_with_camera(browser))
        await put_link_between(page, camera)
        if codec:
            await prefer_codec(page, codec)
        linked = LinkedPage(page, url if rest is None else rest.url, camera, rest)
        try:
            yield linked
        finally:
            linked.cut(False)

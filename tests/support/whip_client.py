"""A WHIP client (RFC 9725) of aiortc and httpx, for a running server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiortc.sdp import candidate_from_sdp

from scripts.bench.live_encoder import LiveEncoder
from server.features.cameras.fragment import MEDIA_TYPE, make_fragment, parse_fragment
from server.features.cameras.whip import IceRestart
from tests.support.clients import Page, bearer, http, open_page, take_token
from tests.support.fakes_rtc import Peer, camera_peer
from tests.support.running import Running

ENDPOINT = "/api/whip"


async def offer(
    client: httpx.AsyncClient, token: str, sdp: str | bytes, **headers: str
) -> httpx.Response:
    """POST an offer with these headers, whose names have _ for -."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"Content-Type": "application/sdp"}
    return await client.post(ENDPOINT, content=sdp, headers=kind | bearer(token) | given)


class WhipCamera:
    """Publishes `peer` for one session; `page` is that session's socket."""

    def __init__(self, run: Running, client: httpx.AsyncClient, peer: Peer, issued: Any) -> None:
        self.run = run
        self.client = client
        self.peer = peer
        self.token: str = issued["token"]
        self.session_id: str = issued["session_id"]
        # Address of the session resource, and its entity tag.
        self.location = ""
        self.etag = ""
        self._restart: IceRestart | None = None

    @property
    def bearer(self) -> dict[str, str]:
        return bearer(self.token)

    async def offer(self, sdp: str) -> httpx.Response:
        """POST an offer; the peer does not know the answer yet."""
        reply = await offer(self.client, self.token, sdp)
        assert reply.status_code == 201, reply.text
        self.location = str(reply.url.join(reply.headers["location"]))
        self.etag = reply.headers["etag"]
        return reply

    async def publish(self, sdp: str | None = None) -> httpx.Response:
        """POST the offer and take the answer."""
        reply = await self.offer(sdp or await self.peer.offer())
        await self.peer.accept(reply.text)
        return reply

    async def patch(self, fragment: str, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.patch(
            self.location,
            content=fragment,
            headers={**self.bearer, "Content-Type": MEDIA_TYPE, **given},
        )

    async def restart_ice(self) -> httpx.Response:
        """New credentials of this side for new ones of the server's; media goes on."""
        transport = self.peer.sender.transport.transport
        self._restart = self._restart or IceRestart(transport, 10)
        ours = await self._restart.begin("none", "none")
        # Without candidates: the server's checks must not come before its credentials are known
        # here.
        reply = await self.patch(
            make_fragment("video", "0", ours.local_username, ours.local_password, []), If_Match="*"
        )
        assert reply.status_code == 200, reply.text
        theirs = parse_fragment(reply.text)
        transport._connection.remote_username = theirs.credentials[0].ufrag
        transport._connection.remote_password = theirs.credentials[0].pwd
        for candidate in theirs.candidates:
            await transport.addRemoteCandidate(
                candidate_from_sdp(candidate["candidate"].removeprefix("candidate:"))
            )
        self.etag = reply.headers["etag"]
        return reply

    async def page(self) -> Page:
        page = await open_page(self.run, self.token, self.session_id)
        await page.next("ready")
        return page

    async def close(self) -> None:
        await self.peer.close()
        if self._restart is not None:
            await self._restart.close()


@asynccontextmanager
async def whip_camera(run: Running, encoder: LiveEncoder) -> AsyncIterator[WhipCamera]:
    """One that has published nothing yet. Its session is ended afterwards."""
    issued = await take_token(run)
    async with http(run) as client, camera_peer(encoder) as peer:
        camera = WhipCamera(run, client, peer, issued)
        try:
            yield camera
        finally:
            await camera.close()
            await run.program.sessions.end(camera.session_id, "test over")

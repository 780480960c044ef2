"""The process that a session lives on; deploy/test_nginx.py compares it with nginx."""

from __future__ import annotations

import secrets
from collections import Counter
from ipaddress import ip_network

import pytest

from server.access.affinity import HEADER, MAX_PEERS, Ring, home_process
from server.auth import new_session_id
from tests.support.clients import http, open_page, take_token
from tests.support.running import Running, running
from tests.web.test_routes import make_offer

PEERS = ("127.0.0.1:8010", "127.0.0.1:8011", "127.0.0.1:8012")
TRUSTED = (ip_network("127.0.0.1"),)
OFFER = "/api/webrtc/offer"


def test_keys_are_spread_and_stay_where_they_are() -> None:
    """Each of three gets its share; when one goes, only its own keys move, and the order of the list is of no matter."""
    ring, fewer, turned = Ring(PEERS), Ring(PEERS[:2]), Ring(PEERS[::-1])
    keys = [f"key-{number}" for number in range(3000)]
    shares = Counter(ring.home(key) for key in keys)
    assert set(shares) == set(PEERS)
    assert min(shares.values()) > 700
    for key in keys:
        assert ring.home(key) in (fewer.home(key), PEERS[2])
        assert ring.home(key) == turned.home(key)


def test_ids_are_drawn_for_a_place() -> None:
    """Every id drawn by a process leads back to it, and nowhere else."""
    for peer in PEERS:
        host, _, port = peer.rpartition(":")
        place = home_process(" ".join(PEERS), (host, int(port)), "127.0.0.1", TRUSTED)
        assert place is not None
        drawn = {place.draw(new_session_id) for _ in range(50)}
        assert len(drawn) == 50
        assert {Ring(PEERS).home(one) for one in drawn} == {peer}
        assert all(len(one) == 22 for one in drawn)


def test_ipv6() -> None:
    """Addresses stand in brackets, as nginx writes them."""
    place = home_process("[::1]:8010", ("::1", 8010), "127.0.0.1", TRUSTED)
    assert place is not None
    assert place.own == "[::1]:8010"


@pytest.mark.parametrize(
    ("listed", "server", "peer"),
    [
        (None, ("127.0.0.1", 8010), "127.0.0.1"),
        ("", ("127.0.0.1", 8010), "127.0.0.1"),
        # not of a proxy of ours
        (" ".join(PEERS), ("127.0.0.1", 8010), "127.0.0.2"),
        (" ".join(PEERS), ("127.0.0.1", 8010), None),
        # does not name this process
        (" ".join(PEERS), ("127.0.0.1", 8013), "127.0.0.1"),
        (" ".join(PEERS), None, "127.0.0.1"),
        ("127.0.0.1:8010, 127.0.0.1:8011", ("127.0.0.1", 8011), "127.0.0.1"),
        ("127.0.0.1", ("127.0.0.1", 8010), "127.0.0.1"),
        (
            " ".join(f"127.0.0.1:{8010 + n}" for n in range(MAX_PEERS + 1)),
            ("127.0.0.1", 8010),
            "127.0.0.1",
        ),
        ("x" * 5000, ("127.0.0.1", 8010), "127.0.0.1"),
    ],
)
def test_where_nothing_is_known(
    listed: str | None, server: tuple[str, int] | None, peer: str | None
) -> None:
    """A list that is missing, foreign, broken or too long says nothing of homes."""
    assert home_process(listed, server, peer, TRUSTED) is None


def test_the_longest_list() -> None:
    """As many as are allowed are taken."""
    peers = [f"127.0.0.1:{8010 + number}" for number in range(MAX_PEERS)]
    assert home_process(" ".join(peers), ("127.0.0.1", 8010), "127.0.0.1", TRUSTED) is not None


def listed(run: Running) -> dict[str, str]:
    """The header of a balancer over this process and one that is not there."""
    return {HEADER: f"127.0.0.1:{run.port} 127.0.0.1:1"}


def foreign(run: Running) -> str:
    """An id that belongs to the other one."""
    ring = Ring((f"127.0.0.1:{run.port}", "127.0.0.1:1"))
    while ring.home(drawn := secrets.token_urlsafe(16)) != "127.0.0.1:1":
        pass
    return drawn


async def test_a_session_that_belongs_elsewhere() -> None:
    """Without ?session= it is sent on to be balanced by it; with it, its process is gone: 404, 4404, and a new one here."""
    sdp = {"sdp": await make_offer("video"), "type": "offer"}
    async with (
        running(rate_limit_per_minute=0, trusted_proxies="127.0.0.1") as run,
        http(run) as client,
    ):
        away = foreign(run)
        headers = listed(run)
        token = run.program.tokens.issue(away).token
        bearer = headers | {"Authorization": f"Bearer {token}"}
        for method in ("POST", "PATCH", "DELETE"):
            body: object = sdp if method == "POST" else {"candidates": []}
            sent_on = await client.request(method, OFFER, json=body, headers=bearer)
            assert sent_on.status_code == 307
            assert sent_on.headers["location"] == f"{OFFER}?session={away}"
            assert sent_on.json()["error"]["code"] == "elsewhere"
            gone = await client.request(
                method, f"{OFFER}?session={away}", json=body, headers=bearer
            )
            assert gone.status_code == 404
            assert "Get a new token" in gone.json()["detail"]
        whip = await client.post("/api/whip", content=b"v=0", headers=bearer)
        assert whip.headers["location"] == f"/api/whip?session={away}"
        page = await open_page(run, token, away, headers=headers)
        assert await page.closed() == (4404, "its part of the server has gone")
        assert len(run.program.sessions) == 0
        # Anybody's token is good here for another one; one of this process's own begins.
        renewed = await client.post("/api/token", headers=bearer)
        assert renewed.json()["session_id"] == away
        for _ in range(10):
            fresh = (await client.post("/api/token", headers=headers)).json()
            page = await open_page(run, fresh["token"], fresh["session_id"], headers=headers)
            assert (await page.next("ready"))["session_id"] == fresh["session_id"]
            await page.close()
        begun = await client.post(OFFER, json=sdp, headers=headers)
        assert begun.status_code == 200
        at_home = headers | {"Authorization": f"Bearer {begun.json()['token']}"}
        assert (await client.request("DELETE", OFFER, headers=at_home)).json() == {"ended": True}


async def test_without_a_balancer_every_session_is_taken() -> None:
    """No list, or one that a stranger wrote: the session begins here."""
    async with running(rate_limit_per_minute=0, trusted_proxies="192.0.2.1") as run:
        away = foreign(run)
        token = run.program.tokens.issue(away).token
        page = await open_page(run, token, away, headers=listed(run))
        await page.next("ready")
        await page.close()


async def test_a_session_that_is_here_stays_here() -> None:
    """It began before another process was added whose ids it has."""
    async with running(rate_limit_per_minute=0) as run, http(run) as client:
        away = foreign(run)
        token = run.program.tokens.issue(away).token
        page = await open_page(run, token, away)
        await page.next("ready")
        bearer = listed(run) | {"Authorization": f"Bearer {token}"}
        again = await client.request("DELETE", OFFER, headers=bearer)
        assert again.status_code == 200
        await page.close()


async def test_a_draining_process_gives_out_no_new_sessions() -> None:
    """503 that a balancer passes over; a token that is there is renewed."""
    async with running(rate_limit_per_minute=0) as run, http(run) as client:
        held = await take_token(run)
        run.program.sessions.draining = True
        refused = await client.post("/api/token")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        renewed = await client.post(
            "/api/token", headers={"Authorization": f"Bearer {held['token']}"}
        )
        assert renewed.status_code == 200

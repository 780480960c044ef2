"""The process that a session lives in; deploy/test_nginx.py has the nginx in front of several."""

from __future__ import annotations

import pytest

from server.auth import new_session_id
from server.features.cameras.cameras import make_token
from server.features.cluster.replicas import is_home, make_session_id
from tests.support.clients import bearer, http, open_page
from tests.support.running import running
from tests.web.test_routes import make_offer

OFFER = "/api/webrtc/offer"
TAIL = "a" * 22


def test_a_new_session_leads_back_to_its_process() -> None:
    """Its id begins with the name, is at home there and nowhere else, and is never the same twice."""
    ids = {make_session_id("8010") for _ in range(100)}
    assert len(ids) == 100
    assert all(one.startswith("8010-") and len(one) == 27 for one in ids)
    assert all(is_home("8010", one) and not is_home("8011", one) for one in ids)


def test_a_process_without_a_name_takes_every_session() -> None:
    assert len(make_session_id("")) == 22
    assert all(is_home("", one) for one in (new_session_id(), f"8010-{TAIL}", "x"))


@pytest.mark.parametrize(
    "forged",
    [
        *("", "8010", "8010-", TAIL, f"8010-{TAIL}a", f"8010-{TAIL[1:]}", f"8010-{TAIL}\n"),
        *(f"8010_{TAIL}", f"-{TAIL}", f"8011-8010-{TAIL[5:]}", f"8010 -{TAIL}", f"80100-{TAIL}"),
        *(f"８０１０-{TAIL}", f"{'8010' * 5}-{TAIL}"),
    ],
)
def test_an_id_that_only_looks_alike_is_not_at_home(forged: str) -> None:
    """Only the whole name with a whole random part leads here."""
    assert not is_home("8010", forged)


async def test_a_session_that_belongs_elsewhere() -> None:
    """Without ?session= it is sent on to be balanced by it; with it, its process is gone: 404,
    4404, and a new one here.
    """
    sdp = {"sdp": await make_offer("video"), "type": "offer"}
    async with running(rate_limit_per_minute=0, process_name="8010") as run, http(run) as client:
        away = f"8011-{TAIL}"
        token = run.program.access.tokens.issue(away).token
        own = bearer(token)
        for method in ("POST", "PATCH", "DELETE"):
            body: object = sdp if method == "POST" else {"candidates": []}
            sent_on = await client.request(method, OFFER, json=body, headers=own)
            assert sent_on.status_code == 307
            assert sent_on.headers["location"] == f"{OFFER}?session={away}"
            assert sent_on.json()["error"]["code"] == "elsewhere"
            gone = await client.request(method, f"{OFFER}?session={away}", json=body, headers=own)
            assert gone.status_code == 404
            assert "Get a new token" in gone.json()["detail"]
        whip = await client.post("/api/whip", content=b"v=0", headers=own)
        assert whip.headers["location"] == f"/api/whip?session={away}"
        page = await open_page(run, token, away)
        assert await page.closed() == (4404, "replica unavailable")
        assert len(run.program.sessions) == 0
        # A token is renewed by every process, and stays one of its own.
        renewed = await client.post("/api/token", headers=own)
        assert renewed.json()["session_id"] == away
        fresh = (await client.post("/api/token")).json()
        assert fresh["session_id"].startswith("8010-")
        page = await open_page(run, fresh["token"], fresh["session_id"])
        assert (await page.next("ready"))["session_id"] == fresh["session_id"]
        await page.close()
        begun = await client.post(OFFER, json=sdp)
        assert begun.status_code == 200
        assert begun.json()["session_id"].startswith("8010-")
        at_home = bearer(begun.json()["token"])
        assert (await client.request("DELETE", OFFER, headers=at_home)).json() == {"ended": True}


@pytest.mark.parametrize("name", ["%E2%82%AC", "x%0d%0aX-A:%201", "..%2f..%2fx", "a%3Fsession=b"])
async def test_a_path_of_any_signs_is_sent_on(name: str) -> None:
    """A stranger's token that only looks like a camera's is enough: no error, no other header."""
    token, _ = make_token(f"8011-{TAIL}")
    async with running(rate_limit_per_minute=0, process_name="8010") as run, http(run) as client:
        reply = await client.patch(f"/api/whip/{name}", headers=bearer(token))
        assert reply.status_code in (307, 404)
        assert reply.headers.get("location", "/api/whip/").startswith("/api/whip/")
        assert "x-a" not in reply.headers

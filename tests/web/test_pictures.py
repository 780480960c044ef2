"""GET /api/pictures: the picture of an answer, for whoever has the session's token, and nobody else."""

from __future__ import annotations

from tests.support.clients import bearer, http, page_of, take_token, visitor, with_client
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.running import running


async def test_only_the_session_itself_sees_its_pictures() -> None:
    """The very bytes that the engine got, in no cache; nobody else does, nor after a drop."""
    async with (
        live_encoder() as encoder,
        FakeOpenAI() as fake,
        running(engine="vllm", vllm_base_url=fake.base_url, rate_limit_per_minute=0) as run,
        visitor(run, encoder) as one,
        page_of(run) as _other,
        http(run) as client,
    ):
        response = await one.page.ask("What is this?", id="q-1", timeout=30)
        path = f"/api/pictures/{response['frame']['picture']}"
        reply = await client.get(path, headers=bearer(one.token))
        assert reply.status_code == 200
        assert reply.content == fake.last.jpeg
        assert reply.headers["content-type"] == "image/jpeg"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"

        stranger = await take_token(run)
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers=bearer(stranger["token"]))).status_code == 404
        for name in ("0", "²", "9" * 5000, "%2e%2e"):
            reply = await client.get(f"/api/pictures/{name}", headers=bearer(one.token))
            assert reply.status_code == 404, name

        await one.page.send(type="delete_answer", id="q-1")
        await one.page.ponged()
        assert (await client.get(path, headers=bearer(one.token))).status_code == 404


async def test_looks_are_limited() -> None:
    """Whoever asks again and again waits, as with every request."""
    async with with_client(rate_limit_per_minute=12) as (run, client):
        issued = await take_token(run)
        codes = [
            (await client.get("/api/pictures/1", headers=bearer(issued["token"]))).status_code
            for _ in range(20)
        ]
    assert codes[0] == 404
    assert codes[-1] == 429


async def test_other_pages_get_none() -> None:
    """Another site's page is refused before anything is looked up."""
    async with with_client() as (run, client):
        issued = await take_token(run)
        headers = bearer(issued["token"]) | {"Origin": "https://elsewhere.example"}
        assert (await client.get("/api/pictures/1", headers=headers)).status_code == 403

"""Sessions opened, found, limited, expired, ended and closed by their one owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import session_manager
from server.auth import Claims
from server.core.aio import Pools
from server.core.errors import BadRequest, Busy, Conflict, NotFound
from server.core.frames import Frame
from server.core.redact import hash_session_id
from server.session.part import BackgroundPart, SessionContext, SessionFeatures
from server.session.session import MAX_NUMBER, MAX_PAGES, Attempt, Attempts, Session
from server.session_manager import Revocations, SessionManager
from tests.support.clients import soon
from tests.support.fakes import FakeEngine
from tests.support.rooms import LIMITS, make_frame, make_services


class Socket:
    """Notes how it was asked to close."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    def close_soon(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    @property
    def code(self) -> int | None:
        return self.closed[0][0] if self.closed else None


@asynccontextmanager
async def manager(
    features: SessionFeatures | None = None, **more: Any
) -> AsyncIterator[tuple[SessionManager, list[str]]]:
    """A manager of real sessions, and the ids that it told to have ended."""
    pools = Pools()
    services = make_services(FakeEngine(), pools)
    ended: list[str] = []
    given = {"max_sessions": 3, "timeout": 60.0, "on_end": ended.append, **more}
    parts = features or SessionFeatures()
    sessions = SessionManager(lambda id: Session(id, LIMITS, services, parts), **given)
    try:
        yield sessions, ended
    finally:
        await sessions.close()
        await services.inference.close()
        pools.close()


async def test_open_finds_or_begins() -> None:
    """The same id is the same session; only `open` begins one."""
    async with manager() as (sessions, _):
        with pytest.raises(NotFound):
            sessions.find("a")
        a = sessions.open("a")
        assert sessions.open("a") is sessions.find("a") is a
        assert "a" in sessions
        assert len(sessions) == 1
        assert sessions.list_all() == [a]


async def test_sessions_that_were_left_make_room() -> None:
    """At MAX_SESSIONS the session left longest ago ends; one with a socket, or left just now, stays."""
    async with manager(max_sessions=3) as (sessions, ended):
        left, longest, watched = (sessions.open(id) for id in ("left", "longest", "watched"))
        sessions.attach(watched, Socket())
        for session, ago in ((watched, 900), (longest, 300), (left, 200)):
            session.last_activity -= ago
        sessions.open("new")
        assert "longest" not in sessions
        await soon(lambda: ended == ["longest"])
        sessions.open("newer")
        assert "left" not in sessions
        with pytest.raises(Busy):
            sessions.open("newest")
        with pytest.raises(NotFound):
            sessions.open("longest")


async def test_places_are_not_held_by_those_who_show_nothing() -> None:
    """At MAX_SESSIONS a session without a picture for three minutes ends, even with an active socket."""
    async with manager(max_sessions=3) as (sessions, ended):
        talks, silent, shows = (sessions.open(id) for id in ("talks", "silent", "shows"))
        sockets = {session.id: Socket() for session in (talks, silent, shows)}
        for session in (talks, silent, shows):
            sessions.attach(session, sockets[session.id])
            session.camera._dark_since -= 120
        feed = shows.camera.open_connection()
        feed.frame(make_frame())
        with pytest.raises(Busy):
            sessions.open("new")
        silent.camera.open_connection()
        for session, ago in ((talks, 62), (silent, 70), (shows, 1000)):
            session.camera._dark_since -= ago
            session.touch()
        sessions.open("new")
        assert "silent" not in sessions
        sessions.open("newer")
        assert "talks" not in sessions
        with pytest.raises(Busy):
            sessions.open("newest")
        await soon(lambda: ended == ["silent", "talks"])
        assert sockets["silent"].code == sockets["talks"].code == 4404
        assert sockets["shows"].code is None


async def test_an_ended_session_never_comes_back() -> None:
    """Its id is remembered, its end told once, and ending it again does nothing."""
    async with manager() as (sessions, ended):
        socket = Socket()
        sessions.attach(sessions.open("a"), socket)
        await sessions.end("a", "over")
        await sessions.end("a", "over")
        await sessions.end("nobody", "over")
        assert ended == ["a"]
        assert socket.closed == [(4404, "over")]
        assert sessions.sockets == 0
        with pytest.raises(NotFound):
            sessions.open("a")


async def test_a_flood_of_ended_sessions_brings_none_back() -> None:
    """Beyond what is remembered, access that began no later than what was forgotten is over, too; new access is not."""
    async with manager() as (sessions, _):
        sessions.revoked = Revocations(86_400, 2)
        began = int(time.time()) - 100
        for number, id in enumerate("abcde"):
            sessions.open(id, began + number)
            await sessions.end(id, "over")
        assert len(sessions.revoked) == 2
        for number, id in enumerate("abcde"):
            with pytest.raises(NotFound):
                sessions.open(id, began + number)
        with pytest.raises(NotFound):
            sessions.open("old", began)
        sessions.open("new")


@pytest.mark.slow
async def test_sessions_end_when_their_code_is_too_old() -> None:
    """However much goes on in them; who came later stays."""
    async with manager(max_age=600) as (sessions, ended):
        socket = Socket()
        now = int(time.time())
        sessions.attach(sessions.open("old", now - 598), socket)
        sessions.open("new", now - 500)
        sessions.start()

        def look() -> bool:
            for session in sessions.list_all():
                session.touch()
            return "old" not in sessions

        await soon(look, 20.0)
        await soon(lambda: ended == ["old"])
        assert socket.code == 4404
        assert "new" in sessions


async def test_an_operator_ends_one_and_all() -> None:
    """By its hash, with a code of its own, for good; all at once, but for who brings the code afterwards."""
    async with manager() as (sessions, ended):
        sockets = {id: Socket() for id in "ab"}
        for id, socket in sockets.items():
            sessions.attach(sessions.open(id), socket)
        seen = {one["name"]: one for one in sessions.describe()}
        assert set(seen) == {hash_session_id("a"), hash_session_id("b")}
        assert all(
            one["socket"] and 0 <= one["age_seconds"] < 60 and 0 <= one["idle_seconds"] < 60
            for one in seen.values()
        )
        assert await sessions.revoke(hash_session_id("a"))
        assert (sockets["a"].code, sockets["b"].code) == (4410, None)
        assert not await sessions.revoke(hash_session_id("a"))
        # One that never began here does not, either.
        assert not await sessions.revoke(hash_session_id("c"))
        now = int(time.time())
        for id in "ac":
            assert sessions.is_revoked(Claims(id, now))
            with pytest.raises(NotFound):
                sessions.open(id)
        assert not sessions.is_revoked(Claims("b", now))
        assert await sessions.revoke_all(now) == 1
        assert sockets["b"].code == 4410
        assert ended == ["a", "b"]
        assert sessions.is_revoked(Claims("d", now))
        later = sessions.revoked.begin(now)
        assert later > now
        assert not sessions.is_revoked(Claims("d", later))
        sessions.open("d", later)


async def fail(sessions: SessionManager, id: str, when: asyncio.Event | None = None) -> None:
    """An attempt that fails, at once or later."""
    with suppress(LookupError):
        async with sessions.pending_offer(id):
            if when is not None:
                await when.wait()
            raise LookupError


async def test_what_came_to_nothing_may_begin_anew() -> None:
    """A session that an attempt began is taken back when it fails; one with a socket, or that had one, stays."""
    async with manager() as (sessions, ended):
        await fail(sessions, "a")
        assert "a" not in sessions
        assert ended == ["a"]
        session = sessions.open("a")
        socket = Socket()
        sessions.attach(session, socket)
        await fail(sessions, "a")
        assert sessions.find("a") is session
        sessions.detach(session, socket)
        await fail(sessions, "a")
        assert sessions.find("a") is session
        assert socket.closed == []


async def test_an_attempt_that_fails_late_takes_nothing_from_another() -> None:
    """Two offers on a fresh token: the one that fails does not end the session that the other one uses."""
    async with manager() as (sessions, ended):
        late, go = asyncio.Event(), asyncio.Event()
        failing = asyncio.create_task(fail(sessions, "a", late))
        await asyncio.sleep(0)

        async def succeed() -> Session:
            async with sessions.pending_offer("a") as session:
                await go.wait()
                return session

        succeeding = asyncio.create_task(succeed())
        await asyncio.sleep(0)
        late.set()
        await failing
        go.set()
        session = await succeeding
        assert sessions.find("a") is session
        assert ended == []
        await fail(sessions, "a")
        assert sessions.find("a") is session


async def test_the_last_attempt_that_fails_takes_the_session_back() -> None:
    """Whichever began it."""
    async with manager() as (sessions, ended):
        first, second = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(fail(sessions, "a", when)) for when in (first, second)]
        await asyncio.sleep(0)
        first.set()
        await tasks[0]
        assert "a" in sessions
        second.set()
        await tasks[1]
        assert ended == ["a"]
        assert len(sessions) == 0


async def test_expiry_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that cannot be closed keeps no other one alive, now and later, and what it held is given back."""
    monkeypatch.setattr(session_manager, "EXPIRY_PAUSE", (0.01, 0.01))
    async with manager(timeout=0.05) as (sessions, ended):
        broken = sessions.open("broken")

        async def close(reason: str) -> None:
            del broken.close
            await broken.close(reason)
            raise RuntimeError("secret words")

        broken.close = close  # type: ignore[method-assign]
        sessions.open("other")
        sessions.start()
        await soon(lambda: set(ended) == {"broken", "other"})
        sessions.open("later")
        await soon(lambda: "later" in ended)
    assert "secret words" not in caplog.text


class Looking(BackgroundPart):
    """Wants frames while somebody listens."""

    wanted = True

    def __init__(self, context: SessionContext) -> None: ...

    def frame(self, frame: Frame) -> None: ...


async def test_the_newer_socket_wins() -> None:
    """The older is closed with 4409, and its leaving takes nothing from the newer."""
    async with manager(SessionFeatures(["looking"], {"looking": Looking})) as (sessions, _):
        session = sessions.open("a")
        old, new = Socket(), Socket()
        sessions.attach(session, old)
        sessions.attach(session, new)
        assert (old.code, new.code) == (4409, None)
        sessions.detach(session, old)
        assert sessions.sockets == 1
        assert session.camera.on_sample
        sessions.detach(session, new)
        assert sessions.sockets == 0
        assert not session.camera.on_sample


async def test_close_ends_all() -> None:
    """Every socket gets 1013, every session is closed, and a second close does nothing."""
    async with manager() as (sessions, ended):
        sockets = {id: Socket() for id in "ab"}
        for id, socket in sockets.items():
            sessions.attach(sessions.open(id), socket)
        sessions.close_sockets(1013, "stop")
        await sessions.close()
        await sessions.close()
        assert [s.code for s in sockets.values()] == [1013, 1013]
        assert sorted(ended) == ["a", "b"]
        assert len(sessions) == 0
        await asyncio.sleep(0)
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("sessions/")]


# Access that was taken back.


LIFE = 100


def test_a_name_is_refused_until_its_last_token_would_be_over() -> None:
    """Then it is forgotten, without touching anybody else's access."""
    revoked = Revocations(LIFE)
    revoked.add("a", 1000, 1050)
    assert revoked.refuses("a", 1000)
    assert not revoked.refuses("b", 1000)
    revoked.add("b", 1090, 1099)
    assert revoked.refuses("a", 1000)
    revoked.add("c", 1095, 1100)
    assert len(revoked) == 2
    assert not revoked.refuses("d", 1000)


def test_adding_twice_is_adding_once() -> None:
    """A name that is revoked again takes no second entry."""
    revoked = Revocations(LIFE, 2)
    for _ in range(5):
        revoked.add("a", 1000, 1000)
    assert len(revoked) == 1
    assert not revoked.refuses("b", 1000)


def test_all_at_once() -> None:
    """Access that began by then is over; what is granted after, even in that second, is good."""
    revoked = Revocations(LIFE)
    revoked.add_all(1000, 1000.9)
    assert revoked.refuses("a", 1000)
    assert revoked.refuses("a", 7)
    begins = revoked.begin(1000.9)
    assert begins == 1001
    assert not revoked.refuses("a", begins)
    assert revoked.begin(2000.5) == 2000
    revoked.add_all(500, 2000)
    assert revoked.refuses("a", 1000)


def test_nothing_ends_in_the_future() -> None:
    """Access that begins later is good, whatever time was named, and begins now."""
    revoked = Revocations(LIFE)
    revoked.add_all(10**10, 1000.5)
    assert revoked.refuses("a", 1000)
    assert revoked.begin(1000.9) == 1001
    assert revoked.begin(1002.0) == 1002
    assert not revoked.refuses("a", 1001)


@given(st.lists(st.integers(0, LIFE - 1), min_size=1, max_size=60), st.integers(1, 10))
def test_no_flood_brings_one_back(ages: list[int], most: int) -> None:
    """However access ends and however little is remembered, no token that could be good passes."""
    revoked, now = Revocations(LIFE, most), 10_000
    ended = [(f"n{number}", now - age) for number, age in enumerate(ages)]
    for name, since in ended:
        revoked.add(name, since, now)
        assert len(revoked) <= most
    assert all(revoked.refuses(name, since) for name, since in ended)
    assert not revoked.refuses("new", revoked.begin(now + 1))


# Attempts that come late.


def test_an_older_attempt_is_late_and_a_repeated_one_is_not() -> None:
    """A newer number makes older ones late; one may come twice, as browsers repeat requests."""
    attempts = Attempts()
    for number in (2, 2, 4):
        attempts.take(Attempt("a", number))
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 3))
    attempts.check(Attempt("a", 4))


def test_pages_do_not_count_for_each_other() -> None:
    """Another page begins at one, and who does not count passes."""
    attempts = Attempts()
    attempts.take(Attempt("a", 7))
    attempts.take(Attempt("b", 1))
    attempts.take(None)
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 6))


def test_what_was_ended_does_not_come_back() -> None:
    """An end makes its attempt late, and an end that comes after a newer attempt is late itself."""
    attempts = Attempts()
    attempts.take(Attempt("a", 1))
    attempts.end(Attempt("a", 1))
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 1))
    attempts.take(Attempt("a", 2))
    with pytest.raises(Conflict):
        attempts.end(Attempt("a", 1))
    attempts.check(Attempt("a", 2))


def test_pages_are_bounded() -> None:
    """The page unheard of longest is forgotten, and no other."""
    attempts = Attempts()
    for number in range(MAX_PAGES):
        attempts.take(Attempt(f"p{number}", 5))
    attempts.take(Attempt("p0", 6))
    attempts.take(Attempt("new", 1))
    assert len(attempts) == MAX_PAGES
    attempts.take(Attempt("p1", 1))
    with pytest.raises(Conflict):
        attempts.take(Attempt("p0", 5))


@pytest.mark.parametrize(
    "query",
    [
        {"page": "a"},
        {"attempt": "1"},
        *({"page": page, "attempt": "1"} for page in ("", "a" * 33, "a b", "ä")),
        *({"page": "a", "attempt": number} for number in ("0", "-1", "1.5", "²", "9" * 5000)),
        {"page": "a", "attempt": str(MAX_NUMBER + 1)},
    ],
)
def test_a_bad_attempt_is_refused_with_what_is_allowed(query: dict[str, str]) -> None:
    """Half of the pair, or a name or number out of bounds, is a clear error."""
    with pytest.raises(BadRequest, match="page and attempt are invalid"):
        Attempt.read(query)


def test_good_attempts_are_read() -> None:
    """The bounds themselves are allowed, and nothing at all is nobody's attempt."""
    assert Attempt.read({}) is None
    query = {"page": "a" * 32, "attempt": str(MAX_NUMBER)}
    assert Attempt.read(query) == Attempt("a" * 32, MAX_NUMBER)

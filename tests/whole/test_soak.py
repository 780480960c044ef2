"""Visitors come, ask, change their minds, get cut and leave, some of them hostile; and the model
server goes away for a while.

Half a minute of it always, three minutes at night; SOAK_SECONDS=3600 makes it an hour, SOAK_VISITORS=20 a crowd.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import socket
import statistics
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import Answer
from scripts.bench.http_json import HttpError, request
from scripts.bench.live_encoder import LiveEncoder
from server.core.frames import CameraState
from server.media.patches.ice import get_own_addresses
from server.shared.watch_answers import parse_conditions
from tests.support import hostile
from tests.support.clients import cut_socket, http, visitor
from tests.support.fakes_openai import AnswerFor, Behaviour, FakeOpenAI, Seen
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import READABLE, Footprint, ServerProcess
from tests.support.running import running

pytestmark = pytest.mark.slow

SHORT_SECONDS = 30.0
SECONDS = 180.0
# Visitors at a time, and places for them.
VISITORS = int(os.environ.get("SOAK_VISITORS") or 6)
MAX_SESSIONS = 48
SESSION_TIMEOUT = 8
# Seconds: a machine too busy to serve anybody, whose visitors may wait in vain.
STANDS_STILL = 2.0
# Allowed growth from the second quarter of the time to the last: MiB, threads, and descriptors per
# visitor.
GROWTH_MIB = 16.0
MOST_THREADS = 40
MOST_DESCRIPTORS = 60 + 12 * MAX_SESSIONS
# Allowed ends of a question besides an answer.
ENDS = {
    *("busy", "no_camera", "camera_stalled", "camera_frozen", "engine_unavailable"),
    *("engine_timeout", "engine_failed", "rate_limited"),
}
METRICS_TOKEN = "whoever watches the soak"
# Patterns that the log must not contain.
TROUBLE = (
    *("Traceback", "Exception in callback", "never retrieved", "was destroyed"),
    *("task died", "request failed", "socket failed", "packet failed", "decoder failed"),
    # Whoever sends rubbish must not fill the log.
    "Invalid HTTP request",
)


@dataclass
class Soak:
    """The state of the run, and its observations."""

    server: ServerProcess
    fake: FakeOpenAI
    encoder: LiveEncoder
    # Of H.264, for every third visitor
    other: LiveEncoder
    stranger: hostile.Stranger
    began: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    # Seconds since the beginning, and MiB.
    memory: list[tuple[float, float]] = field(default_factory=list)
    # The model server is away.
    away: bool = False
    # Times at which this process or the server was blocked for STANDS_STILL (monotonic): the
    # machine was too busy.
    stalls: list[float] = field(default_factory=list)
    # Times at which the machine's addresses changed (monotonic), because of a bridge or tunnel of
    # another program. Whoever connects just then over one that goes waits in vain: the client here
    # nominates each pair that works, the last one holds, and it never nominates another, as
    # browsers do.
    moves: list[float] = field(default_factory=list)

    def excused(self, since: float) -> bool:
        """Return True when an outside event since then explains that a visitor has waited in vain."""
        return any(at > since for at in (*self.stalls, *self.moves))

    def problem(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)


# Visitors


async def asked(soak: Soak, peer: CameraPeer, answer: Answer) -> None:
    """A question ends with an answer, or with an error that can be."""
    try:
        await peer.finish(answer, timeout=25)
    except TimeoutError:
        soak.problem("a question had no end")
        return
    if answer.error is not None:
        soak.done[f"error {answer.error['code']}"] += 1
        if answer.error["code"] not in ENDS:
            soak.problem(f"a question ended with {answer.error}")
    elif answer.response is not None:
        soak.done[str(answer.response["finish_reason"])] += 1


async def honest(soak: Soak, peer: CameraPeer, chance: random.Random) -> None:
    """Asks, cancels, asks anew before the answer, has it described, holds, offers anew, opens
    another socket, watches, asks about the past.
    """
    for _ in range(chance.randint(1, 4)):
        match chance.randrange(10):
            case 0 | 1 | 2:
                await asked(soak, peer, await peer.start("What is it?"))
            case 3:
                answer = await peer.start("Is it warm?")
                await asyncio.sleep(chance.random() * 0.1)
                await peer.send({"type": "cancel", "id": answer.id})
                await asked(soak, peer, answer)
            case 4:
                first = await peer.start("What is it?")
                second = await peer.start("No: what colour?")
                await asked(soak, peer, first)
                await asked(soak, peer, second)
            case 5:
                await peer.send({"type": "settings", "describe": True, "sample_rate": 4})
                await asyncio.sleep(0.5)
                await peer.send({"type": "settings", "describe": False})
            case 6:
                await peer.send({"type": "hold"})
                await asked(soak, peer, await peer.start("And this?"))
                await peer.send({"type": "release"})
            case 7:
                await peer.connect()
                await peer.open_socket()
            case 8:
                await watches(soak, peer, chance)
            case 9:
                await peer.send({"type": "settings", "recall": True})
                await asyncio.sleep(1.0)
                await asked(soak, peer, await peer.start("What just happened?", route="past"))
    soak.done["honest"] += 1


def says() -> AnswerFor:
    """A model that sees two of three conditions, and a cup in everything else."""
    numbers = itertools.count()

    def answer(body: dict[str, Any], _jpeg: bytes | None) -> list[str]:
        names = parse_conditions(Seen(body, {}, [], 0.0, 0.0).texts[-1][1])
        if not names:
            return ["I ", "see ", "a ", "cup."]
        entries = [
            {"id": name, "seen": next(numbers) % 3 > 0, "sure": 0.9, "why": "It is."}
            for name in names
        ]
        return [json.dumps({"watches": entries})]

    return answer


async def watches(soak: Soak, peer: CameraPeer, chance: random.Random) -> None:
    """Up to ten, of which eight are taken; the model sees two of three. Some stay to the end."""
    for number in range(chance.randint(1, 10)):
        await peer.send(
            {"type": "watch", "id": f"w{number}", "condition": f"thing {number}", "repeat": True}
        )
    await asyncio.sleep(chance.random() * 3)
    for arrived in list(peer.messages):
        if arrived.message["type"] == "alert":
            soak.done["alerts"] += 1
            await peer.send(
                {"type": chance.choice(("ack", "false_alarm")), "id": arrived.message["id"]}
            )
    if chance.random() < 0.5:
        await peer.send({"type": "unwatch", "id": "w0"})
    soak.done["watches"] += 1


async def rude(soak: Soak, peer: CameraPeer, chance: random.Random) -> None:
    """Says what nobody understands, as fast as it can, until its socket is taken away."""
    rubbish = ["{", "[]", '{"type":"upload"}', '{"type":"chat"}', "[" * 5000, '{"type":"ping"}']
    with suppress(ConnectionClosed):
        for _ in range(250):
            await peer.send_text(chance.choice(rubbish))
        await asyncio.sleep(0.2)
    soak.done["rude"] += 1


async def armed(soak: Soak, peer: CameraPeer, chance: random.Random) -> None:
    """Sends with its own keys what no camera sends."""
    assert peer._pc is not None
    (sender,) = peer._pc.getSenders()
    attacker = hostile.Attacker(sender)
    codec, payloads = (
        ("H264", hostile.h264_payloads())
        if peer.encoder.codec == "h264"
        else ("VP8", hostile.vp8_payloads())
    )
    kind = int(re.findall(rf"^a=rtpmap:(\d+) {codec}/", peer.answer["sdp"], re.M)[0])
    with suppress(ConnectionError):
        await attacker.send(hostile.rtcp(attacker.ssrc))
        await attacker.send(hostile.malformed_rtp(kind, attacker.ssrc))
        await attacker.send([hostile.rtp(kind, attacker.ssrc, 0, p, marker=1) for p in payloads])
        await attacker.send([hostile.rtp(kind, n, 0, payloads[-1]) for n in range(200)])
    soak.done[f"armed {codec}"] += 1


async def leave(peer: CameraPeer, chance: random.Random) -> None:
    """By the book, without a word, in the middle of an answer, or the camera first."""
    match chance.randrange(4):
        case 0:
            await peer.close()
        case 1:
            await peer.drop_camera()
        case 2:
            with suppress(ConnectionClosed):
                await peer.start("And now?")
            cut_socket(peer)
        case 3:
            await peer.close_socket()


async def visits(soak: Soak, number: int, end: float) -> None:
    """One visitor after the other."""
    chance = random.Random(number)
    while time.monotonic() < end:
        peer = CameraPeer(soak.server.url, soak.encoder if number % 3 else soak.other)
        came = time.monotonic()

        def expired(came: float = came) -> bool:
            """Return True when its token may have expired: on a busy machine a visit takes longer."""
            return time.monotonic() - came > SESSION_TIMEOUT

        try:
            async with asyncio.timeout(60):
                await peer.connect()
                soak.stranger.aim([peer.answer["sdp"]])
                await peer.open_socket()
                await peer.wait_live()
                kind = chance.choices((honest, rude, armed), (6, 1, 1))[0]
                await kind(soak, peer, chance)
                await leave(peer, chance)
        except HttpError as error:
            # All places are taken by those who just left: a message says so, and the next one comes
            # later.
            soak.done[f"refused {error.reply.status}"] += 1
            if error.reply.status not in (503, 404) and not (
                error.reply.status == 401 and expired()
            ):
                soak.problem(f"an offer was answered {error.reply.status}")
            await asyncio.sleep(0.5)
        except (ConnectionClosed, ConnectionError) as error:
            soak.done["lost"] += 1
            fine = {None, 1000, 1006, 4404, 4429, 4409} | ({4401, 4408} if expired() else set())
            if peer.close_code not in fine:
                soak.problem(f"a socket was closed with {peer.close_code}: {type(error).__name__}")
        except TimeoutError:
            soak.done["in vain"] += 1
            if not soak.excused(came):
                soak.problem(f"visitor {number} waited in vain: {peer.status}")
        finally:
            with suppress(HttpError, OSError, EOFError, TimeoutError, ConnectionError):
                await peer.close()


async def strangers(soak: Soak, end: float) -> None:
    """Requests of nobody: wrong tokens, guesses at the operator's, wrong paths, rubbish, silence."""
    chance = random.Random(0)
    silent: list[asyncio.StreamWriter] = []
    lines = [
        b"GET / HT",
        b"\x16\x03\x01\x02\x00",
        b"POST /api/token HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ]
    while time.monotonic() < end:
        with suppress(OSError, EOFError, TimeoutError):
            for path in ("/api/token", "/api/webrtc/offer", "/upload", "/nowhere"):
                reply = await request(
                    chance.choice(("GET", "POST", "PATCH", "DELETE")),
                    soak.server.url + path,
                    {"sdp": "v=0", "type": "offer"},
                    token="a.b.c",
                )
                if not 400 <= reply.status < 500:
                    soak.problem(f"{path} was answered {reply.status}")
            guess = await request(
                "GET", f"{soak.server.url}/api/operator/sessions", token=f"guess {chance.random()}"
            )
            soak.done[f"guess {guess.status}"] += 1
            if guess.status not in (401, 429):
                soak.problem(f"a guess was answered {guess.status}")
            _, writer = await asyncio.open_connection("127.0.0.1", soak.server.port)
            writer.write(chance.choice(lines))
            silent.append(writer)
        while len(silent) > 30:
            silent.pop(0).close()
        await asyncio.sleep(0.3)
    for writer in silent:
        writer.close()


# Invariants


async def metrics(server: ServerProcess) -> dict[tuple[str, ...], float]:
    text = (await request("GET", f"{server.url}/metrics", token=METRICS_TOKEN)).body.decode()
    return {
        (sample.name.removeprefix("qwen_camera_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check(soak: Soak, values: dict[tuple[str, ...], float], now: Footprint) -> None:
    depth = sum(value for name, value in values.items() if name[0] == "queue_depth")
    for name, value, most in (
        ("sessions", values[("sessions",)], MAX_SESSIONS),
        ("sockets", values[("sockets",)], values[("sessions",)]),
        ("waiting jobs", depth, 64),
        ("internal errors", values.get(("errors_total", "internal"), 0), 0),
        ("connections", values[("connections",)], 500),
        ("threads", now.threads, MOST_THREADS),
        ("descriptors", now.descriptors, MOST_DESCRIPTORS),
    ):
        if value > most:
            soak.problem(f"{value:.0f} {name}, at most {most:.0f} are allowed")


async def holders(soak: Soak, end: float) -> None:
    """Hold connections that have no end, twenty at a time, and read nothing of what comes back."""
    held: deque[socket.socket] = deque()
    try:
        while time.monotonic() < end:
            for said in (
                (hostile.SILENT_SOCKET,),
                (hostile.SILENT_SOCKET, hostile.PINGS),
                (hostile.NO_BODY,),
                (hostile.TWO_LENGTHS,),
            ):
                held.append(await hostile.hold(soak.server.port, *said))
                soak.done["held"] += 1
            while len(held) > 20:
                held.popleft().close()
            await asyncio.sleep(2.0)
    finally:
        for one in held:
            one.close()


async def watch(soak: Soak, end: float) -> None:
    began = time.monotonic()
    while (slept := time.monotonic()) < end:
        await asyncio.sleep(2.0)
        if time.monotonic() - slept > 2.0 + STANDS_STILL:
            soak.stalls.append(time.monotonic())
        asked = time.monotonic()
        if (await request("GET", f"{soak.server.url}/health/live")).status != 200:
            soak.problem("the server is not alive")
        if time.monotonic() - asked > STANDS_STILL:
            soak.stalls.append(time.monotonic())
        now = soak.server.footprint()
        check(soak, await metrics(soak.server), now)
        soak.memory.append((time.monotonic() - began, now.rss))


async def watch_addresses(soak: Soak, end: float) -> None:
    before = get_own_addresses()
    while time.monotonic() < end:
        await asyncio.sleep(0.25)
        now = get_own_addresses()
        if now != before:
            soak.moves.append(time.monotonic())
            before = now


async def outage(soak: Soak, seconds: float) -> None:
    """The model server is away for a while in the middle of it."""
    await asyncio.sleep(seconds / 2)
    await soak.fake.close()
    await asyncio.sleep(6.0)
    await soak.fake.start()
    soak.done["outage"] += 1


async def harmful_model(soak: Soak, seconds: float) -> None:
    """The model server answers without an end, with rubbish, and dies in mid-answer, now and then."""
    for at, behaviour in (
        (0.2, Behaviour.ENDLESS),
        (0.35, Behaviour.GARBAGE),
        (0.65, Behaviour.STRANGE_JSON),
        (0.8, Behaviour.DIES),
    ):
        soak.fake.behaviour = Behaviour.NORMAL
        await asyncio.sleep(max(0.0, soak.began + at * seconds - time.monotonic()))
        soak.fake.behaviour = behaviour
        await asyncio.sleep(3.0)
        soak.done["harmful"] += 1
    soak.fake.behaviour = Behaviour.NORMAL


def growth(memory: list[tuple[float, float]], seconds: float) -> float:
    """MiB from the second quarter's median to the last one's."""
    second = [rss for at, rss in memory if seconds / 4 <= at < seconds / 2]
    last = [rss for at, rss in memory if at >= seconds * 3 / 4]
    return statistics.median(last) - statistics.median(second)


async def soaked(seconds: float) -> None:
    settings = {
        "ENGINE": "vllm",
        "SESSION_TIMEOUT": str(SESSION_TIMEOUT),
        "MAX_SESSIONS": str(MAX_SESSIONS),
        "LOG_LEVEL": "warning",
        "OPERATOR_TOKEN": "the operator of the soak",
        "METRICS_TOKEN": METRICS_TOKEN,
    }
    async with (
        FakeOpenAI(first_token=0.02, between_tokens=0.01, answer_for=says()) as fake,
        live_encoder(320, 240, rate=8.0) as encoder,
        live_encoder(320, 240, rate=8.0, codec="h264") as other,
        ServerProcess({**settings, "VLLM_BASE_URL": fake.base_url}, module=READABLE) as server,
        hostile.stranger(pause=0.25) as stranger,
    ):
        soak = Soak(server, fake, encoder, other, stranger)
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(VISITORS):
                group.create_task(visits(soak, number + 1, end))
            group.create_task(strangers(soak, end))
            group.create_task(holders(soak, end))
            group.create_task(watch(soak, end))
            group.create_task(watch_addresses(soak, end))
            group.create_task(outage(soak, seconds))
            group.create_task(harmful_model(soak, seconds))
        stranger.ports = set()
        grown = growth(soak.memory, seconds)
        print(
            f"{dict(soak.done)}; stood still {len(soak.stalls)} times; other addresses {len(soak.moves)} times;"
            f" {stranger.sent} datagrams; {grown:+.1f} MiB; {server.footprint()}"
        )
        await everybody_left(soak)
        assert soak.done["watches"] > 0
        assert not soak.problems, "\n".join(soak.problems)
        for word in TROUBLE:
            assert word not in server.text, server.text[-4000:]
        assert grown <= GROWTH_MIB, soak.memory
        assert soak.done["stop"] > seconds / 4
        assert soak.done["rude"] > 0
        assert soak.done["held"] > 0
        assert soak.done["armed VP8"] + soak.done["armed H264"] > 0
        assert soak.done["cancelled"] + soak.done["replaced"] > 0


async def everybody_left(soak: Soak) -> None:
    """Sessions expire, and with them goes all that they held."""
    async with asyncio.timeout(SESSION_TIMEOUT + 15):
        while True:
            values = await metrics(soak.server)
            if values[("sessions",)] == 0 and soak.fake.running == 0:
                break
            await asyncio.sleep(0.25)
    async with asyncio.timeout(20):
        # Kept connections to the model server, those that were silent, what malloc_trim still has
        # to give back.
        while (now := soak.server.footprint()).descriptors > 60:
            await asyncio.sleep(0.25)
    if now.threads > MOST_THREADS:
        soak.problem(f"{now.threads} threads are left")
    values = await metrics(soak.server)
    left = {name: value for name, value in values.items() if name[0] in ("sessions", "queue_depth")}
    if any(left.values()):
        soak.problem(f"something is left: {left}")


async def test_half_a_minute() -> None:
    """Every question ends, nothing internal fails, nothing grows: tables, threads, descriptors."""
    await soaked(SHORT_SECONDS)


@pytest.mark.night
@pytest.mark.timeout(480)
async def test_three_minutes() -> None:
    """Memory does not grow either."""
    await soaked(SECONDS)


@pytest.mark.timeout(0)
async def test_an_hour() -> None:
    """The same for as long as SOAK_SECONDS says."""
    seconds = float(os.environ.get("SOAK_SECONDS") or 0)
    if not seconds:
        pytest.skip("an hour of it runs with SOAK_SECONDS=3600")
    await soaked(seconds)


async def test_the_model_server_away_for_ten_seconds() -> None:
    """Alive all the time, not ready meanwhile and again without a restart; session, camera and chat
    are the same after it.
    """
    async with (
        FakeOpenAI() as fake,
        live_encoder(320, 240) as encoder,
        running(engine="vllm", vllm_base_url=fake.base_url) as run,
        visitor(run, encoder) as one,
        http(run) as client,
    ):

        async def states() -> tuple[int, int]:
            live, ready = await client.get("/health/live"), await client.get("/health/ready")
            return live.status_code, ready.status_code

        assert (await one.page.ask("What?"))["type"] == "response"
        session = run.program.sessions.find(one.session_id)
        assert await states() == (200, 200)
        await fake.close()
        began = time.monotonic()
        assert (await one.page.ask("And now?"))["code"] in ("engine_unavailable", "engine_failed")
        seen: list[tuple[int, int]] = []
        while time.monotonic() - began < 10:
            seen.append(await states())
            await asyncio.sleep(0.25)
        assert {live for live, _ in seen} == {200}
        # It is noticed within two seconds, and not forgotten.
        assert {ready for _, ready in seen[8:]} == {503}
        await fake.start()
        await soon_ready(states)
        assert run.program.sessions.find(one.session_id) is session
        assert session.camera.state() is CameraState.LIVE
        answer = await one.page.ask("What?")
        assert (answer["type"], answer["text"]) == ("response", "I see a cup.")
        # The chat keeps its turns from before the outage.
        assert any("What?" in text for _, text in fake.requests[-1].texts[:-1])


async def soon_ready(states: Callable[[], Awaitable[tuple[int, int]]]) -> None:
    async with asyncio.timeout(10):
        while await states() != (200, 200):
            await asyncio.sleep(0.1)

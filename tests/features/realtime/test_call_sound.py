"""The microphone and the audio track of a call, and its misuse below the events."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import AsyncIterator, Callable

import google_crc32c
import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder
from server.core.sound import SOUND_RATE
from server.shared.sound.rates import RateConverter
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_calls import Caller, calling
from tests.support.clients import soon, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.speech_server import RATE as ESPEAK_RATE
from tests.support.speech_server import SpeechServer, TranscriptionServer, espeak

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LONG = "On the table there is a cup, and beside it a plate with bread, butter and a long knife."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(max_model_len=32768) as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(fake: FakeOpenAI) -> AsyncIterator[Running]:
    async with (
        TranscriptionServer() as transcriber,
        SpeechServer() as voice,
        serving_programs(
            fake, transcription_base_url=transcriber.base_url, speech_base_url=voice.base_url
        ) as run,
    ):
        yield run


async def speak(caller: Caller) -> None:
    """Say a question into the microphone."""
    caller.microphone.unmuted.set()
    question = espeak("What is on the table in front of me?")
    await caller.microphone.say(RateConverter(SOUND_RATE).convert(question, ESPEAK_RATE))


async def test_a_spoken_question_gets_a_spoken_answer(run: Running, encoder: LiveEncoder) -> None:
    """The turn of the microphone, its words, and the answer on the audio track, without sound in events."""
    async with calling(run, encoder) as caller:
        began = time.time()
        await speak(caller)
        got = await caller.until("output_audio_buffer.stopped")
        names = [one["type"] for one in got]
        order = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "response.output_audio_transcript.delta",
            "output_audio_buffer.started",
            "response.done",
            "output_audio_buffer.stopped",
        ]
        assert [name for name in names if name in order and names.count(name) == 1] == [
            name for name in order if names.count(name) == 1
        ]
        assert set(order) <= set(names)
        assert "response.output_audio.delta" not in names
        assert got[names.index(order[2])]["transcript"] == "What is this?"
        audible = caller.loudspeaker.find_audible(began)
        spoken = len(espeak("I see a cup.")) / ESPEAK_RATE
        assert len(audible) * 0.02 > spoken / 2
        caller.emit("input_audio_buffer.append", audio="")
        assert (await caller.until("error"))[-1]["error"]["code"] == "bad_request"


@pytest.mark.parametrize("how", ["voice", "event"])
async def test_an_interruption_stops_the_track(
    run: Running, fake: FakeOpenAI, encoder: LiveEncoder, how: str
) -> None:
    """After the response is complete, while it is played: the rest is not played, and its words are dropped."""
    fake.deltas = [{"content": LONG}]
    async with calling(run, encoder) as caller:
        got = await caller.question("What is it?")
        if "output_audio_buffer.started" not in [one["type"] for one in got]:
            await caller.until("output_audio_buffer.started")
        fake.deltas = None
        if how == "voice":
            speaking = asyncio.create_task(speak(caller))
        else:
            caller.emit("output_audio_buffer.clear")
        got = await caller.until("conversation.item.truncated")
        assert "output_audio_buffer.cleared" in [one["type"] for one in got]
        if how == "voice":
            await speaking
        caller.emit("conversation.item.retrieve", item_id=got[-1]["item_id"])
        item = (await caller.until("conversation.item.retrieved"))[-1]["item"]
        heard = item["content"][0]["transcript"]
        assert LONG.startswith(heard)
        assert len(heard) < len(LONG)


# Below the events


def chunk(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def packet(caller: Caller, *chunks: bytes) -> bytes:
    """An SCTP packet of the caller's association."""
    assert caller.pc is not None
    sctp = caller.pc.sctp
    assert sctp is not None
    head = struct.pack("!HHLL", 5000, 5000, sctp._remote_verification_tag, 0)
    plain = head + b"".join(chunks)
    return plain[:8] + struct.pack("<L", google_crc32c.value(plain)) + plain[12:]


def data(caller: Caller, ahead: int, stream: int, flags: int, payload: bytes) -> bytes:
    assert caller.pc is not None
    assert caller.pc.sctp is not None
    number = (caller.pc.sctp._local_tsn + ahead) % 2**32
    return chunk(0, flags, struct.pack("!LHHL", number, stream, 0, 51) + payload)


def fragments(caller: Caller) -> list[bytes]:
    """Beginnings without ends."""
    return [packet(caller, data(caller, n, 1, 2 * (n == 0), b"x" * 1000)) for n in range(200)]


def streams(caller: Caller) -> list[bytes]:
    return [packet(caller, data(caller, n, n + 10, 2, b"x")) for n in range(200)]


def holes(caller: Caller) -> list[bytes]:
    return [packet(caller, data(caller, 2 * n + 1, 1, 7, b"x")) for n in range(200)]


def gaps(caller: Caller) -> list[bytes]:
    """Acknowledgements of 65,535 messages, 20 times in each packet."""
    assert caller.pc is not None
    assert caller.pc.sctp is not None
    newest = caller.pc.sctp._last_received_tsn or 0
    body = struct.pack("!LLHH", newest, 2**20, 20, 0) + struct.pack("!HH", 1, 65535) * 20
    return [packet(caller, chunk(3, 0, body))] * 2


def noise(caller: Caller) -> list[bytes]:
    chance = random.Random(0)
    kinds = [*range(16), 130, 192]
    return [
        packet(caller, chunk(chance.choice(kinds), chance.randrange(8), chance.randbytes(40)))
        for _ in range(500)
    ]


def messages(caller: Caller) -> list[bytes]:
    """Far more whole messages than anybody reads."""
    channel = caller.channel.id
    assert channel is not None
    return [
        packet(caller, *(data(caller, 40 * n + k, channel, 7, b"{}") for k in range(40)))
        for n in range(250)
    ]


@pytest.mark.parametrize(
    "attack", [fragments, streams, holes, gaps, noise, messages], ids=lambda made: made.__name__
)
async def test_what_breaks_the_channel_ends_the_call(
    run: Running, encoder: LiveEncoder, attack: Callable[[Caller], list[bytes]]
) -> None:
    """At once and alone: nobody else waits for it."""
    async with visitor(run, encoder) as person, calling(run, encoder) as caller:
        assert len(run.program.sessions) == 2
        assert caller.pc is not None
        assert caller.pc.sctp is not None
        transport = caller.pc.sctp.transport
        for one in attack(caller):
            if transport.state != "connected":
                break
            await transport._send_data(one)
            await asyncio.sleep(0)
        await soon(lambda: len(run.program.sessions) == 1)
        assert (await person.page.ask("What is it?", id="q"))["type"] == "response"


async def test_a_binary_message_ends_the_call(run: Running, encoder: LiveEncoder) -> None:
    for message in (b"{}", "x" * 70_000):
        async with calling(run, encoder) as caller:
            assert caller.pc is not None
            assert caller.pc.sctp is not None
            caller.pc.sctp._remote_max_message_size = 0
            caller.channel.send(message)
            async with asyncio.timeout(10):
                await caller.closed.wait()
        await soon(lambda: len(run.program.sessions) == 0)


async def test_a_flood_of_events_ends_the_call(run: Running, encoder: LiveEncoder) -> None:
    async with calling(run, encoder) as caller:
        for _ in range(400):
            caller.emit("conversation.item.retrieve", item_id="x")
        async with asyncio.timeout(30):
            await caller.closed.wait()

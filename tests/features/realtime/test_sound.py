"""OpenAI's own client with sound: turns, transcripts, spoken answers, barge-in, and the scopes for both."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
import wave
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from scripts.bench.live_encoder import LiveEncoder
from server.core.sound import USUAL_RATE as RATE
from server.core.sound import Sound
from server.features.voice_in.detector import Chunk, SpeechDetector
from server.shared.sound.rates import RateConverter
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_realtime import Desk, say, until
from tests.support.clients import soon, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.guides import blocks, out_of, text_of
from tests.support.speech_server import RATE as ESPEAK_RATE
from tests.support.speech_server import SpeechServer, TranscriptionServer, espeak

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

SILENCE = np.zeros(RATE, np.int16)


@cache
def speech() -> NDArray[np.int16]:
    """A spoken question at the protocol's rate, with a second of silence behind it."""
    spoken = RateConverter(RATE).convert(
        espeak("What is on the table in front of me?"), ESPEAK_RATE
    )
    return np.concatenate([SILENCE[: RATE // 2], spoken, SILENCE])


async def send(
    connection: AsyncRealtimeConnection, sound: NDArray[np.int16], pace: float = 0.0
) -> None:
    """Send sound in pieces of 100 ms. `pace`: seconds between two."""
    for at in range(0, len(sound), RATE // 10):
        piece = sound[at : at + RATE // 10].astype("<i2").tobytes()
        await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        await asyncio.sleep(pace)


def seconds_of(events: list[Any]) -> float:
    """The length of the sound in these events."""
    parts = [one.delta for one in events if one.type == "response.output_audio.delta"]
    return sum(len(base64.b64decode(part)) for part in parts) / 2 / RATE


class SoundDesk(Desk):
    transcriber: TranscriptionServer
    voice: SpeechServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(encoder: LiveEncoder) -> AsyncIterator[SoundDesk]:
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        TranscriptionServer() as transcriber,
        SpeechServer() as voice,
        serving_programs(
            fake, transcription_base_url=transcriber.base_url, speech_base_url=voice.base_url
        ) as run,
        visitor(run, encoder) as person,
    ):
        desk = SoundDesk(run, fake, person)
        desk.transcriber, desk.voice = transcriber, voice
        yield desk


@pytest_asyncio.fixture(loop_scope="module")
async def desk(shared: SoundDesk) -> SoundDesk:
    fake = shared.fake
    fake.behaviour = Behaviour.NORMAL
    fake.first_token = fake.between_tokens = 0.0
    shared.voice.pace, shared.voice.status = 0.0, 200
    shared.transcriber.status, shared.transcriber.answers = 200, None
    await shared.renew("look", "listen", "speak")
    return shared


async def test_a_spoken_question_gets_a_spoken_answer(desk: SoundDesk) -> None:
    """Turn, transcript, words and sound; the person sees the question on the page."""
    async with desk.client() as connection:
        await send(connection, speech())
        got = await until(connection, "response.done")
    names = [one.type for one in got]
    order = [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "conversation.item.added",
        "input_audio_buffer.committed",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
    ]
    assert sorted(order, key=names.index) == order
    started, stopped = got[0], got[names.index(order[1])]
    assert abs(started.audio_start_ms - 200) < 400
    assert stopped.audio_end_ms > started.audio_start_ms + 1000
    (words,) = [one for one in got if one.type.endswith("transcription.completed")]
    assert words.transcript == "What is this?"
    assert words.item_id == started.item_id
    response = got[-1].response
    assert response.status == "completed"
    (part,) = response.output[0].content
    assert (part.type, part.transcript) == ("output_audio", "I see a cup.")
    assert abs(seconds_of(got) - len(espeak("I see a cup.")) / ESPEAK_RATE) < 0.2
    heard = desk.transcriber.requests[-1].file
    assert len(heard) > 16_000 * 2 * 1.5
    await desk.person.page.next("look", state="done", question="What is this?")


async def test_the_client_marks_its_turns(desk: SoundDesk) -> None:
    """Without turn detection: `commit` ends a turn, and only `response.create` asks."""
    async with desk.client() as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["text"],
                "audio": {"input": {"turn_detection": None}},
            }
        )
        await connection.input_audio_buffer.commit()
        error = (await until(connection, "error"))[-1].error
        assert error.code == "input_audio_buffer_commit_empty"
        await send(connection, speech()[:RATE])
        await connection.input_audio_buffer.clear()
        await until(connection, "input_audio_buffer.cleared")
        count = desk.fake.count
        await send(connection, speech())
        await connection.input_audio_buffer.commit()
        got = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert not [one for one in got if one.type.startswith("response.")]
        assert desk.fake.count == count
        await connection.response.create()
        done = (await until(connection, "response.done"))[-1].response
    assert done.output[0].content[0].text == "I see a cup."
    assert "What is this?" in str(desk.fake.last.texts)


async def test_sound_in_small_pieces_is_not_kept_back(desk: SoundDesk) -> None:
    """Pieces of 20 ms, with a detector that takes a third of their time."""
    feed = SpeechDetector.feed

    def slow(detector: SpeechDetector, sound: Sound) -> list[Chunk]:
        time.sleep(0.02)
        return feed(detector, sound)

    with patch.object(SpeechDetector, "feed", slow):
        async with desk.client() as connection:
            sound, began = speech(), time.monotonic()
            for at in range(0, len(sound), RATE // 50):
                piece = sound[at : at + RATE // 50].astype("<i2").tobytes()
                await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
                await asyncio.sleep(0.01)
            await until(connection, "input_audio_buffer.speech_stopped")
            assert time.monotonic() - began < 1.3 * len(sound) / RATE


async def test_a_turn_replaces_one_that_is_being_recognised(desk: SoundDesk) -> None:
    """So that a client cannot make a recogniser work on many turns; each turn gets its end."""
    desk.transcriber.wait = 1.0
    asked = len(desk.transcriber.requests)
    async with desk.client() as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        for _ in range(3):
            await send(connection, speech()[: RATE // 2])
            await connection.input_audio_buffer.commit()
        done: list[Any] = []
        for _ in range(3):
            done += (
                await until(connection, "conversation.item.input_audio_transcription.completed")
            )[-1:]
    desk.transcriber.wait = 0.0
    assert [one.transcript for one in done] == ["", "", "What is this?"]
    assert len({one.item_id for one in done}) == 3
    ended = [one for one in desk.transcriber.requests[asked:] if not one.closed_early]
    assert len(ended) == 1


async def test_speech_over_an_answer_stops_it(desk: SoundDesk) -> None:
    """The model and the voice stop; the next turn is answered; what was heard stays after truncation."""
    desk.voice.pace = 0.2
    async with desk.client() as connection:
        await say(connection, "What is it?")
        await connection.response.create()
        await until(connection, "response.output_audio.delta")
        sending = asyncio.create_task(send(connection, speech(), 0.05))
        got = await until(connection, "response.done")
        assert [one.type for one in got if "speech" in one.type] == [
            "input_audio_buffer.speech_started"
        ]
        stopped = got[-1].response
        assert (stopped.status, stopped.status_details.reason) == ("cancelled", "turn_detected")
        item = stopped.output[0]
        await connection.conversation.item.truncate(
            item_id=item.id, content_index=0, audio_end_ms=1
        )
        await sending
        got = await until(connection, "response.done")
        assert got[-1].response.status == "completed"
        await connection.conversation.item.retrieve(item_id=item.id)
        found = (await until(connection, "conversation.item.retrieved"))[-1].item
        assert found.content[0].transcript == ""
    await soon(lambda: desk.voice.requests[0].done.is_set())


async def test_an_interruption_can_be_turned_off(desk: SoundDesk) -> None:
    desk.fake.between_tokens = 0.5
    async with desk.client() as connection:
        detection: Any = {
            "type": "server_vad",
            "interrupt_response": False,
            "create_response": False,
        }
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        )
        await say(connection, "What is it?")
        await connection.response.create()
        await until(connection, "response.created")
        await send(connection, speech())
        got = await until(connection, "response.done")
        assert got[-1].response.status == "completed"
        names = [one.type for one in got]
        assert "input_audio_buffer.speech_started" in names


async def test_sound_needs_its_scopes(desk: SoundDesk) -> None:
    """Nothing reaches the recogniser or the voice without them, and text still works."""
    await desk.renew("look")
    heard, spoken = len(desk.transcriber.requests), len(desk.voice.requests)
    async with desk.client() as connection:
        await send(connection, speech()[:RATE])
        error = (await until(connection, "error"))[-1].error
        assert error.code == "forbidden"
        await connection.session.update(
            session={"type": "realtime", "output_modalities": ["audio"]}
        )
        got = await until(connection, "session.updated", "error")
        while got[-1].type == "error" and got[-1].error.code == "forbidden":
            got = await until(connection, "session.updated", "error")
        assert "scope speak" in got[-1].error.message
        await say(connection, "What is it?")
        await connection.response.create()
        done = (await until(connection, "response.done"))[-1].response
        assert done.output[0].content[0].text == "I see a cup."
    assert (len(desk.transcriber.requests), len(desk.voice.requests)) == (heard, spoken)


async def test_sound_that_is_none_and_a_failing_recogniser(desk: SoundDesk) -> None:
    """Each is told, and the connection goes on."""
    async with desk.client() as connection:
        for audio in ("?", "A", "AAAA"):
            await connection.input_audio_buffer.append(audio=audio)
            error = (await until(connection, "error"))[-1].error
            assert (error.code, error.param) == ("invalid_value", "audio")
        desk.transcriber.status = 500
        await send(connection, speech())
        failed = await until(connection, "conversation.item.input_audio_transcription.failed")
        assert failed[-1].error.code
        desk.voice.status = 500
        await say(connection, "What is it?")
        await connection.response.create()
        got = await until(connection, "response.done")
        assert got[-1].response.output[0].content[0].transcript == "I see a cup."
        assert [one.error.type for one in got if one.type == "error"] == ["server_error"]


async def test_more_sound_than_is_allowed_is_refused(desk: SoundDesk) -> None:
    """A burst; then an error, and the connection goes on."""
    with patch("server.features.realtime.hearing.FLOW_BURST", 3.0):
        connecting = desk.client()
        connection = await connecting.__aenter__()
    try:
        for _ in range(6):
            await send(connection, SILENCE)
        error = (await until(connection, "error"))[-1].error
        assert error.code == "rate_limit_exceeded"
        await connection.response.create()
        await until(connection, "response.done")
    finally:
        await connecting.__aexit__(None, None, None)


async def test_the_guides_recording(desk: SoundDesk, tmp_path: Path) -> None:
    """The example as it stands."""
    program = [block for kind, block in blocks(text_of("docs/realtime.md")) if kind == "python"][1]
    question, answer = tmp_path / "question.wav", tmp_path / "answer.wav"
    with wave.open(str(question), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(speech().tobytes())
    address = {"OPENAI_BASE_URL": f"{desk.run.base_url}/v1", "OPENAI_API_KEY": desk.token}
    printed = await out_of(sys.executable, "-c", program, str(question), str(answer), **address)
    assert printed == "you: What is this?\ncamera: I see a cup.\n"
    with wave.open(str(answer)) as file:
        assert file.getnframes() > RATE // 2

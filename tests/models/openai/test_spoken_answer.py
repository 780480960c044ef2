"""Answers that a model speaks itself: who is asked to, both forms of their sound, and the words when not."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from server.core.sound import VoiceChunk, encode_wav
from server.models.base import EngineRequest
from server.models.openai.engine import OpenAIEngine, SpokenAnswerDecoder
from tests.models.asking import PATIENT, Build
from tests.models.asking import request as plain_request
from tests.support.answers import answered
from tests.support.fakes_openai import Behaviour, FakeOpenAI

OMNI = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
PROBED = True
SOUND = np.arange(-6000, 6000).astype(np.int16)
VLLM_OMNI: dict[str, Any] = {"/openapi.json": {"paths": {"/v1/models": {}, "/v1/audio/speech": {}}}}
PLAIN_VLLM: dict[str, Any] = {
    "/openapi.json": {"paths": {"/v1/models": {}, "/v1/audio/transcriptions": {}}}
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def asked(**changes: Any) -> EngineRequest:
    return plain_request(**{"speak": True, **changes})


def omni(*, wavs: bool = True) -> list[dict[str, Any]]:
    """vLLM-Omni's stream: the text, then its sound in pieces, each a WAV file."""
    halves = [part.tobytes() for part in np.split(SOUND, 2)]
    sounds = [encode_wav(half, 24_000) if wavs else half for half in halves]
    texts = [{"content": "A red "}, {"content": "cup."}]
    return texts + [{"content": b64(sound), "modality": "audio"} for sound in sounds]


def openai() -> list[dict[str, Any]]:
    """OpenAI's stream: the words are the sound's transcript, and a piece may end within a sample."""
    data = SOUND.tobytes()
    first, second = b64(data[:10_001]), b64(data[10_001:])
    return [
        {"audio": {"id": "x", "transcript": "A red "}},
        {"audio": {"data": first}},
        {"content": None, "audio": {"transcript": "cup.", "data": second}},
        {"audio": {"expires_at": 1}},
    ]


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(model=OMNI) as server:
        server.others = dict(VLLM_OMNI)
        yield server


# Form


@pytest.mark.parametrize("deltas", [omni(), omni(wavs=False), openai()])
async def test_text_and_sound_come_together(
    fake: FakeOpenAI, engine: OpenAIEngine, deltas: list[dict[str, Any]]
) -> None:
    """In vLLM-Omni's form and in OpenAI's, sample by sample, and no sound becomes text."""
    fake.deltas = deltas
    text, sound, end = await answered(engine, asked())
    assert text == "A red cup."
    assert np.array_equal(np.concatenate([one.samples for one in sound]), SOUND)
    assert {one.rate for one in sound} == {24_000}
    assert not end.speech_refused
    assert engine.status.capabilities.speech_out


async def test_a_whole_answer_with_its_sound(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A server that never streams."""
    fake.unstreamed = True
    fake.deltas = [
        {"audio": {"data": b64(encode_wav(SOUND.tobytes(), 24_000)), "transcript": "A cup."}}
    ]
    text, sound, _ = await answered(engine, asked())
    assert text == "I see a cup."
    assert sum(len(one.samples) for one in sound) == len(SOUND)


async def test_all_sound_in_one_event(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Half a minute, as Qwen2.5-Omni sends it; more than any event of text may have."""
    long = np.zeros(30 * 24_000, np.int16)
    fake.deltas = [
        {"content": "A cup."},
        {"content": b64(encode_wav(long.tobytes(), 24_000)), "modality": "audio"},
    ]
    _, sound, _ = await answered(engine, asked())
    assert sum(len(one.samples) for one in sound) == len(long)


async def test_the_sound_may_come_after_the_end_of_the_text(fake: FakeOpenAI, build: Build) -> None:
    """The text has its finish_reason: the rest of the sound is waited for."""
    engine = build(limits=dataclasses.replace(PATIENT, tail=0.01))
    await engine.probe()
    fake.deltas = omni()
    fake.finishes_at = 1
    fake.between_tokens = 0.1
    _, sound, _ = await answered(engine, asked())
    assert sum(len(one.samples) for one in sound) == len(SOUND)


async def test_leaving_stops_the_sound_upstream(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Barge-in: the server sees the connection closed in the middle of the sound."""
    fake.deltas = omni() + omni()[2:] * 200
    fake.between_tokens = 0.05
    async with aclosing(engine.answer(asked())) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, VoiceChunk):
                break
    async with asyncio.timeout(5):
        await fake.last.done.wait()
    assert fake.last.closed_early


# Asking


async def test_what_is_asked_for(fake: FakeOpenAI, build: Build) -> None:
    """Text alone unless speech is wanted: such a server speaks unasked."""
    engine = build(voice="Chelsie", limits=None)
    await engine.probe()
    await answered(engine, plain_request())
    assert fake.last.body["modalities"] == ["text"]
    assert "audio" not in fake.last.body
    fake.deltas = omni()
    await answered(engine, asked())
    assert fake.last.body["modalities"] == ["text", "audio"]
    assert fake.last.body["audio"] == {"format": "pcm16", "voice": "Chelsie"}
    assert fake.last.body["speaker"] == "Chelsie"


@pytest.mark.parametrize(
    ("model", "card", "others", "speaks"),
    [
        (OMNI, {}, VLLM_OMNI, True),
        ("/models/qwen2.5-omni-7b", {}, VLLM_OMNI, True),
        (OMNI, {}, PLAIN_VLLM, False),
        (OMNI, {}, {}, False),
        (OMNI, {}, {"/openapi.json": ["no", "paths"]}, False),
        ("Qwen/Qwen3-Omni-30B-A3B-Thinking", {}, VLLM_OMNI, False),
        ("Qwen/Qwen2.5-VL-7B-Instruct", {}, VLLM_OMNI, False),
        ("some-model", {"output_modalities": ["text", "audio"]}, {}, True),
        ("some-model", {"architecture": {"output_modalities": ["text"]}}, {}, False),
        ("some-model", {"modalities": {"output": ["text", 5, "Audio"]}}, {}, True),
        ("some-model", {"input_modalities": ["audio"]}, {}, False),
    ],
)
async def test_who_speaks(
    fake: FakeOpenAI,
    model: str,
    card: dict[str, Any],
    others: dict[str, Any],
    speaks: bool,
    build: Build,
) -> None:
    """By the card, or by the family on a server whose interface has speech; plain vLLM has none."""
    fake.models, fake.card, fake.others = [model], card, others
    engine = build(limits=None)
    await engine.probe()
    assert engine.status.capabilities.speech_out is speaks
    await engine.probe()
    assert fake.other_requests.count("/openapi.json") <= 1
    await answered(engine, plain_request())
    assert ("modalities" in fake.last.body) is speaks


# Falling back to text


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_refused_speech_falls_back_to_text(
    fake: FakeOpenAI, engine: OpenAIEngine, status: int
) -> None:
    """At once, and it is reported; the next question does not ask for it."""
    fake.refuses_speech = (status, "no")
    for _ in range(2):
        text, sound, end = await answered(engine, asked())
        assert (text, sound) == ("I see a cup.", [])
        assert end.speech_refused
    assert fake.count == 3
    assert not engine.status.capabilities.speech_out
    # Another model may speak.
    fake.models = ["Qwen/Qwen2.5-Omni-7B"]
    await engine.probe()
    assert engine.status.capabilities.speech_out


async def test_a_server_that_takes_no_such_field(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """It is not asked for text alone either."""
    fake.behaviour = Behaviour.REFUSES_FIELD
    fake.refused_fields = {"modalities"}
    text, _, end = await answered(engine, asked())
    assert text == "I see a cup."
    assert end.speech_refused
    await answered(engine, plain_request())
    assert "modalities" not in fake.last.body


@pytest.mark.parametrize(
    "deltas",
    [
        omni()[:2],
        [*omni()[:2], {"content": "§", "modality": "audio"}],
        [*omni()[:2], {"content": b64(b"ID3" + bytes(100)), "modality": "audio"}],
        [*omni()[:2], {"content": b64(encode_wav(bytes(100), 5)), "modality": "audio"}],
    ],
)
async def test_an_answer_without_sound_is_reported(
    fake: FakeOpenAI,
    engine: OpenAIEngine,
    deltas: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """None came, or none that can be played: the text stands, and the model is not asked again."""
    fake.deltas = deltas
    text, sound, end = await answered(engine, asked())
    assert (text, sound) == ("A red cup.", [])
    assert end.speech_refused
    assert not engine.status.capabilities.speech_out
    assert any("model sent no speech" in record.message for record in caplog.records)


def test_a_fault_ends_the_sound() -> None:
    """The sound before it was played; nothing of a later piece is."""
    spoken = SpokenAnswerDecoder()
    assert spoken.take(b64(SOUND.tobytes())) is not None
    assert spoken.take("no base64!") is None
    assert spoken.fault
    assert spoken.take(b64(SOUND.tobytes())) is None
    assert spoken.begun


def test_a_changing_rate_is_a_fault() -> None:
    """Each change costs a resampler of its own, and a piece may be as small as a header."""
    spoken = SpokenAnswerDecoder()
    assert spoken.take(b64(encode_wav(bytes(100), 24_000))) is not None
    assert spoken.take(b64(encode_wav(bytes(100), 24_000))) is not None
    assert spoken.take(b64(encode_wav(bytes(100), 16_000))) is None
    assert "sampling rate" in spoken.fault


async def test_one_silent_answer_mutes_nobody_else(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """A model that has spoken may have nothing to say to one question, which anybody can bring about."""
    fake.deltas = omni()
    await answered(engine, asked())
    fake.deltas = omni()[:2]
    _, sound, end = await answered(engine, asked())
    assert not sound
    assert end.speech_refused
    assert engine.status.capabilities.speech_out


async def test_a_thought_behind_sound_asks_for_no_second_answer(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """Somebody has heard the beginning."""
    fake.deltas = [omni()[2], {"reasoning_content": "Hm."}, *omni()[:2]]
    text, sound, _ = await answered(engine, asked())
    assert text == "A red cup."
    assert len(sound) == 1
    assert fake.count == 1

"""A recogniser on a server: its state, and the way that is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.recogniser import (
    MOST_SOUND_SECONDS,
    Pieces,
    Recogniser,
    ServerRecogniser,
    Words,
)
from server.shared.speech import SpeechFailed, SpeechRefused
from tests.support.transcription_server import TranscriptionServer

WHOLE = Sound(np.arange(640).astype(np.int16), 5.0)
CREATED = {"type": "session.created"}


async def pieces() -> AsyncIterator[Sound]:
    yield Sound(WHOLE.samples[:320], 5.0)
    yield Sound(WHOLE.samples[320:], 5.02)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TranscriptionServer]:
    async with TranscriptionServer() as one:
        yield one


async def said(recogniser: Recogniser, sound: AsyncIterator[Sound] | Sound) -> list[Words]:
    return [one async for one in recogniser.recognise(sound, language="en")]


async def test_a_probe_finds_state_and_model(server: TranscriptionServer) -> None:
    """The first model listed, unless one is named; a server without a list is taken, too."""
    recogniser = ServerRecogniser(base_url=server.base_url, api_key="k")
    assert not recogniser.ready
    server.models = ["whisper-large", "other"]
    assert await recogniser.answers()
    assert recogniser.ready
    assert recogniser.elsewhere == ""
    assert recogniser.name == "transcriptions"
    await said(recogniser, WHOLE)
    assert server.requests[-1].fields["model"] == "whisper-large"
    server.models = None
    assert await recogniser.answers()
    server.key = "other"
    assert not await recogniser.answers()
    assert not recogniser.ready
    await recogniser.close()
    named = ServerRecogniser(base_url=server.base_url, api_key="other", model="mine")
    assert await named.answers()
    await said(named, WHOLE)
    assert server.requests[-1].fields["model"] == "mine"
    await named.close()


async def test_a_server_that_is_gone_is_not_ready() -> None:
    """Until it is back."""
    async with TranscriptionServer() as server:
        recogniser = ServerRecogniser(base_url=server.base_url)
        assert await recogniser.answers()
    assert not await recogniser.answers()
    assert "api" not in repr(recogniser)
    await recogniser.close()


def test_another_machine_is_named() -> None:
    """Before any probe; a wrong address is refused."""
    assert ServerRecogniser(base_url="http://gpu.example.org/v1").elsewhere == "gpu.example.org"
    with pytest.raises(ValueError, match="http"):
        ServerRecogniser(base_url="gpu.example.org")


async def test_pieces_go_over_http_as_one(server: TranscriptionServer) -> None:
    """In their order; no sound is not sent."""
    recogniser = ServerRecogniser(base_url=server.base_url)
    assert await said(recogniser, pieces()) == [Words("What is this?", True)]
    assert server.requests[0].file.endswith(WHOLE.samples.tobytes())
    silence = Sound(np.empty(0, np.int16), 0.0)
    assert await said(recogniser, silence) == [Words("", True)]
    assert len(server.requests) == 1
    await recogniser.close()


async def test_the_socket_goes_first_where_it_is_wanted(server: TranscriptionServer) -> None:
    """Its words are taken; without the setting it is not tried."""
    server.upgrade = [CREATED, {"type": "transcription.done", "text": "by socket"}]
    recogniser = ServerRecogniser(base_url=server.base_url, realtime=True)
    assert recogniser.name == "realtime"
    assert await said(recogniser, pieces()) == [Words("by socket", True)]
    assert server.requests == []
    await recogniser.close()


@pytest.mark.parametrize(
    "upgrade",
    [404, 500, [], [{"type": "error", "error": "no"}], [CREATED, {"type": "error", "error": "no"}]],
)
async def test_http_takes_over_with_the_whole_sound(
    server: TranscriptionServer, upgrade: int | list[object]
) -> None:
    """A socket that is not offered, or fails before any words, is not tried again for a while."""
    server.upgrade = upgrade
    recogniser = ServerRecogniser(base_url=server.base_url, realtime=True)
    for count in (1, 2):
        assert await said(recogniser, pieces()) == [Words("What is this?", True)]
        assert server.requests[-1].file.endswith(WHOLE.samples.tobytes())
        assert (len(server.requests), server.upgrades) == (count, 1)
    await recogniser.close()


async def test_words_are_not_said_twice(server: TranscriptionServer) -> None:
    """A socket that fails after its first words is the end."""
    delta = {"type": "transcription.delta", "delta": "What"}
    server.upgrade = [CREATED, delta, {"type": "error", "error": "no"}]
    recogniser = ServerRecogniser(base_url=server.base_url, realtime=True)
    with pytest.raises(SpeechFailed):
        await said(recogniser, pieces())
    assert server.requests == []
    await recogniser.close()


@pytest.mark.parametrize("realtime", [False, True])
async def test_more_than_a_minute_is_refused(server: TranscriptionServer, realtime: bool) -> None:
    """By either way, and nothing of it is sent over HTTP."""
    server.upgrade = [CREATED]
    recogniser = ServerRecogniser(base_url=server.base_url, realtime=realtime)
    long = Sound(np.zeros(int(MOST_SOUND_SECONDS * SOUND_RATE) + 1, np.int16), 0.0)
    with pytest.raises(SpeechRefused):
        await said(recogniser, long)
    assert server.requests == []
    await recogniser.close()


# Sound in parts, as one


async def parts(*lengths: int) -> AsyncIterator[Sound]:
    at = 0
    for length in lengths:
        yield Sound(np.arange(at, at + length).astype(np.int16), at / SOUND_RATE)
        at += length


async def test_pieces_become_one() -> None:
    """Those taken one by one before count, too; empty ones are left out."""
    found = Pieces(parts(3, 0, 4, 5))
    assert len((await anext(found)).samples) == 3
    whole = await found.rest()
    assert whole is not None
    assert whole.samples.tolist() == list(range(12))
    assert whole.captured == 0.0


async def test_one_sound_stays_as_it_is() -> None:
    """Nothing is copied; no sound is None."""
    sound = Sound(np.ones(5, np.int16), 1.0)
    assert await Pieces(sound).rest() is sound
    assert await Pieces(Sound(np.empty(0, np.int16), 1.0)).rest() is None
    assert await Pieces(parts()).rest() is None


async def test_too_long() -> None:
    """A minute is taken, and no sample more; visitors read it in plain words."""
    most = int(MOST_SOUND_SECONDS * SOUND_RATE)
    whole = await Pieces(parts(most - 1, 1)).rest()
    assert whole is not None
    assert whole.seconds == MOST_SOUND_SECONDS
    found = Pieces(parts(most, 1))
    with pytest.raises(SpeechRefused) as raised:
        await found.rest()
    assert found.too_long
    assert "60 seconds" in raised.value.visitor_message

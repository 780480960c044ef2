"""A voice on a server: found, lost and found again; the socket first where it is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.features.voice_out.server_voice import PROBE_SECONDS, ServerVoice
from server.shared.speech.errors import SpeechError, SpeechRefused, SpeechUnavailable
from tests.support.speech_server import SpeechServer, SpeechSocketServer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with SpeechServer() as one:
        one.answers = [bytes(2000)]
        yield one


async def say(voice: ServerVoice) -> int:
    return sum([len(one.samples) async for one in voice.speak("Hello.", language=None)])


async def test_its_first_model_speaks(server: SpeechServer) -> None:
    voice = ServerVoice(base_url=server.base_url)
    assert not voice.ready
    assert await voice.probe() == PROBE_SECONDS
    assert voice.ready
    assert voice.elsewhere == ""
    assert await say(voice) == 1000
    assert server.requests[0].fields["model"] == "speaker"
    await voice.close()


async def test_a_model_that_is_named_speaks(server: SpeechServer) -> None:
    """Also where the server lists none."""
    server.models = None
    voice = ServerVoice(base_url=server.base_url, model="other", voice="Vivian")
    await voice.probe()
    assert voice.ready
    assert await say(voice) == 1000
    assert server.requests[0].fields["model"] == "other"
    await voice.close()


async def test_a_server_that_goes_is_not_ready_until_it_is_back(server: SpeechServer) -> None:
    voice = ServerVoice(base_url=server.base_url)
    await voice.probe()
    server.status = 503
    with pytest.raises(SpeechUnavailable):
        await say(voice)
    assert not voice.ready
    await voice.probe()
    assert voice.ready
    # A text that it does not take says nothing about the next one.
    server.status = 400
    with pytest.raises(SpeechRefused):
        await say(voice)
    assert voice.ready
    await voice.close()


async def test_a_wrong_key_is_not_ready(server: SpeechServer) -> None:
    """And the key stands in no text."""
    server.key = "right"
    voice = ServerVoice(base_url=server.base_url, api_key="wrong-key")
    assert await voice.probe() < PROBE_SECONDS
    assert not voice.ready
    with pytest.raises(SpeechError) as raised:
        await say(voice)
    assert "wrong-key" not in raised.value.message + repr(voice)
    await voice.close()


async def test_a_name_of_another_machine_is_told() -> None:
    voice = ServerVoice(base_url="http://speech.example.org/v1")
    assert voice.elsewhere == "speech.example.org"
    await voice.close()


async def test_the_socket_is_used_where_it_is_wanted() -> None:
    async with SpeechSocketServer() as server:
        voice = ServerVoice(base_url=server.base_url, socket=True)
        assert await say(voice) > 1000
        assert server.messages[1] == {"type": "input.text", "text": "Hello."}
        await voice.close()


async def test_without_a_socket_http_is_used(server: SpeechServer) -> None:
    voice = ServerVoice(base_url=server.base_url, socket=True)
    assert await say(voice) == 1000
    assert await say(voice) == 1000
    await voice.close()

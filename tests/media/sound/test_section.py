"""A connection's audio section, with a transport that only keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from server.core.sound import Sound
from server.media.sdp import VoiceSection
from server.media.sound import section as sound_section
from server.media.sound.line import FRAME, RATE, VoiceLine
from server.media.sound.microphone import MOST_BURST, OpusDecoder
from server.media.sound.section import SILENT_PACKETS, SoundSection
from tests.media.sound.test_microphone import packets
from tests.support.fakes import until

SPEECH = packets(0.5)


class KeepingTransport:
    """Stands in for a connected DTLS transport: keeps registrations and sent packets."""

    def __init__(self) -> None:
        self.registered: set[str] = set()
        self.sent: list[RtpPacket] = []
        self.gone = False

    def _register_rtp_receiver(self, receiver: Any, parameters: Any) -> None:
        self.registered.add("receiver")

    def _register_rtp_sender(self, sender: Any, parameters: Any) -> None:
        self.registered.add("sender")

    def _unregister_rtp_receiver(self, receiver: Any) -> None:
        self.registered.discard("receiver")

    def _unregister_rtp_sender(self, sender: Any) -> None:
        self.registered.discard("sender")

    async def _send_rtp(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionError
        self.sent.append(RtpPacket.parse(data))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame each millisecond."""
    monkeypatch.setattr(sound_section, "FRAME_SECONDS", 0.001)


def made(
    line: VoiceLine, *, sends: bool = True, receives: bool = True
) -> tuple[SoundSection, KeepingTransport]:
    transport = KeepingTransport()
    described = VoiceSection(1, "1", 111, 14, receives=receives, sends=sends)
    section = SoundSection(described, cast(Any, transport), line)
    section.open()
    return section, transport


Carried = tuple[VoiceLine, SoundSection, KeepingTransport]


@pytest.fixture
async def carried() -> AsyncIterator[Carried]:
    """A line with one section, which is closed at the end."""
    line = VoiceLine()
    section, transport = made(line)
    yield line, section, transport
    await section.close()


def speak(line: VoiceLine, seconds: float) -> None:
    line.player.begin()
    line.player.play(speech(seconds), RATE)


def speech(seconds: float) -> Any:
    return np.full(int(seconds * RATE), 5000, np.int16)


async def packet(section: SoundSection, number: int, payload: bytes, ssrc: int = 1) -> None:
    await section._handle_rtp_packet(
        RtpPacket(
            payload_type=111,
            sequence_number=number,
            timestamp=number * 960,
            ssrc=ssrc,
            payload=payload,
        ),
        0,
    )


async def quiet(section: SoundSection) -> None:
    await until(lambda: not section._talking, 10)


@pytest.mark.usefixtures("quick")
async def test_speech_is_sent_frame_by_frame_with_silence_behind_it(carried: Carried) -> None:
    line, section, transport = carried
    speak(line, 0.4)
    line.player.finish()
    await quiet(section)
    assert len(transport.sent) == 20 + SILENT_PACKETS
    first, *rest = transport.sent
    assert first.marker
    assert not any(one.marker for one in rest)
    for before, after in zip(transport.sent, rest, strict=False):
        assert (after.sequence_number - before.sequence_number) & 0xFFFF == 1
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 960
        assert after.ssrc == section.ssrc


@pytest.mark.usefixtures("quick")
async def test_a_late_chunk_goes_on_where_the_last_one_ended(carried: Carried) -> None:
    line, section, transport = carried
    speak(line, 0.1)
    await quiet(section)
    assert len(transport.sent) == 5
    line.player.play(speech(0.1), RATE)
    await quiet(section)
    assert len(transport.sent) == 10
    assert (transport.sent[5].timestamp - transport.sent[4].timestamp) & 0xFFFFFFFF == 960


@pytest.mark.usefixtures("quick")
async def test_time_goes_on_between_them(monkeypatch: pytest.MonkeyPatch, carried: Carried) -> None:
    monkeypatch.setattr(sound_section, "BRIDGED_SECONDS", 0.02)
    line, section, transport = carried
    for _ in range(2):
        speak(line, 0.02)
        line.player.finish()
        await quiet(section)
        await asyncio.sleep(0.1)
    first, second = transport.sent[SILENT_PACKETS], transport.sent[SILENT_PACKETS + 1]
    assert second.marker
    assert (second.timestamp - first.timestamp) & 0xFFFFFFFF > 960 + 0.05 * 48_000


@pytest.mark.usefixtures("quick")
async def test_what_was_flushed_is_not_sent(carried: Carried) -> None:
    line, section, transport = carried
    speak(line, 30)
    await until(lambda: len(transport.sent) >= 5)
    line.player.flush()
    count = len(transport.sent)
    await quiet(section)
    assert len(transport.sent) <= count + SILENT_PACKETS


@pytest.mark.parametrize("way", ["pause", "flush"])
async def test_a_hush_is_heard_with_the_next_packet(
    monkeypatch: pytest.MonkeyPatch, way: str, carried: Carried
) -> None:
    """The packet of silence does not wait for its turn, here of a minute; those after it do."""
    monkeypatch.setattr(sound_section, "FRAME_SECONDS", 60.0)
    line, _, transport = carried
    line.player.begin()
    times = np.arange(RATE) / RATE
    line.player.play((8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16), RATE)
    await until(lambda: len(transport.sent) == 1)
    if way == "pause":
        line.player.pause(True)
        line.player.pause(True)
    else:
        line.player.flush()
    await until(lambda: len(transport.sent) == 2)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(transport.sent) == 2
    decoder = OpusDecoder()
    sound = [decoder.decode(packet.payload) for packet in transport.sent]
    assert np.abs(sound[0]).max() > 1000
    # The second half of it is behind the codec's overlap with the frame before.
    assert np.abs(sound[1][-160:]).max() < 200


@pytest.mark.usefixtures("quick")
async def test_a_connection_that_goes_keeps_the_speech_for_the_next() -> None:
    line = VoiceLine()
    section, transport = made(line)
    transport.gone = True
    speak(line, 1.0)
    line.player.finish()
    await quiet(section)
    await section.close()
    assert not transport.registered
    assert not line.connected
    following, other = made(line)
    await quiet(following)
    assert len(other.sent) >= 48
    await following.close()


async def test_nothing_is_decoded_while_nobody_listens() -> None:
    line = VoiceLine()
    microphone: list[bool] = []
    line.on_microphone = microphone.append
    section, _ = made(line)
    for number, payload in enumerate(SPEECH):
        await packet(section, number, payload)
    assert section._stream is None
    # The page still shows that the microphone sends.
    assert microphone == [True]
    heard: list[Sound] = []
    line.on_sound = heard.append
    for number, payload in enumerate(SPEECH):
        await packet(section, number, payload)
    assert len(heard) == len(SPEECH)
    await section.close()
    assert microphone == [True, False]


async def test_other_streams_do_not_take_turns(carried: Carried) -> None:
    line, section, _ = carried
    heard: list[Sound] = []
    line.on_sound = heard.append
    for number, payload in enumerate(SPEECH):
        await packet(section, number, payload, ssrc=number)
    assert len(heard) == 1


async def test_a_direction_that_is_not_offered_is_not_used() -> None:
    line = VoiceLine()
    section, transport = made(line, sends=False)
    assert transport.registered == {"receiver"}
    speak(line, 0.1)
    await asyncio.sleep(0)
    assert not transport.sent
    await section.close()
    section, transport = made(line, receives=False)
    assert transport.registered == {"sender"}
    await section.close()


async def test_frames_fit_the_rtp_clock() -> None:
    assert FRAME / RATE * 48_000 == 960


async def test_a_section_without_our_speech_is_no_listener() -> None:
    line = VoiceLine()
    section, _ = made(line, sends=False)
    assert not line.connected
    await section.close()


async def test_switching_the_microphone_brings_no_more_sound(carried: Carried) -> None:
    """Neither a setting that goes on and off nor other streams begin the budget anew."""
    line, section, _ = carried
    heard: list[Sound] = []
    for number in range(400):
        line.on_sound = None
        await packet(section, number, SPEECH[number % len(SPEECH)])
        line.on_sound = heard.append
        for later in range(25):
            await packet(section, number * 25 + later, SPEECH[later % len(SPEECH)])
    assert sum(sound.seconds for sound in heard) < 2 * MOST_BURST

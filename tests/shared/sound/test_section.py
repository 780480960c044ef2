"""A connection's audio section, with a transport that only keeps what it is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from server.core.sound import Sound
from server.media.sdp import check_offer, make_whole_answer
from server.shared.sound import line as sound_section
from server.shared.sound.line import (
    FRAME,
    RATE,
    SILENT_PACKETS,
    SoundSection,
    VoiceLine,
    VoiceSection,
    find_voice,
)
from server.shared.sound.microphone import MOST_BURST, OpusDecoder
from tests.shared.sound.test_microphone import packets
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
        assert after.ssrc == first.ssrc
    offered = check_offer(offer(VIDEO, AUDIO)).sections[1]
    assert f"a=ssrc:{first.ssrc} cname:voice" in section.lines(offered, "9", ["c=IN IP4 0.0.0.0"])


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
    line.player.discard()
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
        line.player.discard()
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
    line.on_microphone.append(microphone.append)
    section, _ = made(line)
    for number, payload in enumerate(SPEECH):
        await packet(section, number, payload)
    assert section._stream is None
    # The page still shows that the microphone sends.
    assert microphone == [True]
    heard: list[Sound] = []
    line.on_sound.append(heard.append)
    for number, payload in enumerate(SPEECH):
        await packet(section, number, payload)
    assert len(heard) == len(SPEECH)
    await section.close()
    assert microphone == [True, False]


async def test_other_streams_do_not_take_turns(carried: Carried) -> None:
    line, section, _ = carried
    heard: list[Sound] = []
    line.on_sound.append(heard.append)
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
        line.on_sound.clear()
        await packet(section, number, SPEECH[number % len(SPEECH)])
        line.on_sound.append(heard.append)
        for later in range(25):
            await packet(section, number * 25 + later, SPEECH[later % len(SPEECH)])
    assert sum(sound.seconds for sound in heard) < 2 * MOST_BURST


# The audio section of an offer, and its part of the answer

TRANSPORT = "a=ice-ufrag:F9gI\na=ice-pwd:JvOeLoBMrnEvkFyFZVtVYGPh\na=fingerprint:sha-256 7B:8B\na=setup:actpass\n"
VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96\n" + TRANSPORT + "a=mid:0\na=sendonly\na=rtpmap:96 VP8/90000\n"
)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\n"
    + TRANSPORT
    + "a=mid:1\na=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level\na=sendrecv\n"
    "a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\na=rtpmap:63 red/48000/2\na=rtpmap:0 PCMU/8000\n"
)
CAMERA_ANSWER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=video 50000 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.0.2.1\r\na=recvonly\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 1 192.0.2.1 50000 typ host\r\na=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\n"
    "a=fingerprint:sha-256 AA:BB\r\na=setup:passive\r\n"
)


def offer(*sections: str, group: str = "0 1") -> str:
    head = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n"
    bundle = f"a=group:BUNDLE {group}\n" if group else ""
    return (head + bundle + "".join(sections)).replace("\n", "\r\n")


def found(*sections: str, group: str = "0 1") -> VoiceSection | None:
    return find_voice(check_offer(offer(*sections, group=group)))


def test_a_pages_section_is_found() -> None:
    section = found(VIDEO, AUDIO)
    assert section == VoiceSection(1, "1", 111, 14, receives=True, sends=True)


@pytest.mark.parametrize(
    ("direction", "receives", "sends"), [("sendonly", True, False), ("recvonly", False, True)]
)
def test_each_direction_is_answered(direction: str, receives: bool, sends: bool) -> None:
    section = found(VIDEO, AUDIO.replace("sendrecv", direction))
    assert section is not None
    assert (section.receives, section.sends) == (receives, sends)


@pytest.mark.parametrize(
    "audio",
    [
        AUDIO.replace("sendrecv", "inactive"),
        AUDIO.replace("opus/48000/2", "G722/8000"),
        AUDIO.replace("opus/48000/2", "opus/48000"),
        AUDIO.replace("111", "300"),
        # The camera's payload type: its packets could not be distinguished.
        AUDIO.replace("111", "96"),
    ],
    ids=["inactive", "other codec", "one channel", "no payload type", "the camera's payload type"],
)
def test_what_cannot_be_used_is_not(audio: str) -> None:
    assert found(VIDEO, audio) is None


def test_many_lines_with_many_codecs_take_no_time() -> None:
    """As many codecs as an offer may have, and as many lines: once a quarter of a second."""
    codecs = "".join(f"a=rtpmap:{n} opus/8000\n" for n in range(250))
    checked = check_offer(offer(VIDEO, AUDIO.partition("a=rtpmap")[0] + codecs + "x\n" * 18_000))
    began = time.process_time()
    assert find_voice(checked) is None
    assert time.process_time() - began < 0.05


def test_a_section_with_a_transport_of_its_own_is_not_used() -> None:
    assert found(VIDEO, AUDIO, group="0") is None
    assert found(VIDEO, AUDIO, group="") is None


def test_the_answer_has_the_cameras_transport_and_our_stream() -> None:
    checked = check_offer(offer(VIDEO, AUDIO))
    section = VoiceLine().section(checked, cast(Any, KeepingTransport()))
    assert section is not None
    answer = make_whole_answer(checked, CAMERA_ANSWER, [section])
    audio = answer[answer.index("m=audio") :].split("\r\n")
    assert audio[0] == "m=audio 50000 UDP/TLS/RTP/SAVPF 111"
    for line in (
        "a=sendrecv",
        "a=mid:1",
        "a=rtpmap:111 opus/48000/2",
        "a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=ice-ufrag:abcd",
        "a=setup:passive",
    ):
        assert line in audio
    assert [line for line in audio if line.startswith("a=ssrc:") and line.endswith(" cname:voice")]
    # A sender that pauses sends 2.5 packets a second in silence, else 50.
    assert any("usedtx=1" in line for line in audio)
    assert "a=group:BUNDLE 0 1" in answer


def test_a_section_that_is_not_used_is_inactive() -> None:
    answer = make_whole_answer(check_offer(offer(VIDEO, AUDIO)), CAMERA_ANSWER)
    assert "a=inactive" in answer[answer.index("m=audio") :]

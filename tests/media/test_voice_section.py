"""The audio section of an offer, and its part of the answer."""

from __future__ import annotations

import time

import pytest

from server.media.sdp import VoiceSection, check_offer, find_voice, whole_answer

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
    section = find_voice(checked)
    assert section is not None
    answer = whole_answer(checked, CAMERA_ANSWER, (section, 4711))
    audio = answer[answer.index("m=audio") :].split("\r\n")
    assert audio[0] == "m=audio 50000 UDP/TLS/RTP/SAVPF 111"
    for line in (
        "a=sendrecv",
        "a=mid:1",
        "a=rtpmap:111 opus/48000/2",
        "a=ssrc:4711 cname:voice",
        "a=extmap:14 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=ice-ufrag:abcd",
        "a=setup:passive",
    ):
        assert line in audio
    # A sender that pauses sends 2.5 packets a second in silence, else 50.
    assert any("usedtx=1" in line for line in audio)
    assert "a=group:BUNDLE 0 1" in answer


def test_a_section_that_is_not_used_is_inactive() -> None:
    answer = whole_answer(check_offer(offer(VIDEO, AUDIO)), CAMERA_ANSWER)
    assert "a=inactive" in answer[answer.index("m=audio") :]

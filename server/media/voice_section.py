"""The audio section of an offer, and its part of the answer. Pure.

Only a section in the camera's BUNDLE group can be used: it shares the camera's transport. Sources:
RFC 9429 (JSEP), RFC 7587 (Opus in SDP), RFC 6464 (audio levels).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.media.offer import Offer, Section

LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
# Our wishes for what we receive: pauses instead of packets with silence, nothing above 8 kHz, one channel.
_RECEIVE = "minptime=10;maxplaybackrate=16000;stereo=0;usedtx=1"

_EXTENSION = re.compile(r"^a=extmap:(\d{1,3})(?:/\w+)? (\S+)")


@dataclass(frozen=True, slots=True)
class VoiceSection:
    """An offered audio section over which both sides can send."""

    # Its index among the offer's sections, and its name
    number: int
    mid: str
    # Payload type of Opus
    payload_type: int
    # Id of the header extension for audio levels; 0 without one
    level_id: int
    # The client may send a microphone, and wants to play what we send.
    receives: bool
    sends: bool

    def lines(self, section: Section, port: str, transport: list[str], ssrc: int) -> list[str]:
        """Return this section of the answer. `transport`: the lines of the camera's transport, its
        connection line first; `ssrc`: that of our stream."""
        lines = [
            f"m=audio {port} {section.protocol} {self.payload_type}",
            transport[0],
            f"a={self._direction()}",
            "a=rtcp:9 IN IP4 0.0.0.0",
            "a=rtcp-mux",
            f"a=rtpmap:{self.payload_type} opus/48000/2",
            f"a=fmtp:{self.payload_type} {_RECEIVE}",
            f"a=mid:{self.mid}",
        ]
        if self.level_id and self.receives:
            lines.append(f"a=extmap:{self.level_id} {LEVEL_URI}")
        if self.sends:
            lines += ["a=msid:voice voice", f"a=ssrc:{ssrc} cname:voice"]
        return lines + transport[1:]

    def _direction(self) -> str:
        if self.receives and self.sends:
            return "sendrecv"
        return "recvonly" if self.receives else "sendonly"


def find_voice(offer: Offer) -> VoiceSection | None:
    """Return the first audio section that both sides can use; None for none."""
    if not offer.grouped:
        return None
    taken = {kind for number in offer.bundle for kind in _payload_types(offer, number, "video")}
    for number in offer.bundle:
        section = offer.sections[number]
        if section.kind != "audio" or section.direction == "inactive" or not section.mid:
            continue
        described = {line.lower() for line in section.lines if line.startswith("a=rtpmap:")}
        for payload_type, codec in section.codecs.items():
            stereo = f"a=rtpmap:{payload_type} opus/48000/2" in described
            possible = int(payload_type) < 128 and payload_type not in taken
            if codec == "OPUS" and stereo and possible:
                return VoiceSection(
                    number,
                    section.mid,
                    int(payload_type),
                    _level_id(section),
                    receives=section.direction in ("sendrecv", "sendonly"),
                    sends=section.direction in ("sendrecv", "recvonly"),
                )
    return None


def _payload_types(offer: Offer, number: int, kind: str) -> list[str]:
    section = offer.sections[number]
    return section.formats if section.kind == kind else []


def _level_id(section: Section) -> int:
    for line in section.lines:
        match = _EXTENSION.match(line)
        if match and match.group(2) == LEVEL_URI:
            return int(match.group(1))
    return 0

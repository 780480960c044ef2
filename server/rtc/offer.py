"""What an SDP offer must be before anything else touches it. Pure text work, bounded.

Sources: RFC 8866 (SDP), RFC 8839 (candidates in SDP), RFC 9429 (JSEP).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from server.errors import TooLarge, UnusableOffer

MAX_SDP_BYTES = 64 * 1024
MAX_MEDIA_SECTIONS = 8
MAX_CANDIDATES = 64
# Codecs of all sections together. Browsers offer about 60; every one of them comes back in the answer, and longer.
MAX_CODECS = 256
# What the media path can turn into pictures, by the encoding names of RTP payload formats.
DECODABLE = frozenset({"VP8", "H264"})
# Encoding names that repair or wrap other streams.
_NO_PICTURES = frozenset({"RTX", "RED", "ULPFEC", "FLEXFEC-03", "FLEXFEC"})
# Codecs that a refusal names.
_NAMED_CODECS = 4

_RTPMAP = re.compile(r"^a=rtpmap:\d{1,3} ([A-Za-z0-9._-]{1,40})/")
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})


@dataclass(slots=True)
class _Section:
    kind: str
    port: str
    # Its name within the offer; empty when it has none.
    mid: str = ""
    direction: str = "sendrecv"
    codecs: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer with a camera in it that can be decoded."""

    # Without candidates that nothing can be sent to and without its end of candidates: a peer that offers `.local` names alone
    # is reached through the peer-reflexive pair, which an early end would rule out.
    sdp: str
    candidates: int
    # The first section's ICE user name; empty when it has none.
    ufrag: str
    # It will wait for our DTLS handshake (a=setup:passive, RFC 8842 section 5.2).
    passive: bool


def check_offer(sdp: str) -> Offer:
    """Check an offer's bounds and what it offers.

    Raises TooLarge for one past 64 KiB, UnusableOffer with its own sentence for everything else.
    """
    size = len(sdp.encode("utf-8", "surrogatepass"))
    if size > MAX_SDP_BYTES:
        raise TooLarge(f"The offer has {size} bytes; at most {MAX_SDP_BYTES} are allowed.")
    lines = sdp.replace("\r\n", "\n").split("\n")
    if not lines[0].startswith("v=0"):
        raise UnusableOffer(
            'This is no SDP: it has to begin with "v=0". Send RTCPeerConnection\'s own offer.'
        )
    sections: list[_Section] = []
    kept: list[str] = []
    bundles: list[list[str]] = []
    candidates = codecs = 0
    for line in lines:
        if line.startswith("m="):
            words = line[2:].split(" ")
            if len(words) < 4:
                raise UnusableOffer('A media section ("m=" line) of the offer is malformed.')
            sections.append(_Section(kind=words[0], port=words[1]))
            if len(sections) > MAX_MEDIA_SECTIONS:
                raise UnusableOffer(
                    f"The offer has more than {MAX_MEDIA_SECTIONS} media sections. Offer one video track."
                )
        elif line.startswith("a=candidate:"):
            candidates += 1
            if candidates > MAX_CANDIDATES:
                raise UnusableOffer(f"The offer has more than {MAX_CANDIDATES} candidates.")
            if is_mdns(line) or is_unreachable(line) or is_other_component(line):
                continue
        elif line.startswith("a=end-of-candidates"):
            continue
        elif line.startswith("a=rtpmap:"):
            codecs += 1
            if codecs > MAX_CODECS:
                raise UnusableOffer(f"The offer has more than {MAX_CODECS} codecs. Offer fewer.")
            if sections:
                _attribute(sections[-1], line)
        elif line.startswith("a=group:BUNDLE"):
            bundles.append(line.split()[1:])
        elif sections and line.startswith("a="):
            _attribute(sections[-1], line)
        kept.append(line)
    _check_sections(sections)
    _check_bundles(sections, bundles)
    if not any(line.startswith("a=fingerprint:") for line in kept):
        raise UnusableOffer(
            "The offer has no DTLS fingerprint. Send the SDP that RTCPeerConnection.createOffer() made, unchanged."
        )
    passive = "a=setup:passive" in kept
    ufrag = next((line[12:] for line in kept if line.startswith("a=ice-ufrag:")), "")
    return Offer(sdp="\r\n".join(kept), candidates=candidates, ufrag=ufrag, passive=passive)


def is_mdns(candidate: str) -> bool:
    """Whether a candidate line hides its address behind an mDNS name (fifth field, RFC 8839 section 5.1)."""
    words = candidate.split()
    return len(words) > 4 and words[4].lower().rstrip(".").endswith(".local")


def is_other_component(candidate: str) -> bool:
    """Whether a candidate line is for another component than the one that RTP and RTCP share here (RFC 8839, 5.1)."""
    words = candidate.split()
    return len(words) > 1 and words[1].isdecimal() and words[1] != "1"


def is_unreachable(candidate: str) -> bool:
    """Whether a well-formed candidate line names no IP address or no port that a datagram can be sent to.

    The event loop closes a socket for good that is told to send to such a port.
    """
    words = candidate.split()
    if len(words) < 6:
        return False
    try:
        ipaddress.ip_address(words[4])
    except ValueError:
        return True
    return re.fullmatch(r"[+-]?\d+", words[5]) is not None and not 1 <= int(words[5][:9]) <= 65535


def _attribute(section: _Section, line: str) -> None:
    if line[2:] in _DIRECTIONS:
        section.direction = line[2:]
    elif line.startswith("a=mid:"):
        section.mid = line[6:]
    elif match := _RTPMAP.match(line):
        section.codecs.add(match.group(1).upper())


def _check_bundles(sections: list[_Section], bundles: list[list[str]]) -> None:
    """The sections of a bundle share the first one's transport, so that one has to be there (RFC 9143)."""
    mids = [s.mid for s in sections]
    for bundle in bundles:
        if bundle and (bundle[0] not in mids or len(set(bundle)) < len(bundle)):
            raise UnusableOffer(
                "The offer's BUNDLE group does not fit its media sections: it names one that is not there, or one twice."
            )
    if bundles and len(set(mids)) < len(mids):
        raise UnusableOffer('Two media sections of the offer have the same name ("a=mid").')


def _check_sections(sections: list[_Section]) -> None:
    video = [s for s in sections if s.kind == "video"]
    if not sections:
        raise UnusableOffer("The offer has no media at all. Add the camera's video track to it.")
    if not video:
        if all(s.kind == "audio" for s in sections):
            raise UnusableOffer("The offer has only audio. Add the camera's video track to it.")
        if all(s.kind == "application" for s in sections):
            raise UnusableOffer(
                "The offer has only a data channel. Add the camera's video track to it."
            )
        raise UnusableOffer("The offer has no video. Add the camera's video track to it.")
    sending = [s for s in video if s.direction in ("sendrecv", "sendonly") and s.port != "0"]
    if not sending:
        raise UnusableOffer(
            "The offer only wants to receive video (recvonly or inactive). This server never sends video: "
            "offer the camera as sendonly."
        )
    if not any(s.codecs & DECODABLE for s in sending):
        offered = sorted(set[str]().union(*(s.codecs for s in sending)) - _NO_PICTURES)
        given = f": only {', '.join(offered[:_NAMED_CODECS])}" if offered else ""
        raise UnusableOffer(
            f"None of the offered video codecs can be decoded here{given}. "
            f"Offer one of these, beside others or alone: {', '.join(sorted(DECODABLE))}."
        )

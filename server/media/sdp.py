"""Check SDP offers before anything else reads them, find the camera section, and build answers. Pure, bounded.

Sources: RFC 8866 (SDP), RFC 8839 (candidates in SDP), RFC 9429 (JSEP), RFC 9143 (BUNDLE).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from server.core.errors import TooLarge, UnusableOffer

MAX_SDP_BYTES = 64 * 1024
MAX_MEDIA_SECTIONS = 8
MAX_CANDIDATES = 64
# Maximum characters of a candidate; browsers write about 120.
MAX_CANDIDATE_CHARS = 2000
# Maximum codecs of all sections. Browsers offer about 60; the answer repeats each in a longer format.
MAX_CODECS = 256
# Encoding names (RTP payload formats) that can be decoded
DECODABLE = frozenset({"VP8", "H264"})
# Encoding names that repair or wrap other streams
NO_PICTURES = frozenset({"RTX", "RED", "ULPFEC", "FLEXFEC-03", "FLEXFEC"})
# Maximum fingerprints of all sections; each costs a digest of the peer's certificate.
MAX_FINGERPRINTS = 32
# Maximum lines about streams passed to aiortc; browsers write four for each of two or six streams.
MAX_STREAM_LINES = 64
# Maximum codecs named in an error
_NAMED_CODECS = 4
_RTPMAP = re.compile(r"^a=rtpmap:(\d{1,3}) ([A-Za-z0-9._-]{1,40})/")
# A line about one payload type (7 bits, RFC 3550), or for feedback also about all
_CODEC_LINE = re.compile(r"^a=(rtpmap|fmtp|rtcp-fb):(\*|[1-9]?\d|1[01]\d|12[0-7]) (.+)$", re.ASCII)
_CODEC_LINES = ("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")
# Feedback supported by aiortc's codecs; aiortc compares each line with each codec.
_FEEDBACK = frozenset({"nack", "nack pli", "goog-remb"})
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
# Attributes of a section's transport. A bundle uses those of its first section (RFC 9143 section 7).
CANDIDATES = ("a=candidate:", "a=end-of-candidates")
TRANSPORT = (
    *("a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=fingerprint:", "a=setup:"),
    *CANDIDATES,
)


@dataclass(slots=True)
class Section:
    """A media section of an offer."""

    kind: str
    port: str
    protocol: str
    # Formats (payload types for audio and video), at least one
    formats: list[str]
    # Name within the offer; empty if it has none
    mid: str = ""
    direction: str = "sendrecv"
    # The section does not have its own transport, so port 0 does not reject it (RFC 9143 section 6).
    bundle_only: bool = False
    # Format to encoding name
    codecs: dict[str, str] = field(default_factory=dict)
    # Lines after the "m=" line
    lines: list[str] = field(default_factory=list)

    def get_first_format(self) -> str:
        """Return the most preferred format that is not for retransmission or error correction."""
        return next(
            (f for f in self.formats if self.codecs.get(f, "") not in NO_PICTURES), self.formats[0]
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer with a camera that can be decoded."""

    # The camera section alone, with its transport, without unreachable candidates and the end of
    # candidates: a peer with `.local` names only is reached through a peer-reflexive pair, which an
    # early end would prevent.
    sdp: str
    candidates: int
    sections: tuple[Section, ...]
    # Index of the camera section
    camera: int
    # Indices of the sections that share the camera's transport, beginning with the owner of the
    # transport; only the camera if it is in no group
    bundle: tuple[int, ...]
    # `bundle` is a BUNDLE group of the offer.
    grouped: bool
    # The peer waits for this side's DTLS handshake (a=setup:passive, RFC 8842 section 5.2).
    passive: bool

    @property
    def transport(self) -> int:
        """Index of the section whose transport carries the camera."""
        return self.bundle[0]

    def carries(self, mid: str | None, index: int | None) -> bool:
        """Return True if a candidate of this section (name, index or neither) is for the camera."""
        if mid is not None:
            return mid == self.sections[self.transport].mid
        return index is None or index == self.transport


def check_offer(sdp: str) -> Offer:
    """Check the bounds of an offer, and find a camera that can be decoded.

    Raises TooLarge above 64 KiB, else UnusableOffer with a sentence for the user.
    """
    size = len(sdp.encode("utf-8", "surrogatepass"))
    if size > MAX_SDP_BYTES:
        raise TooLarge(f"The offer has {size} bytes; at most {MAX_SDP_BYTES} are allowed.")
    # Split as aiortc does, so that no section is hidden by an unusual line break.
    lines = sdp.splitlines()
    if not lines or not lines[0].startswith("v=0"):
        raise UnusableOffer(
            'This is not SDP: it must begin with "v=0". Send the offer of RTCPeerConnection.'
        )
    sections: list[Section] = []
    head: list[str] = []
    bundles: list[list[str]] = []
    counts = dict.fromkeys(_MOST_LINES, 0)
    for line in lines:
        if line.startswith("m="):
            sections.append(_parse_section(line))
            if len(sections) > MAX_MEDIA_SECTIONS:
                raise UnusableOffer(
                    f"The offer has more than {MAX_MEDIA_SECTIONS} media sections. Offer one video track."
                )
            continue
        _count(line, counts)
        if line.startswith("a=group:BUNDLE"):
            bundles.append(line.split()[1:])
        elif _is_left_out(line):
            continue
        elif sections:
            _parse_attribute(sections[-1], line)
        else:
            head.append(line)
    _check_bundles(sections, bundles)
    camera = _find_camera_section(sections, bundles)
    bundle = _find_bundle(camera, sections, bundles)
    kept = head + _get_standalone_lines(sections[camera], sections[bundle[0]])
    if not any(line.startswith("a=fingerprint:") for line in kept):
        raise UnusableOffer(
            "The offer has no DTLS fingerprint. Send the SDP that RTCPeerConnection.createOffer() made, unchanged."
        )
    return Offer(
        sdp="\r\n".join([*kept, ""]),
        candidates=counts["a=candidate:"],
        sections=tuple(sections),
        camera=camera,
        bundle=bundle,
        grouped=any(sections[camera].mid in group for group in bundles),
        passive="a=setup:passive" in kept,
    )


# Maximum lines of each kind in an offer, and their name
_MOST_LINES = {
    "a=candidate:": (MAX_CANDIDATES, "candidates"),
    "a=rtpmap:": (MAX_CODECS, "codecs"),
    "a=fingerprint:": (MAX_FINGERPRINTS, "fingerprints"),
}


def _count(line: str, counts: dict[str, int]) -> None:
    """Count a line of an offer by its kind. Raises UnusableOffer if there are too many."""
    for kind, (most, name) in _MOST_LINES.items():
        if line.startswith(kind):
            counts[kind] += 1
            if counts[kind] > most:
                raise UnusableOffer(f"The offer has more than {most} {name}. Offer fewer.")


def _is_left_out(line: str) -> bool:
    """Return True for an unreachable candidate, and for the end of candidates, which would be too early."""
    if line.startswith("a=candidate:"):
        return is_unreachable(line) or is_other_component(line)
    return line.startswith("a=end-of-candidates")


def is_other_component(candidate: str) -> bool:
    """Return True if a candidate is for a component other than 1 (RTP and RTCP; RFC 8839, 5.1)."""
    words = candidate.split()
    return len(words) > 1 and words[1].isdecimal() and words[1] != "1"


def is_unreachable(candidate: str) -> bool:
    """Return True if a candidate line has an mDNS name (RFC 8839, 5.1), or if a well-formed one has no IP
    address, or a port to which no datagram can be sent.

    asyncio closes a socket that sends to such a port.
    """
    words = candidate.split()
    if len(words) > 4 and words[4].lower().rstrip(".").endswith(".local"):
        return True
    if len(words) < 6:
        return False
    try:
        ipaddress.ip_address(words[4])
    except ValueError:
        return True
    return re.fullmatch(r"[+-]?\d+", words[5]) is not None and not 1 <= int(words[5][:9]) <= 65535


def _parse_section(line: str) -> Section:
    words = line[2:].split(" ")
    if len(words) < 4:
        raise UnusableOffer('A media section ("m=" line) of the offer is malformed.')
    return Section(kind=words[0], port=words[1], protocol=words[2], formats=words[3:])


def _parse_attribute(section: Section, line: str) -> None:
    section.lines.append(line)
    if line[2:] in _DIRECTIONS and line.startswith("a="):
        section.direction = line[2:]
    elif line.startswith("a=mid:"):
        section.mid = line[6:]
    elif line == "a=bundle-only":
        section.bundle_only = True
    elif match := _RTPMAP.match(line):
        section.codecs[match.group(1)] = match.group(2).upper()


def _check_bundles(sections: list[Section], bundles: list[list[str]]) -> None:
    """Raise UnusableOffer unless the groups name existing, different sections once (RFC 9143, 7.2)."""
    mids = [s.mid for s in sections]
    for bundle in bundles:
        if bundle and (bundle[0] not in mids or len(set(bundle)) < len(bundle)):
            raise UnusableOffer(
                "The offer's BUNDLE group does not fit its media sections: it names a missing section, or one twice."
            )
    if bundles and len(set(mids)) < len(mids):
        raise UnusableOffer('Two media sections of the offer have the same name ("a=mid").')


def _find_bundle(number: int, sections: list[Section], bundles: list[list[str]]) -> tuple[int, ...]:
    """Return the sections that share a transport with section `number`, beginning with its owner.

    The owner is the group's first section with a port (RFC 9143 section 7.3.1): a rejected one has
    no transport.
    """
    numbers = {section.mid: n for n, section in enumerate(sections)}
    for bundle in bundles:
        members = [numbers[mid] for mid in bundle if mid in numbers]
        if number in members:
            first = next((n for n in members if sections[n].port != "0"), None)
            if first is not None:
                others = [n for n in members if n != first]
                return (first, *(n for n in others if _is_accepted(sections[n])))
    return (number,)


def _is_accepted(section: Section) -> bool:
    """Return True if a section of a group with a transport is not rejected."""
    return section.port != "0" or section.bundle_only


def _get_standalone_lines(camera: Section, transport: Section) -> list[str]:
    """Return the lines of the camera section as if it were alone, with the transport that it uses."""
    lines = _get_needed_lines(camera)
    if transport is not camera:
        lines = [line for line in lines if not line.startswith(TRANSPORT)]
        lines += [line for line in transport.lines if line.startswith(TRANSPORT)]
        if "a=rtcp-mux" in transport.lines and "a=rtcp-mux" not in lines:
            lines.append("a=rtcp-mux")
    return [f"m={camera.kind} 9 {camera.protocol} {' '.join(camera.formats)}", *lines]


def _get_needed_lines(camera: Section) -> list[str]:
    """Return the lines of the camera section without those about unused codecs and streams.

    aiortc's time and memory grow with the codecs times the lines about them.
    """
    used = {f for f, codec in camera.codecs.items() if codec in DECODABLE or codec == "RTX"}
    kept: list[str] = []
    known = set[tuple[str, ...]]()
    streams = 0
    for line in camera.lines:
        if line.startswith(_CODEC_LINES):
            match = _CODEC_LINE.match(line)
            if match is None:
                continue
            kind, number, text = match.groups()
            # One description and one set of parameters for each codec
            key = match.groups() if kind == "rtcp-fb" else (kind, number)
            # Lines about an unknown codec are kept, so that aiortc reports them as malformed.
            if key in known or (number in camera.codecs and number not in used):
                continue
            if kind == "rtcp-fb" and text not in _FEEDBACK:
                continue
            known.add(key)
        elif line.startswith("a=ssrc:"):
            streams += 1
            if streams > MAX_STREAM_LINES:
                continue
        kept.append(line)
    return kept


def _find_camera_section(sections: list[Section], bundles: list[list[str]]) -> int:
    """Return the index of the first section that sends decodable video. Raises UnusableOffer."""
    video = [n for n, s in enumerate(sections) if s.kind == "video"]
    if not sections:
        raise UnusableOffer("The offer has no media. Add the camera's video track to it.")
    if not video:
        if all(s.kind == "audio" for s in sections):
            raise UnusableOffer("The offer has only audio. Add the camera's video track to it.")
        if all(s.kind == "application" for s in sections):
            raise UnusableOffer(
                "The offer has only a data channel. Add the camera's video track to it."
            )
        raise UnusableOffer("The offer has no video. Add the camera's video track to it.")
    sending = [n for n in video if sections[n].direction in ("sendrecv", "sendonly")]
    if not sending:
        raise UnusableOffer(
            "The offer only receives video (recvonly or inactive). This server never sends video: "
            "offer the camera as sendonly."
        )
    standing = [
        n
        for n in sending
        if sections[n].port != "0"
        or (sections[n].bundle_only and sections[_find_bundle(n, sections, bundles)[0]].port != "0")
    ]
    if not standing:
        raise UnusableOffer(
            "The offer's video is disabled (port 0, and not bundle-only in a BUNDLE group with a port). "
            "Offer the camera's track in its own media section."
        )
    for n in standing:
        if DECODABLE.intersection(sections[n].codecs.values()):
            return n
    offered = sorted(
        set[str]().union(*(sections[n].codecs.values() for n in standing)) - NO_PICTURES
    )
    given = f": only {', '.join(offered[:_NAMED_CODECS])}" if offered else ""
    raise UnusableOffer(
        f"None of the offered video codecs can be decoded{given}. "
        f"Offer at least one of these: {', '.join(sorted(DECODABLE))}."
    )


# The SDP answer to a whole offer, built from the answer to its camera section.
# The other sections of the camera's BUNDLE group share its transport. Unused ones are answered
# as inactive, so that the group keeps its order and its first section (RFC 9143 section 7.3). All
# sections outside the group are rejected with port 0 (RFC 3264 section 6).
#
# RFC 9143 also allows rejecting sections of the group. But clients treat that as the end of the
# section: browsers stop its transceiver (RFC 9429 section 5.11), so a second camera cannot take over
# when the first one is stopped, and Chromium then fails to create an offer under max-bundle. Without
# the group's first section it refuses the answer (Chromium 156). An inactive section costs nothing.

# Attributes of a data channel that never opens; parsers require them nevertheless (RFC 8841).
_DATA = ("a=sctp-port:5000", "a=max-message-size:65536")


class UsedSection(Protocol):
    """A media section of an offer besides the camera's, bundled with the camera's transport."""

    @property
    def number(self) -> int:
        """Index among the offer's sections."""
        ...

    def lines(self, section: Section, port: str, transport: list[str]) -> list[str]:
        """Return this section of the answer. `transport`: lines of the camera's transport, connection line first."""
        ...


def make_whole_answer(offer: Offer, camera: str, used: Iterable[UsedSection] = ()) -> str:
    """Return the SDP answer to `offer`; `camera` is aiortc's answer to the camera section alone."""
    others = {one.number: one for one in used}
    lines = [line for line in camera.splitlines() if not line.startswith("a=group:BUNDLE")]
    at = next(n for n, line in enumerate(lines) if line.startswith("m="))
    head, media = lines[:at], lines[at:]
    port = media[0].split(" ")[1]
    # Lines of the camera's transport, connection line first
    transport = [line for line in media if line.startswith(("c=", *TRANSPORT))]
    mids = " ".join(offer.sections[n].mid for n in offer.bundle)
    # GStreamer's webrtcbin (seen with 1.22) assigns the media after a rejected section to the wrong
    # track, so that no picture arrives: such a section gets port 9. webrtcbin is recognised by its
    # section names, kind and number.
    counted = all(s.mid == f"{s.kind}{n}" for n, s in enumerate(offer.sections))
    out = [*head, f"a=group:BUNDLE {mids}"] if offer.grouped else head
    for number, section in enumerate(offer.sections):
        if number == offer.camera:
            out += media
        elif number in others:
            out += others[number].lines(section, port, transport)
        elif number in offer.bundle:
            out += _make_unused_section(section, port, transport)
        else:
            # webrtcbin and werift need credentials and a codec.
            kept = [line for line in transport[1:] if not line.startswith(CANDIDATES)]
            shown = "9" if number < offer.camera and counted else "0"
            out += _make_unused_section(section, shown, ["c=IN IP4 0.0.0.0", *kept])
    return "\r\n".join([*out, ""])


def _make_unused_section(section: Section, port: str, transport: list[str]) -> list[str]:
    """Return the answer to an unused section. `transport`: its lines, connection line first."""
    chosen = section.get_first_format()
    lines = [f"m={section.kind} {port} {section.protocol} {chosen}", transport[0]]
    if section.kind == "application":
        # The format of older browsers if the offer uses it, else that of RFC 8841
        old = [line for line in section.lines if line.startswith("a=sctpmap:")]
        lines += old or _DATA
    else:
        about = (f"a=rtpmap:{chosen} ", f"a=fmtp:{chosen} ")
        lines += ["a=inactive", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp-mux"]
        lines += [line for line in section.lines if line.startswith(about)]
    if section.mid:
        lines.append(f"a=mid:{section.mid}")
    return lines + transport[1:]

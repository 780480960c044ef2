"""Build the SDP answer to a whole offer from the answer to its camera section. Pure.

The other sections of the camera's BUNDLE group share its transport and, but for the one that
carries voice, are answered as inactive, so that the group keeps its order and its first section (RFC 9143 section 7.3). All sections outside of
the group are rejected with port 0 (RFC 3264 section 6).

RFC 9143 would allow to reject sections of the group, too. Clients take it for the end of that
section: browsers stop its transceiver (RFC 9429 section 5.11), so a second camera cannot take over
when the first one is stopped, and Chromium then fails to offer under max-bundle. Without the
group's first section it does not take the answer at all (Chromium 156). An inactive section costs
nothing, since nothing is sent for it.
"""

from __future__ import annotations

from server.media.offer import CANDIDATES, TRANSPORT, Offer, Section
from server.media.voice_section import VoiceSection

# Attributes of a data channel that never opens; parsers require them all the same (RFC 8841).
_DATA = ("a=sctp-port:5000", "a=max-message-size:65536")


def whole_answer(offer: Offer, camera: str, voice: tuple[VoiceSection, int] | None = None) -> str:
    """Return the SDP answer to `offer`; `camera` is aiortc's answer to the camera section alone.

    `voice`: the audio section that is used, and the SSRC that we send in it.
    """
    lines = [line for line in camera.splitlines() if not line.startswith("a=group:BUNDLE")]
    at = next(n for n, line in enumerate(lines) if line.startswith("m="))
    head, media = lines[:at], lines[at:]
    mids = " ".join(offer.sections[n].mid for n in offer.bundle)
    # GStreamer's webrtcbin (seen with 1.22) assigns the media behind a rejected section to the
    # wrong track, so no picture arrives: such a section gets port 9. webrtcbin is recognised by its
    # section names: kind and number.
    counted = all(s.mid == f"{s.kind}{n}" for n, s in enumerate(offer.sections))
    out = [*head, f"a=group:BUNDLE {mids}"] if offer.grouped else head
    for number, section in enumerate(offer.sections):
        if number == offer.camera:
            out += media
        elif voice is not None and number == voice[0].number:
            out += voice[0].lines(section, *_transport(media), voice[1])
        elif number in offer.bundle:
            out += _unused(section, media)
        else:
            port = "9" if number < offer.camera and counted else "0"
            out += _rejected(section, port, media)
    return "\r\n".join([*out, ""])


def _unused(section: Section, media: list[str]) -> list[str]:
    """Answer an unused section of the camera's group; `media`: the lines of the camera's answer."""
    port, lines = _transport(media)
    return _section(section, port, section.first_format(), lines)


def _transport(media: list[str]) -> tuple[str, list[str]]:
    """Return the port and the transport's lines of the camera's answer, its connection line first."""
    port = media[0].split(" ")[1]
    return port, [line for line in media if line.startswith(("c=", *TRANSPORT))]


def _rejected(section: Section, port: str, media: list[str]) -> list[str]:
    """Reject a section. It keeps credentials and a codec, because webrtcbin and werift refuse it
    without.
    """
    kept = [line for line in media if line.startswith(TRANSPORT)]
    lines = [line for line in kept if not line.startswith(CANDIDATES)]
    return _section(section, port, section.first_format(), ["c=IN IP4 0.0.0.0", *lines])


def _section(section: Section, port: str, chosen: str, transport: list[str]) -> list[str]:
    lines = [f"m={section.kind} {port} {section.protocol} {chosen}", transport[0]]
    if section.kind == "application":
        # The form of older browsers where the offer has it, else that of RFC 8841.
        old = [line for line in section.lines if line.startswith("a=sctpmap:")]
        lines += old or _DATA
    else:
        about = (f"a=rtpmap:{chosen} ", f"a=fmtp:{chosen} ")
        lines += ["a=inactive", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp-mux"]
        lines += [line for line in section.lines if line.startswith(about)]
    if section.mid:
        lines.append(f"a=mid:{section.mid}")
    return lines + transport[1:]

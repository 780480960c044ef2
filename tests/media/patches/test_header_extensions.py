"""Reading the color space beside what aiortc reads of a packet's header extensions."""

from __future__ import annotations

from typing import Any

from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpReceiveParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket

from server.media.patches import receiver as header_extensions
from server.media.video import color_space

BT709_FULL = bytes([1, 13, 1, 0x20])
BT601_LIMITED = bytes([6, 6, 6, 0x15])


def parameters(*extensions: tuple[int, str]) -> RTCRtpReceiveParameters:
    return RTCRtpReceiveParameters(
        headerExtensions=[RTCRtpHeaderExtensionParameters(id=n, uri=uri) for n, uri in extensions]
    )


def on_the_wire(*extensions: tuple[int, bytes]) -> bytes:
    """A packet with these one-byte header extensions (RFC 8285)."""
    value = b"".join(bytes([n << 4 | len(data) - 1]) + data for n, data in extensions)
    value += bytes(-len(value) % 4)
    header = bytes([0x90, 96, 0, 7]) + (900).to_bytes(4, "big") + (5).to_bytes(4, "big")
    return header + b"\xbe\xde" + (len(value) // 4).to_bytes(2, "big") + value + b"payload"


def test_it_is_read_beside_what_aiortc_knows() -> None:
    """By the connection's own number for it, which is learned whenever receivers register; others
    stay as they were.
    """
    known = HeaderExtensionsMap()
    known.configure(parameters((3, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")))
    transport: Any = type("Transport", (), {"_rtp_header_extensions_map": known})()
    header_extensions.add_color_space(transport)
    header_extensions.add_color_space(transport)
    colored = transport._rtp_header_extensions_map
    packet = RtpPacket.parse(on_the_wire((3, b"\0\0\1"), (7, BT709_FULL)), colored)
    assert header_extensions.color_space_of(packet) == b""
    colored.configure(parameters((7, color_space.URI)))
    for data, value in [
        (on_the_wire((3, b"\0\0\1"), (7, BT709_FULL)), BT709_FULL),
        (on_the_wire((7, BT601_LIMITED), (3, b"\0\0\1")), BT601_LIMITED),
        (on_the_wire((3, b"\0\0\1")), b""),
        (on_the_wire((3, b"\0\0\1"), (8, BT709_FULL)), b""),
    ]:
        packet = RtpPacket.parse(data, colored)
        assert header_extensions.color_space_of(packet) == value
        assert packet.extensions.abs_send_time == 1
        assert packet.payload == b"payload"
    assert header_extensions.color_space_of(RtpPacket()) == b""
    assert isinstance(packet.extensions, HeaderExtensions)

"""RTP header extensions that aiortc 1.16.0 does not know: the color space, which a sender attaches to its key frames."""

from __future__ import annotations

from dataclasses import dataclass

from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket, unpack_header_extensions

from server.rtc.media import color_space


@dataclass
class ColoredExtensions(HeaderExtensions):
    """Of a packet that says how its pictures stand for colours."""

    color_space: bytes = b""


class ColoredMap(HeaderExtensionsMap):
    """Takes the place of a transport's map and what that has learned."""

    def __init__(self, known: HeaderExtensionsMap) -> None:
        vars(self).update(vars(known))
        # The number that this connection has for it; 0 for none.
        self._color_space = 0

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == color_space.URI:
                self._color_space = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        """Raises ValueError, struct.error and more for nonsense, as the one it replaces."""
        values = super().get(extension_profile, extension_value)
        # Few packets have it: those that cannot are let go without being read twice.
        if self._color_space and len(extension_value) > 4:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._color_space:
                    return ColoredExtensions(**vars(values), color_space=value)
        return values


def color_space_of(packet: RtpPacket) -> bytes:
    """The extension's value; empty when the packet has none."""
    extensions = packet.extensions
    return extensions.color_space if isinstance(extensions, ColoredExtensions) else b""


def install(transport: RTCDtlsTransport) -> None:
    """Let this connection's packets be read so. Before its receivers register; safe to call again."""
    known = transport._rtp_header_extensions_map
    if not isinstance(known, ColoredMap):
        transport._rtp_header_extensions_map = ColoredMap(known)

"""Teach aiortc 1.16.0 the RTP header extension for the color space, which senders attach to key
frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket, unpack_header_extensions

from server.rtc.media import color_space


@dataclass
class ColoredExtensions(HeaderExtensions):
    """Header extensions of a packet with a color space."""

    color_space: bytes = b""


class ColoredMap(HeaderExtensionsMap):
    """Replaces a transport's map and takes over its contents."""

    def __init__(self, known: HeaderExtensionsMap) -> None:
        vars(self).update(vars(known))
        # Id of the extension in this connection; 0 for none.
        self._color_space = 0

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == color_space.URI:
                self._color_space = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        """Parse a packet's extensions.

        Raises ValueError, struct.error and others on malformed ones, like its base.
        """
        values = super().get(extension_profile, extension_value)
        # Few packets have it: a value that is too short is not parsed twice.
        if self._color_space and len(extension_value) > 4:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._color_space:
                    return ColoredExtensions(**vars(values), color_space=value)
        return values


def color_space_of(packet: RtpPacket) -> bytes:
    """Return the extension's value; empty when the packet has none."""
    extensions = packet.extensions
    return extensions.color_space if isinstance(extensions, ColoredExtensions) else b""


def install(transport: RTCDtlsTransport) -> None:
    """Replace a transport's map, before its receivers register. Safe to call again."""
    known = transport._rtp_header_extensions_map
    if not isinstance(known, ColoredMap):
        transport._rtp_header_extensions_map = ColoredMap(known)

"""The frames on the pipes between this program and its workers.

Standard library only: both sides use it.

A frame is two unsigned 32-bit numbers, big end first (bytes of the header, bytes of the payload),
then the header, a JSON object with a `type`, then the payload as it is.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

# A chat that fills a context of a million tokens has fewer bytes than that.
MAX_HEADER_BYTES = 8 * 1024 * 1024
# A picture, or a video that was made.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
_SIZES = struct.Struct(">II")


class WireError(ValueError):
    """The received data is no frame, or the data to send is too large for one.

    Outside the tree of errors: workers use this module without the server.
    """


@dataclass(frozen=True, slots=True)
class Message:
    header: dict[str, Any]
    payload: bytes = b""

    @property
    def type(self) -> str:
        return str(self.header["type"])


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Encode a frame. Raises WireError when header or payload are too large."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    _check(len(text), len(payload))
    return _SIZES.pack(len(text), len(payload)) + text + payload


def read(stream: BinaryIO) -> Message | None:
    """Read the next frame of a blocking stream; None at its end.

    Raises WireError, also when it ends within a frame.
    """
    head = stream.read(_SIZES.size)
    if not head:
        return None
    if len(head) < _SIZES.size:
        raise WireError("the stream ended within a frame")
    header, payload = _SIZES.unpack(head)
    _check(header, payload)
    body = stream.read(header + payload)
    if len(body) < header + payload:
        raise WireError("the stream ended within a frame")
    return _message(body, header)


class Decoder:
    """Decode frames from pieces of a stream of any size. It holds one unfinished frame at most."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Raises WireError; nothing is to be fed after that."""
        self._held += data
        found: list[Message] = []
        at = 0
        while len(self._held) - at >= _SIZES.size:
            header, payload = _SIZES.unpack_from(self._held, at)
            _check(header, payload)
            end = at + _SIZES.size + header + payload
            if end > len(self._held):
                break
            found.append(_message(bytes(self._held[at + _SIZES.size : end]), header))
            at = end
        del self._held[:at]
        return found


def _check(header: int, payload: int) -> None:
    if header > MAX_HEADER_BYTES or payload > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a frame of {header} + {payload} bytes is too large: {MAX_HEADER_BYTES} + {MAX_PAYLOAD_BYTES} are allowed"
        )


def _message(body: bytes, header_bytes: int) -> Message:
    try:
        header = json.loads(body[:header_bytes])
    except (ValueError, RecursionError):
        raise WireError("a frame's header is no JSON") from None
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise WireError("a frame's header is no object with a type")
    return Message(header, body[header_bytes:])

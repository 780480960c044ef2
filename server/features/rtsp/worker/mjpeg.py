"""JPEGs out of an HTTP answer: `multipart/x-mixed-replace`, as cameras send it. Pure."""

from __future__ import annotations

import re

from server.features.rtsp.worker.rtp import MAX_FRAME_BYTES
from server.features.rtsp.worker.rtsp import MAX_HEAD_BYTES, Head
from server.features.rtsp.worker.trouble import SourceFailed, Trouble

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
_BOUNDARY = re.compile(
    r"multipart/x-mixed-replace\s*;.{0,200}?boundary\s*=\s*\"?([^\s\";]{1,100})", re.I
)


def read_boundary(head: Head) -> bytes:
    """Return the line between two parts. Raises SourceFailed for any other kind of answer."""
    kind = head.get("content-type")
    found = _BOUNDARY.match(kind)
    if found is None:
        raise SourceFailed(
            Trouble.CODEC, re.sub(r"[^A-Z0-9-]", "", kind.partition(";")[0].upper())[:16]
        )
    # Some write the dashes of the line into the name.
    return b"--" + found[1].removeprefix("--").encode("latin-1")


class Parts:
    """Takes the body in pieces of any size. It holds one JPEG at most."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._held = bytearray()
        # Bytes of the present part that are still to come; None: before its head, or unknown
        self._left: int | None = None
        self._inside = False
        # Bytes of `_held` in which the present search has found nothing: each byte is looked at once.
        self._looked = 0
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the JPEGs that are complete. Raises SourceFailed when there is no end of one."""
        self._held += data
        found: list[bytes] = []
        while (part := self._next()) is not None:
            if part.startswith(_BEGIN) and part.rstrip(b"\0\r\n").endswith(_END):
                found.append(part)
            elif part:
                self.dropped += 1
        if len(self._held) > MAX_FRAME_BYTES + MAX_HEAD_BYTES:
            raise SourceFailed(Trouble.SIZE)
        return found

    def _next(self) -> bytes | None:
        """Return the next part; None when it is not there yet."""
        if not self._inside and not self._open():
            return None
        if self._left is not None:
            if len(self._held) < self._left:
                return None
            part = bytes(self._held[: self._left])
            del self._held[: self._left]
        else:
            at = self._held.find(self._boundary, self._looked)
            if at < 0:
                self._looked = max(0, len(self._held) - len(self._boundary) + 1)
                return None
            part = bytes(self._held[:at]).rstrip(b"\r\n")
            del self._held[:at]
        self._inside, self._left, self._looked = False, None, 0
        return part

    def _open(self) -> bool:
        """Read a part's head, if it is there."""
        at = self._held.find(self._boundary)
        if at < 0:
            # Nothing but the beginning of the line may be missing.
            del self._held[: max(0, len(self._held) - len(self._boundary))]
            return False
        end = self._held.find(b"\r\n\r\n", at)
        skip = 4
        if end < 0:
            end, skip = self._held.find(b"\n\n", at), 2
        if end < 0:
            if len(self._held) - at > MAX_HEAD_BYTES:
                raise SourceFailed(Trouble.MALFORMED)
            return False
        found = re.search(rb"content-length\s*:\s*(\d{1,9})", self._held[at:end], re.I)
        del self._held[: end + skip]
        if found is not None:
            self._left = int(found[1])
            if self._left > MAX_FRAME_BYTES:
                raise SourceFailed(Trouble.SIZE)
        self._inside = True
        return True


class Chunks:
    """Takes HTTP/1.1's chunks apart (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Return what the chunks hold. Raises SourceFailed at their end and for malformed ones."""
        self._held += data
        out = bytearray()
        while self._held:
            if self._left:
                piece = self._held[: self._left]
                out += piece
                del self._held[: len(piece)]
                self._left -= len(piece)
                continue
            if self._held.startswith(b"\r\n"):
                del self._held[:2]
                continue
            line, end, _ = bytes(self._held[:256]).partition(b"\r\n")
            if not end:
                if len(self._held) > 64:
                    raise SourceFailed(Trouble.MALFORMED)
                break
            text = line.partition(b";")[0].strip()
            if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", text) is None:
                raise SourceFailed(Trouble.MALFORMED)
            self._left = int(text, 16)
            del self._held[: len(line) + 2]
            if not self._left:
                raise SourceFailed(Trouble.ENDED)
        return bytes(out)

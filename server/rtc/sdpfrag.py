"""Read and write SDP fragments: trickled candidates and new ICE credentials (RFC 8840 section 9). Pure, bounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.core.errors import BadRequest, TooLarge
from server.rtc.offer import MAX_CANDIDATES, MAX_MEDIA_SECTIONS, MAX_SDP_BYTES

MEDIA_TYPE = "application/trickle-ice-sdpfrag"

# ice-char of RFC 8839 section 5.4.
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_MID = re.compile(r"[!-~]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A client's candidates and ICE credentials. Credentials are empty when the fragment has none."""

    ufrag: str
    pwd: str
    # {"candidate", "sdpMid", "sdpMLineIndex"} each, as browsers write them
    candidates: tuple[dict[str, Any], ...]


def parse_fragment(text: str) -> Fragment:
    """Parse a fragment. The end of its candidates is ignored, because nothing waits for it.

    Raises TooLarge above 64 KiB, BadRequest for a malformed fragment.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SDP_BYTES:
        raise TooLarge(f"The fragment has {size} bytes; at most {MAX_SDP_BYTES} are allowed.")
    credentials: dict[str, str] = {"ufrag": "", "pwd": ""}
    candidates: list[dict[str, Any]] = []
    # Index and name of the current media section; None before the first.
    index: int | None = None
    mid: str | None = None
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            index, mid = 0 if index is None else index + 1, None
            if index >= MAX_MEDIA_SECTIONS:
                raise BadRequest(f"The fragment has more than {MAX_MEDIA_SECTIONS} media sections.")
        elif line.startswith("a=mid:"):
            mid = line[6:]
            if _MID.fullmatch(mid) is None:
                raise BadRequest(
                    'A name of a media section ("a=mid") in the fragment is malformed.'
                )
        elif line.startswith("a=ice-ufrag:"):
            _set(credentials, "ufrag", line[12:], _UFRAG)
        elif line.startswith("a=ice-pwd:"):
            _set(credentials, "pwd", line[10:], _PWD)
        elif line.startswith("a=candidate:"):
            if len(candidates) >= MAX_CANDIDATES:
                raise BadRequest(f"The fragment has more than {MAX_CANDIDATES} candidates.")
            candidates.append(
                {"candidate": line[2:], "sdpMid": mid, "sdpMLineIndex": None if mid else index}
            )
        elif line and not re.match(r"[a-z]=", line, re.ASCII):
            raise BadRequest(
                "This is no SDP fragment: every line of one begins with a letter and =."
            )
    return Fragment(credentials["ufrag"], credentials["pwd"], tuple(candidates))


def _set(credentials: dict[str, str], name: str, value: str, pattern: re.Pattern[str]) -> None:
    if pattern.fullmatch(value) is None:
        raise BadRequest(f"The fragment's ice-{name} is malformed (RFC 8839, section 5.4).")
    # All sections of a bundle share one transport and therefore its credentials.
    if credentials[name] not in ("", value):
        raise BadRequest(f"The fragment names two different ice-{name}s. One transport has one.")
    credentials[name] = value


def make_fragment(kind: str, mid: str, ufrag: str, pwd: str, candidates: Sequence[str]) -> str:
    """Write our side as a fragment. `candidates`: all of ours, without "candidate:"."""
    lines = [
        f"a=group:BUNDLE {mid}",
        f"m={kind} 9 UDP/TLS/RTP/SAVPF 0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{pwd}",
        *(f"a=candidate:{candidate}" for candidate in candidates),
        "a=end-of-candidates",
    ]
    return "\r\n".join([*lines, ""])

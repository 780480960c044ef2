"""SDP fragments: trickled candidates and new ICE credentials (RFC 8840 section 9). Pure, bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from server.core.errors import BadRequest, TooLarge
from server.media.sdp import (
    MAX_CANDIDATE_CHARS,
    MAX_CANDIDATES,
    MAX_MEDIA_SECTIONS,
    MAX_SDP_BYTES,
    Offer,
)

MEDIA_TYPE = "application/trickle-ice-sdpfrag"
# ice-char of RFC 8839 section 5.4.
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_MID = re.compile(r"[!-~]{1,64}", re.ASCII)


@dataclass(slots=True)
class IceCredentials:
    """ICE credentials of one section; without `mid` and `index`, of all sections.

    Empty strings if there are none.
    """

    mid: str | None = None
    index: int | None = None
    ufrag: str = ""
    pwd: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Client's candidates and ICE credentials, by section (RFC 8840 section 9)."""

    # Session-level credentials first
    credentials: tuple[IceCredentials, ...]
    # {"candidate", "sdpMid", "sdpMLineIndex"} each, as browsers write them
    candidates: tuple[dict[str, Any], ...]

    def find_credentials(self, offer: Offer) -> IceCredentials:
        """Return the credentials for the transport of the offer's camera; empty if there are none."""
        own = [one for one in self.credentials if offer.carries(one.mid, one.index)]
        if own:
            return own[-1]
        # Some clients send another section of the bundle, with the same credentials.
        alike = len({(one.ufrag, one.pwd) for one in self.credentials}) == 1
        return self.credentials[0] if alike else IceCredentials()


def parse_fragment(text: str) -> Fragment:
    """Parse a fragment. Its end-of-candidates is ignored, because nothing waits for it.

    Raises TooLarge above 64 KiB, BadRequest for a malformed fragment.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SDP_BYTES:
        raise TooLarge(f"The fragment has {size} bytes; at most {MAX_SDP_BYTES} are allowed.")
    session = section = IceCredentials()
    credentials = [session]
    candidates: list[dict[str, Any]] = []
    # The current section's credentials by name.
    given: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            index = 0 if section.index is None else section.index + 1
            section = IceCredentials(index=index, ufrag=session.ufrag, pwd=session.pwd)
            credentials.append(section)
            given = {}
            if index >= MAX_MEDIA_SECTIONS:
                raise BadRequest(f"The fragment has more than {MAX_MEDIA_SECTIONS} media sections.")
        elif line.startswith("a=mid:"):
            section.mid = line[6:]
            if _MID.fullmatch(section.mid) is None:
                raise BadRequest(
                    'The fragment has a media section with a malformed name ("a=mid").'
                )
        elif line.startswith("a=ice-ufrag:"):
            section.ufrag = _check_credential("ufrag", line[12:], _UFRAG, given)
        elif line.startswith("a=ice-pwd:"):
            section.pwd = _check_credential("pwd", line[10:], _PWD, given)
        elif line.startswith("a=candidate:"):
            _check_candidate(line, len(candidates))
            candidates.append(
                {
                    "candidate": line[2:],
                    "sdpMid": section.mid,
                    "sdpMLineIndex": None if section.mid else section.index,
                }
            )
        elif line and not re.match(r"[a-z]=", line, re.ASCII):
            raise BadRequest(
                "The body is not an SDP fragment: every line must begin with a letter and =."
            )
    return Fragment(tuple(one for one in credentials if one.ufrag or one.pwd), tuple(candidates))


def _check_candidate(line: str, before: int) -> None:
    if before >= MAX_CANDIDATES:
        raise BadRequest(f"The fragment has more than {MAX_CANDIDATES} candidates.")
    if len(line) > MAX_CANDIDATE_CHARS:
        raise BadRequest(
            f"The fragment has a candidate with more than {MAX_CANDIDATE_CHARS} characters."
        )


def _check_credential(
    name: str, value: str, pattern: re.Pattern[str], given: dict[str, str]
) -> str:
    """Return a valid credential. `given`: credentials of the section so far. Raises BadRequest."""
    if pattern.fullmatch(value) is None:
        raise BadRequest(f"The fragment's ice-{name} is malformed (RFC 8839, section 5.4).")
    if given.setdefault(name, value) != value:
        raise BadRequest(
            f"A section of the fragment has two different values of ice-{name}; only one is allowed."
        )
    return value


def make_fragment(kind: str, mid: str, ufrag: str, pwd: str, candidates: Iterable[str]) -> str:
    """Return the server's fragment. `candidates`: all candidates of the server, without "candidate:"."""
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

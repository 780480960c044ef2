"""SDP fragments: what is read of them, what is refused, and what ours look like."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import BadRequest, TooLarge
from server.features.cameras.fragment import IceCredentials, parse_fragment
from server.features.cameras.whip import list_user_names
from server.media.sdp import (
    MAX_CANDIDATE_CHARS,
    MAX_CANDIDATES,
    MAX_MEDIA_SECTIONS,
    MAX_SDP_BYTES,
    Offer,
    check_offer,
)

LINE = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host"
# As RFC 9725 section 4.3.2 has it, but for the number of candidates.
EXAMPLE = "\r\n".join(
    [
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        LINE,
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        LINE.replace("192.0.2.1", "2001:db8::1"),
        "a=end-of-candidates",
        "",
    ]
)


def test_a_fragment_is_read() -> None:
    """IceCredentials once, and each candidate with the name or the number of its section."""
    fragment = parse_fragment(EXAMPLE)
    (own,) = fragment.credentials
    assert own == IceCredentials("0", 0, "EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    places = [(c["sdpMid"], c["sdpMLineIndex"]) for c in fragment.candidates]
    assert places == [("0", None), (None, 1)]
    assert fragment.candidates[0]["candidate"] == LINE[2:]
    bare = parse_fragment(LINE + "\n").candidates
    assert bare == ({"candidate": LINE[2:], "sdpMid": None, "sdpMLineIndex": None},)


def offer_of(*mids: str, bundle: str = "") -> Offer:
    """Audio sections and a camera behind them, each with credentials of its own."""
    lines = ["v=0", *([f"a=group:BUNDLE {bundle}"] if bundle else [])]
    for mid in mids:
        kind, codec = ("video", "VP8/90000") if mid == mids[-1] else ("audio", "opus/48000/2")
        lines += [f"m={kind} 9 UDP/TLS/RTP/SAVPF 96", f"a=mid:{mid}", f"a=rtpmap:96 {codec}"]
        lines += ["a=sendonly", f"a=ice-ufrag:{mid * 4}", f"a=ice-pwd:{mid * 22}"]
        lines.append("a=fingerprint:sha-256 AA")
    return check_offer("\r\n".join([*lines, ""]))


def part(mid: str, kind: str = "audio") -> str:
    """A fragment's section with credentials made of its name."""
    return f"m={kind} 9 UDP/TLS/RTP/SAVPF 96\na=mid:{mid}\na=ice-ufrag:{mid * 4}\na=ice-pwd:{mid * 22}\n"


@pytest.mark.parametrize(
    ("sections", "bundle", "fragment", "ufrag"),
    [
        ("av", "", part("a") + part("v"), "vvvv"),
        ("av", "", part("v") + part("a"), "vvvv"),
        ("av", "", part("a").replace("a=mid:a\n", "") + part("v").replace("a=mid:v\n", ""), "vvvv"),
        ("av", "", part("a") + part("x"), ""),
        ("av", "a v", part("a") + part("v"), "aaaa"),
        ("av", "a v", part("v"), "vvvv"),
        ("av", "a v", f"a=ice-ufrag:ssss\na=ice-pwd:{'s' * 22}\nm=audio\na=mid:a\n", "ssss"),
        ("av", "", f"a=ice-ufrag:ssss\na=ice-pwd:{'s' * 22}\n" + part("v"), "vvvv"),
        ("v", "", LINE, ""),
    ],
)
def test_the_cameras_transport_has_its_own_credentials(
    sections: str, bundle: str, fragment: str, ufrag: str
) -> None:
    """Sections outside of a bundle have others (RFC 8840, 9); those of all stand before the first."""
    assert (
        parse_fragment(fragment).find_credentials(offer_of(*sections, bundle=bundle)).ufrag == ufrag
    )


def test_the_user_names_of_an_offer() -> None:
    """The camera's first: others are of sections that are not used."""
    assert list_user_names(offer_of(*"av")) == ("vvvv", "aaaa")
    assert list_user_names(offer_of(*"av", bundle="a v")) == ("aaaa", "vvvv")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hello", "not an SDP fragment"),
        ("a=ice-ufrag:abc", "ice-ufrag"),
        ("a=ice-ufrag:ab cd", "ice-ufrag"),
        ("a=ice-ufrag:" + "a" * 257, "ice-ufrag"),
        ("a=ice-pwd:" + "a" * 21, "ice-pwd"),
        ("a=ice-pwd:" + "ä" * 22, "ice-pwd"),
        ("a=ice-ufrag:abcd\na=ice-ufrag:efgh", "two different"),
        ("m=video\na=mid:", "a=mid"),
        ("m=video\na=mid:" + "x" * 65, "a=mid"),
    ],
)
def test_malformed_fragments_say_why(text: str, word: str) -> None:
    with pytest.raises(BadRequest, match=word):
        parse_fragment(text)


def test_bounds() -> None:
    """Candidates, sections and bytes: the last that passes and the first that does not."""
    assert len(parse_fragment((LINE + "\n") * MAX_CANDIDATES).candidates) == MAX_CANDIDATES
    with pytest.raises(BadRequest, match="64 candidates"):
        parse_fragment((LINE + "\n") * (MAX_CANDIDATES + 1))
    long = LINE.ljust(MAX_CANDIDATE_CHARS, "x")
    assert len(parse_fragment(long).candidates) == 1
    with pytest.raises(BadRequest, match="2000 characters"):
        parse_fragment(long + "x")
    parse_fragment("m=video\n" * MAX_MEDIA_SECTIONS)
    with pytest.raises(BadRequest, match="8 media sections"):
        parse_fragment("m=video\n" * (MAX_MEDIA_SECTIONS + 1))
    parse_fragment("a=" + "x" * (MAX_SDP_BYTES - 2))
    with pytest.raises(TooLarge):
        parse_fragment("a=" + "x" * (MAX_SDP_BYTES - 1))


@given(st.text(max_size=500) | st.builds(lambda t: EXAMPLE + t, st.text(max_size=200)))
def test_any_text_is_read_or_refused_with_a_known_error(text: str) -> None:
    with suppress(TooLarge, BadRequest):
        parse_fragment(text)

"""Offers: bounds, and a sentence of its own for each that has no usable camera in it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import TooLarge, UnusableOffer
from server.media.sdp import (
    MAX_CANDIDATES,
    MAX_CODECS,
    MAX_FINGERPRINTS,
    MAX_MEDIA_SECTIONS,
    MAX_SDP_BYTES,
    MAX_STREAM_LINES,
    check_offer,
    is_unreachable,
    make_whole_answer,
)

HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA:BB\r\n"
CANDIDATE = "a=candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host\r\n"
MDNS = (
    "a=candidate:2 1 udp 2122260223 0a1b2c3d-0000-4000-8000-000000000000.local 50001 typ host\r\n"
)


def media(kind: str, direction: str = "sendonly", codec: str = "VP8", extra: str = "") -> str:
    return (
        f"m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na={direction}\r\n"
        f"a=rtpmap:96 {codec}/90000\r\n{extra}"
    )


def test_a_camera_offer_passes() -> None:
    offer = check_offer(HEAD + media("video", extra=CANDIDATE))
    assert offer.candidates == 1
    assert CANDIDATE.strip() in offer.sdp


def test_mdns_candidates_and_the_end_of_candidates_are_left_out() -> None:
    """A peer with mDNS names alone must not hear that no more candidates come."""
    offer = check_offer(HEAD + media("video", extra=MDNS + "a=end-of-candidates\r\n"))
    assert ".local" not in offer.sdp
    assert "end-of-candidates" not in offer.sdp
    assert offer.candidates == 1


@pytest.mark.parametrize(
    ("sdp", "word"),
    [
        ("", "not SDP"),
        ("hello", "not SDP"),
        (HEAD, "no media"),
        (HEAD + media("audio", codec="opus"), "only audio"),
        (HEAD + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n", "data channel"),
        (HEAD + media("video", "recvonly"), "recvonly"),
        (HEAD + media("video", "inactive"), "recvonly"),
        (HEAD + media("video", codec="VP9"), "decoded"),
        (HEAD + media("video", codec="AV1"), "only AV1. .*: H264, VP8"),
        (HEAD + media("video", codec="H265", extra="a=rtpmap:97 rtx/90000\r\n"), "only H265. "),
        (HEAD + media("video", codec="rtx"), "decoded. "),
        (HEAD + media("text"), "no video"),
        (HEAD + "m=video\r\n", "malformed"),
        (HEAD + media("video").replace("m=video 9", "m=video 0"), "disabled"),
        (HEAD + media("video", extra="a=bundle-only\r\n").replace(" 9 ", " 0 "), "disabled"),
        (HEAD.replace("a=fingerprint", "a=x") + media("video"), "fingerprint"),
        (HEAD + "a=group:BUNDLE 1\r\n" + media("video"), "missing section"),
        (HEAD + "a=group:BUNDLE 0 0\r\n" + media("video"), "twice"),
        (HEAD + "a=group:BUNDLE 0\r\n" + media("video") * 2, "same name"),
    ],
)
def test_an_unusable_offer_says_why(sdp: str, word: str) -> None:
    """Each kind of unusable offer has its own sentence, and status 422."""
    with pytest.raises(UnusableOffer, match=word) as caught:
        check_offer(sdp)
    assert caught.value.status == 422


def section(kind: str, mid: str, port: int = 9, *more: str) -> str:
    """One with a transport of its own."""
    codec = {"audio": "opus/48000/2", "video": "VP8/90000"}[kind]
    lines = [
        *(f"m={kind} {port} UDP/TLS/RTP/SAVPF 96", f"a=mid:{mid}", "a=sendonly", "a=rtcp-mux"),
        *(f"a=rtpmap:96 {codec}", f"a=ice-ufrag:user{mid}", f"a=ice-pwd:pass{mid}", *more),
    ]
    return "\r\n".join([*lines, ""])


@pytest.mark.parametrize("own", [True, False])
def test_bundle_only_video_comes_over_the_transport_of_its_group(own: bool) -> None:
    """`m=video 0` with `a=bundle-only` is a camera; its own transport does not count (RFC 9143)."""
    video = section("video", "1", 0, "a=bundle-only")
    if not own:
        video = video.replace("a=ice-ufrag:user1\r\na=ice-pwd:pass1\r\n", "")
    group = "a=group:BUNDLE 0 1\r\n"
    offer = check_offer(HEAD + group + section("audio", "0", 9, CANDIDATE.strip()) + video)
    assert (offer.camera, offer.bundle) == (1, (0, 1))
    assert "a=ice-ufrag:user0" in offer.sdp
    kept = offer.sdp.split("\r\n")
    assert [line for line in kept if line.startswith("m=")] == ["m=video 9 UDP/TLS/RTP/SAVPF 96"]
    assert [line for line in kept if line.startswith("a=ice-ufrag")] == ["a=ice-ufrag:user0"]
    assert CANDIDATE.strip() in kept
    assert "group" not in offer.sdp
    assert offer.carries("0", None)
    assert not offer.carries("1", 0)


def test_video_beside_audio_without_a_group_has_its_own_transport() -> None:
    """Candidates of the other section are not for it; one that names none is."""
    offer = check_offer(HEAD + section("audio", "0") + section("video", "1"))
    assert (offer.camera, offer.bundle, offer.grouped) == (1, (1,), False)
    assert "user0" not in offer.sdp
    carried = [
        offer.carries(*of) for of in (("0", 0), ("1", 1), (None, 0), (None, 1), (None, None))
    ]
    assert carried == [False, True, False, True, True]


def test_a_rejected_section_is_no_camera() -> None:
    """Port 0 without bundle-only: the next video is taken; the first section that stands carries."""
    offer = check_offer(
        HEAD + "a=group:BUNDLE 0 1\r\n" + section("video", "0", 0) + section("video", "1")
    )
    assert (offer.camera, offer.bundle) == (1, (1,))
    assert not offer.carries("0", None)


@pytest.mark.parametrize("line_break", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_no_section_hides_behind_a_rarer_line_break(line_break: str) -> None:
    """A line that aiortc takes for a section is one here, too."""
    hidden = f"a=x{line_break}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    assert len(check_offer(HEAD + media("video", extra=hidden)).sections) == 2


@pytest.mark.parametrize(
    ("more", "room", "words"),
    [
        (media("video"), MAX_MEDIA_SECTIONS - 1, "media sections"),
        ("a=rtpmap:96 VP8/90000\r\n", MAX_CODECS - 1, "256 codecs"),
        ("a=fingerprint:sha-256 AA:BB\r\n", MAX_FINGERPRINTS - 1, "32 fingerprints"),
        (CANDIDATE, MAX_CANDIDATES, "64 candidates"),
    ],
)
def test_what_an_offer_has_is_bounded(more: str, room: int, words: str) -> None:
    """In all sections together: the last that passes, and the first that does not."""
    check_offer(HEAD + media("video", extra=more * room))
    with pytest.raises(UnusableOffer, match=words):
        check_offer(HEAD + media("video", extra=more * (room + 1)))


def test_of_codecs_and_streams_only_what_is_used_goes_on() -> None:
    """Lines without number about codecs and streams come to a few; those of browsers all go on."""
    used = [
        *("a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:* goog-remb"),
        *("a=fmtp:96 max-fs=1", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96"),
    ]
    unused = [
        *("a=rtcp-fb:96 x", "a=rtcp-fb:* x", "a=rtcp-fb:96", "a=rtcp-fb:96 nack"),
        *("a=fmtp:96 again=1", "a=rtpmap:96 VP8/90000", "a=rtpmap:98 VP9/90000"),
        *("a=fmtp:98 profile-id=0", "a=rtcp-fb:98 nack", "a=rtpmap:200 VP8/90000"),
    ]
    lines = used + unused * 50 + ["a=ssrc:1 cname:x"] * 1000
    found = check_offer(HEAD + media("video", extra="".join(f"{line}\r\n" for line in lines)))
    got = found.sdp.split("\r\n")
    about = [line for line in got if line.startswith(("a=rtpmap", "a=fmtp", "a=rtcp-fb"))]
    assert about == ["a=rtpmap:96 VP8/90000", *used]
    assert got.count("a=ssrc:1 cname:x") == MAX_STREAM_LINES


@pytest.mark.parametrize(
    ("address", "port", "left_out"),
    [
        ("192.0.2.1", "1", False),
        ("2001:db8::1", "65535", False),
        ("192.0.2.1", "0", True),
        ("192.0.2.1", "-1", True),
        ("192.0.2.1", "65536", True),
        ("192.0.2.1", "9" * 5000, True),
        ("camera.example", "5000", True),
        ("192.0.2.1", "x", False),
    ],
)
def test_candidates_without_a_use_are_left_out(address: str, port: str, left_out: bool) -> None:
    """Names, and ports outside of 1 to 65535; what is malformed is left for the parser to refuse."""
    line = f"a=candidate:1 1 udp 2122260223 {address} {port} typ host"
    assert is_unreachable(line) is left_out
    sdp = check_offer(HEAD + media("video", extra=line + "\r\n")).sdp
    assert (line not in sdp) is left_out


def test_size_is_bounded() -> None:
    base = HEAD + media("video") + "a="
    check_offer(base + "x" * (MAX_SDP_BYTES - len(base)))
    with pytest.raises(TooLarge):
        check_offer(base + "x" * (MAX_SDP_BYTES - len(base) + 1))


def test_mdns_names_are_known_by_their_field() -> None:
    """Only the connection address counts, in any case and with a final dot."""
    assert is_unreachable(MDNS)
    assert is_unreachable(MDNS.replace(".local", ".LOCAL."))
    assert is_unreachable("a=candidate:2 1 udp 1 x.local")
    assert not is_unreachable(CANDIDATE.replace("typ host", "typ host x.local"))


@given(st.text(max_size=2000) | st.builds(lambda t: HEAD + media("video") + t, st.text()))
def test_any_text_is_taken_or_refused_with_a_known_error(sdp: str) -> None:
    with suppress(TooLarge, UnusableOffer):
        check_offer(sdp)


# Answers to offers with more in them than a camera

SESSION = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
# aiortc's answer for the camera's section alone.
OURS = (
    "v=0\r\no=- 5 5 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE v\r\na=msid-semantic:WMS *\r\n"
    "m=video 4000 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.0.2.1\r\na=recvonly\r\na=mid:v\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\na=end-of-candidates\r\n"
    "a=ice-ufrag:ours\r\na=ice-pwd:ours\r\na=fingerprint:sha-256 CC\r\na=setup:passive\r\n"
)


def offered(kind: str, mid: str, port: int = 9, *more: str) -> str:
    """One of an offer, with a transport of its own."""
    formats = {"audio": "111 0", "video": "96 97", "application": "webrtc-datachannel"}[kind]
    protocol = "UDP/DTLS/SCTP" if kind == "application" else "UDP/TLS/RTP/SAVPF"
    codecs = {
        "audio": ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 useinbandfec=1", "a=sendonly"],
        "video": ["a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96"],
        "application": ["a=sctp-port:5000"],
    }[kind]
    transport = [f"a=ice-ufrag:{mid}", f"a=ice-pwd:{mid}", "a=fingerprint:sha-256 AA"]
    lines = [f"m={kind} {port} {protocol} {formats}", f"a=mid:{mid}", *transport, *codecs, *more]
    return "\r\n".join([*lines, ""])


def answered(offer: str) -> tuple[list[str], list[list[str]]]:
    """The answer's lines before its first section, and each section's."""
    lines = make_whole_answer(check_offer(SESSION + offer), OURS).split("\r\n")
    assert lines.pop() == ""
    starts = [n for n, line in enumerate(lines) if line.startswith("m=")]
    ends = [*starts[1:], len(lines)]
    return lines[: starts[0]], [lines[a:b] for a, b in zip(starts, ends, strict=True)]


def test_a_camera_alone_is_answered_as_it_is() -> None:
    """In its group, when it is in one; without a group otherwise."""
    head, media = answered("a=group:BUNDLE v\r\n" + offered("video", "v"))
    assert "a=group:BUNDLE v" in head
    assert media == [OURS[OURS.index("m=") :].split("\r\n")[:-1]]
    head, _ = answered(offered("video", "v"))
    assert not [line for line in head if line.startswith("a=group")]


@pytest.mark.parametrize("order", ["av", "va"])
def test_what_is_not_in_the_cameras_bundle_is_rejected(order: str) -> None:
    """Port 0, outside of the group; with the name, a codec and credentials, without a candidate."""
    parts = {"a": offered("audio", "a"), "v": offered("video", "v")}
    head, media = answered("a=group:BUNDLE v\r\n" + parts[order[0]] + parts[order[1]])
    assert "a=group:BUNDLE v" in head
    audio = media[order.index("a")]
    assert audio[0] == "m=audio 0 UDP/TLS/RTP/SAVPF 111"
    assert {"a=mid:a", "a=inactive", "a=rtpmap:111 opus/48000/2", "a=setup:passive"} < set(audio)
    assert not [line for line in audio if line.startswith(("a=candidate", "a=end-of"))]
    assert media[order.index("v")][0].startswith("m=video 4000 ")


@pytest.mark.parametrize("order", ["avd", "vad", "dav"])
def test_the_cameras_bundle_keeps_its_order_and_shares_the_transport(order: str) -> None:
    """All other sections are inactive: there is only one transport, so nothing waits for another."""
    parts = {
        "a": offered("audio", "a"),
        "v": offered("video", "v", 0 if order[0] != "v" else 9, "a=bundle-only"),
        "d": offered("application", "d"),
    }
    group = f"a=group:BUNDLE {' '.join(order)}"
    head, media = answered(group + "\r\n" + "".join(parts[name] for name in order))
    assert group in head
    for name, lines in zip(order, media, strict=True):
        assert lines[0].split()[1] == "4000"
        assert {f"a=mid:{name}", "a=ice-ufrag:ours", "a=setup:passive"} < set(lines)
    assert "a=inactive" in media[order.index("a")]
    assert "a=sctp-port:5000" in media[order.index("d")]


@pytest.mark.parametrize("group", ["1", "0 1"])
def test_a_section_that_the_offer_rejects_stays_rejected(group: str) -> None:
    """A stopped transceiver's, in no group or wrongly in it: the group begins with what is left."""
    offer = offered("video", "0", 0) + offered("video", "1")
    head, media = answered(f"a=group:BUNDLE {group}\r\n{offer}")
    assert "a=group:BUNDLE 1" in head
    assert media[0][0] == "m=video 0 UDP/TLS/RTP/SAVPF 96"
    assert media[1][0].startswith("m=video 4000 ")


def test_further_video_is_not_taken() -> None:
    """The first that can be decoded is; others are inactive in its bundle, rejected elsewhere."""
    other = offered("video", "o").replace("VP8", "VP9")
    head, media = answered(
        "a=group:BUNDLE o v\r\n" + other + offered("video", "v") + offered("video", "x")
    )
    assert "a=group:BUNDLE o v" in head
    assert [lines[0].split()[1] for lines in media] == ["4000", "4000", "0"]
    assert "a=inactive" in media[0]
    assert "a=recvonly" in media[1]


def test_webrtcbin_gets_no_rejected_section_before_the_camera() -> None:
    """It would send the picture with the rejected one's track; behind the camera as for others."""
    offer = offered("audio", "audio0") + offered("video", "video1") + offered("audio", "audio2")
    _, media = answered(offer)
    assert [lines[0].split()[1] for lines in media] == ["9", "4000", "0"]
    assert "a=inactive" in media[0]
    assert not [line for line in media[0] if line.startswith("a=candidate")]

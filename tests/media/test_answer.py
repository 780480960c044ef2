"""Answers to offers with more in them than a camera."""

from __future__ import annotations

import pytest

from server.media.sdp import check_offer, whole_answer

HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
# aiortc's answer for the camera's section alone.
OURS = (
    "v=0\r\no=- 5 5 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE v\r\na=msid-semantic:WMS *\r\n"
    "m=video 4000 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 192.0.2.1\r\na=recvonly\r\na=mid:v\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\na=end-of-candidates\r\n"
    "a=ice-ufrag:ours\r\na=ice-pwd:ours\r\na=fingerprint:sha-256 CC\r\na=setup:passive\r\n"
)


def section(kind: str, mid: str, port: int = 9, *more: str) -> str:
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
    lines = whole_answer(check_offer(HEAD + offer), OURS).split("\r\n")
    assert lines.pop() == ""
    starts = [n for n, line in enumerate(lines) if line.startswith("m=")]
    ends = [*starts[1:], len(lines)]
    return lines[: starts[0]], [lines[a:b] for a, b in zip(starts, ends, strict=True)]


def test_a_camera_alone_is_answered_as_it_is() -> None:
    """In its group, when it is in one; without a group otherwise."""
    head, media = answered("a=group:BUNDLE v\r\n" + section("video", "v"))
    assert "a=group:BUNDLE v" in head
    assert media == [OURS[OURS.index("m=") :].split("\r\n")[:-1]]
    head, _ = answered(section("video", "v"))
    assert not [line for line in head if line.startswith("a=group")]


@pytest.mark.parametrize("order", ["av", "va"])
def test_what_is_not_in_the_cameras_bundle_is_rejected(order: str) -> None:
    """Port 0, outside of the group; with the name, a codec and credentials, without a candidate."""
    parts = {"a": section("audio", "a"), "v": section("video", "v")}
    head, media = answered("a=group:BUNDLE v\r\n" + parts[order[0]] + parts[order[1]])
    assert "a=group:BUNDLE v" in head
    audio = media[order.index("a")]
    assert audio[0] == "m=audio 0 UDP/TLS/RTP/SAVPF 111"
    assert {"a=mid:a", "a=inactive", "a=rtpmap:111 opus/48000/2", "a=setup:passive"} < set(audio)
    assert not [line for line in audio if line.startswith(("a=candidate", "a=end-of"))]
    assert media[order.index("v")][0].startswith("m=video 4000 ")


@pytest.mark.parametrize("order", ["avd", "vad", "dav"])
def test_the_cameras_bundle_keeps_its_order_and_shares_the_transport(order: str) -> None:
    """All other sections are inactive: there is only one transport, so nothing waits for another
    one.
    """
    parts = {
        "a": section("audio", "a"),
        "v": section("video", "v", 0 if order[0] != "v" else 9, "a=bundle-only"),
        "d": section("application", "d"),
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
    """A stopped transceiver's, which is in no group, or wrongly still in it: the group begins with
    what is left.
    """
    offer = section("video", "0", 0) + section("video", "1")
    head, media = answered(f"a=group:BUNDLE {group}\r\n{offer}")
    assert "a=group:BUNDLE 1" in head
    assert media[0][0] == "m=video 0 UDP/TLS/RTP/SAVPF 96"
    assert media[1][0].startswith("m=video 4000 ")


def test_further_video_is_not_taken() -> None:
    """The first that can be decoded is; those before and after it are inactive in its bundle,
    rejected elsewhere.
    """
    other = section("video", "o").replace("VP8", "VP9")
    head, media = answered(
        "a=group:BUNDLE o v\r\n" + other + section("video", "v") + section("video", "x")
    )
    assert "a=group:BUNDLE o v" in head
    assert [lines[0].split()[1] for lines in media] == ["4000", "4000", "0"]
    assert "a=inactive" in media[0]
    assert "a=recvonly" in media[1]


def test_webrtcbin_gets_no_rejected_section_before_the_camera() -> None:
    """It would send the picture with the rejected one's track; what is behind the camera is
    rejected as for others.
    """
    offer = section("audio", "audio0") + section("video", "video1") + section("audio", "audio2")
    _, media = answered(offer)
    assert [lines[0].split()[1] for lines in media] == ["9", "4000", "0"]
    assert "a=inactive" in media[0]
    assert not [line for line in media[0] if line.startswith("a=candidate")]

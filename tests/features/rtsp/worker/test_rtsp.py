"""RTSP's messages, descriptions and addresses, well formed and not."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import rtsp
from server.features.rtsp.worker.trouble import SourceFailed, Trouble

SPS, PPS = b"\x67\x42\x00\x1e", b"\x68\xce"
SETS = f"{base64.b64encode(SPS).decode()},{base64.b64encode(PPS).decode()}"


def described(*lines: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=x", *lines]).encode()


H264 = described(
    "m=audio 0 RTP/AVP 97",
    "a=rtpmap:97 PCMU/8000",
    "a=control:track0",
    "m=video 0 RTP/AVP 96",
    "a=rtpmap:96 H264/90000",
    f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={SETS};profile-level-id=42001e",
    "a=control:track1",
)


def trouble(call: object) -> Trouble:
    assert callable(call)
    with pytest.raises(SourceFailed) as failed:
        call()
    return failed.value.trouble


def test_a_description() -> None:
    """The first video that is known, with its parameter sets."""
    track = rtsp.read_description(H264, "rtsp://host/stream/")
    assert track == rtsp.Track("H264", "rtsp://host/stream/track1", 96, (SPS, PPS))


def test_h265() -> None:
    body = described(
        "m=video 0 RTP/AVP 98",
        "a=rtpmap:98 H265/90000",
        f"a=fmtp:98 sprop-vps={base64.b64encode(b'v').decode()}; sprop-sps={base64.b64encode(b's').decode()}; sprop-pps=#",
        "a=control:rtsp://host/stream/track9",
    )
    track = rtsp.read_description(body, "rtsp://host/stream")
    assert track == rtsp.Track("H265", "rtsp://host/stream/track9", 98, (b"v", b"s"))


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (("m=video 0 RTP/AVP 26",), "JPEG"),
        (("m=video 0 RTP/AVP 96", "a=rtpmap:96 MP4V-ES/90000"), "MP4V-ES"),
        (("m=video 0 RTP/AVP 96", "a=rtpmap:96 <b>x\x1b[31m/90000"), "BX31M"),
        (("m=audio 0 RTP/AVP 0",), ""),
        ((), ""),
    ],
)
def test_other_codecs_are_refused_by_name(lines: tuple[str, ...], name: str) -> None:
    """The name is of a few harmless characters, whatever the camera says."""
    with pytest.raises(SourceFailed) as failed:
        rtsp.read_description(described(*lines), "rtsp://host/x")
    assert (failed.value.trouble, failed.value.detail) == (Trouble.CODEC, name)


@pytest.mark.parametrize(
    ("base", "control", "address"),
    [
        ("rtsp://h/a", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a/", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a?x=1", "track1", "rtsp://h/a?x=1/track1"),
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
        ("rtsp://h/a", "rtsp://other/b", "rtsp://other/b"),
    ],
)
def test_addresses(base: str, control: str, address: str) -> None:
    """They are words for the camera: the connection stays where it is."""
    assert rtsp.resolve(base, control) == address


@pytest.mark.parametrize("control", ["a\r\nX: y", "a b", "a" * 2000, "rtsp://h/\x00"])
def test_no_address_smuggles_a_line(control: str) -> None:
    assert trouble(lambda: rtsp.resolve("rtsp://h/a", control)) is Trouble.MALFORMED


def test_statuses() -> None:
    """A redirect leads nowhere."""
    for status, expected in (
        (301, Trouble.REDIRECT),
        (302, Trouble.REDIRECT),
        (404, Trouble.NOT_FOUND),
        (403, Trouble.CREDENTIALS),
        (461, Trouble.REFUSED),
        (503, Trouble.REFUSED),
    ):
        head = rtsp.read_head(f"RTSP/1.0 {status} Words\r\nLocation: rtsp://other/".encode())
        assert trouble(lambda head=head: rtsp.check_status(head)) is expected
    rtsp.check_status(rtsp.read_head(b"RTSP/1.0 200 OK"))


def test_heads_are_bounded() -> None:
    for text in ("99999999", "70000", "-1", "x"):
        head = rtsp.read_head(f"RTSP/1.0 200 OK\r\nContent-Length: {text}".encode())
        assert trouble(lambda head=head: head.body_bytes) is Trouble.MALFORMED
    assert trouble(lambda: rtsp.read_head(b"SSH-2.0-OpenSSH")) is Trouble.MALFORMED
    assert rtsp.read_head(b"OPTIONS rtsp://h/x RTSP/1.0\r\nCSeq: 1").status == 0


def test_sessions_and_channels() -> None:
    assert rtsp.read_session("12ab;timeout=30") == ("12ab", 30)
    assert rtsp.read_session("12ab") == ("12ab", 60)
    assert rtsp.read_session("12ab;timeout=0")[1] == 5
    assert trouble(lambda: rtsp.read_session("a b")) is Trouble.MALFORMED
    assert rtsp.read_channel("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=1") == 4
    assert trouble(lambda: rtsp.read_channel("RTP/AVP;unicast;client_port=1-2")) is Trouble.REFUSED


def test_a_request() -> None:
    """No message about what there is not."""
    text = rtsp.request("PLAY", "rtsp://h/x", 3, {"Session": "1", "Authorization": ""})
    assert text == (
        b"PLAY rtsp://h/x RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: qwen-camera\r\nSession: 1\r\n\r\n"
    )


@given(st.binary(max_size=2000))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Anything is read, or refused as what it is."""
    for read in (rtsp.read_head, lambda body: rtsp.read_description(body, "rtsp://h/x")):
        with contextlib.suppress(SourceFailed):
            read(data)

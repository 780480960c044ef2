"""The replacement in aiortc."""

from __future__ import annotations

from typing import Any

import aioice.ice
import aiortc.rtcpeerconnection
import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket

from server.media.patches import receiver as ours
from server.media.patches.receiver import (
    CameraReceiver,
    ReceiverReports,
    add_color_space,
    get_color_space,
)
from server.media.video.payload import COLOR_SPACE_URI
from tests.media.video.test_payload import BT601_LIMITED, BT709_FULL
from tests.support.fakes_rtc import camera_peer, live_encoder, webrtc_side


def test_install_replaces_one_name_and_one_method() -> None:
    """A transceiver made after `install` has our receiver; installing twice wraps once."""
    ours.install()
    once = aioice.ice.StunProtocol.datagram_received
    ours.install()
    assert aioice.ice.StunProtocol.datagram_received is once
    replaced = vars(aiortc.rtcpeerconnection)["RTCRtpReceiver"]
    assert replaced is CameraReceiver
    assert issubclass(CameraReceiver, RTCRtpReceiver)


async def test_a_packet_that_fails_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours costs its packet: counted, said once without its text; the camera goes on."""
    take, failed = CameraReceiver._take, 0

    def fails_five_times(self: CameraReceiver, *arguments: Any) -> float | None:
        nonlocal failed
        if failed < 5:
            failed += 1
            raise ZeroDivisionError("canary")
        return take(self, *arguments)

    monkeypatch.setattr(CameraReceiver, "_take", fails_five_times)
    async with live_encoder(160, 120) as encoder, webrtc_side() as side:
        async with camera_peer(encoder) as peer:
            await peer.accept(await side.connect(await peer.offer()))
            await side.frames_of()
        # The frame whose first packet was the fifth is broken, too.
        assert side.counted('frames_skipped_total{reason="broken"}') in (5, 6)
    said = [record for record in caplog.records if record.message == "packet failed"]
    assert [getattr(record, "error", "") for record in said] == ["ZeroDivisionError"]
    assert "canary" not in caplog.text


async def test_a_report_that_fails_is_not_the_last() -> None:
    """A bug of ours costs one RTCP receiver report, and the next one is due all the same."""
    one = ReceiverReports(lambda reports: None)
    # Without a packet there are no figures yet, and aiortc's sums fail.
    one._statistics[1] = StreamStatistics(90_000)
    with pytest.raises(TypeError):
        one._report()
    assert one._timer
    one.stop()


# Reading the color space beside what aiortc reads of a packet's header extensions


def parameters(*extensions: tuple[int, str]) -> RTCRtpReceiveParameters:
    return RTCRtpReceiveParameters(
        headerExtensions=[RTCRtpHeaderExtensionParameters(id=n, uri=uri) for n, uri in extensions]
    )


def on_the_wire(*extensions: tuple[int, bytes]) -> bytes:
    """A packet with these one-byte header extensions (RFC 8285)."""
    value = b"".join(bytes([n << 4 | len(data) - 1]) + data for n, data in extensions)
    value += bytes(-len(value) % 4)
    header = bytes([0x90, 96, 0, 7]) + (900).to_bytes(4, "big") + (5).to_bytes(4, "big")
    return header + b"\xbe\xde" + (len(value) // 4).to_bytes(2, "big") + value + b"payload"


def test_it_is_read_beside_what_aiortc_knows() -> None:
    """By the connection's own number for it, learned as receivers register; others stay."""
    known = HeaderExtensionsMap()
    known.configure(parameters((3, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")))
    transport: Any = type("Transport", (), {"_rtp_header_extensions_map": known})()
    add_color_space(transport)
    add_color_space(transport)
    colored = transport._rtp_header_extensions_map
    packet = RtpPacket.parse(on_the_wire((3, b"\0\0\1"), (7, BT709_FULL)), colored)
    assert get_color_space(packet) == b""
    colored.configure(parameters((7, COLOR_SPACE_URI)))
    for data, value in [
        (on_the_wire((3, b"\0\0\1"), (7, BT709_FULL)), BT709_FULL),
        (on_the_wire((7, BT601_LIMITED), (3, b"\0\0\1")), BT601_LIMITED),
        (on_the_wire((3, b"\0\0\1")), b""),
        (on_the_wire((3, b"\0\0\1"), (8, BT709_FULL)), b""),
    ]:
        packet = RtpPacket.parse(data, colored)
        assert get_color_space(packet) == value
        assert packet.extensions.abs_send_time == 1
        assert packet.payload == b"payload"
    assert get_color_space(RtpPacket()) == b""
    assert isinstance(packet.extensions, HeaderExtensions)

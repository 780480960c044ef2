"""The replacement in aiortc."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import aioice.ice
import aiortc.rtcpeerconnection
import pytest
from aiortc import RTCDtlsTransport
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics

from server.media.patches import receiver as ours
from server.media.patches.receiver import CameraReceiver
from tests.support.fakes_rtc import camera_peer, live_encoder, webrtc_side


def test_install_replaces_one_name_and_one_method() -> None:
    """A transceiver made after `install` has our receiver; installing twice wraps once."""
    ours.install()
    once = aioice.ice.StunProtocol.datagram_received
    ours.install()
    assert aioice.ice.StunProtocol.datagram_received is once
    replaced = vars(aiortc.rtcpeerconnection)["RTCRtpReceiver"]
    assert replaced is ours.CameraReceiver
    assert issubclass(ours.CameraReceiver, RTCRtpReceiver)


async def test_a_packet_that_fails_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours costs the packet that it is about: counted, said once without its text, and the
    camera goes on.
    """
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
        assert side.counted('frames_skipped_total{reason="broken"}') == 5
    said = [record for record in caplog.records if record.message == "packet failed"]
    assert [getattr(record, "error", "") for record in said] == ["ZeroDivisionError"]
    assert "canary" not in caplog.text


async def test_a_report_that_fails_is_not_the_last() -> None:
    """A bug of ours costs one RTCP receiver report, and the next one is due all the same."""
    one = CameraReceiver("video", cast(RTCDtlsTransport, SimpleNamespace(state="new")))
    one._running = True
    # Without a packet there are no figures yet, and aiortc's sums fail.
    one._statistics[1] = StreamStatistics(90_000)
    with pytest.raises(TypeError):
        one._report()
    assert one._report_timer is not None
    assert not one._report_timer.cancelled()
    one._end()

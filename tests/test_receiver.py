"""The replacement in aiortc."""

from __future__ import annotations

import aioice.ice
import aiortc.rtcpeerconnection
from aiortc.rtcrtpreceiver import RTCRtpReceiver

from server.rtc import receiver as ours


def test_install_replaces_one_name_and_one_method() -> None:
    """A transceiver made after `install` has our receiver; installing twice wraps once."""
    ours.install()
    once = aioice.ice.StunProtocol.datagram_received
    ours.install()
    assert aioice.ice.StunProtocol.datagram_received is once
    replaced = vars(aiortc.rtcpeerconnection)["RTCRtpReceiver"]
    assert replaced is ours.CameraReceiver
    assert issubclass(ours.CameraReceiver, RTCRtpReceiver)

"""The replacement in aiortc: guards against changes underneath."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from typing import Any

import aioice.ice
import aiortc.rtcpeerconnection
import pytest
from aiortc.rtcrtpreceiver import RTCRtpReceiver

from server.rtc import receiver as ours

# What is overridden, called or relied on, with the first digits of its source's SHA-256. When one of these
# fails after an upgrade: read what changed there, change server/rtc/receiver.py with it, then this table.
KNOWN = [
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver.__init__", "3e3b7b5cefba"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver.receive", "d6d8d8d7a0bf"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver.stop", "63734b6894ce"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._handle_disconnect", "8dfa058c843f"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._handle_rtcp_packet", "ec9f46214c34"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._handle_rtp_packet", "4e54983d021a"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp", "9f0bc9f6a8dd"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp_nack", "5735e597c91b"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._send_rtcp_pli", "ae74c43d50f6"),
    ("aiortc.rtcrtpreceiver", "RTCRtpReceiver._set_rtcp_ssrc", "3634d142251f"),
    ("aiortc.rtcrtpreceiver", "StreamStatistics", "9cd41a129375"),
    (
        "aiortc.rtcpeerconnection",
        "RTCPeerConnection._RTCPeerConnection__createTransceiver",
        "00201d6e03cc",
    ),
    ("aiortc.rtcpeerconnection", "RTCPeerConnection._RTCPeerConnection__connect", "9199a73a7cde"),
    ("aiortc.rtcpeerconnection", "RTCPeerConnection._RTCPeerConnection__remoteRtp", "1dc79068e0ca"),
    ("aiortc.rtcpeerconnection", "RTCPeerConnection.createAnswer", "f535f80c96a1"),
    ("aiortc.rtcdtlstransport", "RtpRouter", "75abd1c0faf2"),
    ("aiortc.rtcdtlstransport", "RTCDtlsTransport._set_role", "6f0a82da3298"),
    ("aiortc.rtcdtlstransport", "RTCDtlsTransport._handle_rtp_data", "5def9061cc3d"),
    ("aiortc.rtcdtlstransport", "RTCDtlsTransport._recv_next", "998076720c05"),
    ("aiortc.rtp", "unwrap_rtx", "9b428a97cc83"),
    ("aiortc.rtp", "HeaderExtensions", "93780084a964"),
    ("aiortc.rtp", "HeaderExtensionsMap", "b2094056d6bc"),
    ("aiortc.rtp", "unpack_header_extensions", "d78a8585d2b6"),
    ("aiortc.rtcdtlstransport", "RTCDtlsTransport._register_rtp_receiver", "d35a385b0afb"),
]


@pytest.mark.parametrize(("module", "name", "known"), KNOWN, ids=lambda v: str(v))
def test_what_is_relied_on_has_not_changed(module: str, name: str, known: str) -> None:
    """The source of everything that the receiver overrides or counts on is the one it was written against."""
    thing: Any = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    assert hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12] == known


@pytest.mark.parametrize(
    ("package", "version"), [("aiortc", "1.16.0"), ("aioice", "0.13.0"), ("av", "18.1.0")]
)
def test_versions_are_the_pinned_ones(package: str, version: str) -> None:
    """requirements.txt pins exactly what these guards know."""
    assert importlib.metadata.version(package) == version


def test_install_replaces_one_name_and_one_method() -> None:
    """A transceiver made after `install` has our receiver; installing twice wraps once."""
    ours.install()
    once = aioice.ice.StunProtocol.datagram_received
    ours.install()
    assert aioice.ice.StunProtocol.datagram_received is once
    replaced = vars(aiortc.rtcpeerconnection)["RTCRtpReceiver"]
    assert replaced is ours.CameraReceiver
    assert issubclass(ours.CameraReceiver, RTCRtpReceiver)

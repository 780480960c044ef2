"""Taking RTP payloads apart, against aiortc's own depacketisers."""

from __future__ import annotations

import pytest
from aiortc.codecs import depayload
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.video.payload import FULL, LIMITED, ColorSpace, Payload, parse, parse_color_space

CODECS = {
    name: RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90_000, payloadType=97)
    for name in ("VP8", "H264")
}
START = b"\0\0\0\1"


def stock(codec: str, payload: bytes) -> bytes | None:
    """Return aiortc's result; None when it refuses."""
    try:
        return bytes(depayload(CODECS[codec], payload))
    except ValueError:
        return None


def ours(codec: str, payload: bytes) -> bytes | None:
    try:
        return parse(codec, payload).data
    except ValueError:
        return None


@settings(max_examples=1500)
@given(st.sampled_from(["VP8", "H264"]), st.binary(min_size=1, max_size=40))
def test_any_bytes_come_out_as_from_aiortc(codec: str, payload: bytes) -> None:
    assert ours(codec, payload) == stock(codec, payload)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=12)), max_size=6),
    st.integers(0, 255),
    st.binary(max_size=3),
)
def test_aggregates_are_those_of_aiortc(
    units: list[tuple[int, bytes]], nri: int, rest: bytes
) -> None:
    """STAP-A with any units, whole and cut, gives the same bytes, or both refuse."""
    payload = bytes([nri & 0x60 | 24])
    for kind, body in units:
        unit = bytes([kind]) + body
        payload += len(unit).to_bytes(2, "big") + unit
    payload += rest
    assert ours("H264", payload) == stock("H264", payload)


@settings(max_examples=300)
@given(
    st.integers(0, 1),
    st.integers(0, 15),
    st.none() | st.integers(0, 0x7FFF),
    st.none() | st.integers(0, 255),
    st.none() | st.tuples(st.integers(0, 3), st.integers(0, 1)),
    st.none() | st.integers(0, 31),
    st.binary(min_size=1, max_size=20),
)
def test_vp8_descriptors_of_every_shape_are_taken_off(
    start: int,
    partition: int,
    picture: int | None,
    level: int | None,
    layer: tuple[int, int] | None,
    key_index: int | None,
    body: bytes,
) -> None:
    """Data, start and key are right whatever the descriptor announces."""
    descriptor = VpxPayloadDescriptor(start, partition, picture, level, layer, key_index)
    first = start == 1 and partition == 0
    expected = Payload(body, first, first and body[0] & 1 == 0)
    assert parse("VP8", bytes(descriptor) + body) == expected


def test_padding_is_empty() -> None:
    """A packet without payload belongs to no frame, nor does a VP8 descriptor without data."""
    for codec, payload in (*((codec, b"") for codec in CODECS), ("VP8", b"\x10")):
        assert parse(codec, payload) == Payload(b"", False, False)


@pytest.mark.parametrize(
    ("payload", "data", "start", "key"),
    [
        (b"\x67\x01\x02", START + b"\x67\x01\x02", True, True),  # SPS
        (b"\x68\x01", START + b"\x68\x01", False, False),  # PPS
        (b"\x09\x10", START + b"\x09\x10", True, False),  # delimiter
        (b"\x06\x01\x01\x00\x06\x01\xc4\x80", None, False, True),  # time, recovery point
        *((sei, None, False, False) for sei in (b"\x06\x05\x06\xff", b"\x06\xff\x06", b"\x06\x06")),
        (b"\x65\x88\x01", START + b"\x65\x88\x01", False, True),  # IDR slice
        (b"\x41\x9a", START + b"\x41\x9a", False, False),  # other slice
        (b"\x7c\x85\x11\x22", START + b"\x65\x11\x22", False, True),  # FU-A, first of an IDR slice
        (b"\x7c\x05\x11\x22", b"\x11\x22", False, False),  # FU-A, middle
        (b"\x5c\x81\x11", START + b"\x41\x11", False, False),  # FU-A, first of another slice
        (
            b"\x78\x00\x02\x67\x01\x00\x01\x68\x00\x02\x65\x01",
            START + b"\x67\x01" + START + b"\x68" + START + b"\x65\x01",
            True,
            True,
        ),  # STAP-A
        (b"\x78\x00\x02\x41\x01", START + b"\x41\x01", False, False),
    ],
)
def test_h264_units_tell_starts_and_keys(
    payload: bytes, data: bytes | None, start: bool, key: bool
) -> None:
    """SPS and delimiter start a frame; at SPS, IDR and recovery point decoding can begin; only slices are a picture."""
    alone = payload[0] & 0x1F in (6, 7, 8, 9)
    whole = START + payload if data is None else data
    assert parse("H264", payload) == Payload(whole, start, key, picture=not alone)


def test_a_frame_packetised_by_aiortc_comes_back_whole() -> None:
    """Fragments joined in order are the NAL units again."""
    units = [b"\x67" + bytes(range(20)), b"\x68\x01\x02", b"\x65" + b"\xab" * 5000]
    payloads = H264Encoder._packetize(iter(units))
    parsed = [parse("H264", payload) for payload in payloads]
    assert b"".join(part.data for part in parsed) == b"".join(START + unit for unit in units)
    assert parsed[0].start
    assert any(part.key for part in parsed)


@pytest.mark.parametrize("kind", [0, 25, 26, 27, 29, 30, 31])
def test_unsupported_h264_types_are_refused(kind: int) -> None:
    with pytest.raises(ValueError, match=f"type {kind} "):
        parse("H264", bytes([kind, 0, 0]))


def test_an_unknown_codec_is_a_programming_error() -> None:
    """Codecs come from the negotiation, never from a packet."""
    with pytest.raises(KeyError):
        parse("VP9", b"\x00")


# The color space header extension


# As Chromium sends them: primaries, transfer, matrix, range and chroma siting.
BT709_FULL = bytes([1, 13, 1, 0x20])
BT601_LIMITED = bytes([6, 6, 6, 0x15])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (BT709_FULL, ColorSpace(1, FULL)),
        (BT601_LIMITED, ColorSpace(6, LIMITED)),
        (bytes([9, 16, 9, 0x10]) + bytes(24), ColorSpace(9, LIMITED)),
        # Chroma siting and the unused bits say nothing of the range.
        (bytes([1, 1, 1, 0xEF]), ColorSpace(1, FULL)),
        # No matrix of YCbCr's, none at all, one that nobody knows.
        (bytes([1, 13, 0, 0x20]), None),
        (bytes([2, 2, 2, 0x10]), None),
        (bytes([1, 1, 77, 0x10]), None),
        # No range, and one "derived" from the others.
        (bytes([1, 1, 1, 0x00]), None),
        (bytes([1, 1, 1, 0x30]), None),
        (b"", None),
        (BT709_FULL[:3], None),
        (BT709_FULL + b"\0", None),
    ],
)
def test_the_extension_says_matrix_and_range(value: bytes, found: ColorSpace | None) -> None:
    """Anything that is not both, or that the scaler does not know, says nothing."""
    assert parse_color_space(value) == found

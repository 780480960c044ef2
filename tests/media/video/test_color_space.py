"""The color space header extension: what is taken from it, and which frames it is put on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.media.video.decode import DecodePool
from server.media.video.payload import FULL, LIMITED, ColorSpace, parse_color_space
from server.media.video.video_stream import VideoStream
from tests.support.fakes_media import RecordingCamera, vp8_frames, vp8_parts

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


async def test_frames_are_tagged_from_the_one_on_that_said_so() -> None:
    """Not those before it that are still being decoded."""
    camera = RecordingCamera()
    with ThreadPoolExecutor(1, "decode-test") as pool:
        stream = VideoStream(1, "VP8", sink=camera, feedback=Silent(), pool=DecodePool(pool))
        sequence = 65533
        frames = vp8_frames(5)

        def send(index: int, colors: bytes = b"") -> None:
            nonlocal sequence
            for part in vp8_parts(frames[index], 4294965000 + 9000 * index):
                stream.packet(
                    sequence & 0xFFFF,
                    part.timestamp & 0xFFFFFFFF,
                    part.marker,
                    part.data,
                    1.0,
                    retransmission=False,
                    # On the last packet of a frame, as libwebrtc does it.
                    colors=colors if part.marker else b"",
                )
                sequence += 1

        async with asyncio.timeout(5):
            send(0)
            send(1, BT709_FULL)
            send(2)
            await camera.until(lambda c: len(c.frames) == 3)
            send(3, BT601_LIMITED)
            send(4, b"nonsense")
            await camera.until(lambda c: len(c.frames) == 5)
        stream.close()
    tags = [(f.image.colorspace, f.image.color_range) for f in camera.frames]
    # Untold, VP8 is BT.601 (RFC 6386, section 9.2).
    assert tags == [(5, LIMITED), (1, FULL), (1, FULL), (6, LIMITED), (6, LIMITED)]


class Silent:
    """Nothing may be asked for."""

    def send_nack(self, ssrc: int, lost: list[int]) -> None:
        raise AssertionError(lost)

    def send_pli(self, ssrc: int) -> None:
        raise AssertionError(ssrc)

"""Files made in memory: MP4s that play, WAVs, and a camera's picture in a video's shape."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator

import av
import numpy as np
import pytest

from server.features.generation.job import Mp4Writer, TooManyBytes, cover

WIDTH, HEIGHT = 96, 64
RED, BLUE = (200, 30, 30), (20, 40, 210)


def plain(color: tuple[int, int, int]) -> bytes:
    return np.full((HEIGHT, WIDTH, 3), color, np.uint8).tobytes()


def noise(count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8).tobytes()


def made(frames: list[bytes], fps: int = 16, most: int = 2**24) -> bytes:
    writer = Mp4Writer(WIDTH, HEIGHT, fps, len(frames), most)
    for frame in frames:
        writer.add(frame)
    return writer.finish()


def boxes(data: bytes) -> list[str]:
    """The names of the outermost boxes (ISO 14496-12, 4.2)."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 8].decode())
        assert size >= 8
        at += size
    return found


def test_it_is_h264_with_its_colours_and_times() -> None:
    """4:2:0, BT.709 said and meant, every frame at its time."""
    data = made([plain(RED)] * 8 + [plain(BLUE)] * 9, fps=24)
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert stream.average_rate is not None
        assert (float(stream.average_rate), stream.frames) == (24.0, 17)
        frames = list(container.decode(stream))
    assert [round(float(frame.time) * 24) for frame in frames] == list(range(17))
    for frame, color in ((frames[3], RED), (frames[12], BLUE)):
        pixels = frame.to_ndarray(format="rgb24").reshape(-1, 3)
        assert np.abs(pixels.mean(0) - color).max() < 4


def test_the_index_is_in_front_of_the_pictures() -> None:
    """A page can play it before it has all of it; so it is for the longest video."""
    for count in (1, 9, 257):
        names = boxes(made(list(noise(count))))
        assert names.index("moov") < names.index("mdat")


def test_it_never_grows_beyond_its_bound() -> None:
    """A file that grows too large raises TooManyBytes, while frames come or at the end."""
    whole = made(list(noise(30)))
    assert made(list(noise(30)), most=len(whole)) == whole
    for most in (len(whole) - 1, len(whole) // 2, 5000, 16):
        with pytest.raises(TooManyBytes):
            made(list(noise(30)), most=most)
    writer = Mp4Writer(WIDTH, HEIGHT, 16, 9, 2**20)
    writer.add(plain(RED))
    writer.discard()


def test_frames_of_another_size_are_refused() -> None:
    """A frame has exactly the bytes of its pixels."""
    writer = Mp4Writer(WIDTH, HEIGHT, 16, 9, 2**20)
    with pytest.raises(ValueError):
        writer.add(plain(RED)[:-3])
    writer.discard()


WRITES_NOTHING = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from tests.features.generation.test_files import made, noise
print(len(made(list(noise(30)))))
"""


def test_nothing_of_it_reaches_a_file() -> None:
    """It is made where no file may have a single byte."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES_NOTHING], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(made(list(noise(30))))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (832, 480), (1920, 1088)])
def test_the_middle_of_the_picture_in_the_videos_shape(width: int, height: int) -> None:
    """RGB of exactly that size; nothing is squeezed, the margin is left out."""
    bgr = np.zeros((720, 1280, 3), np.uint8)
    bgr[..., 0], bgr[..., 1] = 10, 90
    # A disc in the middle stays a disc.
    rows, columns = np.ogrid[:720, :1280]
    bgr[(rows - 360) ** 2 + (columns - 640) ** 2 < 150**2, 2] = 220
    rgb = np.frombuffer(cover(bgr, width, height), np.uint8).reshape(height, width, 3)
    assert tuple(rgb[0, 0]) == (0, 90, 10)
    assert tuple(rgb[height // 2, width // 2]) == (220, 90, 10)
    disc = rgb[..., 0] > 110
    tall, wide = disc.any(1).sum(), disc.any(0).sum()
    assert abs(int(tall) - int(wide)) <= 2
    assert tall == pytest.approx(300 * max(width / 1280, height / 720), abs=2)

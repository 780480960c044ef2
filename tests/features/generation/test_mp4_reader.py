"""Another server's MP4 taken apart: where its frames are, and that nothing it says costs more than
it has bytes.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.generation.videos_api import MAX_BOXES, _facts, read_video
from server.media.video.decode import open_decoder
from server.media.video.h264 import H264Frames
from tests.features.generation.test_videos_api import made
from tests.support.h264_streams import Sps, Stream, Vui
from tests.support.mp4_boxes import DEEP, HARM, LARGE, File, box, late, sample, units_of

# Prints how many MiB a look at a file takes, and what is found.
_LOOK = """
import json, sys
import av
from server.features.generation.videos_api import _facts
from tests.support.mp4_boxes import HARM
av.logging.set_level(av.logging.PANIC)
def status(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
data = HARM[sys.argv[1]]()
before = status("VmHWM")
found = _facts(data)
print(json.dumps([len(data), status("VmHWM") - before, found]))
"""


@pytest.mark.parametrize(("width", "height", "frames"), [(64, 32, 5), (320, 256, 25)])
def test_what_an_encoder_made_is_read(width: int, height: int, frames: int) -> None:
    """As many frames as there are, B pictures among them, each decodable; and as long as it plays."""
    data = made(width, height, frames)
    video = read_video(data, frames)
    assert len(video.samples) == frames
    assert video.seconds == pytest.approx(frames / 8)
    decoder, checked = open_decoder("H264"), H264Frames()
    for frame in video.frames():
        decoder.decode(av.Packet(checked.checked(frame)[0]))
    found = {"width": width, "height": height, "frames": frames, "seconds": frames / 8}
    assert _facts(data) == found
    with pytest.raises(ValueError, match=f"1 to {frames - 1} are allowed"):
        read_video(data, frames - 1)


@pytest.mark.parametrize("name", HARM)
def test_harm_is_refused_before_it_is_decoded(name: str) -> None:
    """4:4:4 with 14 bits in front or in the first frame (238 MiB once), 4096×4096, an index of 32
    million frames (1,178).
    """
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=60,
        check=True,
    )
    size, took, found = json.loads(done.stdout)
    print(f"{name}: {size} bytes took {took:.0f} MiB")
    assert found is None
    assert took < 12


def test_no_picture_waits_for_another() -> None:
    """A set that has 16 pictures put in order is written again here, too."""
    assert _facts(late(LARGE).data()) == {
        "width": 1920,
        "height": 1088,
        "frames": 30,
        "seconds": 3.75,
    }


@pytest.mark.parametrize("length", [1, 2, 4])
def test_lengths_of_any_size(length: int) -> None:
    """Of one, two and four bytes; three are refused."""
    stream = Stream(Sps(2, 2))
    frames = [sample(stream.key(), length)]
    file = File(units_of(stream.sets()), frames, length=length)
    assert _facts(file.data()) is not None
    file.length = 3
    assert _facts(file.data()) is None


def test_several_chunks() -> None:
    """Frames lie where the tables of chunks say, in runs of any length, with 64-bit places as well."""
    data = made(64, 32, 25)
    at = data.index(b"stco") + 4
    (count,) = struct.unpack_from(">I", data, at + 4)
    places = struct.unpack_from(f">{count}I", data, at + 8)
    video = read_video(data, 25)
    assert bytes(video.samples[0]) == data[places[0] :][: len(video.samples[0])]
    stream = Stream(Sps(2, 2))
    frame = sample(stream.key())
    wide = File(units_of(stream.sets()), [frame]).data()
    at = wide.index(b"stco") - 4
    (place,) = struct.unpack_from(">I", wide, at + 16)
    table = box(b"co64", bytes(4), struct.pack(">IQ", 1, place + 4))
    moved = wide[:at] + table + wide[at + 20 :]
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        start = moved.index(name) - 4
        (size,) = struct.unpack_from(">I", moved, start)
        moved = moved[:start] + struct.pack(">I", size + 4) + moved[start + 4 :]
    assert bytes(read_video(moved, 1).samples[0]) == frame


def test_what_is_no_such_file_is_refused() -> None:
    """Other codecs, no frames, no samples in a chunk, frames outside, too many boxes, fragments."""
    stream = Stream(Sps(2, 2))
    sets, frame = units_of(stream.sets()), sample(stream.key())
    good = File(sets, [frame])
    assert _facts(good.data()) is not None
    bad = [
        File(sets, [frame], codec=b"hvc1"),
        File(sets, []),
        File(sets, [frame], per_chunk=0),
        File(sets, [frame], told=2, each=len(frame)),
        File(sets, [frame], each=1 << 30),
        File([], [frame]),
        File(sets, [frame[:-3]]),
        File(sets, [frame], more=box(b"free") * MAX_BOXES),
    ]
    for file in bad:
        assert _facts(file.data()) is None
    assert _facts(b"") is None
    assert _facts(good.data()[:-1]) is None


_SEEDS = [
    late(Sps(2, 2, vui=Vui()), 3).data(),
    late(DEEP, 2).data()[:2000],
    made(64, 32, 2),
]


@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 4000),
)
def test_any_bytes_are_read_or_refused(
    data: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    """Nothing but ValueError comes out of the reader, and nothing at all out of the look."""
    for at, value in changes:
        data = data[:at] + value + data[at + len(value) :]
    data = data[: len(data) - cut] if cut < 500 else data
    with suppress(ValueError):
        video = read_video(data, 257)
        assert sum(len(frame) for frame in video.frames()) <= 3 * len(data) + 65_536
    _facts(data)

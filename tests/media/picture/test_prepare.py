"""Pictures made of camera frames: size, budget, filters, threads."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.core.errors import BadRequest, FrameWithheld
from server.core.frames import Detail, Frame, Geometry, Picture, Region, Scene
from server.media.picture import encode
from server.media.picture.encode import THUMBNAIL_BYTES
from server.media.picture.planes import SceneAnalyser
from server.media.picture.prepare import (
    MAX_RATIO,
    PicturePreparer,
    Stored,
    count_visual_tokens,
    get_budget_pixels,
    make_stored_picture,
    smart_resize,
)
from server.models.base import Capabilities
from server.models.families import QWEN2_VL, QWEN3_VL, get_family

Bgr = NDArray[np.uint8]
VLM = Capabilities(geometry=QWEN2_VL, context_length=8_192)
PIXELS = Capabilities(wants_pixels=True)


def drawn(width: int = 1280, height: int = 720) -> Bgr:
    """A red left half, a blue right half and print across."""
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[:, : width // 2] = (40, 40, 200)
    bgr[:, width // 2 :] = (200, 60, 40)
    for y in range(40, height, 40):
        cv2.putText(bgr, "Sphinx of black quartz 0123", (10, y), 0, 0.6, (250, 250, 250), 1)
    return bgr


def frame_of(bgr: Bgr, captured: float = 5.0) -> Frame:
    image = av.VideoFrame.from_ndarray(bgr, "bgr24").reformat(format="yuv420p")
    return Frame("f1", image, image.width, image.height, captured, 1_000.5, captured + 0.01, 90)


def empty(width: int, height: int) -> Frame:
    return Frame("f2", av.VideoFrame(16, 16, "yuv420p"), width, height, 0.0, None, 0.0, 0)


def pixels_of(jpeg: bytes | None) -> Bgr:
    assert jpeg is not None
    back = encode.decode(jpeg)
    assert back is not None
    return back


def decoded(picture: Picture) -> Bgr:
    return pixels_of(picture.jpeg)


@dataclass
class Painting:
    """Paints a region white, at the camera's resolution."""

    size: tuple[int, ...] | None = None

    def apply(self, bgr: Bgr) -> Bgr:
        self.size = bgr.shape
        bgr[100:300, 100:300] = 255
        return bgr


class Withholding:
    def apply(self, bgr: Bgr) -> Bgr:
        raise FrameWithheld("withheld")


def test_low_detail_is_the_configured_budget() -> None:
    """512 tokens of a 720p camera: 840x448 with its frame's data."""
    frame = frame_of(drawn())
    picture = PicturePreparer((), 512).make(
        frame, VLM, Detail.LOW, scene=Scene(0.9, 0.9, 0.25, True, True)
    )
    assert decoded(picture).shape == (448, 840, 3)
    assert (picture.width, picture.height, picture.visual_tokens) == (840, 448, 480)
    assert (picture.source_width, picture.source_height) == (1280, 720)
    assert (picture.frame_id, picture.captured, picture.captured_sender) == ("f1", 5.0, 1_000.5)
    assert not picture.held
    # Read from this very frame, but for the motion, which one frame cannot tell.
    assert picture.scene == replace(SceneAnalyser().read(frame.image, 0.0), motion=0.25)
    assert (picture.bgr, picture.thumbnail) == (None, None)
    assert 0 < picture.prepare_seconds < 5


def test_a_held_frame_has_no_motion_of_now() -> None:
    seen = Scene(0.5, 0.5, 0.25, False, False)
    for filters in ((), (Painting(),)):
        picture = PicturePreparer(filters, 512).make(
            frame_of(drawn()), VLM, Detail.LOW, held=True, scene=seen
        )
        assert picture.held
        assert picture.scene is None or picture.scene.motion is None


def test_with_filters_the_scene_is_the_sources() -> None:
    """Nothing here looks at pixels that the filters have not seen."""
    seen = Scene(0.5, 0.5, 0.25, False, True)
    preparer = PicturePreparer((Painting(),), 512)
    assert preparer.make(frame_of(drawn()), VLM, Detail.LOW, scene=seen).scene is seen


@pytest.mark.parametrize(("geometry", "size"), [(QWEN2_VL, (728, 1288)), (QWEN3_VL, (704, 1280))])
def test_high_detail_keeps_a_720p_camera_whole(geometry: Geometry, size: tuple[int, int]) -> None:
    """1,280 tokens by the model's own factor."""
    capabilities = Capabilities(geometry=geometry)
    picture = PicturePreparer((), 512).make(frame_of(drawn()), capabilities, Detail.HIGH)
    assert decoded(picture).shape[:2] == size


@pytest.mark.parametrize("filters", [(), (Painting(),)])
def test_a_region_keeps_the_cameras_pixels(filters: tuple[Painting, ...]) -> None:
    """A small part is not shrunk, and is cut behind the filters, which see the whole frame."""
    region = Region(160, 90, 160 + 336, 90 + 196)
    picture = PicturePreparer(filters, 512).make(
        frame_of(drawn()), VLM, Detail.HIGH, region=region, thumbnail=True
    )
    expected = drawn()
    if filters:
        assert filters[0].size == (720, 1280, 3)
        expected[100:300, 100:300] = 255
    assert (picture.width, picture.height, picture.visual_tokens) == (336, 196, 84)
    assert (picture.source_width, picture.source_height) == (1280, 720)
    cut = expected[90 : 90 + 196, 160 : 160 + 336].astype(int)
    assert np.abs(decoded(picture).astype(int) - cut).mean() < 8


@pytest.mark.parametrize(
    "region", [Region(-1, 0, 9, 9), Region(0, 0, 1281, 9), Region(5, 5, 5, 9), Region(0, 9, 9, 3)]
)
def test_a_region_lies_in_the_frame(region: Region) -> None:
    """It is the caller's to cut it there."""
    with pytest.raises(ValueError, match="is outside a frame"):
        PicturePreparer((), 512).make(frame_of(drawn()), VLM, Detail.HIGH, region=region)


@pytest.mark.parametrize("filters", [(), (Painting(),)])
def test_picture_shows_the_scene(filters: tuple[Painting, ...]) -> None:
    """Colours and places survive, on the direct way and through filters."""
    picture = PicturePreparer(filters, 512).make(frame_of(drawn()), VLM, Detail.LOW)
    expected = cv2.resize(drawn(), (840, 448), interpolation=cv2.INTER_AREA)
    if filters:
        expected[64:186, 67:195] = 255
    assert np.abs(decoded(picture).astype(int) - expected).mean() < 8


@pytest.mark.parametrize(
    ("context", "detail", "most"),
    [
        (None, Detail.HIGH, 1_280),
        (8_192, Detail.HIGH, 1_280),
        (2_560, Detail.HIGH, 1_280),
        (2_558, Detail.HIGH, 1_279),
        (1_024, Detail.LOW, 512),
        (600, Detail.LOW, 300),
    ],
)
def test_budget_is_half_of_the_context(context: int | None, detail: Detail, most: int) -> None:
    """A small context leaves room for words."""
    capabilities = Capabilities(geometry=QWEN2_VL, context_length=context)
    preparer = PicturePreparer((), 512)
    assert preparer.budget(capabilities, detail) == most
    assert preparer.make(frame_of(drawn()), capabilities, detail).visual_tokens <= most


@pytest.mark.parametrize(("detail", "most"), [(Detail.LOW, 64), (Detail.HIGH, 160)])
def test_a_slow_engine_gets_fewer_pixels(detail: Detail, most: int) -> None:
    slow = Capabilities(geometry=QWEN3_VL, context_length=8_192, picture_share=0.125)
    preparer = PicturePreparer((), 512)
    assert preparer.budget(slow, detail) == most
    picture = preparer.make(frame_of(drawn()), slow, detail)
    assert 0.8 * most <= picture.visual_tokens <= most * 1.05


def test_engine_that_wants_pixels_gets_the_cameras_own() -> None:
    """BGR at the camera's resolution, in one piece, and no JPEG."""
    source = drawn(1000, 600)
    picture = PicturePreparer((), 512).make(frame_of(source), PIXELS, Detail.LOW, thumbnail=True)
    assert picture.jpeg is None
    assert picture.bgr is not None
    assert picture.bgr.shape == (600, 1000, 3)
    assert picture.bgr.flags.c_contiguous
    assert np.abs(picture.bgr.astype(int) - source).mean() < 6
    assert (picture.width, picture.height, picture.visual_tokens) == (1000, 600, 0)
    assert picture.thumbnail is not None


def test_filters_see_the_cameras_resolution_before_anything_else() -> None:
    """A filter gets 1280x720, and JPEG, pixels and thumbnail all show what it did."""
    painting = Painting()
    preparer = PicturePreparer((painting,), 512)
    small = preparer.make(frame_of(drawn()), VLM, Detail.LOW, thumbnail=True)
    assert painting.size == (720, 1280, 3)
    assert decoded(small)[80:170, 80:180].min() > 240
    assert small.thumbnail is not None
    assert len(small.thumbnail) <= THUMBNAIL_BYTES
    tiny = pixels_of(small.thumbnail)
    assert max(tiny.shape) <= 320
    assert tiny[35:65, 35:65].min() > 230
    pixels = preparer.make(frame_of(drawn()), PIXELS, Detail.LOW).bgr
    assert pixels is not None
    assert pixels[100:300, 100:300].min() == 255


def test_filters_never_write_into_the_frame() -> None:
    """The frame may be looked at by several at once."""
    frame = frame_of(drawn())
    before = frame.image.to_ndarray().copy()
    PicturePreparer((Painting(),), 512).make(frame, PIXELS, Detail.LOW)
    assert np.array_equal(frame.image.to_ndarray(), before)


def test_withheld_frame_makes_no_picture() -> None:
    """A filter that strikes ends it, whatever the engine wants."""
    for needs in (VLM, PIXELS):
        with pytest.raises(FrameWithheld):
            PicturePreparer((Painting(), Withholding()), 512).make(
                frame_of(drawn()), needs, Detail.LOW, thumbnail=True
            )


def test_picture_of_4096_is_taken() -> None:
    largest = frame_of(np.full((4_096, 4_096, 3), 90, np.uint8))
    picture = PicturePreparer((), 512).make(largest, VLM, Detail.LOW)
    assert picture.visual_tokens <= 512


def test_extreme_ratio_is_refused_with_an_error() -> None:
    """A picture that the model's resize cannot handle is a BadRequest."""
    with pytest.raises(BadRequest, match="aspect ratio"):
        PicturePreparer((), 512).make(empty(4_000, 10), VLM, Detail.LOW)


def test_same_frame_gives_the_same_bytes_from_several_threads() -> None:
    """One maker, one frame, four threads, two sizes: each picture is right."""
    preparer = PicturePreparer((), 512)
    frame = frame_of(drawn())
    details = [Detail.LOW, Detail.HIGH] * 8
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda detail: preparer.make(frame, VLM, detail), details))
    assert len({picture.jpeg for picture in pictures[::2]}) == 1
    assert len({picture.jpeg for picture in pictures[1::2]}) == 1
    assert {picture.width for picture in pictures} == {840, 1288}


# A stored picture in a model's size


def of(jpeg: bytes, captured_sender: float | None = None) -> Stored:
    return Stored("f7", 12.5, captured_sender, 1280, 720, jpeg)


def kept(width: int = 640, height: int = 360) -> Stored:
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[:, : width // 2] = (0, 0, 255)
    return of(encode.encode_still(bgr), 1000.5)


@pytest.mark.parametrize(
    ("geometry", "tokens"),
    [(QWEN2_VL, 64), (QWEN2_VL, 128), (QWEN2_VL, 256), (QWEN3_VL, 128), (QWEN3_VL, 256)],
)
def test_it_costs_at_most_its_tokens(geometry: Geometry, tokens: int) -> None:
    """In a size that the model does not change, with its frame's facts, and the same picture."""
    picture = make_stored_picture(kept(), geometry, tokens)
    assert picture.visual_tokens <= tokens
    assert picture.width % geometry.factor == picture.height % geometry.factor == 0
    assert (picture.frame_id, picture.captured, picture.captured_sender) == ("f7", 12.5, 1000.5)
    assert (picture.source_width, picture.source_height) == (1280, 720)
    bgr = decoded(picture)
    assert bgr.shape == (picture.height, picture.width, 3)
    assert bgr[5, 5, 2] > 200
    assert bgr[5, -5].max() < 50
    assert picture.thumbnail is None


def test_an_engine_that_counts_no_tokens_gets_it_whole() -> None:
    """Of one pixel a token, as the built-in engine's are, some hundred tokens would be a stamp."""
    picture = make_stored_picture(kept(), Geometry(1, 1, 4096 * 4096), None)
    assert (picture.width, picture.height, picture.visual_tokens) == (640, 360, 0)


def test_a_small_picture_comes_with_it() -> None:
    """At most 240 pixels and 10 KiB, so that a message can have eight of them."""
    noise = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)
    one = of(encode.encode_jpeg(noise))
    small = make_stored_picture(one, QWEN2_VL, 128, thumbnail=True).thumbnail
    assert small is not None
    assert len(small) <= 10 * 1024
    assert max(pixels_of(small).shape[:2]) <= 240


def test_a_broken_picture_is_an_error() -> None:
    """It is ours, so this is a fault of the program."""
    with pytest.raises(ValueError, match="cannot be decoded"):
        make_stored_picture(of(b"no"), QWEN2_VL, 64)


# Sizes and token counts against the published ones.


@pytest.mark.parametrize(
    ("geometry", "width", "height", "wide", "high", "tokens"),
    [
        (QWEN2_VL, 640, 480, 644, 476, 391),
        (QWEN2_VL, 1280, 720, 1288, 728, 1_196),
        (QWEN2_VL, 1920, 1080, 1932, 1092, 2_691),
        (QWEN2_VL, 480, 640, 476, 644, 391),
        (QWEN2_VL, 28, 28, 56, 56, 4),
        (QWEN3_VL, 1280, 720, 1280, 704, 880),
    ],
)
def test_published_sizes(
    geometry: Geometry, width: int, height: int, wide: int, high: int, tokens: int
) -> None:
    """Sizes and tokens of the models' own processors come out."""
    assert smart_resize(height, width, geometry) == (high, wide)
    assert count_visual_tokens(high, wide, geometry) == tokens


def test_a_picture_of_a_fixed_cost_has_all_its_pixels() -> None:
    """Gemma 3 takes 256 tokens for each, however small the budget; none is larger than it uses."""
    gemma = get_family("gemma3").geometry
    assert gemma is not None
    size = smart_resize(720, 1280, gemma, get_budget_pixels(64, gemma))
    assert size == (672, 1176)
    assert size[0] * size[1] <= gemma.max_pixels
    assert count_visual_tokens(*size, gemma) == count_visual_tokens(56, 56, gemma) == 256


@pytest.mark.parametrize(("width", "height"), [(2_010, 10), (10, 2_010)])
def test_extreme_ratio_is_refused_with_what_was_given(width: int, height: int) -> None:
    """An aspect ratio over 200 names the size, the ratio and the limit."""
    with pytest.raises(ValueError, match=f"{width}x{height}.*201.0.*200"):
        smart_resize(height, width, QWEN2_VL)


def test_ratio_of_exactly_200_is_taken() -> None:
    assert smart_resize(10, 2_000, QWEN2_VL)[0] == 28


@pytest.mark.parametrize(("width", "height"), [(0, 10), (10, 0), (-1, 5)])
def test_empty_picture_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        smart_resize(height, width, QWEN2_VL)


def published(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """The published rule, written once more in its own words."""
    h, w = (max(factor, round(side / factor) * factor) for side in (height, width))
    if h * w > most:
        beta = math.sqrt((height * width) / most)
        h, w = (max(factor, math.floor(s / beta / factor) * factor) for s in (height, width))
    elif h * w < least:
        beta = math.sqrt(least / (height * width))
        h, w = (math.ceil(s * beta / factor) * factor for s in (height, width))
    return h, w


sides = st.integers(1, 4_096)
geometries = st.sampled_from([QWEN2_VL, QWEN3_VL])


@given(height=sides, width=sides, geometry=geometries, tokens=st.integers(130, 4_000))
def test_sides_fit_the_model_and_the_budget(
    height: int, width: int, geometry: Geometry, tokens: int
) -> None:
    """Every size is a multiple of the factor, within bounds, and keeps the ratio within one factor."""
    if max(height, width) / min(height, width) > MAX_RATIO:
        return
    most = get_budget_pixels(tokens, geometry)
    high, wide = smart_resize(height, width, geometry, most)
    assert high % geometry.factor == wide % geometry.factor == 0
    assert geometry.min_pixels <= high * wide <= min(most, geometry.max_pixels)
    assert count_visual_tokens(high, wide, geometry) <= tokens
    before = published(height, width, geometry.factor, geometry.min_pixels, most)
    if before[0] * before[1] <= most:
        assert (high, wide) == before
    if min(high, wide) > geometry.factor:
        # One scale exists from which both sides are off by at most one factor.
        factor = geometry.factor
        least = max((high - factor) / height, (wide - factor) / width)
        greatest = min((high + factor) / height, (wide + factor) / width)
        assert least <= greatest


@given(height=sides, width=sides, geometry=geometries)
def test_resizing_again_changes_nothing(height: int, width: int, geometry: Geometry) -> None:
    """The model's own resize leaves our picture as it is."""
    if max(height, width) / min(height, width) > MAX_RATIO:
        return
    once = smart_resize(height, width, geometry)
    assert smart_resize(*once, geometry) == once


@given(height=sides, width=sides, geometry=geometries, tokens=st.integers(1, 130))
def test_a_budget_about_the_minimum_gives_what_the_model_leaves(
    height: int, width: int, geometry: Geometry, tokens: int
) -> None:
    """No picture is smaller than what the model would blow up, and few are larger than asked for."""
    if max(height, width) / min(height, width) > MAX_RATIO:
        return
    most = get_budget_pixels(tokens, geometry)
    high, wide = smart_resize(height, width, geometry, most)
    assert high * wide >= geometry.min_pixels
    bounds = geometry.min_pixels, geometry.max_pixels
    assert published(high, wide, geometry.factor, *bounds) == (high, wide)
    if high * wide > most:
        # One row and one column less would be too few.
        factor = geometry.factor
        assert (high - factor) * (wide - factor) < geometry.min_pixels

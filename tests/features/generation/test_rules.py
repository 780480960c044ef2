"""The inputs that a generating model takes, read from its own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.features.generation.rules import (
    Rules,
    find_own_code,
    read_pixel_rules,
)
from server.models.files import ModelFolderError


def written(folder: Path, name: str, value: object) -> None:
    path = folder / name / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("vae", "transformer", "factor", "step"),
    [
        # Wan 2.1 and Wan 2.2 5B
        ({"scale_factor_spatial": 8, "scale_factor_temporal": 4}, {"patch_size": [1, 2, 2]}, 16, 4),
        (
            {"scale_factor_spatial": 16, "scale_factor_temporal": 4},
            {"patch_size": [1, 2, 2]},
            32,
            4,
        ),
        # LTX-Video
        (
            {"spatial_compression_ratio": 32, "temporal_compression_ratio": 8},
            {"patch_size": 1},
            32,
            8,
        ),
        # Nothing said, or nonsense
        ({}, {}, 16, 4),
        ({"scale_factor_spatial": "8"}, {"patch_size": 0}, 16, 4),
    ],
)
def test_sides_and_frames_come_from_the_models_own_files(
    tmp_path: Path, vae: dict[str, object], transformer: dict[str, object], factor: int, step: int
) -> None:
    """Pixels of a latent by latents of a patch; frames of a latent."""
    written(tmp_path, "vae", vae)
    written(tmp_path, "transformer", transformer)
    assert read_pixel_rules(tmp_path) == (factor, step)


def test_code_that_comes_with_a_pipeline_is_found(tmp_path: Path) -> None:
    """Of the pipeline itself and of its parts; classes of libraries are none."""
    index = tmp_path / "model_index.json"
    (tmp_path / "vae").mkdir()
    known = {
        "_class_name": "WanPipeline",
        "vae": ["diffusers", "AutoencoderKLWan"],
        "x": [None, None],
    }
    for parts, file in (
        (known, ""),
        (known | {"_class_name": ["mine", "Pipeline"]}, "mine.py"),
        (known | {"vae": ["mine", "Vae"]}, "vae/mine.py"),
    ):
        index.write_text(json.dumps(parts))
        # Named alone it is a library.
        assert find_own_code(tmp_path) == ""
        if file:
            (tmp_path / file).write_text("")
            assert find_own_code(tmp_path) == file
            (tmp_path / file).unlink()


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"config\.json is damaged.+Download it again"):
        read_pixel_rules(tmp_path)


def test_the_count_next_to_what_is_wished_for() -> None:
    """Never none, and never further away than half a step."""
    wan = Rules("video")
    assert [wan.find_nearest_frames(n) for n in (0, 1, 2.9, 3.1, 80, 81, 82.9, 83, 83.1)] == [
        *(1, 1, 1, 5, 81, 81, 81, 85, 85)
    ]

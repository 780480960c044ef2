"""A model's geometry from its files or its type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Geometry
from server.models import families


@pytest.mark.parametrize(
    ("processor", "config", "expected"),
    [
        (
            {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12845056},
            {},
            families.QWEN2_VL,
        ),
        ({}, {"model_type": "qwen3_vl"}, families.QWEN3_VL),
        ({}, {"vision_config": {"patch_size": 16, "spatial_merge_size": 2}}, families.QWEN3_VL),
        (
            {"max_pixels": 9408},
            {
                "model_type": "qwen2_5_vl",
                "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
            },
            Geometry(28, 3136, 9408),
        ),
        (
            {
                "patch_size": 14,
                "merge_size": 2,
                "size": {"shortest_edge": 3136, "longest_edge": 9408},
            },
            {},
            Geometry(28, 3136, 9408),
        ),
        # Pixtral's longest_edge is a side.
        (
            {"patch_size": 14, "merge_size": 2, "size": {"longest_edge": 1540}},
            {},
            families.QWEN2_VL,
        ),
        # A smallest picture below one patch is one patch.
        ({"patch_size": 14, "merge_size": 2, "min_pixels": 1}, {}, Geometry(28, 784, 12845056)),
        # Nonsense is left alone.
        (
            {"patch_size": 14, "merge_size": 2, "min_pixels": 9000, "max_pixels": 800},
            {},
            families.QWEN2_VL,
        ),
        ({"patch_size": "14", "merge_size": True}, {"vision_config": [1]}, None),
        ({}, {"model_type": "llava"}, None),
    ],
)
def test_a_folder_tells_its_geometry(
    tmp_path: Path, processor: dict[str, Any], config: dict[str, Any], expected: Geometry | None
) -> None:
    """Older and newer names of the limits, with the model's type as what is not said."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert families.folder_geometry(tmp_path) == expected


@pytest.mark.parametrize("content", ["", "[1]", "{", "nul", "[" * 100_000])
def test_broken_files_tell_nothing(tmp_path: Path, content: str) -> None:
    """Nothing in the folder stops the server."""
    (tmp_path / "config.json").write_text(content)
    assert families.folder_geometry(tmp_path) is None
    assert families.folder_geometry(tmp_path / "missing") is None


def test_a_factor_gives_known_limits_where_they_are_known() -> None:
    """28 and 32 are Qwen's; another one gets its own smallest picture."""
    assert families.factor_geometry(28) == families.QWEN2_VL
    assert families.factor_geometry(32) == families.QWEN3_VL
    assert families.factor_geometry(16).min_pixels == 256


def test_the_newer_processor_file_counts_when_the_older_is_not_there(tmp_path: Path) -> None:
    """transformers 5 saves the image processor inside `processor_config.json`."""
    newer = tmp_path / "processor_config.json"
    size = {"shortest_edge": 784, "longest_edge": 50176}
    part = {"patch_size": 14, "merge_size": 2, "size": size}
    newer.write_text(json.dumps({"image_processor": part}))
    assert families.folder_geometry(tmp_path) == Geometry(28, 784, 50176)
    newer.write_text(json.dumps({"image_processor": [part]}))
    assert families.folder_geometry(tmp_path) is None
    newer.write_text(json.dumps({"image_processor": part}))
    (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 16, "merge_size": 2}')
    assert families.folder_geometry(tmp_path) == families.QWEN3_VL

"""Picture sizes of a model's image processor, from the model's files or its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.core.frames import Geometry, Tiles
from server.models.families import NONE, known
from server.models.weights import ModelFolderError, read_json


def from_model_type(model_type: object) -> Geometry | None:
    return (known(model_type) or NONE).geometry


QWEN2_VL, QWEN3_VL = (
    one for kind in ("qwen2_vl", "qwen3_vl") if (one := from_model_type(kind)) is not None
)
# Of models of no known family
DEFAULT = QWEN2_VL


def from_factor(factor: int) -> Geometry:
    """Return the geometry for a configured factor."""
    return next((known for known in (QWEN2_VL, QWEN3_VL) if known.factor == factor), None) or (
        Geometry(factor, factor * factor, DEFAULT.max_pixels)
    )


def model_type(folder: Path) -> str | None:
    """Read `model_type` from a folder's `config.json`; None without one."""
    found = _read(folder / "config.json").get("model_type")
    return found if isinstance(found, str) else None


def from_folder(folder: Path, *, filled: bool = False) -> Geometry | None:
    """Read the geometry from the processor's file and `config.json`; None when they do not give it.

    The processor's file is `preprocessor_config.json`, or a part of `processor_config.json` since
    transformers 5. `filled`: the caller limits the scaling to the squares that a picture fills (see
    `Tiles`).
    """
    processor, whole = (
        _read(folder / "preprocessor_config.json"),
        _read(folder / "processor_config.json"),
    )
    processor = processor or _part(whole, "image_processor")
    config = _read(folder / "config.json")
    if (tiles := _tiles(processor, whole, config, filled)) is not None:
        return replace(DEFAULT, tiles=tiles)
    base = from_model_type(config.get("model_type"))
    vision = _part(config, "vision_config")
    patch = _whole(processor.get("patch_size")) or _whole(vision.get("patch_size"))
    merge = _whole(processor.get("merge_size")) or _whole(vision.get("spatial_merge_size"))
    factor = patch * merge if patch and merge else None
    if factor is None:
        return base
    base = base if base is not None and base.factor == factor else from_factor(factor)
    # Newer files name the pixel limits size.shortest_edge and size.longest_edge. One without the
    # other is a side's length of another kind of processor.
    size = _part(processor, "size")
    size = size if {"shortest_edge", "longest_edge"} <= size.keys() else {}
    least = _whole(processor.get("min_pixels")) or _whole(size.get("shortest_edge"))
    most = _whole(processor.get("max_pixels")) or _whole(size.get("longest_edge"))
    least = max(least or base.min_pixels, factor * factor)
    most = most or base.max_pixels
    return Geometry(factor, least, most) if least <= most else base


def _tiles(
    processor: Mapping[str, Any], whole: Mapping[str, Any], config: Mapping[str, Any], filled: bool
) -> Tiles | None:
    """Return the tiling of a processor that splits pictures; None for others."""
    if not processor.get("do_image_splitting"):
        return None
    side = _whole(_part(processor, "max_image_size").get("longest_edge"))
    longest = _whole(_part(processor, "size").get("longest_edge"))
    tokens = _whole(whole.get("image_seq_len")) or _square_tokens(config)
    return Tiles(side, tokens, longest, filled) if side and longest and tokens else None


def _square_tokens(config: Mapping[str, Any]) -> int:
    """Return the visual tokens of one square: its patches, merged by the connector.

    0 when the config does not say.
    """
    vision = _part(config, "vision_config")
    side, patch = _whole(vision.get("image_size")), _whole(vision.get("patch_size"))
    scale = _whole(config.get("scale_factor"))
    return (side // patch // scale) ** 2 if side and patch and scale else 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_json(path)
    except ModelFolderError:
        return {}


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = whole.get(name)
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None

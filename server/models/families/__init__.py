"""Model families as data: one TOML file each in this folder, found by config.json's `model_type` or by
the model's name; and the geometry according to a model's own files. Pure.

A file has `title`, `names` ("qwen 2.5 vl" also matches "Qwen2.5-VL", "qwen2_5_vl" and "qwen25vl", but not if a letter
or digit directly precedes or follows), `not_with` (words in a name that exclude the family), `[types]` (each
`model_type` with the minimum versions of the libraries that run it; "" if unknown), `abilities`, `boxes` (a `BoxUnit`:
the format in which boxes are requested and parsed; if absent, no boxes are requested), `geometry` (`patch` times
`merge` is the side of a token in pixels; `tokens` if every picture has that many), `paired_frames`,
`thinking_off` (fields that switch thinking off), `thinks_with` (words in names of models that always think),
`opens_thoughts` (the prompt of a model that thinks ends with the opening mark of the thoughts), `silent_with` (words in
names of models that do not speak), `tool_parser` (vLLM's parser for its tool calls; if absent, the model is offered no
tools), `licence`, `sources`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from server.core.frames import BoxUnit, Geometry, Tiles
from server.models.files import get_object, read_json_or_empty

# Kinds of models, and the libraries that run them. Standard library only: a dry run needs no package.


class ModelType(StrEnum):
    """The purpose of a model."""

    # Answers questions about pictures
    VISION = "vision"
    # Answers questions about pictures, and accepts or generates sound
    OMNI = "omni"
    # Text to speech
    SPEECH = "speech"
    # Text to sound or music
    AUDIO = "audio"
    # Text to video; some models also picture to video
    VIDEO = "video"


class Ability(StrEnum):
    """An ability of a model."""

    IMAGES = "images"
    VIDEO_IN = "video_in"
    AUDIO_IN = "audio_in"
    SPEECH_OUT = "speech_out"
    # Locates objects with boxes in the unit `Model.boxes`
    GROUNDING = "grounding"
    TEXT_TO_SPEECH = "text_to_speech"
    TEXT_TO_AUDIO = "text_to_audio"
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"


class Library(StrEnum):
    """The library that loads the weights."""

    TRANSFORMERS = "transformers"
    DIFFUSERS = "diffusers"
    # A separate server, with one file of weights (GGUF) and one file for pictures
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, slots=True)
class Family:
    model_type: ModelType
    abilities: frozenset[Ability]
    boxes: BoxUnit | None = None
    # As `Model.needs`
    needs: Mapping[str, str] = field(default_factory=dict)
    library: Library = Library.TRANSFORMERS
    title: str = ""
    # None: it differs between the models of the family, or is unknown
    geometry: Geometry | None = None
    # Patches are two frames deep, so that two frames of a video cost as much as one picture
    paired_frames: bool = False
    # Request fields that switch thinking off; {} if there is no switch
    thinking_off: Mapping[str, Any] = field(default_factory=dict)
    opens_thoughts: bool = False
    # Has recurrent layers, whose state llama.cpp saves only at the end of a message
    recurrent: bool = False
    # vLLM's name for its tool call parser; "": no reliable tool calls, or unknown
    tool_parser: str = ""
    names: tuple[str, ...] = ()
    not_with: frozenset[str] = frozenset()
    silent_with: frozenset[str] = frozenset()
    thinks_with: frozenset[str] = frozenset()
    # True if the model's name says so
    always_thinks: bool = False

    @property
    def answers(self) -> bool:
        return Ability.IMAGES in self.abilities


# The family of an unknown model
NONE = Family(ModelType.VISION, frozenset())


def read(text: str) -> dict[str, Family]:
    """Return the families that a file defines: under each `model_type`, and under "" for its names.

    Raises ValueError, TypeError or KeyError for an invalid file (at import).
    """
    data = tomllib.loads(text)
    if not data.pop("licence") or not data.pop("sources"):
        raise ValueError("a family needs its licence and its sources")
    abilities = frozenset(Ability(name) for name in data.pop("abilities"))
    kind = _KINDS[min(abilities, key=list(_KINDS).index)]
    if (boxes := data.pop("boxes", None)) is not None:
        boxes = BoxUnit(boxes)
        abilities |= {Ability.GROUNDING}
    types = data.pop("types")
    sizes = _make_geometry(**data.pop("geometry")) if "geometry" in data else None
    data["names"] = tuple(data.get("names", ()))
    for name in ("not_with", "silent_with", "thinks_with"):
        data[name] = frozenset(data.get(name, ()))
    family = Family(kind, abilities, boxes, geometry=sizes, **data)
    return {"": family} | {name: replace(family, needs=needs) for name, needs in types.items()}


# Kind of a family, determined by the first of these abilities that it has
_KINDS = {
    Ability.SPEECH_OUT: ModelType.OMNI,
    Ability.AUDIO_IN: ModelType.OMNI,
    Ability.VIDEO_IN: ModelType.VISION,
    Ability.IMAGES: ModelType.VISION,
    Ability.TEXT_TO_SPEECH: ModelType.SPEECH,
    Ability.TEXT_TO_AUDIO: ModelType.AUDIO,
}


def _make_geometry(
    patch: int, merge: int, min_pixels: int, max_pixels: int, tokens: int | None = None
) -> Geometry:
    found = Geometry(patch * merge, min_pixels, max_pixels, tokens=tokens)
    if not found.factor**2 <= found.min_pixels <= found.max_pixels:
        raise ValueError("a geometry needs (patch * merge)² <= min_pixels <= max_pixels")
    return found


_HERE = Path(__file__).parent
_FILES = [read(path.read_text("utf-8")) for path in sorted(_HERE.glob("[a-z]*.toml"))]
# By `model_type`
FAMILIES = {name: family for file in _FILES for name, family in file.items() if name}
# Longer names first, so that "gemma 3n" does not match "gemma 3"
_NAMED = sorted(
    ((name, file[""]) for file in _FILES for name in file[""].names), key=lambda one: -len(one[0])
)
# Words in names of unknown models that accept pictures, or do not chat
_WORDS = tomllib.loads((_HERE / "_words.toml").read_text("utf-8"))


def _make_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of alternatives, each in its own group."""
    found = []
    for name in names:
        parts = [re.escape(part).replace(r"\.", "[._]?") for part in name.split()]
        after = r"(?![a-z0-9]|\.\d)" if name[-1].isdigit() else "(?![a-z])"
        found.append(f"({'[-_ ]?'.join(parts)}{after})")
    return re.compile(f"(?<![a-z])(?:{'|'.join(found)})", re.I)


_NAMES = _make_pattern(name for name, _ in _NAMED)
_PICTURES, _NO_CHAT = _make_pattern(_WORDS["pictures"]), _make_pattern(_WORDS["no_chat"])


def find_family(model_type: object, *names: str) -> Family | None:
    """Return the family of a model according to its `model_type`, else its names; None if unknown.

    Words in the names determine whether the model always thinks, and whether it speaks.
    """
    kind = model_type if isinstance(model_type, str) else None
    if kind is not None:
        found = FAMILIES.get(kind.removesuffix("_thinker"))
    else:
        found = next((one for one in map(_find_by_name, names) if one is not None), None)
    if found is None:
        return None
    words = {word for name in (kind or "", *names) for word in _split_words(name)}
    silent = {Ability.SPEECH_OUT} if words & found.silent_with else set()
    always = bool(words & found.thinks_with)
    return replace(found, abilities=found.abilities - silent, always_thinks=always)


@lru_cache(maxsize=1024)
def _find_by_name(name: str) -> Family | None:
    found = _NAMES.search(_get_last_component(name))
    family = _NAMED[found.lastindex - 1][1] if found is not None and found.lastindex else None
    return None if family is None or _split_words(name) & family.not_with else family


def _split_words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]", _get_last_component(name).lower()))


def accepts_pictures(name: str) -> bool | None:
    """Return whether a model accepts pictures, according to its name; None if unknown."""
    if _NO_CHAT.search(name):
        return False
    family = _find_by_name(name)
    named = family.answers if family else _PICTURES.search(_get_last_component(name))
    return True if named else None


def get_family(model_type: object) -> Family:
    """Return the family of a `model_type`; NONE if unknown."""
    return find_family(model_type) or NONE


def _get_last_component(name: str) -> str:
    """Return the last component of a path or of a repository's name."""
    return name.rstrip("/").rpartition("/")[2]


QWEN2_VL, QWEN3_VL = (
    one for kind in ("qwen2_vl", "qwen3_vl") if (one := get_family(kind).geometry) is not None
)
# The geometry of unknown models
DEFAULT_GEOMETRY = QWEN2_VL


def make_factor_geometry(factor: int) -> Geometry:
    """Return the geometry for a configured factor (pixels)."""
    return next((known for known in (QWEN2_VL, QWEN3_VL) if known.factor == factor), None) or (
        Geometry(factor, factor * factor, DEFAULT_GEOMETRY.max_pixels)
    )


def read_folder_type(folder: Path) -> str | None:
    """Return the `model_type` in a folder's `config.json`, or None if there is none."""
    found = read_json_or_empty(folder / "config.json").get("model_type")
    return found if isinstance(found, str) else None


def read_folder_geometry(folder: Path, *, filled: bool = False) -> Geometry | None:
    """Return the geometry from the processor's file and `config.json`; None if they have none.

    The processor's file is `preprocessor_config.json`, or a part of `processor_config.json` since
    transformers 5. `filled`: see `Tiles`.
    """
    whole = read_json_or_empty(folder / "processor_config.json")
    processor = read_json_or_empty(folder / "preprocessor_config.json")
    processor = processor or get_object(whole, "image_processor")
    config = read_json_or_empty(folder / "config.json")
    if (tiles := _parse_tiles(processor, whole, config, filled)) is not None:
        return replace(DEFAULT_GEOMETRY, tiles=tiles)
    base = get_family(config.get("model_type")).geometry
    vision = get_object(config, "vision_config")
    patch = _find_size(processor.get("patch_size"), vision.get("patch_size"))
    merge = _find_size(processor.get("merge_size"), vision.get("spatial_merge_size"))
    factor = patch * merge if patch and merge else None
    if factor is None:
        return base
    base = base if base is not None and base.factor == factor else make_factor_geometry(factor)
    # Newer files store the pixel limits as size.shortest_edge and size.longest_edge. A file with only one
    # of them belongs to another kind of processor, and the value is a side length.
    size = get_object(processor, "size")
    size = size if {"shortest_edge", "longest_edge"} <= size.keys() else {}
    least = _find_size(processor.get("min_pixels"), size.get("shortest_edge"))
    most = _find_size(processor.get("max_pixels"), size.get("longest_edge"))
    least = max(least or base.min_pixels, factor * factor)
    most = most or base.max_pixels
    return Geometry(factor, least, most) if least <= most else base


def _parse_tiles(
    processor: Mapping[str, Any], whole: Mapping[str, Any], config: Mapping[str, Any], filled: bool
) -> Tiles | None:
    """Return the tiling if the processor splits pictures into tiles, else None."""
    if not processor.get("do_image_splitting"):
        return None
    side = _find_size(get_object(processor, "max_image_size").get("longest_edge"))
    longest = _find_size(get_object(processor, "size").get("longest_edge"))
    tokens = _find_size(whole.get("image_seq_len")) or _count_square_tokens(config)
    return Tiles(side, tokens, longest, filled) if side and longest and tokens else None


def _count_square_tokens(config: Mapping[str, Any]) -> int:
    """Return the visual tokens of one square (patches merged by the connector); 0 if unknown."""
    vision = get_object(config, "vision_config")
    side, patch = _find_size(vision.get("image_size")), _find_size(vision.get("patch_size"))
    scale = _find_size(config.get("scale_factor"))
    return (side // patch // scale) ** 2 if side and patch and scale else 0


def _find_size(*values: object) -> int | None:
    """Return the first positive integer."""
    return next((value for value in values if type(value) is int and value > 0), None)

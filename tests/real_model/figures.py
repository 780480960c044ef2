"""Print transformers' own figures of pictures and model sizes.

`python -m tests.real_model.figures` takes some seconds.

Runs in the models' environment. One JSON object goes to standard output: how many tokens each true
image processor makes of pictures, and how many numbers each kind of model has and keeps of a token
at its published sizes. No weights are made: the models are built on torch's meta device.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto import modeling_auto
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

# As the hub has them, where they differ from the classes' own.
PROCESSORS: dict[str, Any] = {
    "qwen2_5_vl": Qwen2VLImageProcessorPil(min_pixels=3_136, max_pixels=12_845_056),
    "qwen3_vl": Qwen2VLImageProcessorPil(
        patch_size=16, size={"shortest_edge": 65_536, "longest_edge": 16_777_216}
    ),
    "glm4v": Glm4vImageProcessorPil(),
    "smolvlm": SmolVLMImageProcessorPil(
        size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}
    ),
    "idefics3": Idefics3ImageProcessorPil(),
}
# Of one tile: what the connectors leave of its patches (SmolVLM2: 512 / 16 / 4; Idefics3: 364 / 14
# / 2).
TILE_TOKENS = {"smolvlm": 64, "idefics3": 169}


def tokens(name: str, width: int, height: int, longest: int | None = None) -> list[int]:
    """Visual tokens of a picture, and the size that they are of; none of one cut into tiles."""
    options = {} if longest is None else {"size": {"longest_edge": longest}}
    made = PROCESSORS[name](
        Image.new("RGB", (width, height), (90, 120, 30)), return_tensors="pt", **options
    )
    if name in TILE_TOKENS:
        return [made["pixel_values"].shape[1] * TILE_TOKENS[name], 0, 0]
    _, high, wide = made["image_grid_thw"][0].tolist()
    images = PROCESSORS[name]
    return [high * wide // images.merge_size**2, wide * images.patch_size, high * images.patch_size]


def saved(name: str) -> dict[str, Any]:
    """The processor's file as it is saved."""
    with tempfile.TemporaryDirectory() as folder:
        PROCESSORS[name].save_pretrained(folder)
        found: dict[str, Any] = json.loads((Path(folder) / "preprocessor_config.json").read_text())
    return found


def numbers(config: dict[str, Any]) -> dict[str, Any]:
    """A model of that configuration: its weights by name and shape, each once."""
    made: Any = AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(made, dtype=torch.bfloat16)
    shapes = {name: list(value.shape) for name, value in model.named_parameters()}
    return {
        "parameters": sum(value.numel() for value in model.parameters()),
        "shapes": {name: shape for name, shape in shapes.items() if "_proj.weight" in name},
        "config": made.to_dict(),
    }


def classes() -> dict[str, list[str]]:
    """Names of classes that answer about pictures, and of some that do not."""

    def flat(mapping: Any) -> list[str]:
        found = (one if isinstance(one, tuple) else (one,) for one in mapping.values())
        return sorted({name for names in found for name in names})

    return {
        "answer": flat(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
        "other": flat(modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES)
        + flat(modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
    }


def main() -> None:
    asked = json.load(sys.stdin)
    # Libraries say what they like on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        told = {
            "tokens": [tokens(*one) for one in asked["pictures"]],
            "processors": {name: saved(name) for name in PROCESSORS},
            "models": {name: numbers(config) for name, config in asked["models"].items()},
            "classes": classes(),
        }
    print(json.dumps(told, default=str))


if __name__ == "__main__":
    main()

"""A folder with a model's weights as safetensors shards: configuration, index, required tensors; and the supported
quantised formats. Does not need torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.models.disk import ModelError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# The model_type in config.json of models whose text layers have the names below
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# The linear layers of the text model, which hold nearly all weights. In checkpoints of transformers
# before 4.52 they begin with "model.layers.", later with "model.language_model.layers.".
TEXT_LAYER = re.compile(
    r"model\.(?:language_model\.)?layers\.(?P<layer>\d+)\."
    r"(?P<part>self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    folder: Path
    config: dict[str, Any]
    # The shard of each tensor, from the index; None for a single file without an index
    index: dict[str, str] | None
    shards: tuple[str, ...]

    @property
    def text(self) -> dict[str, Any]:
        """The text model's settings, which older checkpoints have at the top level."""
        own = self.config.get("text_config")
        return {**self.config, **(own if isinstance(own, dict) else {})}

    @property
    def quantization(self) -> dict[str, Any] | None:
        found = self.config.get("quantization_config")
        return found if isinstance(found, dict) else None

    def get_size(self) -> int:
        """Return the bytes of the existing shards."""
        paths = (self.folder / name for name in self.shards)
        return sum(path.stat().st_size for path in paths if path.is_file())


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"There is no {path.name} in {path.parent}: {what}. Check that this is a model's folder, and that its download is complete."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise ModelError(f"{path} is damaged: it is not JSON. Download it again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it is not a JSON object. Download it again.")
    return content


def read(folder: Path) -> Checkpoint:
    """Read a model's folder. Raises ModelError. Shards named in the index may be missing: see `verify`."""
    if not folder.is_dir():
        raise ModelError(
            f"There is no folder {folder} with a model. bash scripts/download_model.sh fetches one to MODEL_PATH."
        )
    config = _read_json(folder / "config.json", "a model has one")
    if (folder / INDEX).is_file():
        index = _read_json(folder / INDEX, "it names the shards").get("weight_map")
        if (
            not isinstance(index, dict)
            or not index
            or not all(isinstance(shard, str) and "/" not in shard for shard in index.values())
        ):
            raise ModelError(
                f"{folder / INDEX} is damaged: it has no weight_map. Download it again."
            )
        return Checkpoint(folder, config, index, tuple(sorted(set(index.values()))))
    if (folder / SINGLE).is_file():
        return Checkpoint(folder, config, None, (SINGLE,))
    raise ModelError(
        f"There are no weights in {folder}: neither {INDEX} nor {SINGLE}. Only safetensors are read;"
        " bash scripts/download_model.sh fetches a model."
    )


def require_known(model: Checkpoint) -> None:
    """Raise ModelError for a kind of model with unknown layers."""
    kind = model.config.get("model_type")
    if kind not in FAMILIES:
        raise ModelError(
            f"{model.folder / 'config.json'} has the unknown model_type {kind!r}. Known: {', '.join(FAMILIES)}."
        )


def get_text_shapes(model: Checkpoint) -> dict[str, tuple[int, int]]:
    """Return the rows and columns of a layer's linear weights, according to config.json. Raises ModelError."""
    hidden, heads = get_text_size(model, "hidden_size"), get_text_size(model, "num_attention_heads")
    inner = get_text_size(model, "intermediate_size")
    text = model.text
    pairs = (
        get_text_size(model, "num_key_value_heads") if text.get("num_key_value_heads") else heads
    )
    head = get_text_size(model, "head_dim") if text.get("head_dim") else hidden // heads
    return {
        "self_attn.q_proj": (heads * head, hidden),
        "self_attn.k_proj": (pairs * head, hidden),
        "self_attn.v_proj": (pairs * head, hidden),
        "self_attn.o_proj": (hidden, heads * head),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def get_text_size(model: Checkpoint, name: str) -> int:
    """Return a size of the text model from config.json. Raises ModelError."""
    found = model.text.get(name)
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return found
    raise ModelError(
        f"{model.folder / 'config.json'} does not contain the sizes of the text model ({name} is {json.dumps(found)[:40]})."
        " Download it again."
    )


# The supported quantised formats


@dataclass(frozen=True, slots=True)
class QuantizedFormat:
    """A quantised format that vLLM loads. The new folder's name ends with `name`."""

    name: str
    preset: str
    # Name of the format in compressed-tensors and vLLM
    format: str
    bits: int
    # Columns that share a scale; None if each row has one
    group: int | None
    # Dtypes of the stored weight in a safetensors header
    stored: str


# vLLM 0.32.0 loads them as CompressedTensorsW8A8Fp8, CompressedTensorsW8A8Int8 and
# CompressedTensorsWNA16.
FORMS = {
    "fp8": QuantizedFormat("fp8", "FP8_DYNAMIC", "float-quantized", 8, None, "F8_E4M3"),
    "int8": QuantizedFormat("w8a8", "W8A8", "int-quantized", 8, None, "I8"),
    "int4": QuantizedFormat("w4a16", "W4A16", "pack-quantized", 4, 128, "I32"),
}

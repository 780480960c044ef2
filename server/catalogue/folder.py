"""A model read from its own folder: what it is and can do, how large, and whether all of it is there."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.catalogue import families, geometry
from server.catalogue.entry import ID, Model
from server.catalogue.families import Family

CONFIG = "config.json"
PIPELINE = "model_index.json"
# Written beside the files by scripts/download_model.sh.
RECORD = "model-files.json"
MAX_JSON_BYTES = 32 * 1024 * 1024
# A safetensors header has at most so many bytes by its format.
MAX_HEADER_BYTES = 100_000_000
MAX_FOLDERS = 200
# Beside weights and context: one picture's activations, the library itself
OVERHEAD_BYTES = 800_000_000
# Of a pipeline that makes videos: activations of a short one at 480p
MAKING_BYTES = 6_000_000_000
CONTEXT = 8192
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_DTYPE_BYTES = {
    "F64": 8,
    "I64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "BOOL": 1,
}
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_AGAIN = "Download it again: bash scripts/download_model.sh"


class ModelFolderError(Exception):
    """The folder holds no model that can be used; `message` says what was found and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class _Weights:
    size: int
    # None where they are packed
    parameters: int | None
    # As the library calls it; "" unknown
    dtype: str


def read_model(folder: Path) -> Model:
    """Reads configuration and headers, no weights. Raises ModelFolderError."""
    folder = Path(os.path.abspath(folder))
    try:
        there = folder.is_dir()
        if there:
            with os.scandir(folder) as entries:
                next(entries, None)
    except OSError as error:
        raise ModelFolderError(
            f"The folder {folder} cannot be read ({error.strerror}). Give this user access to it."
        ) from None
    if not there:
        raise ModelFolderError(
            f"There is no folder {folder} with a model. bash scripts/download_model.sh fetches one."
        )
    if (folder / PIPELINE).exists():
        return _pipeline(folder)
    return _transformers(folder)


def find_models(roots: Iterable[Path]) -> tuple[list[Model], list[str]]:
    """The models in `roots`, which are models' folders or hold such, one or two levels deep; and what is wrong with others.

    A root that is not there is no model and no error. Of two with one id the first counts.
    """
    found: dict[str, Model] = {}
    troubles: list[str] = []
    for folder in _candidates(roots):
        try:
            model = read_model(folder)
        except ModelFolderError as error:
            troubles.append(error.message)
            continue
        found.setdefault(model.id.lower(), model)
    return list(found.values()), troubles


def _candidates(roots: Iterable[Path]) -> list[Path]:
    folders: list[Path] = []
    level = list(roots)
    # A model's own parts are no models of their own.
    for _ in range(3):
        folders += [path for path in level if _is_model(path) and path not in folders]
        if len(folders) >= MAX_FOLDERS:
            break
        level = [child for path in level if path not in folders for child in _children(path)]
    return folders[:MAX_FOLDERS]


def _children(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())[:MAX_FOLDERS]
    except OSError:
        # Not there, or not ours to read: no model of ours.
        return []


def _is_model(path: Path) -> bool:
    try:
        return (path / CONFIG).is_file() or (path / PIPELINE).is_file()
    except OSError:
        return False


# Kinds of folders


def _transformers(folder: Path) -> Model:
    config = _json(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", kind):
        raise ModelFolderError(
            f"{folder / CONFIG} names no model_type, so it is not known what this model is. {_AGAIN}"
        )
    family = families.of_config(config)
    if family is None:
        raise ModelFolderError(
            f"{folder / CONFIG} says model_type {kind}: a model without eyes, since there is no vision_config. Take one that"
            " answers about pictures, or one that makes video or sound."
        )
    weights = _weights(folder)
    sizes = _text_sizes(config)
    context = _whole(sizes.get("max_position_embeddings"))
    return _model(
        folder,
        family,
        architecture=kind,
        geometry=geometry.from_folder(folder),
        parameters=weights.parameters,
        weights_bytes=weights.size,
        memory_bytes=weights.size
        + _cache_bytes(sizes, min(context or CONTEXT, CONTEXT))
        + OVERHEAD_BYTES,
        estimates=frozenset({"memory_bytes"}),
        context_length=context,
        dtype=_dtype(config, weights),
        quantization=_quantization(config),
        remote_code=_remote_code(folder, kind),
    )


def _pipeline(folder: Path) -> Model:
    index = _json(folder / PIPELINE)
    name = index.get("_class_name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name):
        raise ModelFolderError(
            f"{folder / PIPELINE} names no _class_name, so it is not known what this model is. {_AGAIN}"
        )
    transformer = folder / "transformer" / CONFIG
    family = families.of_pipeline(index, _json(transformer) if transformer.is_file() else {})
    if family is None:
        raise ModelFolderError(
            f"{folder / PIPELINE} says {name}: a pipeline that makes neither video nor sound. Take one that does."
        )
    parts = [
        folder / part
        for part, what in index.items()
        if isinstance(what, list) and len(what) == 2 and what[0] and "/" not in part
    ]
    size = loaded = 0
    for part in parts:
        if not part.is_dir():
            raise ModelFolderError(f"{folder} lacks {part.name}, which {PIPELINE} names. {_AGAIN}")
        if (part / CONFIG).is_file() and _has_weights(part):
            weights = _weights(part)
            size += weights.size
            # Two bytes each, however they are stored.
            loaded += min(weights.size, 2 * (weights.parameters or weights.size))
    return _model(
        folder,
        family,
        architecture=name,
        weights_bytes=size,
        memory_bytes=loaded + MAKING_BYTES,
        estimates=frozenset({"memory_bytes"}),
    )


def _model(folder: Path, family: Family, **fields: Any) -> Model:
    return Model(
        id=_id(folder),
        model_type=family.model_type,
        library=family.library,
        abilities=family.abilities,
        boxes=family.boxes,
        needs=dict(family.needs),
        folder=folder,
        **fields,
    )


# Their parts


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelFolderError(f"{path} is damaged: no such file is that large. {_AGAIN}")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"There is no {path.name} in {path.parent}. Is this a model's folder, and downloaded to the end?"
        ) from None
    except OSError as error:
        raise ModelFolderError(
            f"{path} cannot be read ({error.strerror}). Give this user access to it."
        ) from None
    except (ValueError, RecursionError):
        raise ModelFolderError(f"{path} is damaged: it is not JSON. {_AGAIN}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is damaged: it is no JSON object. {_AGAIN}")
    return content


def _has_weights(folder: Path) -> bool:
    return any(
        (folder / name).exists() or (folder / f"{name}.index.json").exists() for name in _WEIGHTS
    )


def _weights(folder: Path) -> _Weights:
    """Of all shards together. Raises ModelFolderError where one is missing or cut short."""
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = _shards(index)
        elif (folder / name).exists():
            shards = [name]
        else:
            continue
        lost = [shard for shard in shards if not (folder / shard).is_file()]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise ModelFolderError(
                f"{folder} lacks {', '.join(lost[:5])}{more} of {len(shards)} files with weights."
                " bash scripts/download_model.sh fetches what is missing."
            )
        return _summed([_header(folder / shard) for shard in shards])
    raise ModelFolderError(
        f"There are no weights in {folder}: neither {_WEIGHTS[0]} nor an index of its parts. Only safetensors are read, since"
        " other formats run code when they are loaded."
    )


def _shards(index: Path) -> list[str]:
    names = _json(index).get("weight_map")
    if (
        not isinstance(names, dict)
        or not names
        or not all(isinstance(name, str) and "/" not in name for name in names.values())
    ):
        raise ModelFolderError(f"{index} is damaged: it has no weight_map. {_AGAIN}")
    return sorted(set(names.values()))


def _header(path: Path) -> tuple[int, dict[str, int]]:
    """A file's size, and the elements of each number format. The format: github.com/huggingface/safetensors."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError
            header = json.loads(file.read(length))
        elements: dict[str, int] = {}
        end = 0
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            kind, shape = str(tensor["dtype"]), tensor["shape"]
            elements[kind] = elements.get(kind, 0) + math.prod(int(side) for side in shape)
            end = max(end, int(tensor["data_offsets"][1]))
    except OSError as error:
        raise ModelFolderError(
            f"{path} cannot be read ({error.strerror}). Give this user access to it."
        ) from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ModelFolderError(
            f"{path} is damaged: its beginning is no safetensors header. {_AGAIN}"
        ) from None
    if size < 8 + length + end:
        raise ModelFolderError(
            f"{path} is cut short: it has {size} bytes of {8 + length + end}. {_AGAIN}"
        )
    return size, elements


def _summed(headers: Iterable[tuple[int, Mapping[str, int]]]) -> _Weights:
    size = 0
    elements: dict[str, int] = {}
    for bytes_, kinds in headers:
        size += bytes_
        for kind, count in kinds.items():
            elements[kind] = elements.get(kind, 0) + count
    heaviest = max(
        elements, key=lambda kind: elements[kind] * _DTYPE_BYTES.get(kind, 1), default=""
    )
    # Packed numbers hold several weights each.
    packed = not elements.keys() <= {"F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2"}
    parameters = None if packed or not elements else sum(elements.values()) or None
    return _Weights(size, parameters, _DTYPE_NAMES.get(heaviest, ""))


def _text_sizes(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sizes of the text model, wherever this kind of config keeps them."""
    outer = config.get("thinker_config")
    outer = outer if isinstance(outer, dict) else config
    inner = outer.get("text_config")
    return {**outer, **(inner if isinstance(inner, dict) else {})}


def _cache_bytes(sizes: Mapping[str, Any], context: int) -> int:
    """Keys and values of one context, two bytes each."""
    layers, heads = _whole(sizes.get("num_hidden_layers")), _whole(sizes.get("num_attention_heads"))
    hidden = _whole(sizes.get("hidden_size"))
    if not (layers and heads and hidden):
        return 0
    head = _whole(sizes.get("head_dim")) or hidden // heads
    pairs = _whole(sizes.get("num_key_value_heads")) or heads
    return 2 * layers * pairs * head * 2 * context


def _dtype(config: Mapping[str, Any], weights: _Weights) -> str:
    text = config.get("text_config")
    said = config.get("dtype") or config.get("torch_dtype")
    if said is None and isinstance(text, dict):
        said = text.get("dtype") or text.get("torch_dtype")
    known = isinstance(said, str) and re.fullmatch(r"[a-z0-9]{2,12}", said)
    return weights.dtype or (str(said) if known else "bfloat16")


def _quantization(config: Mapping[str, Any]) -> str:
    found = config.get("quantization_config")
    if not isinstance(found, dict):
        return ""
    return str(found.get("quant_method", "unknown"))[:40]


def _remote_code(folder: Path, kind: str) -> bool:
    """Whether it needs code that lies beside it: a class that no library has, in a file that is there."""
    # Processors' files keep their own; the model's own class is ours when its type is known here.
    names = ["processor_config.json", "preprocessor_config.json", "tokenizer_config.json"]
    if kind not in families.FAMILIES:
        names.append(CONFIG)
    for name in names:
        if not (folder / name).is_file():
            continue
        classes = _json(folder / name).get("auto_map")
        values = classes.values() if isinstance(classes, dict) else ()
        for value in values:
            paths = value if isinstance(value, list) else [value]
            for path in paths:
                file = str(path).rpartition("--")[2].partition(".")[0]
                if re.fullmatch(r"\w+", file) and (folder / f"{file}.py").is_file():
                    return True
    return False


def _id(folder: Path) -> str:
    """As the record of its download says, else the folder's name."""
    if (folder / RECORD).is_file():
        source = _json(folder / RECORD).get("source")
        said = source.get("repository") if isinstance(source, dict) else None
        if isinstance(said, str) and re.match(ID, said):
            return said
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")[:96]
    return name or "model"


def _whole(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None

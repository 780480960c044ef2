"""A model read from its own folder: what it is and can do, how large, and whether all of it is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from server.catalogue import families, geometry
from server.catalogue.entry import ID, Model
from server.catalogue.families import Family
from server.catalogue.weights import (
    AGAIN,
    ModelFolderError,
    Weights,
    has_weights,
    read_json,
    read_weights,
)

__all__ = ["ModelFolderError", "find_models", "read_model"]

CONFIG = "config.json"
PIPELINE = "model_index.json"
# Written beside the files by scripts/download_model.sh.
RECORD = "model-files.json"
MAX_FOLDERS = 200
# Beside weights and context: one picture's activations, the library itself
OVERHEAD_BYTES = 800_000_000
# Of a pipeline that makes videos: activations of a short one at 480p
MAKING_BYTES = 6_000_000_000
CONTEXT = 8192


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
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", kind):
        raise ModelFolderError(
            f"{folder / CONFIG} names no model_type, so it is not known what this model is. {AGAIN}"
        )
    family = families.of_config(config)
    if family is None:
        raise ModelFolderError(
            f"{folder / CONFIG} says model_type {kind}: a model without eyes, since there is no vision_config. Take one that"
            " answers about pictures, or one that makes video or sound."
        )
    weights = read_weights(folder)
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
    index = read_json(folder / PIPELINE)
    name = index.get("_class_name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name):
        raise ModelFolderError(
            f"{folder / PIPELINE} names no _class_name, so it is not known what this model is. {AGAIN}"
        )
    transformer = folder / "transformer" / CONFIG
    family = families.of_pipeline(index, read_json(transformer) if transformer.is_file() else {})
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
            raise ModelFolderError(f"{folder} lacks {part.name}, which {PIPELINE} names. {AGAIN}")
        if (part / CONFIG).is_file() and has_weights(part):
            weights = read_weights(part)
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


def _dtype(config: Mapping[str, Any], weights: Weights) -> str:
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
        classes = read_json(folder / name).get("auto_map")
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
        source = read_json(folder / RECORD).get("source")
        said = source.get("repository") if isinstance(source, dict) else None
        if isinstance(said, str) and re.match(ID, said):
            return said
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")[:96]
    return name or "model"


def _whole(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None

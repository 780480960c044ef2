"""A model read from its own folder: what it is and can do, how large, and whether all of it is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.catalogue import families, geometry
from server.catalogue.entry import COMMIT, ID, Model
from server.catalogue.families import Family
from server.catalogue.sizes import CONTEXT, OVERHEAD_BYTES
from server.catalogue.weights import (
    AGAIN,
    LLAMA_CPP,
    ModelFolderError,
    Weights,
    clean,
    read_json,
    read_weights,
    unreadable,
)

__all__ = ["ModelFolderError", "find_models", "read_model"]

CONFIG = "config.json"
PIPELINE = "model_index.json"
# Written beside the files by scripts/download_model.sh.
RECORD = "model-files.json"
ADAPTER = "adapter_config.json"
MAX_FOLDERS = 200
# Layers that keep as much for a long text as for a short one
_STATE = re.compile(r"linear|mamba|recurrent|conv")
# Without one of each no text and no picture gets to the model.
_TOKENIZERS = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tekken.json"),
)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# Of a context or a size that somebody wrote into a config; what is larger is a slip, or "no limit".
_MOST = 10**9
# Of a pipeline that makes videos: activations of a short one at 480p
MAKING_BYTES = 6_000_000_000


def read_model(folder: Path) -> Model:
    """Reads configuration and headers, no weights. Raises ModelFolderError."""
    folder = Path(os.path.abspath(folder))
    try:
        there = folder.is_dir()
        if not there and folder.exists():
            raise ModelFolderError(_a_file(folder))
        if there:
            with os.scandir(folder) as entries:
                next(entries, None)
            if (folder / PIPELINE).exists():
                return _pipeline(folder)
            if not (folder / CONFIG).exists() and (other := _another_kind(folder)):
                raise ModelFolderError(other)
            return _transformers(folder)
    except OSError as error:
        # What is in it may be closed to this user where the folder is not.
        raise unreadable(
            Path(error.filename) if isinstance(error.filename, str) else folder, error
        ) from None
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "its figures"
        raise ModelFolderError(
            f"What the files in {folder} say of the model cannot be ({where}: {wrong['msg']}). {AGAIN}"
        ) from None
    raise ModelFolderError(
        f"There is no folder {folder} with a model. bash scripts/download_model.sh fetches one."
    )


def _a_file(path: Path) -> str:
    """Why a file is no model, and what to do."""
    if path.suffix == ".gguf":
        return f"{path} is a file for llama.cpp. {LLAMA_CPP}"
    return f"{path} is no folder. A model is named by the folder that has its {CONFIG}."


def _another_kind(folder: Path) -> str:
    """What a folder without a configuration is, where that can be told; else empty."""
    names = sorted(path.name for path in folder.iterdir())
    if ADAPTER in names:
        base = read_json(folder / ADAPTER).get("base_model_name_or_path")
        of = f" of {clean(base)}" if isinstance(base, str) and base else ""
        return (
            f"{folder} holds an adapter (LoRA){of}, which is no model by itself. Merge the two (peft: merge_and_unload, then"
            " save_pretrained), or start a vLLM with --enable-lora by hand and choose remote."
        )
    if files := [name for name in names if name.endswith(".gguf")]:
        return f"{folder} holds {clean(files[0])}, a file for llama.cpp. {LLAMA_CPP}"
    if "snapshots" in names:
        kept = sorted(path.name for path in (folder / "snapshots").iterdir() if path.is_dir())
        inside = f": {folder / 'snapshots' / kept[-1]}" if kept else ""
        return f"{folder} is a hub's cache. The model's folder is the one in its snapshots{inside}"
    return ""


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
    # Settings may name one twice.
    level = list(dict.fromkeys(Path(os.path.abspath(root)) for root in roots))
    # A model's own parts are no models of their own.
    for _ in range(3):
        folders += [path for path in level if _is_model(path) and path not in folders]
        if len(folders) >= MAX_FOLDERS:
            break
        below = (child for path in level if path not in folders for child in _children(path))
        level = list(dict.fromkeys(below))
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
    if task := families.other_task(config):
        raise ModelFolderError(
            f"{folder / CONFIG} says {clean(task)}: a model that sees, and was made for something else than answering questions. Take"
            " one for chats about pictures (…ForConditionalGeneration)."
        )
    weights = read_weights(folder)
    _require_parts(folder, family)
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
        + _cache_bytes(sizes, weights.kept, min(context or CONTEXT, CONTEXT))
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
    at_work = (folder / part / CONFIG for part in ("transformer", "unet"))
    sizes = next((read_json(path) for path in at_work if path.is_file()), {})
    family = families.of_pipeline(index, sizes)
    if family is None:
        raise ModelFolderError(
            f"{folder / PIPELINE} says {name}: a pipeline that makes neither video nor sound. Take one that does."
        )
    size = loaded = 0
    for part, what in index.items():
        if not (isinstance(what, list) and len(what) == 2 and what[0]):
            continue
        if not re.fullmatch(r"\w[\w.-]{0,79}", part):
            raise ModelFolderError(
                f"{folder / PIPELINE} names {clean(part)} as a part of the model, which is no folder in it. Do not use this"
                " model."
            )
        place = folder / part
        if not place.is_dir():
            raise ModelFolderError(f"{folder} lacks {part}, which {PIPELINE} names. {AGAIN}")
        if (place / CONFIG).is_file() and not families.weightless(what):
            weights = read_weights(place)
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
    name, commit = _source(folder)
    return Model(
        id=name,
        revision=commit,
        model_type=family.model_type,
        library=family.library,
        abilities=family.abilities,
        boxes=family.boxes,
        needs=dict(family.needs),
        folder=folder,
        **fields,
    )


# Their parts


def _require_parts(folder: Path, family: Family) -> None:
    """What lies beside the weights. Raises ModelFolderError where a file is missing without which nothing can be asked."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelFolderError(
            f"{folder} has no tokenizer ({_TOKENIZERS[0]}), so no text gets to the model. {AGAIN}"
        )
    if family.answers and not any((folder / name).is_file() for name in _PROCESSORS):
        raise ModelFolderError(
            f"{folder} has no image processor ({_PROCESSORS[0]}), so no picture gets to the model. {AGAIN}"
        )


def _text_sizes(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sizes of the text model, wherever this kind of config keeps them."""
    outer = config.get("thinker_config")
    outer = outer if isinstance(outer, dict) else config
    parts = (outer.get(name) for name in ("text_config", "llm_config", "language_config"))
    inner = next((part for part in parts if isinstance(part, dict)), {})
    return {**outer, **inner}


def _cache_bytes(sizes: Mapping[str, Any], kept: int, context: int) -> int:
    """Keys and values of one context, two bytes each. `kept`: numbers a token, by the weights, where the config leaves it out."""
    layers, heads = _whole(sizes.get("num_hidden_layers")), _whole(sizes.get("num_attention_heads"))
    hidden = _whole(sizes.get("hidden_size"))
    head = _whole(sizes.get("head_dim")) or (hidden // heads if hidden and heads else 0)
    pairs = _whole(sizes.get("num_key_value_heads")) or heads
    numbers = 2 * layers * pairs * head if layers and pairs and head else kept
    # Layers that look back a little way only, or keep one state for all.
    kinds = sizes.get("layer_types")
    if not (isinstance(kinds, list) and kinds and all(isinstance(kind, str) for kind in kinds)):
        return 2 * numbers * context
    window = min(_whole(sizes.get("sliding_window")) or context, context)
    tokens = sum(
        window if "sliding" in kind else 0 if _STATE.search(kind) else context for kind in kinds
    )
    return 2 * numbers * tokens // len(kinds)


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
    method = found.get("quant_method")
    return clean(method)[:40] if isinstance(method, str) and method else "unknown"


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


def _source(folder: Path) -> tuple[str, str]:
    """Id and commit as the record of its download says, else the folder's name and none."""
    if (folder / RECORD).is_file():
        source = read_json(folder / RECORD).get("source")
        source = source if isinstance(source, dict) else {}
        name, commit = source.get("repository"), source.get("commit")
        if isinstance(name, str) and re.fullmatch(ID, name):
            known = isinstance(commit, str) and COMMIT.fullmatch(commit)
            return name, str(commit) if known else ""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")[:96]
    return name or "model", ""


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= _MOST else None

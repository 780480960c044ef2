"""Read the kind, abilities and sizes of a model from its folder, and check that its files are complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.features.hosting.catalogue import gguf
from server.features.hosting.catalogue.entry import (
    COMMIT,
    ID,
    Ability,
    Library,
    Model,
    ModelType,
    get_part_names,
)
from server.features.hosting.catalogue.gguf import Gguf
from server.features.hosting.catalogue.sizes import estimate_memory
from server.features.hosting.catalogue.weights import find_context_length, read_weights
from server.models import families
from server.models.families import Family
from server.models.files import (
    AGAIN,
    ModelFolderError,
    clean,
    make_unreadable_error,
    read_json,
)

__all__ = ["ModelFolderError", "find_models", "read_model"]
CONFIG = "config.json"
PIPELINE = "model_index.json"
# Record that scripts/download_model.sh writes beside the files
RECORD = "model-files.json"
GGUF = gguf.SUFFIX
MAX_FOLDERS = 200
# Name of a kind of model
_KIND = r"[A-Za-z0-9_.-]{1,80}"
# `model_type` of config.json by llama.cpp's projector type, otherwise by llama.cpp's architecture of the text model,
# which several families may share
_GGUF_PROJECTORS = {
    "qwen2vl_merger": "qwen2_vl",
    "qwen2.5vl_merger": "qwen2_5_vl",
    "qwen2.5o": "qwen2_5_omni",
    "minicpmv4_6": "minicpmv4_6",
    "resampler": "minicpmv",
    "idefics3": "smolvlm",
    "gemma3": "gemma3",
    "gemma3nv": "gemma3n",
    "gemma4v": "gemma4",
    "gemma4uv": "gemma4_unified",
    "internvl": "internvl",
    "lfm2": "lfm2_vl",
    "llama4": "llama4",
}
_GGUF_TEXTS = {
    "qwen3vl": "qwen3_vl",
    "qwen3vlmoe": "qwen3_vl_moe",
    "qwen35": "qwen3_5",
    "qwen35moe": "qwen3_5_moe",
}
# Bytes for the activations of a video pipeline for a short video at 480p
MAKING_BYTES = 6_000_000_000


def read_model(folder: Path) -> Model:
    """Read the configuration and headers of a model, but not its weights. Blocking. Raises ModelFolderError."""
    folder = Path(os.path.abspath(folder))
    try:
        is_folder = folder.is_dir()
        if not is_folder and gguf.is_gguf(folder):
            return _read_gguf(folder.parent, folder)
        if not is_folder and folder.exists():
            raise ModelFolderError(
                f"{folder} is not a folder. Name the folder that contains the model's {CONFIG}."
            )
        if is_folder:
            with os.scandir(folder) as entries:
                next(entries, None)
            if (folder / PIPELINE).exists():
                return _read_pipeline(folder)
            if gguf.is_gguf(folder):
                return _read_gguf(folder)
            return _read_transformers(folder)
    except OSError as error:
        # The error may be about a file in the folder.
        raise make_unreadable_error(
            Path(error.filename) if isinstance(error.filename, str) else folder, error
        ) from None
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "its figures"
        raise ModelFolderError(
            f"The files in {folder} describe an impossible model ({where}: {wrong['msg']}). {AGAIN}"
        ) from None
    raise ModelFolderError(
        f"There is no folder {folder} with a model. bash scripts/download_model.sh fetches one."
    )


def find_models(roots: Iterable[Path]) -> tuple[list[Model], list[str]]:
    """Return the models in `roots`, and an error for each unusable folder. Blocking.

    A root is a model's folder, or contains models' folders one or two levels below. Missing roots are skipped. If two
    models have the same id, the first is used.
    """
    found: dict[str, Model] = {}
    errors: list[str] = []
    for folder in _find_candidates(roots):
        try:
            model = read_model(folder)
        except ModelFolderError as error:
            errors.append(error.message)
            continue
        found.setdefault(model.id.lower(), model)
    return list(found.values()), errors


def _find_candidates(roots: Iterable[Path]) -> list[Path]:
    folders: list[Path] = []
    # Without duplicates: settings may name a root twice.
    level = list(dict.fromkeys(Path(os.path.abspath(root)) for root in roots))
    # Do not descend into a model: its subfolders are parts of it.
    for _ in range(3):
        folders += [path for path in level if _is_model(path) and path not in folders]
        if len(folders) >= MAX_FOLDERS:
            break
        below = (child for path in level if path not in folders for child in _list_children(path))
        level = list(dict.fromkeys(below))
    return folders[:MAX_FOLDERS]


def _list_children(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())[:MAX_FOLDERS]
    except OSError:
        # Missing or unreadable
        return []


def _is_model(path: Path) -> bool:
    try:
        return (path / CONFIG).is_file() or (path / PIPELINE).is_file() or gguf.is_gguf(path)
    except OSError:
        return False


# Kinds of folders


def _find_family(config: Mapping[str, Any]) -> families.Family | None:
    """Return the family of a transformers config.json; None if the model does not accept pictures."""
    known = families.FAMILIES.get(str(config.get("model_type")))
    if known is not None:
        return known
    inner = config.get("thinker_config")
    inner = inner if isinstance(inner, dict) else config
    if not isinstance(inner.get("vision_config"), dict):
        return None
    abilities = {families.Ability.IMAGES}
    if "video_token_id" in inner or "video_token_index" in inner:
        abilities.add(families.Ability.VIDEO_IN)
    kind = families.ModelType.VISION
    if isinstance(inner.get("audio_config"), dict):
        kind = families.ModelType.OMNI
        abilities.add(families.Ability.AUDIO_IN)
    if isinstance(config.get("talker_config"), dict):
        kind = families.ModelType.OMNI
        abilities.add(families.Ability.SPEECH_OUT)
    # Unknown minimum versions
    return families.Family(kind, frozenset(abilities), needs={"transformers": "", "vllm": ""})


def _read_transformers(folder: Path) -> Model:
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(_KIND, kind):
        raise ModelFolderError(
            f"{folder / CONFIG} has no model_type, so the kind of this model is unknown. {AGAIN}"
        )
    family = _find_family(config)
    if family is None:
        raise ModelFolderError(
            f"{folder / CONFIG} has model_type {kind} and no vision_config, so this model does not accept pictures. Choose one that answers"
            " questions about pictures, or one that generates video or sound."
        )
    weights = read_weights(folder)
    quantised = config.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    quantization = clean(str(method or "unknown"))[:40] if isinstance(quantised, dict) else ""
    return _make_model(
        folder,
        family,
        architecture=kind,
        geometry=families.read_folder_geometry(folder),
        weights_bytes=weights.size,
        memory_bytes=estimate_memory(weights.size),
        context_length=find_context_length(config),
        dtype=weights.dtype or "bfloat16",
        quantization=quantization,
        remote_code=_has_remote_code(folder, kind),
    )


def _read_pipeline(folder: Path) -> Model:
    index = read_json(folder / PIPELINE)
    name = index.get("_class_name")
    if not isinstance(name, str) or not re.fullmatch(_KIND, name):
        raise ModelFolderError(
            f"{folder / PIPELINE} has no _class_name, so the kind of this model is unknown. {AGAIN}"
        )
    at_work = (folder / part / CONFIG for part in ("transformer", "unet"))
    sizes = next((read_json(path) for path in at_work if path.is_file()), {})
    family = _find_pipeline_family(index, sizes)
    if family is None:
        raise ModelFolderError(
            f"{folder / PIPELINE} names the pipeline {name}, which generates neither video nor sound. Choose one that does."
        )
    size = loaded = 0
    for part, what in index.items():
        if not (isinstance(what, list) and len(what) == 2 and what[0]):
            continue
        path = folder / part
        if not path.is_dir():
            raise ModelFolderError(f"{folder} lacks {part}, which {PIPELINE} names. {AGAIN}")
        if (path / CONFIG).is_file() and not _PARTS_WITHOUT_WEIGHTS.search(_get_class_name(what)):
            weights = read_weights(path)
            size += weights.size
            # In memory each number takes two bytes, whatever the stored format.
            loaded += weights.size * 2 // max(2, weights.each)
    return _make_model(
        folder,
        family,
        architecture=name,
        weights_bytes=size,
        memory_bytes=loaded + MAKING_BYTES,
    )


def _read_gguf(folder: Path, named: Path | None = None) -> Model:
    """Read a model for llama.cpp: its file of weights, and its multimodal projector.

    `named`: the file of weights, if a folder contains several. Raises ModelFolderError.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix == GGUF and path.is_file())
    files = {path: gguf.read(path) for path in paths}
    readers = [path for path in paths if files[path].reads_pictures]
    # Files that llama.cpp loads by name: whole weights, or the first of several parts
    weights = [path for path in paths if path not in readers]
    heads = [path for path in weights if get_part_names(path.name)[0] == path.name]
    if named is not None:
        heads = [path for path in heads if path == named]
    wrong = ""
    if not (heads and readers) and any(folder.glob("*.part")):
        wrong = "is incomplete. Continue its download with the same command, or in the engine panel"
    elif not heads:
        wrong = "has a multimodal projector (mmproj) or a later part, but no weights. Put the weights beside it"
    elif len(heads) > 1:
        names = ", ".join(clean(path.name) for path in heads[:3])
        wrong = f"has several models ({names}). Name the file of one, such as {heads[0]}, or give each its own folder"
    elif not readers:
        wrong = (
            f"has {clean(heads[0].name)} without its multimodal projector, so it cannot read pictures. Put the file mmproj-*.gguf"
            " of the same model beside it"
        )
    if wrong:
        raise ModelFolderError(f"{named or folder} {wrong}.")
    head, reader = heads[0], min(readers, key=lambda path: files[path].size)
    return _make_gguf_model(folder, head, files[head], reader, files[reader], named is not None)


def _make_gguf_model(
    folder: Path, head: Path, text: Gguf, reader: Path, pictures: Gguf, by_name: bool
) -> Model:
    kind = _get_kind(text, pictures)
    name, commit = _read_source(folder)
    # If llama.cpp's names do not identify the family, the model's name may.
    family = families.find_family(kind) or families.find_family(
        None, text.get_text("general.name"), name
    )
    size = pictures.size + sum(path.stat().st_size for path in _find_parts(head))
    abilities = {Ability.IMAGES}
    if family is not None and family.boxes is not None:
        abilities.add(Ability.GROUNDING)
    if pictures.fields.get("clip.has_audio_encoder") is True:
        abilities.add(Ability.AUDIO_IN)
    return Model(
        id=_make_id(head.stem) if by_name else name,
        revision=commit,
        model_type=ModelType.OMNI if Ability.AUDIO_IN in abilities else ModelType.VISION,
        library=Library.LLAMA_CPP,
        abilities=frozenset(abilities),
        boxes=family.boxes if family is not None else None,
        needs={Library.LLAMA_CPP.value: ""},
        folder=folder,
        architecture=kind,
        geometry=family.geometry if family is not None else None,
        weights_bytes=size,
        memory_bytes=estimate_memory(size),
        context_length=text.get_integer(f"{text.architecture}.context_length") or None,
        dtype="float16",
        quantization="gguf",
        weights_file=head.name,
        projector_file=reader.name,
    )


def _get_kind(text: Gguf, pictures: Gguf) -> str:
    """Return the `model_type` that config.json has for this model; llama.cpp's architecture if unknown."""
    known = _GGUF_PROJECTORS.get(pictures.projector) or _GGUF_TEXTS.get(text.architecture)
    kind = known or text.architecture
    if not re.fullmatch(_KIND, kind):
        raise ModelFolderError(
            f"The GGUF file has no architecture, so the kind of this model is unknown. {gguf.AGAIN}"
        )
    return kind


def _find_parts(head: Path) -> list[Path]:
    """Return the files with the weights. Raises ModelFolderError if one of them is missing."""
    paths = [head.with_name(name) for name in get_part_names(head.name)]
    lost = next((path for path in paths if not path.is_file()), None)
    if lost is not None:
        raise ModelFolderError(
            f"{head.parent} lacks {clean(lost.name)}, a part of the model. {gguf.AGAIN}"
        )
    return paths


def _make_model(folder: Path, family: Family, **fields: Any) -> Model:
    name, commit = _read_source(folder)
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


# Parts of a folder


def _has_remote_code(folder: Path, kind: str) -> bool:
    """Return True if the model needs Python code from its folder: a configuration names a class in one of its files."""
    # The model class of a known family is in the library; its processors may still need code.
    names = ["processor_config.json", "preprocessor_config.json", "tokenizer_config.json"]
    if kind not in families.FAMILIES:
        names.append(CONFIG)
    for path in (folder / name for name in names):
        classes = read_json(path).get("auto_map") if path.is_file() else None
        for value in classes.values() if isinstance(classes, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                file = str(one).rpartition("--")[2].partition(".")[0]
                if re.fullmatch(r"\w+", file) and (folder / f"{file}.py").is_file():
                    return True
    return False


def _read_source(folder: Path) -> tuple[str, str]:
    """Return the id and commit in the download's record; if there is no record, the folder's name and ""."""
    if (folder / RECORD).is_file():
        source = read_json(folder / RECORD).get("source")
        source = source if isinstance(source, dict) else {}
        name, commit = source.get("repository"), source.get("commit")
        if isinstance(name, str) and re.fullmatch(ID, name):
            known = isinstance(commit, str) and COMMIT.fullmatch(commit)
            return name, str(commit) if known else ""
    return _make_id(folder.name), ""


def _make_id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:96] or "model"


# Substrings in the names of diffusers' autoencoders for video and for sound; `AutoencoderKL` is for pictures.
_VIDEO_VAES = ("Wan", "Video", "LTX", "CogVideo", "Mochi", "Temporal", "Cosmos", "Magvit")
_AUDIO_VAES = ("Oobleck", "Audio", "Music", "SAME")
# Names of components that process several frames
_TEMPORAL_PARTS = re.compile(r"3D|Motion|Temporal")
# Names of components without weights
_PARTS_WITHOUT_WEIGHTS = re.compile(r"Scheduler|Tokenizer|Processor|FeatureExtractor|Guid")


def _find_pipeline_family(
    index: Mapping[str, Any], transformer: Mapping[str, Any]
) -> Family | None:
    """Return the family of a diffusers model_index.json; None if the pipeline generates neither video nor sound.

    `transformer`: config.json of its transformer or unet.
    """
    vae = _get_class_name(index.get("vae"))
    # The file contains the version that wrote it, not the oldest version that has its classes.
    needs = {"diffusers": ""}
    temporal = any(_TEMPORAL_PARTS.search(_get_class_name(part)) for part in index.values())
    video = temporal or any(name in vae for name in _VIDEO_VAES)
    # A vocoder alone indicates sound, but some video pipelines also have a vocoder.
    if any(name in vae for name in _AUDIO_VAES) or (
        _get_class_name(index.get("vocoder")) and not video
    ):
        made = frozenset({Ability.TEXT_TO_AUDIO})
        return Family(ModelType.AUDIO, made, needs=needs, library=Library.DIFFUSERS)
    if not video:
        return None
    # With more input than output channels, the transformer requires a picture in addition to the noise.
    inward, outward = transformer.get("in_channels"), transformer.get("out_channels")
    if isinstance(inward, int) and isinstance(outward, int) and inward > outward:
        abilities = frozenset({Ability.IMAGE_TO_VIDEO})
    elif index.get("expand_timesteps") is True:
        # Wan2.2 TI2V: an optional picture replaces the first frame of the noise.
        abilities = frozenset({Ability.TEXT_TO_VIDEO, Ability.IMAGE_TO_VIDEO})
    else:
        abilities = frozenset({Ability.TEXT_TO_VIDEO})
    return Family(ModelType.VIDEO, abilities, needs=needs, library=Library.DIFFUSERS)


def _get_class_name(component: object) -> str:
    """Return the class name of a component of model_index.json, which is [library, class]; "" for anything else."""
    if isinstance(component, list) and len(component) == 2 and isinstance(component[1], str):
        return component[1]
    return ""

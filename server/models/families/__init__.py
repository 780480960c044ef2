"""Abilities of model families, by the `model_type` of config.json, and for unknown ones by that
file's other fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from server.core.frames import BoxUnit

# Kinds of models, and ways to run them. Standard library only: a dry run needs no package.


class ModelType(StrEnum):
    """The purpose of a model; an operation must match it."""

    # Answers questions about pictures
    VISION = "vision"
    # Answers questions about pictures, and hears or speaks
    OMNI = "omni"
    # Text to speech
    SPEECH = "speech"
    # Text to sound or music
    AUDIO = "audio"
    # Text to video, some also picture to video
    VIDEO = "video"


class RunMode(StrEnum):
    """The way in which a model runs."""

    REMOTE = "remote"
    SUBPROCESS = "subprocess"
    CONTAINER = "container"
    IN_PROCESS = "in_process"


class Ability(StrEnum):
    """An ability of a model."""

    IMAGES = "images"
    VIDEO_IN = "video_in"
    AUDIO_IN = "audio_in"
    SPEECH_OUT = "speech_out"
    # Locates things with boxes in the unit `Model.boxes`
    GROUNDING = "grounding"
    TEXT_TO_SPEECH = "text_to_speech"
    TEXT_TO_AUDIO = "text_to_audio"
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"


class Library(StrEnum):
    """The library that loads the weights."""

    TRANSFORMERS = "transformers"
    DIFFUSERS = "diffusers"
    # Its server is a program of its own: one file of weights (GGUF) and one for pictures
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, slots=True)
class Family:
    model_type: ModelType
    abilities: frozenset[Ability]
    boxes: BoxUnit | None = None
    # As `Model.needs`
    needs: Mapping[str, str] = field(default_factory=dict)
    library: Library = Library.TRANSFORMERS

    @property
    def answers(self) -> bool:
        return Ability.IMAGES in self.abilities


def _family(
    kind: ModelType, *abilities: Ability, boxes: BoxUnit | None = None, **needs: str
) -> Family:
    extra = (Ability.GROUNDING,) if boxes else ()
    return Family(kind, frozenset((*abilities, *extra)), boxes, needs)


_SEES = (Ability.IMAGES, Ability.VIDEO_IN)
_OMNI = (*_SEES, Ability.AUDIO_IN, Ability.SPEECH_OUT)
# Sources: the model cards for the unit of boxes; for versions, the release that introduced the
# class.
FAMILIES: dict[str, Family] = {
    "qwen2_vl": _family(
        ModelType.VISION,
        *_SEES,
        boxes=BoxUnit.THOUSANDTHS,
        transformers="4.45.0",
        vllm="0.6.1",
    ),
    "qwen2_5_vl": _family(
        ModelType.VISION, *_SEES, boxes=BoxUnit.PIXELS, transformers="4.49.0", vllm="0.7.2"
    ),
    "qwen3_vl": _family(
        ModelType.VISION, *_SEES, boxes=BoxUnit.THOUSANDTHS, transformers="4.57.0", vllm="0.11.0"
    ),
    "qwen3_vl_moe": _family(
        ModelType.VISION, *_SEES, boxes=BoxUnit.THOUSANDTHS, transformers="4.57.0", vllm="0.11.0"
    ),
    "qwen2_5_omni": _family(ModelType.OMNI, *_OMNI, transformers="4.52.0", vllm="0.8.5"),
    "qwen3_omni_moe": _family(ModelType.OMNI, *_OMNI, transformers="4.57.0", vllm="0.11.1"),
    "smolvlm": _family(ModelType.VISION, *_SEES, transformers="4.50.0", vllm="0.8.4"),
    "idefics3": _family(ModelType.VISION, Ability.IMAGES, transformers="4.46.0", vllm="0.6.4"),
    # Text to speech, text to sound: those of transformers' AutoModelForTextToWaveform
    "vits": _family(ModelType.SPEECH, Ability.TEXT_TO_SPEECH, transformers="4.33.0"),
    "bark": _family(ModelType.SPEECH, Ability.TEXT_TO_SPEECH, transformers="4.31.0"),
    "csm": _family(ModelType.SPEECH, Ability.TEXT_TO_SPEECH, transformers="4.52.0"),
    "pocket_tts": _family(ModelType.SPEECH, Ability.TEXT_TO_SPEECH, transformers=""),
    "vibevoice": _family(ModelType.SPEECH, Ability.TEXT_TO_SPEECH, transformers=""),
    "musicgen": _family(ModelType.AUDIO, Ability.TEXT_TO_AUDIO, transformers="4.31.0"),
}
# Types of models whose patches are two frames deep
_PAIRED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen2_5_omni", "qwen3_omni_moe")
# Names of models that write boxes, as hubs and servers spell them
_QWEN_NAMES = (
    (re.compile(r"qwen-?2[._]5-?vl", re.I), "qwen2_5_vl"),
    (re.compile(r"qwen-?2-?vl", re.I), "qwen2_vl"),
    (re.compile(r"qwen-?3-?vl", re.I), "qwen3_vl"),
)
# Names of models that hear, as hubs and servers spell them
_OMNI_NAME = re.compile(r"qwen-?(2[._]5|3)-?omni", re.I)
_SILENT_NAME = re.compile(r"omni.*(thinking|thinker|captioner)", re.I)
# Parts of the names of diffusers' autoencoders for video and for sound; plain `AutoencoderKL` is
# for pictures.
_VIDEO_VAES = ("Wan", "Video", "LTX", "CogVideo", "Mochi", "Temporal", "Cosmos", "Magvit")
_AUDIO_VAES = ("Oobleck", "Audio", "Music", "SAME")
# Names of parts that work on several frames
_IN_TIME = re.compile(r"3D|Motion|Temporal")


# Class names of models that return numbers or vectors, not text
_OTHER_TASKS = re.compile(
    r"For\w*(?:Classification|Detection|Segmentation|Retrieval|Embedding|Reward|MaskedLM|PreTraining|Estimation|Matting)\w*$"
)
# Parts of a pipeline without weights
_WEIGHTLESS = re.compile(r"Scheduler|Tokenizer|Processor|FeatureExtractor|Guid")


def pairs_frames(model_type: object, *names: str) -> bool:
    """Find whether a model takes videos whose frames cost as much in pairs as one picture, by its
    `model_type`, and without one by its names.
    """
    if isinstance(model_type, str):
        return model_type.removesuffix("_thinker") in _PAIRED
    return any(pattern.search(_last(name)) for name in names for pattern, _ in _QWEN_NAMES)


def hears(model_type: object, *names: str) -> bool:
    """Find whether a model takes sound, by its `model_type`, and without one by its names."""
    if isinstance(model_type, str):
        known = FAMILIES.get(model_type.removesuffix("_thinker"))
        return known is not None and Ability.AUDIO_IN in known.abilities
    return any(_OMNI_NAME.search(_last(name)) for name in names)


def speaks(model_type: object, *names: str) -> bool:
    """Find whether a model speaks its answers itself, by its `model_type`, and without one by its
    names. Those that only think or caption do not.
    """
    if any(_SILENT_NAME.search(_last(name)) for name in names):
        return False
    if isinstance(model_type, str):
        known = FAMILIES.get(model_type)
        return known is not None and Ability.SPEECH_OUT in known.abilities
    return any(_OMNI_NAME.search(_last(name)) for name in names)


def box_unit(model_type: object, *names: str) -> BoxUnit | None:
    """Return the unit of a model's boxes by its `model_type`, and without one by its names; None:
    it writes none.
    """
    if isinstance(model_type, str):
        known = FAMILIES.get(model_type)
        return known.boxes if known is not None else None
    for name in names:
        for pattern, family in _QWEN_NAMES:
            if pattern.search(_last(name)):
                return FAMILIES[family].boxes
    return None


def other_task(config: Mapping[str, Any]) -> str:
    """Return the class in a transformers config.json if it makes neither text nor sound, else "".

    A class with code of its own may have any name.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is not None and not family.answers:
        return ""
    found = config.get("architectures")
    names = found if isinstance(found, list) and all(isinstance(n, str) for n in found) else []
    if not names or any(_gives_text(name, "auto_map" in config) for name in names):
        return ""
    return str(names[0])


def _gives_text(name: str, own_code: bool) -> bool:
    return not _OTHER_TASKS.search(name) and (own_code or not re.search(r"Model$", name))


def weightless(component: object) -> bool:
    """Return True for a component of model_index.json without weights."""
    return bool(_WEIGHTLESS.search(_class(component)))


def of_config(config: Mapping[str, Any]) -> Family | None:
    """Return the family for a transformers config.json; None for a model without use here."""
    known = FAMILIES.get(str(config.get("model_type")))
    if known is not None:
        return known
    inner = config.get("thinker_config")
    inner = inner if isinstance(inner, dict) else config
    if not isinstance(inner.get("vision_config"), dict):
        return None
    abilities = {Ability.IMAGES}
    if "video_token_id" in inner or "video_token_index" in inner:
        abilities.add(Ability.VIDEO_IN)
    kind = ModelType.VISION
    if isinstance(inner.get("audio_config"), dict):
        kind = ModelType.OMNI
        abilities.add(Ability.AUDIO_IN)
    if isinstance(config.get("talker_config"), dict):
        kind = ModelType.OMNI
        abilities.add(Ability.SPEECH_OUT)
    # Its least versions are unknown.
    return Family(kind, frozenset(abilities), needs={"transformers": "", "vllm": ""})


def of_pipeline(index: Mapping[str, Any], transformer: Mapping[str, Any]) -> Family | None:
    """Return the family for a diffusers model_index.json; None for a pipeline without video and
    sound.

    `transformer`: config.json of its transformer or unet.
    """
    vae = _class(index.get("vae"))
    # The file names the version that wrote it, not the oldest that knows its classes.
    needs = {"diffusers": ""}
    in_time = any(_IN_TIME.search(_class(part)) for part in index.values())
    video = in_time or any(name in vae for name in _VIDEO_VAES)
    # Some video pipelines have a vocoder, too.
    if any(name in vae for name in _AUDIO_VAES) or (_class(index.get("vocoder")) and not video):
        made = frozenset({Ability.TEXT_TO_AUDIO})
        return Family(ModelType.AUDIO, made, needs=needs, library=Library.DIFFUSERS)
    if not video:
        return None
    # A transformer with more input than output channels requires a picture's channels beside the
    # noise.
    inward, outward = transformer.get("in_channels"), transformer.get("out_channels")
    if isinstance(inward, int) and isinstance(outward, int) and inward > outward:
        abilities = frozenset({Ability.IMAGE_TO_VIDEO})
    elif index.get("expand_timesteps") is True:
        # Wan2.2 TI2V: an optional picture is the first frame of the noise.
        abilities = frozenset({Ability.TEXT_TO_VIDEO, Ability.IMAGE_TO_VIDEO})
    else:
        abilities = frozenset({Ability.TEXT_TO_VIDEO})
    return Family(ModelType.VIDEO, abilities, needs=needs, library=Library.DIFFUSERS)


def _last(name: str) -> str:
    """Return the last part of a path or a repository's name."""
    return name.rstrip("/").rpartition("/")[2]


def _class(component: object) -> str:
    """Return the class of a component of model_index.json, [library, class]; "" for anything else."""
    if isinstance(component, list) and len(component) == 2 and isinstance(component[1], str):
        return component[1]
    return ""

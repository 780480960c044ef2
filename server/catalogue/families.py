"""What kinds of models can do, by the `model_type` of their own config.json or, for others, by what that file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.catalogue.entry import Ability, Library, ModelType
from server.core.frames import BoxUnit


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
# The unit of boxes: their model cards. Versions: the release that first had the class.
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
# Autoencoders of diffusers by what comes out of them; `AutoencoderKL` alone makes pictures.
_VIDEO_VAES = ("Wan", "Video", "LTX", "CogVideo", "Mochi", "Temporal", "Cosmos", "Magvit")
_AUDIO_VAES = ("Oobleck", "Audio", "Music", "SAME")
# Of all parts: what works on frames beside each other, whatever makes pictures of them in the end
_IN_TIME = re.compile(r"3D|Motion|Temporal")


# What a model's class is called by when it gives numbers or vectors and no text
_OTHER_TASKS = re.compile(
    r"For\w*(?:Classification|Detection|Segmentation|Retrieval|Embedding|Reward|MaskedLM|PreTraining|Estimation|Matting)\w*$"
)
# Parts of a pipeline that have nothing to load
_WEIGHTLESS = re.compile(r"Scheduler|Tokenizer|Processor|FeatureExtractor|Guid")


def other_task(config: Mapping[str, Any]) -> str:
    """The class that a transformers config.json names, where it gives no text and no sound; empty when it may.

    One of its own code may be called anything.
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
    """Of a component as model_index.json names it: whether it has no weights."""
    return bool(_WEIGHTLESS.search(_class(component)))


def of_config(config: Mapping[str, Any]) -> Family | None:
    """Of a transformers config.json; None for a model that neither sees nor makes what is needed here."""
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
    # Which versions know it is told by nobody.
    return Family(kind, frozenset(abilities), needs={"transformers": "", "vllm": ""})


def of_pipeline(index: Mapping[str, Any], transformer: Mapping[str, Any]) -> Family | None:
    """Of a diffusers model_index.json and its transformer's config.json, or its unet's; None for one that makes neither.

    Neither video nor sound, that is.
    """
    vae = _class(index.get("vae"))
    # The version that wrote it is told, and not which older ones know its classes.
    needs = {"diffusers": ""}
    in_time = any(_IN_TIME.search(_class(part)) for part in index.values())
    video = in_time or any(name in vae for name in _VIDEO_VAES)
    # Some that make videos make waves for them, too.
    if any(name in vae for name in _AUDIO_VAES) or (_class(index.get("vocoder")) and not video):
        made = frozenset({Ability.TEXT_TO_AUDIO})
        return Family(ModelType.AUDIO, made, needs=needs, library=Library.DIFFUSERS)
    if not video:
        return None
    # One whose transformer takes more channels than it gives is given a picture's beside the noise, and needs it.
    inward, outward = transformer.get("in_channels"), transformer.get("out_channels")
    if isinstance(inward, int) and isinstance(outward, int) and inward > outward:
        abilities = frozenset({Ability.IMAGE_TO_VIDEO})
    elif index.get("expand_timesteps") is True:
        # Wan2.2 TI2V: a picture is the first frame of the noise itself.
        abilities = frozenset({Ability.TEXT_TO_VIDEO, Ability.IMAGE_TO_VIDEO})
    else:
        abilities = frozenset({Ability.TEXT_TO_VIDEO})
    return Family(ModelType.VIDEO, abilities, needs=needs, library=Library.DIFFUSERS)


def _class(component: object) -> str:
    """Of a component as model_index.json names it: [library, class]."""
    if isinstance(component, list) and len(component) == 2 and isinstance(component[1], str):
        return component[1]
    return ""

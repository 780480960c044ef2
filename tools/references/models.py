"""The page of the models: the catalogue in models.toml, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from server.features.hosting.catalogue.entry import Ability, Catalogue, Model
from server.features.hosting.catalogue.machine import MachineClass
from tools.references.source import format_code, format_table, join

_INTRO = """# Models

The models that `bash scripts/run.sh --model NAME`, the engine panel and `bash scripts/download_model.sh` know, from
[models.toml](../../server/features/hosting/catalogue/models.toml), which has more of each. Models in no catalogue work
from their folders. [docs/models.md](../models.md) says how each is run.

**Files** is what is fetched. **Memory** is that of the weights, a library and, for models that answer, a picture and a
context of 8,192 tokens; `≈` marks a figure that was computed or remembered, not read from the files. Every file is
compared with the checksum of its hub when it is fetched. An empty cell is not known."""
_DEFAULTS = """## Defaults

`bash scripts/run.sh --model` looks at the memory, the GPU and the disk, and proposes the first of these
that fits; without a name it fetches nothing before somebody says yes."""
_FIRST = """## The first word

The time to the first token with one picture and a short question, or with what the third column says, as others measured
it; those from [figures](../figures/models.json) are ours. Of defaults without a row nobody is known to have measured it:
{unknown}."""
_MACHINES = {
    MachineClass.CPU: "no GPU",
    MachineClass.GPU_8G: "GPU with 8 GB",
    MachineClass.GPU_16G: "GPU with 12 to 16 GB",
    MachineClass.GPU_24G: "GPU with 24 GB",
    MachineClass.MI300X: "MI300X, H200, or another GPU with 80 GB and more",
}
_WORDS = {
    Ability.IMAGES: "pictures",
    Ability.VIDEO_IN: "video",
    Ability.GROUNDING: "boxes",
    Ability.AUDIO_IN: "hears",
    Ability.SPEECH_OUT: "speaks",
    Ability.TEXT_TO_SPEECH: "text to speech",
    Ability.TEXT_TO_AUDIO: "text to sound",
    Ability.TEXT_TO_VIDEO: "text to video",
    Ability.IMAGE_TO_VIDEO: "picture to video",
}


def make_page() -> str:
    models = list(Catalogue.load())
    answering = [model for model in models if model.answers]
    others = [model for model in models if not model.answers]
    return join(
        (
            _INTRO,
            join((_DEFAULTS, _make_default_table(models))),
            join(("## That answer", _make_table(answering))),
            join(("## That make sound and videos", _make_table(others))),
            join((_FIRST.format(unknown=_format_unmeasured(models)), _format_first(models))),
        )
    )


def _format_names(model: Model) -> str:
    return format_code(model.aliases) if model.aliases else f"`{model.id}`"


def _make_default_table(models: Sequence[Model]) -> str:
    return format_table(
        ("machine", "models, the first that fits"),
        [
            (
                words,
                ", ".join(_format_names(model) for model in models if model.default_for is kind),
            )
            for kind, words in _MACHINES.items()
        ],
    )


def _make_table(models: Sequence[Model]) -> str:
    return format_table(
        ("`--model`", "does", "run by", "files", "memory", "licence", "languages", "for"),
        [
            (
                _format_names(model),
                ", ".join(word for ability, word in _WORDS.items() if ability in model.abilities),
                " or ".join(model.needs),
                _format_size(model, "weights_bytes"),
                _format_size(model, "memory_bytes"),
                model.licence,
                model.languages,
                model.note,
            )
            for model in models
        ],
    )


def _format_size(model: Model, figure: str) -> str:
    mark = "≈ " if figure in model.estimates else ""
    return f"{mark}{getattr(model, figure) / 1e9:.1f} GB"


def _format_first(models: Sequence[Model]) -> str:
    return format_table(
        ("model", "seconds", "on", "source"),
        [
            (
                _format_names(model),
                f"{one.seconds:g}",
                one.on,
                f"[source]({one.source.replace('docs/', '../', 1)})",
            )
            for model in models
            for one in model.first_token
        ],
    )


def _format_unmeasured(models: Sequence[Model]) -> str:
    return ", ".join(
        _format_names(model) for model in models if model.default_for and not model.first_token
    )

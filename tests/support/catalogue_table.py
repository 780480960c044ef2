"""The table of the catalogue in docs/models.md; `python -m tests.support.catalogue_table` writes it anew."""

from __future__ import annotations

from server.features.hosting.catalogue.entry import Ability, Catalogue, Model
from tests.support.documents import ROOT

DOCUMENT = ROOT / "docs" / "models.md"
_HEAD = "| `--model` | does | files | memory | licence |\n|---|---|---|---|---|\n"
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


def _row(model: Model) -> str:
    names = ", ".join(f"`{alias}`" for alias in model.aliases) or f"`{model.id}`"
    does = ", ".join(word for ability, word in _WORDS.items() if ability in model.abilities)
    sizes = [f"{size / 1e9:.1f} GB" for size in (model.weights_bytes, model.memory_bytes)]
    return f"| {names} | {does} | {' | '.join(sizes)} | {model.licence} |\n"


def table() -> str:
    """One row for each model of server/features/hosting/catalogue/models.toml, in its order."""
    return _HEAD + "".join(_row(model) for model in Catalogue.load())


def with_table(text: str) -> str:
    """Put the table into a document in the place of the one that it has."""
    before, head, rest = text.partition(_HEAD)
    assert head, "The table's head is not there."
    return before + table() + rest[rest.index("\n\n") + 1 :]


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

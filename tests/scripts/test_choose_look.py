"""Checks of run.sh --model before anything is installed or fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.models import choose, disk
from scripts.models.choose import Choice, _look_at_hub
from scripts.models.trouble import ModelError
from server.features.hosting.catalogue.entry import Catalogue
from tests.scripts.test_choose_model import CATALOGUE, COMMIT, FILES
from tests.support.hub_stand_in import Hub, Model, pointed_at, running_hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as one:
        one.models["someone/tiny-vl"] = Model({COMMIT: dict(FILES)}, {"main": COMMIT})
        yield one


def test_what_is_there_needs_no_room(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that is gone on with, whole shards and the parts of others; a folder that may not
    be written to is reported.
    """
    model = Catalogue.read(CATALOGUE.format(revision=""), "").require("tiny")
    large = model.model_copy(update={"weights_bytes": 10**12})
    for name in ("old.safetensors", "model.safetensors.part"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(5 * 10**11)
    (tmp_path / "model-files.json.begun").write_text('{"repository": "someone/tiny-vl"}')
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 10**8)
    with pointed_at(hub.url):
        _look_at_hub(Choice(large, tmp_path, Catalogue.load()))
        (tmp_path / "old.safetensors").unlink()
        with pytest.raises(ModelError, match="There is no room at"):
            _look_at_hub(Choice(large, tmp_path, Catalogue.load()))
        with pytest.raises(ModelError, match="/dev/null/tiny-vl cannot be written"):
            _look_at_hub(Choice(model, Path("/dev/null/tiny-vl"), Catalogue.load()))


def test_a_smaller_one_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of them; where none does, the built-in engine."""
    ours = Catalogue.load()
    choice = Choice(ours.require("small"), Path("/nowhere"), ours)
    for there, says in (
        (2_500_000_000, r"Take a smaller one \(qwen3\.5-0\.8b\)"),
        (1_000_000_000, "Without --model the built-in engine answers"),
    ):
        monkeypatch.setattr(choose, "main_memory", lambda there=there: (there, there))
        with pytest.raises(ModelError, match=says):
            choose._require_memory(choice)
    monkeypatch.setattr(choose, "main_memory", lambda: (4_000_000_000, 0))
    choose._require_memory(choice)

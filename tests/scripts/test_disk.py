"""Names from outside that stay in a model's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.models.disk import ModelError, resolve_inside


def test_names_stay_in_their_folder(tmp_path: Path) -> None:
    """Also in one that is a link itself, and where nothing is yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "within").symlink_to("there")
    assert resolve_inside(tmp_path / "link", "a/b.json") == tmp_path / "real" / "a" / "b.json"
    assert resolve_inside(tmp_path / "real", "within/x") == tmp_path / "real" / "there" / "x"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\\..\\b", "a\0b", "a\x1b[2J", "x" * 501],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_inside(tmp_path, name)
    assert caught.value.message.isprintable()


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    (folder / "sub").symlink_to(tmp_path / "other")
    (folder / "again").symlink_to("sub")
    (folder / "circle").symlink_to("circle")
    (folder / "self").symlink_to(".")
    for name in ("sub/x.json", "sub", "again/x.json", "circle/x", "self"):
        with pytest.raises(ModelError):
            resolve_inside(folder, name)

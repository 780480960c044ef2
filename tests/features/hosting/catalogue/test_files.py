"""Names that stay in their folder, and files read up to a limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.features.hosting.catalogue.files import inside, read
from server.shared.network import FetchError


def test_names_stay_in_their_folder(tmp_path: Path) -> None:
    """Also in one that is a link itself, and where nothing is yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "within").symlink_to("there")
    assert inside(tmp_path / "link", "a/b.json") == tmp_path / "real" / "a" / "b.json"
    assert inside(tmp_path / "real", "within/x") == tmp_path / "real" / "there" / "x"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a\\..\\b", "a\0b", "a\x1b[2J", "x" * 501],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """However they are written; the sentence can be shown."""
    with pytest.raises(FetchError) as caught:
        inside(tmp_path, name)
    assert caught.value.message.isprintable()


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    """To a folder or a file elsewhere, by way of another link, in a circle."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    (folder / "sub").symlink_to(tmp_path / "other")
    (folder / "again").symlink_to("sub")
    (folder / "circle").symlink_to("circle")
    (folder / "self").symlink_to(".")
    for name in ("sub/x.json", "sub", "again/x.json", "circle/x", "self"):
        with pytest.raises(FetchError):
            inside(folder, name)


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    """To the byte."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read(path, 100) == b"x" * 100
    with pytest.raises(FetchError, match="larger than 99 bytes"):
        read(path, 99)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    """A pipe that nobody writes to is not waited for, a device without an end not read."""
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path / "pipe", "no regular file"),
        (tmp_path, "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(FetchError, match=says):
            read(path, 100)

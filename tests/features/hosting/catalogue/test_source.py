"""The catalogue that CATALOGUE names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from server.features.hosting.catalogue.entry import Catalogue, CatalogueError
from server.features.hosting.catalogue.source import (
    LIMITS,
    RETRY_SECONDS,
    CatalogueSource,
    Fetcher,
    load_catalogue,
)
from server.shared import network
from tests.support.https_server import Files, https_server

TINY = b"""
[[model]]
id = "someone/tiny-vl"
aliases = ["tiny"]
model_type = "vision"
architecture = "qwen2_5_vl"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 1000
needs = { transformers = "" }
"""


def test_empty_is_ours() -> None:
    """And it has a small one."""
    assert [model.id for model in load_catalogue("")] == [model.id for model in Catalogue.load()]
    assert load_catalogue("").find("small") is not None


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, ~ being the home directory."""
    (tmp_path / "models.toml").write_bytes(TINY)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (str(tmp_path / "models.toml"), "~/models.toml"):
        assert [model.id for model in load_catalogue(source)] == ["someone/tiny-vl"]


def reached(files: Files) -> Fetcher:
    """As the server's, but the one test server may be reached."""
    return Fetcher(
        LIMITS,
        refused=lambda address: None if address == "127.0.0.1" else network.refused(address),
        resolve=files.resolve,
        ssl_context=files.trust,
    )


def test_an_address_with_and_without_its_checksum(tmp_path: Path) -> None:
    """Over https; another content than the pinned one is not taken."""
    with https_server(tmp_path) as files:
        files.answers["/m.toml"] = lambda asked: asked.send(TINY)
        fetcher = reached(files)
        url, right = files.url("/m.toml"), hashlib.sha256(TINY).hexdigest()
        for source in (url, f"{url}#sha256={right}"):
            assert [model.id for model in load_catalogue(source, fetcher)] == ["someone/tiny-vl"]
        with pytest.raises(
            CatalogueError, match=r"is not what was asked for.*Leave it empty for our own"
        ):
            load_catalogue(f"{url}#sha256={'0' * 64}", fetcher)
        with pytest.raises(CatalogueError, match="is missing"):
            load_catalogue(f"{url}#sha256=", fetcher)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("http://files.test/m.toml", "only https is fetched"),
        ("https://127.0.0.1/m.toml", "a loopback address"),
        ("https://127.0.0.1/m.toml#sha256=12", "64 hexadecimal digits"),
        ("{folder}/none.toml", "No such file"),
        ("{folder}", "no regular file"),
        ("{folder}/pipe", "no regular file"),
        ("{folder}/picture", "not UTF-8 text"),
        ("{folder}/other", "is not TOML"),
    ],
)
def test_what_is_no_catalogue_is_said(tmp_path: Path, source: str, says: str) -> None:
    """Each in a sentence; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "other").write_text("a b c")
    with pytest.raises(CatalogueError, match=says):
        load_catalogue(source.format(folder=tmp_path))


def test_an_address_is_asked_once_and_a_file_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure is reported at once for a minute, and then looked at again; a file may be changed while
    the server runs.

    Until it can be had it is ours, with the reason, which the log has once.
    """
    path = tmp_path / "m.toml"
    path.write_bytes(TINY)
    file = CatalogueSource(str(path))
    assert len(file.load()) == 1
    path.write_bytes(TINY.replace(b"tiny", b"other"))
    assert file.load().find("other") is not None
    for _ in range(2):
        path.write_text("a b c")
        found = file.load()
        assert found.find("small") is not None
        assert "is not TOML" in found.troubles[0]
        assert found.troubles[0].endswith("Until it can be had ours is used.")
    assert [record.message for record in caplog.records] == [
        "CATALOGUE cannot be read: ours is used"
    ]
    path.write_bytes(TINY)
    assert (len(file.load()), file.load().troubles) == (1, ())
    now = 1000.0
    with https_server(tmp_path) as files:
        files.answers["/m.toml"] = lambda asked: asked.send(b"", 404)
        source = CatalogueSource(files.url("/m.toml"), reached(files), lambda: now)
        for _ in range(2):
            found = source.load()
            assert found.find("small") is not None
            assert "answers with status 404" in found.troubles[0]
            assert found.troubles[0].endswith(
                "Until it can be had ours is used. It is asked for again in 60 s."
            )
            assert "Leave it empty" not in found.troubles[0]
        assert len(files.asked) == 1
        files.answers["/m.toml"] = lambda asked: asked.send(TINY)
        now += RETRY_SECONDS
        assert source.load() is source.load()
        assert source.load().troubles == ()
        assert len(files.asked) == 2

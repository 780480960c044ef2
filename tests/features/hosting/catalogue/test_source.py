"""The catalogue that CATALOGUE names."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.features.hosting.catalogue.entry import MAX_FILE_BYTES, Catalogue, CatalogueError
from server.features.hosting.catalogue.source import (
    RETRY_SECONDS,
    CatalogueSource,
    Fetcher,
    inside,
    load_catalogue,
    read,
)
from server.shared import network
from server.shared.network import FetchError
from tests.support.https_server import NAME, Answer, Files, Handler, https_server
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS

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
    assert [model.id for model in load_catalogue("")] == [model.id for model in Catalogue.load()]
    assert load_catalogue("").find("small") is not None


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, ~ being the home directory."""
    (tmp_path / "models.toml").write_bytes(TINY)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (str(tmp_path / "models.toml"), "~/models.toml"):
        assert [model.id for model in load_catalogue(source)] == ["someone/tiny-vl"]


def fetcher(files: Files, max_bytes: int = MAX_FILE_BYTES, **limits: Any) -> Fetcher:
    """As the server's, but this one test server may be reached."""
    return Fetcher(
        max_bytes,
        refused=lambda address: None if address == "127.0.0.1" else network.refused(address),
        resolve=files.resolve,
        ssl_context=files.trust,
        **limits,
    )


def test_an_address_with_and_without_its_checksum(tmp_path: Path) -> None:
    with https_server(tmp_path) as files:
        files.answers["/m.toml"] = lambda asked: asked.send(TINY)
        url, right = files.url("/m.toml"), hashlib.sha256(TINY).hexdigest()
        for source in (url, f"{url}#sha256={right}"):
            assert [model.id for model in load_catalogue(source, fetcher(files))] == [
                "someone/tiny-vl"
            ]
        with pytest.raises(
            CatalogueError, match=r"is not what was asked for.*Leave it empty for our own"
        ):
            load_catalogue(f"{url}#sha256={'0' * 64}", fetcher(files))
        with pytest.raises(CatalogueError, match="is missing"):
            load_catalogue(f"{url}#sha256=", fetcher(files))


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
    assert [model.id for model in file.load()] == ["someone/tiny-vl"]
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
    assert (len([*file.load()]), file.load().troubles) == (1, ())
    now = 1000.0
    with https_server(tmp_path) as files:
        files.answers["/m.toml"] = lambda asked: asked.send(b"", 404)
        source = CatalogueSource(files.url("/m.toml"), fetcher(files), lambda: now)
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


# A file by https, from a real server on loopback


CONTENT = b"[[model]]\n" * 100
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with https_server(tmp_path) as one:
        one.answers["/file"] = lambda asked: asked.send(CONTENT)
        yield one


def redirect(to: str) -> Answer:
    return lambda asked: asked.send(b"", 302, Location=to)


def test_a_file_is_fetched_and_compared(files: Files) -> None:
    files.answers["/moved"] = redirect("/file")
    assert fetcher(files, len(CONTENT)).read(files.url("/file")) == CONTENT
    assert fetcher(files).read(files.url("/moved#part"), sha256=SUM.upper()) == CONTENT
    assert files.asked == [f"{NAME}:{files.port}{path}" for path in ("/file", "/moved", "/file")]


def test_another_content_than_the_checksums_is_refused(files: Files) -> None:
    """Nothing of it comes back; what is no checksum is asked about before anything is fetched."""
    with pytest.raises(FetchError, match=f"its SHA-256 is {SUM}, not {'0' * 64}"):
        fetcher(files).read(files.url("/file"), sha256="0" * 64)
    with pytest.raises(FetchError, match="not what was asked for"):
        fetcher(files).read(files.url("/file"), sha256=SUM[:-1] + ("0" if SUM[-1] != "0" else "1"))
    files.asked.clear()
    with pytest.raises(FetchError, match="64 hexadecimal digits"):
        fetcher(files).read(files.url("/file"), sha256="12ab")
    assert files.asked == []


def chunked(asked: Handler) -> None:
    """Without a length beforehand, and without an end."""
    asked.send_response(200)
    asked.end_headers()
    for _ in range(10_000):
        asked.wfile.write(b"x" * 10_000)


def test_no_more_is_taken_than_allowed(files: Files) -> None:
    files.answers["/endless"] = chunked
    with pytest.raises(FetchError, match="larger than 999 bytes"):
        fetcher(files, 999).read(files.url("/file"))
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        fetcher(files, len(CONTENT)).read(files.url("/endless"))


def test_time_is_bounded(files: Files) -> None:
    def silent(asked: Handler) -> None:
        files.over.wait(10)

    def slow(asked: Handler) -> None:
        asked.send_response(200)
        asked.end_headers()
        while not files.over.wait(0.02):
            asked.wfile.write(b"x")

    def slow_header(asked: Handler) -> None:
        while not files.over.wait(0.02):
            asked.wfile.write(b"H")

    files.answers.update({"/silent": silent, "/slow": slow, "/header": slow_header})
    for path, limits in (
        ("/silent", {"seconds": NEVER_SECONDS, "read_seconds": 0.2}),
        ("/slow", {"seconds": 0.4, "read_seconds": NEVER_SECONDS}),
        ("/header", {"seconds": 0.4, "read_seconds": NEVER_SECONDS}),
    ):
        began = time.monotonic()
        with pytest.raises(FetchError, match="took too long"):
            fetcher(files, 1000, **limits).read(files.url(path))
        assert time.monotonic() - began < AT_ONCE_SECONDS, path


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("https://127.0.0.2/file", "127.0.0.2: a loopback address"),
        ("https://[::1]/file", "a loopback address"),
        ("https://169.254.169.254/latest/meta-data", "a link-local address"),
        ("https://10.0.0.1/file", "a private address"),
        ("https://2130706434/file", "127.0.0.2.: a loopback address"),
        ("http://files.test/file", "only https is fetched"),
        ("file:///etc/passwd", "only https is fetched"),
        ("//user:hunter2@files.test/file", "has a user or password"),
        ("", "is empty"),
        (f"https://h/{'x' * 2000}", "or none"),
    ],
)
def test_where_a_redirect_may_not_lead(files: Files, to: str, says: str) -> None:
    files.answers["/moved"] = redirect(to)
    with pytest.raises(FetchError, match=says) as caught:
        fetcher(files).read(files.url("/moved"))
    assert "hunter2" not in caught.value.message
    assert files.asked == [f"{NAME}:{files.port}/moved"]


def test_redirects_end(files: Files) -> None:
    files.answers["/moved"] = redirect("/moved")
    with pytest.raises(FetchError, match="5 redirects are followed"):
        fetcher(files).read(files.url("/moved"))
    assert len(files.asked) == 6


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://files.test/a", "only https is fetched"),
        ("ftp://files.test/a", "only https is fetched"),
        ("/etc/passwd", "only https is fetched"),
        ("https:///a", "has no host"),
        ("https://me:hunter2@files.test/a", "has a user or password"),
        ("https://files.test/\x1b[2J", "or none"),
        ("https://files.test:65536/", "a port that is none"),
        ("https://files.test:port/", "is no URL"),
        ("https://unknown.test/a?key=hunter2", "cannot be reached"),
        ("https://localhost/a?key=hunter2", "cannot be reached"),
        ("https://unknown.test/%1b%5b2J%0a", "unknown.test/%1b%5b2J%0a cannot be reached"),
        ("https://xn--9.test/a", "cannot be reached|is no URL"),
    ],
)
def test_what_can_not_be_fetched_is_said(files: Files, url: str, says: str) -> None:
    with pytest.raises(FetchError, match=says) as caught:
        fetcher(files).read(url)
    assert "hunter2" not in caught.value.message
    assert caught.value.message.isprintable()


def test_certificates_that_can_not_be_read_are_said(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for a bad SSL_CERT_FILE names the setting, and nothing is requested."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(FetchError, match="Set SSL_CERT_FILE to a readable file"):
        Fetcher(1000).read(files.url("/file"))
    assert files.asked == []


def test_by_itself_it_reaches_public_addresses_alone(files: Files) -> None:
    with pytest.raises(FetchError, match="a loopback address"):
        Fetcher(1000).read(files.url("/file", "127.0.0.1"))
    assert files.asked == []


def cut(asked: Handler) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    asked.wfile.write(b"x" * 500)


def test_answers_that_are_none(files: Files) -> None:
    files.answers.update(
        {
            "/gone": lambda asked: asked.send(b"", 404),
            "/half": cut,
            "/packed": lambda asked: asked.send(b"x", Content_Encoding="gzip"),
        }
    )
    for path, says in (
        ("/gone", "answers with status 404"),
        ("/half", "the connection broke"),
        ("/packed", "comes compressed"),
    ):
        with pytest.raises(FetchError, match=says):
            fetcher(files).read(files.url(path))
    strict = Fetcher(1000, refused=lambda address: None, resolve=files.resolve)
    with pytest.raises(FetchError, match="cannot be reached"):
        strict.read(files.url("/file"))


# Names that stay in their folder, and files read up to a limit


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
    with pytest.raises(FetchError) as caught:
        inside(tmp_path, name)
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
        with pytest.raises(FetchError):
            inside(folder, name)


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
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

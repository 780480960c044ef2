"""A file by https, from a real server on loopback."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.features.hosting.catalogue.source import Fetcher, Limits
from server.shared import network
from server.shared.network import FetchError
from tests.support.https_server import NAME, Answer, Files, Handler, https_server
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS

CONTENT = b"[[model]]\n" * 100
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with https_server(tmp_path) as one:
        one.answers["/file"] = lambda asked: asked.send(CONTENT)
        yield one


def fetcher(files: Files, limits: Limits | None = None) -> Fetcher:
    """As the server's, but this one test server may be reached."""
    return Fetcher(
        limits or Limits(max_bytes=len(CONTENT)),
        refused=lambda address: None if address == "127.0.0.1" else network.refused(address),
        resolve=files.resolve,
        ssl_context=files.trust,
    )


def redirect(to: str) -> Answer:
    return lambda asked: asked.send(b"", 302, Location=to)


def test_a_file_is_fetched_and_compared(files: Files) -> None:
    """Up to the very limit, over a redirect, with and without a checksum."""
    files.answers["/moved"] = redirect("/file")
    assert fetcher(files).read(files.url("/file")) == CONTENT
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
    """Told beforehand or found out while it comes."""
    files.answers["/endless"] = chunked
    with pytest.raises(FetchError, match="larger than 999 bytes"):
        fetcher(files, Limits(max_bytes=999)).read(files.url("/file"))
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        fetcher(files).read(files.url("/endless"))


def test_time_is_bounded(files: Files) -> None:
    """A server that says nothing, one that never ends: the content's bytes one by one, its header's
    too.
    """

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
        ("/silent", Limits(max_bytes=1000, seconds=NEVER_SECONDS, read_seconds=0.2)),
        ("/slow", Limits(max_bytes=1000, seconds=0.4, read_seconds=NEVER_SECONDS)),
        ("/header", Limits(max_bytes=1000, seconds=0.4, read_seconds=NEVER_SECONDS)),
    ):
        began = time.monotonic()
        with pytest.raises(FetchError, match="took too long"):
            fetcher(files, limits).read(files.url(path))
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
    """To private addresses, off https, with a password: said, and nothing is asked there."""
    files.answers["/moved"] = redirect(to)
    with pytest.raises(FetchError, match=says) as caught:
        fetcher(files).read(files.url("/moved"))
    assert "hunter2" not in caught.value.message
    assert files.asked == [f"{NAME}:{files.port}/moved"]


def test_redirects_end(files: Files) -> None:
    """Some are followed, a circle is not."""
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
    """In a sentence without what may be a secret."""
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
        Fetcher(Limits(1000)).read(files.url("/file"))
    assert files.asked == []


def test_by_itself_it_reaches_public_addresses_alone(files: Files) -> None:
    """A fetcher without the tests' exceptions refuses loopback."""
    with pytest.raises(FetchError, match="a loopback address"):
        Fetcher(Limits(1000)).read(files.url("/file", "127.0.0.1"))
    assert files.asked == []


def cut(asked: Handler) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    asked.wfile.write(b"x" * 500)


def test_answers_that_are_none(files: Files) -> None:
    """Another status, half a file, a compressed one, a server that is not trusted."""
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
    strict = Fetcher(Limits(1000), refused=lambda address: None, resolve=files.resolve)
    with pytest.raises(FetchError, match="cannot be reached"):
        strict.read(files.url("/file"))

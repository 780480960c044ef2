"""The page's shell: its list, its version, and what a change of a file does to them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from server.web.routes import CLIENT_FILES, WORKER, Contents, Shell, get_integrity
from tests.support.running import running


def listed(contents: Contents) -> dict[str, str]:
    """The files of the list, with their hashes."""
    line, _, script = contents.worker.partition(b"\n")
    assert script == (CLIENT_FILES / WORKER).read_bytes()
    shell = json.loads(line.removeprefix(b"const SHELL = ").removesuffix(b";"))
    assert shell["version"] == contents.version
    files: dict[str, str] = shell["files"]
    words: dict[str, str] = shell["words"]
    assert not files.keys() & words.keys()
    return files | words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A client of five files, and some that are nobody's business."""
    (tmp_path / "index.html").write_text('<meta name="shell" content="" />')
    (tmp_path / WORKER).write_bytes((CLIENT_FILES / WORKER).read_bytes())
    (tmp_path / "client.js").write_text("one")
    (tmp_path / "core" / "live").mkdir(parents=True)
    (tmp_path / "core" / "live" / "visit.js").write_text("two")
    (tmp_path / "core" / "live" / "panel.html").write_text("three")
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages" / "de.json").write_text("{}")
    for name in ("notes.txt", ".hidden.js", "core/live/of_mine.js", "picture.png"):
        (tmp_path / name).write_text("mine")
    return tmp_path


async def test_the_list_has_the_pages_own_files_alone(folder: Path) -> None:
    """Each with its hash; no picture, nothing hidden, not the worker itself, no route."""
    contents = await Shell(folder, ()).contents()
    assert listed(contents) == {
        "/": get_integrity(contents.page),
        "/client/client.js": get_integrity(b"one"),
        "/client/languages/de.json": get_integrity(b"{}"),
        "/client/core/live/panel.html": get_integrity(b"three"),
        "/client/core/live/visit.js": get_integrity(b"two"),
    }
    assert contents.page == f'<meta name="shell" content="{contents.version}" />'.encode()


async def test_a_feature_brings_its_words(folder: Path) -> None:
    """In its own file, by languages; they are sent with those of the core. Everybody gets English."""
    languages, feature = folder / "languages", folder / "features" / "watches"
    feature.mkdir(parents=True)
    (languages / "de.json").write_text('{"core.end": "Ende"}')
    (languages / "en.json").write_text('{"core.end": "End"}')
    words = feature / "words.json"
    words.write_text('{"de": {"watch.all": "Alle"}, "en": {"watch.all": "All"}}')
    first = await Shell(folder, ("watches", "none")).contents()
    shell = json.loads(first.worker.partition(b"\n")[0].removeprefix(b"const SHELL = ")[:-1])
    german = b'{"core.end":"Ende","watch.all":"Alle"}'
    assert shell["words"] == {"/client/languages/de.json": get_integrity(german)}
    assert "/client/languages/en.json" in shell["files"]
    assert not [name for name in listed(first) if "features" in name]
    words.write_text(words.read_text().replace("Alle", "Jede"))
    assert (await Shell(folder, ("watches",)).contents()).version != first.version
    assert Shell(folder, ()).read(languages / "de.json") == b'{"core.end":"Ende"}'


async def test_a_feature_brings_its_elements(folder: Path) -> None:
    """Into the places of the core's files, in the order of the features; only of those that are on, whose names the
    page gets.
    """
    menu, more = (f'<template data-place="{name}"></template>' for name in ("menu", "more"))
    page, panel = folder / "index.html", folder / "core/live/panel.html"
    page.write_text(f'<meta name="features" content="" /><nav>{menu}</nav>')
    panel.write_text(more)
    for name in ("one", "two"):
        (folder / "features" / name).mkdir(parents=True)
        pieces = f'<template data-place="menu">{name}</template>\n'
        pieces += f'<template data-place="more"><b>{name}\n</b></template>'
        (folder / "features" / name / "page.html").write_text(pieces)
    both, none = Shell(folder, ("two", "bare", "one")), Shell(folder, ())
    contents = await both.contents()
    assert contents.page == b'<meta name="features" content="two bare one" /><nav>twoone</nav>'
    assert both.read(panel) == b"<b>two\n</b><b>one\n</b>"
    assert none.read(page) == b'<meta name="features" content="" /><nav></nav>'
    assert not [name for name in listed(contents) if "features" in name]
    assert (await none.contents()).version != contents.version


@pytest.mark.parametrize("name", ["index.html", WORKER, "client.js", "core/live/visit.js"])
async def test_each_change_makes_another_version(folder: Path, name: str) -> None:
    """Of the page, the worker or a module, for the next server."""
    shell = Shell(folder, ())
    first = await shell.contents()
    with (folder / name).open("a") as file:
        file.write(" ")
    assert await shell.contents() is first
    assert (await Shell(folder, ()).contents()).version != first.version


async def test_two_machines_have_one_version(folder: Path) -> None:
    """The same contents, whatever the times of the files: an upgrade of several servers is one."""
    first = await Shell(folder, ()).contents()
    for path in folder.rglob("*.js"):
        path.touch()
    assert (await Shell(folder, ()).contents()).version == first.version


async def test_the_routes() -> None:
    """The page and its worker carry the version as their tag; the worker may have all of the page,
    is asked for each time, and all that it lists is there with the contents that it promises.
    """
    async with running() as run, httpx.AsyncClient(base_url=run.base_url) as client:
        page = await client.get("/", headers={"Accept": "text/html"})
        worker = await client.get(f"/{WORKER}")
        assert worker.status_code == 200
        assert worker.headers["content-type"] == "text/javascript; charset=utf-8"
        assert worker.headers["cache-control"] == "no-cache"
        assert worker.headers["etag"] == page.headers["etag"]
        for part in ("worker-src 'self'", "manifest-src 'self'", "connect-src 'self'"):
            assert part in worker.headers["content-security-policy"]
        version = worker.headers["etag"].strip('"')
        assert f'name="shell" content="{version}"' in page.text
        files = listed(Contents(version, page.content, worker.content, {}))
        for path, promised in files.items():
            reply = await client.get(path, headers={"Accept": "text/html"})
            assert (reply.status_code, get_integrity(reply.content)) == (200, promised), path
        again = await client.get(f"/{WORKER}", headers={"If-None-Match": worker.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await manifest(client, files)


async def manifest(client: httpx.AsyncClient, files: dict[str, str]) -> None:
    """Its type, and that its icons are there as they say."""
    reply = await client.get("/client/app.webmanifest")
    assert reply.headers["content-type"] == "application/manifest+json"
    assert "/client/app.webmanifest" in files
    icons = reply.json()["icons"]
    assert {icon.get("purpose", "any") for icon in icons} == {"any", "maskable"}
    for icon in [*icons, {"src": "/client/icons/touch.png", "type": "image/png"}]:
        picture = await client.get(icon["src"])
        assert picture.headers["content-type"] == icon["type"]
        if size := re.fullmatch(r"(\d+)x\1", icon.get("sizes", "180x180")):
            # The width in a PNG's header
            assert int.from_bytes(picture.content[16:20], "big") == int(size[1])

"""Answers and redirects of a hub, through the real huggingface_hub and a tiny hub on loopback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from scripts.models import hub as scripts_hub
from scripts.models.disk import ModelError
from scripts.models.hub import Repository
from scripts.models.network import FetchError
from tests.support.https_server import https_server
from tests.support.hub_stand_in import Hub, Model, pointed_at, running_hub, sibling

NAME = "someone/tiny-vl"
COMMIT = "2" * 40
FILES = {"config.json": b'{"model_type": "qwen2_5_vl"}', "model.safetensors": b"x" * 10_000}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with running_hub() as one:
        one.models[NAME] = Model({COMMIT: dict(FILES)}, {"main": COMMIT})
        yield one


def look_up(hub: Hub) -> Repository:
    """Prepare this process like the program does."""
    with pointed_at(hub.url):
        return scripts_hub.look_up(NAME, None)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (b"<html>Please log in</html>", "does not respond as a hub"),
        (b"[]", "does not respond as a hub"),
        (b"[" * 100_000, "does not respond as a hub"),
        (b'{"sha": "\\u001b[2J", "siblings": []}', "does not respond as a hub"),
        (b'{"sha": "%s", "siblings": [{"size": 3}]}', "does not respond as a hub"),
        (
            b'{"sha": "%s", "siblings": [{"rfilename": "a", "size": -3}]}',
            "does not respond as a hub",
        ),
        (b'{"sha": "%s", "siblings": []}', "has no files"),
        (b'{"sha": "%s", "siblings": [{"rfilename": "a"}]}', "no size or checksum for a in"),
        (
            b'{"sha": "%s", "siblings": [{"rfilename": "a/b", "size": 1, "blobId": "%s"},'
            b'{"rfilename": "a/./b", "size": 2, "blobId": "%s"}]}',
            "lists a/b twice",
        ),
    ],
)
def test_what_is_no_hub_is_said(hub: Hub, told: bytes, says: str) -> None:
    """A page to log in at, a broken mirror: a sentence that can be shown."""
    hub.tells = told.replace(b"%s", b"5" * 40)
    with pytest.raises(ModelError, match=says) as caught:
        look_up(hub)
    assert caught.value.message.isprintable()


def test_a_token_goes_to_the_hub_alone(hub: Hub, tmp_path: Path) -> None:
    """A redirect to another host gets no token."""
    model = hub.models[NAME]
    with running_hub() as other:
        other.models[NAME] = Model({COMMIT: dict(model.revisions[COMMIT])}, {"main": COMMIT})
        with pointed_at(hub.url), pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_TOKEN", "hf_secretTokenOfTheTest")
            # Elsewhere it has to be public and https, but for this test.
            patch.setattr(scripts_hub, "_get_origin", lambda url: url.scheme)
            repository = scripts_hub.look_up(NAME, None)
            model.leads["config.json"] = f"{other.url}/{NAME}/resolve/{COMMIT}/config.json"
            config = next(file for file in repository.files if file.name == "config.json")
            scripts_hub.fetch(repository, config, tmp_path)
        assert hub.tokens == {"Bearer hf_secretTokenOfTheTest"}
        assert other.tokens == {None}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"HF_ENDPOINT": "hub.example.org"},
            "HF_ENDPOINT 'hub.example.org' is not a hub's address",
        ),
        ({"HF_ENDPOINT": "https://[::1"}, "is not a hub's address"),
        ({"HF_ENDPOINT": "ftp://me:hunter2@h"}, "HF_ENDPOINT is not a hub's address"),
        ({"HF_ENDPOINT": "http://me:hunter2@127.0.0.1:1"}, "http://127.0.0.1:1 cannot be reached"),
        (
            {"HF_TOKEN": "hf_\xfchunter2"},
            "HF_TOKEN contains characters that are invalid in a token",
        ),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "Set SSL_CERT_FILE to a readable file"),
        ({"ALL_PROXY": "socks5://me:hunter2@h:1"}, "a proxy of the kind socks5"),
        ({"HTTP_PROXY": "http://[me:hunter2"}, "a proxy that is not a URL"),
        ({"HTTP_PROXY": "127.0.0.1:1"}, "cannot be reached"),
    ],
)
def test_what_the_environment_has_wrong_is_said(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], says: str
) -> None:
    """By its name, without what may be a password."""
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    with pointed_at(os.environ.get("HF_ENDPOINT", hub.url)), pytest.raises(ModelError) as caught:
        scripts_hub.look_up(NAME, None)
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message
    assert hub.asked == []


@pytest.mark.parametrize(
    "name", ["../evil.json", "/evil.json", "", "a/../../evil.json", "e\x1b[2J"]
)
def test_names_that_lead_out_of_the_folder_are_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    """Whatever the hub calls its files: nothing of it is taken, and the sentence can be shown."""
    hub.models[NAME].revisions[COMMIT][name] = b"{}"
    with pytest.raises(ModelError, match="is not a name within a folder") as caught:
        look_up(hub)
    assert caught.value.message.isprintable()


def test_names_that_are_used_here_are_left_out(hub: Hub) -> None:
    """The record beside the files, and what there is of one that is not whole."""
    for name in ("model-files.json", "model-files.json.begun", "model.safetensors.part"):
        hub.models[NAME].revisions[COMMIT][name] = b"{}"
    assert [file.name for file in look_up(hub).files] == sorted(FILES)


@pytest.mark.parametrize("ending", ["bin", "pt", "pth", "ckpt", "pkl", "h5", "gguf", "msgpack"])
def test_weights_in_other_forms_are_left_out(hub: Hub, ending: str) -> None:
    """Pickles run code when they are loaded, and only safetensors are read."""
    hub.models[NAME].revisions[COMMIT][f"pytorch_model.{ending}"] = b"{}"
    assert [file.name for file in look_up(hub).files] == sorted(FILES)


def test_only_the_named_files_are_taken(hub: Hub) -> None:
    """In any form; one that is not there is named before anything is fetched."""
    more = {f"one-{kind}.gguf": b"x" for kind in ("Q4_K_M", "Q8_0")} | {"mmproj-F16.gguf": b"y"}
    hub.models[NAME].revisions[COMMIT].update(more)
    only = ("one-Q4_K_M.gguf", "mmproj-F16.gguf")
    with pointed_at(hub.url):
        found = scripts_hub.look_up(NAME, None, only)
        assert {file.name for file in found.files} == set(only)
        assert all(file.sha256 for file in found.files)
        with pytest.raises(ModelError, match=r"has no two.gguf at main. Look at its files"):
            scripts_hub.look_up(NAME, "main", (*only, "two.gguf"))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("https://127.0.0.1:{port}/x", "127.0.0.1 is refused, because it is a loopback address"),
        ("https://localhost:{port}/x", "a loopback address"),
        ("https://169.254.169.254/latest", "a link-local address"),
        ("http://127.0.0.1:{port}/x", "only https is allowed"),
        ("http://example.org/x", "only https is allowed"),
    ],
)
def test_a_hub_leads_to_public_https_addresses_alone(
    hub: Hub, tmp_path: Path, where: str, says: str
) -> None:
    """A redirect into one's own network or off https is not followed; HF_ENDPOINT may be there."""
    repository = look_up(hub)
    with socket.create_server(("127.0.0.1", 0)) as private, pointed_at(hub.url):
        private.setblocking(False)
        hub.models[NAME].leads["config.json"] = where.format(port=private.getsockname()[1])
        config = next(file for file in repository.files if file.name == "config.json")
        with pytest.raises(ModelError, match=says):
            scripts_hub.fetch(repository, config, tmp_path)
        with pytest.raises(BlockingIOError):
            private.accept()
    assert not (tmp_path / "config.json").exists()


def test_what_a_hub_tells_is_bounded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither size nor time can grow for ever, directly or proxied; nothing compressed is read."""
    assert look_up(hub).commit == COMMIT
    monkeypatch.setattr(scripts_hub, "MAX_REPLY_BYTES", 100)
    with pytest.raises(ModelError, match="sent more than the limit of 100 bytes"):
        look_up(hub)
    monkeypatch.undo()
    repository = look_up(hub)
    hub.packed = True
    with pytest.raises(ModelError, match="is compressed"):
        look_up(hub)
    with pointed_at(hub.url), pytest.raises(ModelError, match="is compressed"):
        scripts_hub.fetch(repository, repository.files[0], tmp_path)
    hub.packed = False
    monkeypatch.setattr(scripts_hub, "REPLY_SECONDS", 0.3)
    hub.drips = True
    with pytest.raises(ModelError, match="cannot be reached, or the connection broke"):
        look_up(hub)
    # It answers as a proxy as well, for it does not look at the host.
    monkeypatch.setenv("HTTP_PROXY", hub.url.removeprefix("http://"))
    with pytest.raises(ModelError, match="cannot be reached, or the connection broke"):
        look_up(hub)
    hub.drips = False
    monkeypatch.setattr(scripts_hub, "REPLY_SECONDS", 10)
    assert look_up(hub).commit == COMMIT
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", hub.url.removeprefix("http://"))
    assert look_up(hub).commit == COMMIT


def test_plain_http_is_for_ones_own_network() -> None:
    """A hub with a public address is asked by https or not at all."""
    guarded = scripts_hub.GuardedTransport("http://93.184.215.14")
    with pytest.raises(FetchError, match=r"plain http is only for your own network"):
        guarded.handle_request(httpx2.Request("GET", "http://93.184.215.14/api"))
    guarded.close()


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy that leads wherever it likes: CONNECT with its password, or 407."""

    port: int
    asked: list[str]

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        self.asked.append(head.decode().splitlines()[0])
        if b"Basic bWU6aHVudGVyMg==" not in head:
            self.wfile.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.port)) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            there.settimeout(10)
            here = threading.Thread(target=self._copy, args=(there, self.connection))
            here.start()
            self._copy(self.connection, there)
            here.join()

    @staticmethod
    def _copy(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)


def test_https_goes_through_a_proxy_as_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its password, to a name that it alone knows; who answers there is checked here."""
    with https_server(tmp_path) as files:
        told = {"sha": COMMIT, "siblings": [sibling(Model({}), "a.safetensors", b"x")]}
        files.answers[f"/api/models/{NAME}?blobs=true"] = lambda asked: asked.send(
            json.dumps(told).encode()
        )
        asked: list[str] = []
        handler = type("One", (Tunnel,), {"port": files.port, "asked": asked})
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as proxy:
            threading.Thread(target=proxy.serve_forever, args=(0.02,)).start()
            address = f"127.0.0.1:{proxy.server_address[1]}"

            def ask(user: str) -> Repository:
                monkeypatch.setenv("HTTPS_PROXY", f"http://{user}@{address}")
                with pointed_at("https://files.test"):
                    return scripts_hub.look_up(NAME, None)

            with pytest.raises(ModelError, match=r"connection broke \(407 Who are you\)"):
                ask("me:wrong")
            with pytest.raises(
                ModelError, match="set SSL_CERT_FILE to the file of its CA certificate"
            ):
                ask("me:hunter2")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
            assert ask("me:hunter2").commit == COMMIT
            assert set(asked) == {"CONNECT files.test:443 HTTP/1.1"}
            proxy.shutdown()


def test_no_more_is_written_than_was_told() -> None:
    """Not even for the moment until the size is compared: what comes may have no end."""
    written = io.BytesIO()
    bounded = scripts_hub._BoundedFile(written, 10)
    bounded.write(b"x" * 10)
    with pytest.raises(scripts_hub._WrongSize):
        bounded.write(b"y")
    assert written.getvalue() == b"x" * 10

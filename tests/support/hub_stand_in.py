"""A tiny Hugging Face hub over HTTP on loopback: what huggingface_hub asks of one, and the ways in
which one fails.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants

from tests.support.https_server import Server

_TEMPLATE = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)


@dataclass
class Model:
    # By revision (a commit's 40 digits, or a name of one), the content of each file
    revisions: dict[str, dict[str, bytes]]
    names: dict[str, str] = field(default_factory=dict)
    # Needed as a bearer token; empty: public
    token: str = ""
    # Sizes that are given instead of the true ones
    told_sizes: dict[str, int] = field(default_factory=dict)
    # After so many bytes of this file's answer the connection breaks, so many times
    breaks: dict[str, tuple[int, int]] = field(default_factory=dict)
    # So many times the file is sent with other bytes
    spoiled: Counter[str] = field(default_factory=Counter)
    # After so many bytes of this file nothing more comes
    stalls: dict[str, int] = field(default_factory=dict)
    # URL to which this file's request is redirected
    leads: dict[str, str] = field(default_factory=dict)
    # Content to send in place of this file's
    sends: dict[str, bytes] = field(default_factory=dict)
    # Parts of files can be asked for
    ranges: bool = True


class Hub:
    """`asked` lists what was asked for: method, file, first byte."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.asked: list[tuple[str, str, int]] = []
        # Received Authorization headers
        self.tokens: set[str | None] = set()
        self.status = 0
        # Reason phrase of that status, and a false answer about every repository
        self.reason = b""
        self.tells: bytes | None = None
        # Answers about repositories are labelled compressed; sent byte by byte, slowly
        self.packed = False
        self.drips = False
        # Set when it ends: for answers that wait
        self.released = threading.Event()
        self.url = ""


def sibling(model: Model, name: str, content: bytes) -> dict[str, Any]:
    size = model.told_sizes.get(name, len(content))
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    one: dict[str, Any] = {"rfilename": name, "size": size, "blobId": git}
    if name.endswith((".safetensors", ".bin", ".gguf")):
        sha256 = hashlib.sha256(content).hexdigest()
        one["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 130}
    return one


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(self.hub.reason)))
        self.end_headers()
        self.wfile.write(self.hub.reason)

    def _answer(self, body: bool) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if self.hub.status:
            return self._refuse(self.hub.status, "Broken")
        if parts[:2] == ["api", "models"]:
            model, rest = self.hub.models.get("/".join(parts[2:4])), parts[4:]
        else:
            model, rest = self.hub.models.get("/".join(parts[:2])), parts[2:]
        if model is None:
            return self._refuse(401, "RepoNotFound")
        if model.token and self.headers.get("Authorization") != f"Bearer {model.token}":
            return self._refuse(403, "GatedRepo")
        revision = rest[1] if len(rest) > 1 else "main"
        commit = model.names.get(revision, revision)
        if commit not in model.revisions:
            return self._refuse(404, "RevisionNotFound")
        files = model.revisions[commit]
        if parts[0] == "api" and self.hub.tells is not None:
            return self._send(self.hub.tells)
        if parts[0] == "api":
            told = [sibling(model, name, content) for name, content in files.items()]
            return self._send(
                json.dumps({"id": "/".join(parts[2:4]), "sha": commit, "siblings": told}).encode()
            )
        return self._file(model, "/".join(rest[2:]), files, commit, body)

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        if self.hub.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.hub.drips:
            for number in content:
                self.wfile.write(bytes([number]))
                if self.hub.released.wait(0.02):
                    return
        self.wfile.write(content)

    def _file(
        self, model: Model, name: str, files: dict[str, bytes], commit: str, body: bool
    ) -> None:
        if name not in files:
            return self._refuse(404, "EntryNotFound")
        if where := model.leads.get(name):
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content = model.sends.get(name, files[name])
        wanted = self.headers.get("Range") if model.ranges else None
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.hub.asked.append((self.command, name, first))
        self.send_response(206 if wanted else 200)
        if self.hub.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if not body:
            return None
        if model.spoiled[name] > 0:
            model.spoiled[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        after, times = model.breaks.get(name, (0, 0))
        if times > 0:
            model.breaks[name] = (after, times - 1)
            self.wfile.write(content[first : first + after])
            self.wfile.flush()
            self.connection.close()
            return None
        if (at := model.stalls.get(name)) is not None:
            self.wfile.write(content[first : first + at])
            self.wfile.flush()
            self.hub.released.wait(30)
            return None
        self.wfile.write(content[first:])
        return None


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    with Server(type("Handler", (_Handler,), {"hub": hub})) as server:
        hub.url, hub.released = f"http://127.0.0.1:{server.server_address[1]}", server.over
        yield hub


@contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """huggingface_hub asks this one: it reads HF_ENDPOINT when it is imported.

    The client for it is made when it is needed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + _TEMPLATE)
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        close_session()
        try:
            yield
        finally:
            close_session()

"""The page's shell: the files that a browser may keep, to open the page without the server.

A service worker (client/service_worker.js) keeps them. It gets their list with the hash of each
from here, and the page gets the hash of them all, which is its version.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# At most one folder deep, and only letters: no path leads out of the client's folder.
CLIENT_NAME = re.compile(r"(?:[a-z_]+/){0,3}[a-z]+\.[a-z]+")
# The service worker itself is no file that it keeps: the browser asks for it by its own rules.
WORKER = "service_worker.js"
PAGE = "index.html"
# Pictures are for installing, and the browser keeps those.
_KEPT = {".js", ".css", ".html", ".svg", ".webmanifest"}
# Each person needs one language.
_WORDS = {".json"}
_VERSION_PLACE = b'name="shell" content=""'
# Seconds between two looks at the files, which an upgrade may have changed
_LOOK_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Contents:
    """The shell at one time.

    `version`: SHA-256 of all files, hexadecimal; `page`: index.html with it; `worker`: the script
    of the service worker, with the version and the list in front.
    """

    version: str
    page: bytes
    worker: bytes


class Shell:
    """Reads the page's files, and reads them again when they have changed.

    It looks at most once a second, in a thread. `folder`: the client's; `clock`: seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._looked = 0.0
        self._seen: list[tuple[str, int, int]] = []
        self._contents: Contents | None = None

    async def contents(self) -> Contents:
        """Return the shell of now. Raises OSError when its files cannot be read."""
        now = self._clock()
        contents = self._contents
        if contents is None or now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._seen, read = await asyncio.to_thread(self._look, self._seen, contents)
            self._contents = read
            return read
        return contents

    def _look(
        self, seen: list[tuple[str, int, int]], before: Contents | None
    ) -> tuple[list[tuple[str, int, int]], Contents]:
        paths = sorted(self._folder.rglob("*.*"))
        found = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in paths]
        if before is not None and found == seen:
            return seen, before
        return found, self._read(paths)

    def _read(self, paths: list[Path]) -> Contents:
        page = (self._folder / PAGE).read_bytes()
        worker = (self._folder / WORKER).read_bytes()
        kept = {
            f"/client/{name}": path.read_bytes()
            for path in paths
            if path.suffix in _KEPT | _WORDS
            and CLIENT_NAME.fullmatch(name := path.relative_to(self._folder).as_posix())
            and name != PAGE
        }
        whole = hashlib.sha256()
        for part in (page, worker, *(b for name in kept for b in (name.encode(), kept[name]))):
            whole.update(len(part).to_bytes(8, "big") + part)
        version = whole.hexdigest()
        page = page.replace(_VERSION_PLACE, _VERSION_PLACE[:-1] + version.encode() + b'"', 1)
        files = {name: integrity(text) for name, text in {"/": page, **kept}.items()}
        words = {name: files.pop(name) for name in kept if Path(name).suffix in _WORDS}
        shell = {"version": version, "files": files, "words": words}
        listed = json.dumps(shell, separators=(",", ":"))
        return Contents(version, page, f"const SHELL = {listed};\n".encode() + worker)


def integrity(text: bytes) -> str:
    """Return the hash by which a browser checks what it fetches (Subresource Integrity)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode()

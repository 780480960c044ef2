"""Fetch a model of the catalogue for an operator: one at a time, in a process of its own.

The process is scripts/models/download.py, which goes on where it was stopped, compares every file with
the hub's checksum, and asks public addresses alone (or HF_ENDPOINT).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet, in_pool
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting.catalogue.entry import Model
from server.features.hosting.catalogue.machine import gigabytes
from server.shared.processes.environment import child_environment
from server.shared.processes.process import ChildProcess, LogRing, ProcessFailed

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "scripts" / "models" / "download.py"
# Bytes that are left free: the disk is this server's and other programs', too.
RESERVE_BYTES = 2 * 1024**3
# Seconds between two looks at the disk
CHECK_SECONDS = 2.0
# Of the hub's settings the process gets these; the token is for gated models.
_PASSED_VARIABLES = re.compile(
    r"^(HF_(ENDPOINT|TOKEN)|((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy)|SSL_CERT_(FILE|DIR))$"
)
# Longest sentence of the process that is shown
_MAX_ERROR_CHARS = 600


class FetchState(StrEnum):
    """The state of the last fetch. A paused or failed one goes on where it stopped."""

    IDLE = "idle"
    FETCHING = "fetching"
    CHECKING = "checking"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FetchStatus:
    """`total_bytes` is 0 while unknown."""

    state: FetchState = FetchState.IDLE
    model: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    error: str = ""


class ModelFetch:
    """The fetch under way. Everything on the event loop; the disk is looked at in `pool`.

    `known`: models of the catalogue; blocking. `kept`: the folder that models are kept in, each in one
    of its own.

    Bounds of a model that is fetched: one, in a process of its own; a second one is refused
    (409). It ends before the disk is full; what came is kept.
    """

    def __init__(
        self,
        known: Callable[[], Iterable[Model]],
        kept: Path,
        *,
        allowed: bool,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._known, self._kept, self._allowed, self._pool = known, kept, allowed, pool
        own = {name: value for name, value in os.environ.items() if _PASSED_VARIABLES.match(name)}
        self._environment = child_environment(os.environ, own)
        self._tasks = TaskSet("fetch")
        self.status = FetchStatus()
        self._process: ChildProcess | None = None
        self._watching: asyncio.Task[None] | None = None
        # From the first look at the catalogue until the process has ended
        self._busy = False
        self._closed = False
        self._pausing = False

    @property
    def refusal(self) -> str:
        """The reason why nothing is fetched from here; "" where it is."""
        if not self._allowed:
            return "Fetching from here is off: set ALLOW_MODEL_DOWNLOADS=true, or fetch on the server's command line."
        return self.missing_script

    @property
    def missing_script(self) -> str:
        """The reason why this installation fetches nothing, whoever asks; "" where it does."""
        if not PROGRAM.is_file():
            return (
                "This installation has no scripts/models, which fetches models: fetch it elsewhere."
            )
        return ""

    async def free(self) -> int | None:
        """Return the free bytes where models are kept; None when the disk does not tell."""
        with suppress(OSError):
            return await in_pool(self._pool, disk_free, self._kept)
        return None

    def folder(self, model: Model) -> Path:
        return self._kept / model.id.rpartition("/")[2]

    def command(self, model: Model) -> str:
        """Return the command that does the same."""
        asked = " ".join(_arguments(model))
        return f"bash scripts/download_model.sh {asked} --to ~/models/{self.folder(model).name}"

    async def start(self, name: object, *, allowed: bool = False) -> None:
        """Fetch the model, or go on with it; return when its process has begun. `allowed`: whatever the settings say.

        Raises BadRequest for a name that the catalogue has not, and without room; Conflict while another
        one is fetched, or where the settings forbid it; Draining.
        """
        if refused := self.missing_script if allowed else self.refusal:
            raise Conflict(refused)
        if self._closed:
            raise Draining("The server is about to stop and fetches nothing any more.")
        if self._busy:
            raise Conflict(
                f"{self.status.model or 'A model'} is being fetched. Pause it, or wait until it is here."
            )
        self._busy, self._pausing = True, False
        try:
            model = await in_pool(self._pool, self._find, name)
            folder = self.folder(model)
            await in_pool(self._pool, self._require_space, model, folder)
            process = self._run(model, folder)
        except BaseException:
            self._busy = False
            raise
        self._process = process
        same = self.status.model == model.id
        before = self.status if same else FetchStatus()
        self.status = FetchStatus(
            FetchState.FETCHING,
            model.id,
            before.done_bytes,
            before.total_bytes or model.weights_bytes,
        )
        self._watching = self._tasks.spawn(self._watch(process, folder), name="watch")
        log.info("the operator fetches a model")

    async def wait_settled(self) -> FetchStatus:
        """Wait until nothing is fetched."""
        if self._watching is not None:
            await asyncio.wait((self._watching,))
        return self.status

    async def pause(self) -> None:
        """End the process; what came is kept. Nothing happens while nothing is fetched."""
        process = self._process
        if process is not None and process.running:
            self._pausing = True
            await process.stop()

    async def close(self) -> None:
        """End it with the server. Safe to call twice."""
        self._closed = True
        await self.pause()
        await self._tasks.close()

    # In a thread

    def missing(self, model: Model) -> int:
        """Return the bytes of it that are still to be fetched."""
        if model.folder is not None:
            return 0
        files = [path for path in self.folder(model).rglob("*") if path.is_file()]
        return max(0, model.weights_bytes - sum(path.stat().st_size for path in files))

    def _find(self, name: object) -> Model:
        if isinstance(name, str):
            for model in self._known():
                # A folder's name is no repository; ids of the hub have an owner.
                if model.id == name and "/" in model.id and model.folder is None:
                    return model
        shown = repr(name)[:80]
        raise BadRequest(
            f"{shown} is no model of the catalogue that could be fetched. The panel lists them: give the id of one that is not here."
        )

    def _require_space(self, model: Model, folder: Path) -> None:
        needed = self.missing(model) + RESERVE_BYTES
        free = disk_free(folder)
        if free < needed:
            raise BadRequest(
                f"There is no room for {model.name}: it needs {gigabytes(needed)} with what stays free, and {gigabytes(free)}"
                f" are free at {folder}. Remove something there, or choose a smaller model."
            )

    # The process

    def _run(self, model: Model, folder: Path) -> ChildProcess:
        words = (sys.executable, str(PROGRAM), *_arguments(model), "--to", str(folder), "--json")
        ring = LogRing([os.environ.get("HF_TOKEN", "")])
        process = ChildProcess(words, self._environment, ring=ring, on_line=self._on_line, cwd=ROOT)
        try:
            process.start()
        except ProcessFailed as error:
            raise BadRequest(error.message) from None
        return process

    def _on_line(self, line: str) -> None:
        progress = _progress(line)
        if progress is not None and self._busy:
            self.status = replace(self.status, **progress)

    async def _watch(self, process: ChildProcess, folder: Path) -> None:
        """Wait for the end; end it before the disk is full."""
        disk_full = ""
        while process.running:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await process.ended.wait()
            except TimeoutError:
                free = await in_pool(self._pool, disk_free, folder)
                if free < RESERVE_BYTES // 2:
                    disk_full = (
                        f"The disk at {folder} is nearly full ({gigabytes(free)} left), so the fetch was stopped. Free some"
                        " room, and go on: what came is kept."
                    )
                    await process.stop()
        self.status = self._final_status(process, disk_full)
        self._process, self._busy = None, False
        log.info("the fetch of a model ended", extra={"kind": str(self.status.state)})

    def _final_status(self, process: ChildProcess, disk_full: str) -> FetchStatus:
        status = replace(self.status, error="")
        if process.status == 0:
            return replace(status, state=FetchState.DONE, done_bytes=status.total_bytes)
        if disk_full:
            return replace(status, state=FetchState.FAILED, error=disk_full)
        if self._pausing:
            return replace(status, state=FetchState.PAUSED)
        said = [line for line in process.lines if _progress(line) is None and line.strip()]
        error = said[-1] if said else f"The program that fetches {process.how_it_ended()}."
        return replace(status, state=FetchState.FAILED, error=error[:_MAX_ERROR_CHARS])


def _arguments(model: Model) -> list[str]:
    """Return a model and what of it is fetched, in the words of the program's command line."""
    words = [model.id]
    if model.revision:
        words += ["--revision", model.revision]
    return words + [word for name in model.files for word in ("--file", name)]


def _progress(line: str) -> dict[str, Any] | None:
    """Read a line of the process's progress; None for any other."""
    try:
        facts = json.loads(line)
        state, done, total = FetchState(facts["phase"]), int(facts["done"]), int(facts["total"])
    except (ValueError, KeyError, TypeError):
        return None
    if state not in (FetchState.FETCHING, FetchState.CHECKING):
        return None
    return {"state": state, "done_bytes": min(done, total), "total_bytes": total}


def disk_free(folder: Path) -> int:
    """Return the free bytes where a folder is or will be. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free

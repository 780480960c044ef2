"""Fetch models of the catalogue for an operator, one at a time, in a child process.

The process runs scripts/models/download.py, which resumes, compares each file with the hub's checksum, and connects to
public addresses (or HF_ENDPOINT) only.
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

from server.core.aio import TaskSet, run_in_pool
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting.catalogue.entry import Model
from server.features.hosting.catalogue.machine import format_gigabytes
from server.shared.processes.environment import make_child_environment
from server.shared.processes.process import ChildProcess, LogRing, ProcessFailed

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "scripts" / "models" / "download.py"
# Bytes that stay free on the disk for other programs
RESERVE_BYTES = 2 * 1024**3
# Seconds between two checks of the disk
CHECK_SECONDS = 2.0
# Environment variables that the process gets; HF_TOKEN is for gated models.
_PASSED_VARIABLES = re.compile(
    r"^(HF_(ENDPOINT|TOKEN)|((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy)|SSL_CERT_(FILE|DIR))$"
)
# Maximum characters of an error from the process
_MAX_ERROR_CHARS = 600


class FetchState(StrEnum):
    """State of the last fetch. A paused or failed one can be resumed."""

    IDLE = "idle"
    FETCHING = "fetching"
    CHECKING = "checking"
    PAUSED = "paused"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FetchStatus:
    """Progress of the last fetch. `total_bytes`: 0 while unknown."""

    state: FetchState = FetchState.IDLE
    model: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    error: str = ""


class ModelFetch:
    """Fetches one model at a time. Call it on the event loop; the disk is read in `pool`.

    `known` returns the models of the catalogue, and blocks. `kept`: the folder of models, one subfolder each.

    Bounds of a model that is fetched: one, in a separate process; a second fetch is refused
    (409). The fetch stops before the disk is full, and keeps the fetched part.
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
        self._environment = make_child_environment(os.environ, own)
        self._tasks = TaskSet("fetch")
        self.status = FetchStatus()
        self._process: ChildProcess | None = None
        self._watching: asyncio.Task[None] | None = None
        # True from the search in the catalogue until the process has ended
        self._busy = False
        self._closed = False
        self._pausing = False

    @property
    def refusal(self) -> str:
        """Why operators cannot fetch models; "" if they can."""
        if not self._allowed:
            return "Downloads from the panel are off. Set ALLOW_MODEL_DOWNLOADS=true, or use the server's command line."
        return self.missing_script

    @property
    def missing_script(self) -> str:
        """Why this installation cannot fetch models at all; "" if it can."""
        if not PROGRAM.is_file():
            return "This installation has no scripts/models, which fetches models. Fetch the model on another machine."
        return ""

    async def get_free_bytes(self) -> int | None:
        """Return the free bytes on the disk of models; None if unknown."""
        with suppress(OSError):
            return await run_in_pool(self._pool, get_disk_free, self._kept)
        return None

    def get_folder(self, model: Model) -> Path:
        return self._kept / model.id.rpartition("/")[2]

    def get_command(self, model: Model) -> str:
        """Return the shell command that fetches the model."""
        arguments = " ".join(_make_arguments(model))
        return f"bash scripts/download_model.sh {arguments} --to ~/models/{self.get_folder(model).name}"

    async def start(self, name: object, *, allowed: bool = False) -> None:
        """Fetch a model of the catalogue, or resume; return when the process has started.

        `allowed`: ignore ALLOW_MODEL_DOWNLOADS. Raises BadRequest for an unknown name or a full disk, Conflict while
        another model is fetched or if the settings forbid it, Draining after `close`.
        """
        if refused := self.missing_script if allowed else self.refusal:
            raise Conflict(refused)
        if self._closed:
            raise Draining("The server is shutting down and starts no more downloads.")
        if self._busy:
            raise Conflict(
                f"{self.status.model or 'A model'} is being fetched, and one at a time is allowed. Pause it, or wait."
            )
        self._busy, self._pausing = True, False
        try:
            model = await run_in_pool(self._pool, self._find, name)
            folder = self.get_folder(model)
            await run_in_pool(self._pool, self._require_space, model, folder)
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
        log.info("operator started a model download")

    async def wait_settled(self) -> FetchStatus:
        """Wait until no fetch is running."""
        if self._watching is not None:
            await asyncio.wait((self._watching,))
        return self.status

    async def pause(self) -> None:
        """Stop the process, and keep the fetched part. Does nothing if no process is running."""
        process = self._process
        if process is not None and process.running:
            self._pausing = True
            await process.stop()

    async def close(self) -> None:
        """Stop the process and refuse new fetches. Safe to call twice."""
        self._closed = True
        await self.pause()
        await self._tasks.close()

    # Called in the pool

    def count_missing_bytes(self, model: Model) -> int:
        """Return the bytes of the model that are still to be fetched. Blocking."""
        if model.folder is not None:
            return 0
        files = [path for path in self.get_folder(model).rglob("*") if path.is_file()]
        return max(0, model.weights_bytes - sum(path.stat().st_size for path in files))

    def _find(self, name: object) -> Model:
        if isinstance(name, str):
            for model in self._known():
                # Ids on the hub include an owner; other ids are names of local folders.
                if model.id == name and "/" in model.id and model.folder is None:
                    return model
        shown = repr(name)[:80]
        raise BadRequest(
            f"{shown} is not in the catalogue, or is on this machine already. Give the id of a model that the panel offers to fetch."
        )

    def _require_space(self, model: Model, folder: Path) -> None:
        needed = self.count_missing_bytes(model) + RESERVE_BYTES
        free = get_disk_free(folder)
        if free < needed:
            raise BadRequest(
                f"The disk is too full for {model.name}: it needs {format_gigabytes(needed)} with the reserve, and {format_gigabytes(free)}"
                f" are free at {folder}. Free some space there, or choose a smaller model."
            )

    # The process

    def _run(self, model: Model, folder: Path) -> ChildProcess:
        words = (
            sys.executable,
            str(PROGRAM),
            *_make_arguments(model),
            "--to",
            str(folder),
            "--json",
        )
        ring = LogRing([os.environ.get("HF_TOKEN", "")])
        process = ChildProcess(words, self._environment, ring=ring, on_line=self._on_line, cwd=ROOT)
        try:
            process.start()
        except ProcessFailed as error:
            raise BadRequest(error.message) from None
        return process

    def _on_line(self, line: str) -> None:
        progress = _parse_progress(line)
        if progress is not None and self._busy:
            self.status = replace(self.status, **progress)

    async def _watch(self, process: ChildProcess, folder: Path) -> None:
        """Wait until the process ends; stop it before the disk is full."""
        disk_full = ""
        while process.running:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await process.ended.wait()
            except TimeoutError:
                free = await run_in_pool(self._pool, get_disk_free, folder)
                if free < RESERVE_BYTES // 2:
                    disk_full = (
                        f"The disk at {folder} is nearly full ({format_gigabytes(free)} left), so the download was stopped. Free some"
                        " space, and resume; the fetched part is kept."
                    )
                    await process.stop()
        self.status = self._make_final_status(process, disk_full)
        self._process, self._busy = None, False
        log.info("model download ended", extra={"kind": str(self.status.state)})

    def _make_final_status(self, process: ChildProcess, disk_full: str) -> FetchStatus:
        status = replace(self.status, error="")
        if process.status == 0:
            return replace(status, state=FetchState.DONE, done_bytes=status.total_bytes)
        if disk_full:
            return replace(status, state=FetchState.FAILED, error=disk_full)
        if self._pausing:
            return replace(status, state=FetchState.PAUSED)
        said = [line for line in process.lines if _parse_progress(line) is None and line.strip()]
        error = said[-1] if said else f"The download program {process.explain_end()}."
        return replace(status, state=FetchState.FAILED, error=error[:_MAX_ERROR_CHARS])


def _make_arguments(model: Model) -> list[str]:
    """Return the model's arguments for the download program."""
    words = [model.id]
    if model.revision:
        words += ["--revision", model.revision]
    return words + [word for name in model.files for word in ("--file", name)]


def _parse_progress(line: str) -> dict[str, Any] | None:
    """Parse a progress line of the process; return None for any other line."""
    try:
        facts = json.loads(line)
        state, done, total = FetchState(facts["phase"]), int(facts["done"]), int(facts["total"])
    except (ValueError, KeyError, TypeError):
        return None
    if state not in (FetchState.FETCHING, FetchState.CHECKING):
        return None
    return {"state": state, "done_bytes": min(done, total), "total_bytes": total}


def get_disk_free(folder: Path) -> int:
    """Return the free bytes on the disk that contains a folder. The folder need not exist. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free

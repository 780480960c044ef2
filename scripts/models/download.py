#!/usr/bin/env python3
"""Download a model's files to MODEL_PATH, and check them. bash scripts/download_model.sh calls this;
see its --help.
"""

from __future__ import annotations

import argparse
import errno
import json as json_lines
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# The library's progress bars would overwrite the one here.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from config import ConfigError, load
from scripts.arguments import ROOT, add_env_file
from scripts.models import checkpoint, disk, hub, record
from scripts.models.disk import ModelError, format_bytes, say
from scripts.models.hub import HubFile, Repository
from server.core import core_dumps

# Minimum bytes in a period, below which a download is stalled: 3.5 KB/s
LEAST_BYTES = 1024 * 1024
STALL_SECONDS = 300.0
# Maximum times that more bytes than that are discarded, because a hub does not resume within a file
MOST_RESTARTS = 20


class Progress:
    """Shows the progress: on a terminal in one changing line, elsewhere by occasional lines.

    `json`: for programs, as lines of JSON on standard output: `phase`, `done`, `total` (bytes).
    """

    def __init__(self, what: str, total: int, done: int = 0, *, json: bool = False) -> None:
        self._json = json
        self._what = what
        self._total = total
        self._first = done
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = self._began + (0.0 if json else 0.5 if self._terminal else 10.0)
        self._in_line = False

    def show(self, done: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not (last and (self._terminal or self._json)):
            return
        if self._json:
            self._next = now + 0.5
            told = {"phase": self._what.lower(), "done": done, "total": self._total}
            print(json_lines.dumps(told), flush=True)
            return
        self._next = now + (0.5 if self._terminal else 10.0)
        rate = max(0, done - self._first) / max(0.1, now - self._began)
        # The rate of the first bytes is not representative.
        known = rate > 0 and done - self._first >= LEAST_BYTES
        left = (
            f", {_format_duration((self._total - done) / rate)} left" if known and not last else ""
        )
        text = (
            f"{self._what} {100 * done // max(1, self._total)} %: {format_bytes(done)} of {format_bytes(self._total)},"
            f" {format_bytes(rate)}/s{left}"
        )
        if self._terminal:
            print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
            self._in_line = not last
        else:
            say(text)

    def end(self) -> None:
        """End the progress line, so that the next output begins a new line."""
        if self._in_line:
            self._in_line = False
            say("")


class Stall:
    """Detects a stalled download, even if some bytes arrive. `now` is monotonic seconds."""

    def __init__(self, done: int, now: float) -> None:
        self._done = done
        self._at = now
        self._restarts = 0

    def look(self, done: int, now: float) -> None:
        """Raise ModelError if too little arrived for too long, or was discarded too often."""
        if done < self._done:
            self._restarts += self._done - done >= LEAST_BYTES
            self._done = done
            if self._restarts > MOST_RESTARTS:
                raise ModelError(
                    f"The connection broke {self._restarts} times, and the hub does not resume within a file, so the received"
                    " data was lost. Set HF_ENDPOINT to another mirror, or fetch the model by other means."
                )
        if done - self._done >= LEAST_BYTES:
            self._done, self._at = done, now
        elif now - self._at > STALL_SECONDS:
            raise ModelError(
                f"Hardly any data arrived for {STALL_SECONDS / 60:g} minutes ({format_bytes(done - self._done)}). Check the network,"
                " or set HF_ENDPOINT to a mirror, and run this again: received data is kept."
            )


def _format_duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes + 1} min"


# The folder of a download: its complete files, missing files, and files of another revision or model

PIPELINE = "model_index.json"
WEIGHTS = (".safetensors", ".gguf")
# In addition to the files: index, record, and the file system's own data
SPARE = 16 * 1024 * 1024


def find_missing(repository: Repository, folder: Path) -> list[HubFile]:
    """Return the files whose size is not correct yet; the others are checked later."""
    return [
        file
        for file in repository.files
        if not (folder / file.name).is_file() or (folder / file.name).stat().st_size != file.size
    ]


def count_fetched_bytes(files: Sequence[HubFile], folder: Path) -> int:
    """Return the bytes that need not be downloaded: complete files, and partial ones."""
    sizes = 0
    for file in files:
        for name in (file.name, f"{file.name}.part"):
            try:
                size = (folder / name).stat().st_size
            except OSError:
                continue
            # A file under its own name with another size is of another revision; it is kept until this one is complete.
            if size == file.size or (name != file.name and size < file.size):
                sizes += size
                break
    return sizes


def find_outdated(repository: Repository, folder: Path) -> list[Path]:
    """Return files of an earlier revision, to be removed. Raises ModelError for files of another model."""
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Choose a folder with --to or MODEL_PATH.")
    known = record.read(folder) if folder.is_dir() else None
    source = record.read_unfinished(folder) if known is None else known["source"]
    ours_begun = known is None and source.get("repository") == repository.name
    if source and source.get("repository") != repository.name:
        other = str(source.get("repository") or "a converted model")[:100]
        raise ModelError(
            f"{folder} contains {other}. Choose another folder with --to, or remove that one."
        )
    ours = {file.name for file in repository.files}
    weights = (path for form in WEIGHTS for path in folder.glob(f"*{form}"))
    found = {path for path in weights if path.name not in ours}
    earlier = set() if known is None else _find_existing_files(folder, set(known["files"]) - ours)
    if found - earlier and not ours_begun:
        names = sorted(path.name for path in found - earlier)
        raise ModelError(
            f"{folder} has weights of another model ({', '.join(names[:3])}). Choose another folder with --to, or remove"
            " them."
        )
    return sorted(found | earlier)


def _find_existing_files(folder: Path, names: set[str]) -> set[Path]:
    """Return the files in the folder that have one of these names."""
    found = set()
    for name in names:
        try:
            disk.resolve_inside(folder, name)
        except ModelError:
            continue
        if (folder / name).is_file():
            found.add(folder / name)
    return found


def require_space(repository: Repository, folder: Path) -> tuple[list[HubFile], int]:
    """Return the missing files and their bytes. Raises ModelError if they cannot be written."""
    find_outdated(repository, folder)
    files = find_missing(repository, folder)
    needed = sum(file.size for file in files) - count_fetched_bytes(files, folder)
    if files:
        disk.require_space(folder, needed + SPARE, "the download")
    return files, needed


def begin(repository: Repository, folder: Path) -> None:
    """Remove files of another revision that are in the way. Raises ModelError, OSError."""
    source = {"repository": repository.name, "commit": repository.commit}
    old = find_outdated(repository, folder)
    if record.read_unfinished(folder) not in ({}, source):
        # Partial files of another revision, whose contents may continue differently
        old += folder.rglob("*.part")
    known = record.read(folder)
    if known is not None:
        sums = {name: entry["sha256"] for name, entry in known["files"].items()}
        old += [
            folder / file.name
            for file in repository.files
            if file.sha256 not in (None, sums.get(file.name, file.sha256))
        ]
    for path in old:
        path.unlink(missing_ok=True)
    record.begin(folder, source)
    if known is not None and known["source"] != source:
        # Until this revision is complete, the folder contains neither revision.
        (folder / record.NAME).unlink(missing_ok=True)


def finish(repository: Repository, folder: Path) -> None:
    """Write the record. Raises ModelError if a file named by the index is missing."""
    # A pipeline of several models (diffusers) has no index, nor have GGUF files; the hub or the caller
    # named all files.
    names = {file.name for file in repository.files}
    if PIPELINE not in names and not any(name.endswith(".gguf") for name in names):
        model = checkpoint.read(folder)
        lost = [name for name in model.shards if not (folder / name).is_file()]
        if lost:
            raise ModelError(
                f"{repository.name} itself has no {', '.join(lost[:5])}: choose another revision."
            )
    files = {
        file.name: {
            "size": file.size,
            "sha256": file.sha256 or record.compute_sha256(folder / file.name),
        }
        for file in repository.files
    }
    source = {"repository": repository.name, "commit": repository.commit}
    record.write(folder, source, files)
    (folder / record.BEGUN).unlink(missing_ok=True)


DEFAULT = "Qwen/Qwen2.5-VL-32B-Instruct"
AT_A_TIME = 4
# Maximum attempts to fetch a file whose content is wrong
ATTEMPTS = 2


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bash scripts/download_model.sh", description=__doc__)
    add = parser.add_argument
    add("repository", nargs="?", default=DEFAULT, help=f"the repository's id ({DEFAULT})")
    add("--revision", help="branch, tag or commit (the main branch's newest)")
    add("--to", type=Path, help="the folder (MODEL_PATH of the environment or .env)")
    add(
        "--file",
        action="append",
        default=[],
        metavar="NAME",
        help="only this file (GGUF: the weights and the mmproj, each by its own --file)",
    )
    add("--dry-run", action="store_true", help="fetch nothing")
    add("--json", action="store_true", help="progress as lines of JSON on standard output")
    add_env_file(parser, "the settings")
    return parser.parse_args(arguments)


def fetch_all(
    repository: Repository, files: Sequence[HubFile], folder: Path, json: bool = False
) -> None:
    """Download files, several in parallel. Raises the first ModelError or OSError."""
    if not files:
        return
    here = count_fetched_bytes(files, folder)
    progress = Progress("Fetching", sum(file.size for file in files), here, json=json)
    stall = Stall(here, time.monotonic())
    failed = threading.Event()

    def fetch_one(file: HubFile) -> None:
        if not failed.is_set():
            try:
                hub.fetch(repository, file, folder)
            except BaseException:
                failed.set()
                raise

    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="fetch")
    # Large files first, so that none of them remains alone at the end.
    jobs = [pool.submit(fetch_one, file) for file in sorted(files, key=lambda f: -f.size)]
    try:
        while True:
            done, running = wait(jobs, timeout=0.2, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
            here = count_fetched_bytes(files, folder)
            progress.show(here, last=not running)
            if not running:
                break
            stall.look(here, time.monotonic())
    finally:
        progress.end()
        # After a failure or Ctrl+C, do not wait for running downloads.
        pool.shutdown(wait=False, cancel_futures=True)


def find_corrupt(repository: Repository, folder: Path, json: bool = False) -> list[HubFile]:
    """Return the files whose checksum differs from the hub's."""
    progress = Progress("Checking", repository.size, json=json)
    checked = 0

    def on_read(size: int) -> None:
        nonlocal checked
        checked += size
        progress.show(checked)

    try:
        found = [
            file
            for file in repository.files
            if not hub.is_correct(file, folder / file.name, on_read)
        ]
        progress.show(checked, last=True)
    finally:
        progress.end()
    return found


def download(
    name: str,
    revision: str | None,
    folder: Path,
    only: Collection[str] = (),
    *,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Download a repository's files, or `only` these, and check them. Raises ModelError, OSError."""
    repository = hub.look_up(name, revision, only)
    files, needed = require_space(repository, folder)
    say(
        f"{repository.name} at {repository.commit}: {len(repository.files)} files, {format_bytes(repository.size)};"
        f" {format_bytes(needed)} to fetch to {folder}, {format_bytes(disk.free_bytes(folder))} free there."
    )
    if dry_run:
        for file in files:
            print(f"{format_bytes(file.size):>12}  {file.name}")
        say("Nothing was fetched (--dry-run).")
        return
    disk.make_folder(folder)
    with disk.lock_folder(folder):
        begin(repository, folder)
        # Another run may have continued the download since the last check.
        files = find_missing(repository, folder)
        for attempt in range(ATTEMPTS + 1):
            fetch_all(repository, files, folder, json)
            files = find_corrupt(repository, folder, json)
            if not files:
                break
            names = ", ".join(file.name for file in files[:5])
            for file in files:
                (folder / file.name).unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise ModelError(
                    f"The checksum of {names} differed from the hub's {attempt + 1} times: a proxy or mirror"
                    " changes the content, or the memory or disk is faulty. These files were removed; run the"
                    " same command to fetch them again."
                )
            say(f"The checksum of {names} differs from the hub's: fetching it again.")
        finish(repository, folder)


def run_guarded(run: Callable[[], int], folder: Path, otherwise: str = "") -> int:
    """Run as `disk.run_script` does, and explain disk errors; `otherwise` is printed after a failure.

    A failure ends the process immediately, because threads may be waiting for the network.
    """

    def run_explained() -> int:
        try:
            return run()
        except ModelError:
            raise
        except OSError as error:
            raise ModelError(_explain_disk_error(error, folder)) from None
        except Exception:  # noqa: BLE001
            # An error in this program: print the traceback, and do not wait for the threads.
            traceback.print_exc()
            return 1

    kept = f"Stopped. The received part is kept in {folder}: the same command resumes."
    status = disk.run_script(run_explained, lambda: kept)
    if status == 0:
        return 0
    if status == 1 and otherwise:
        say(otherwise)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _explain_disk_error(error: OSError, folder: Path) -> str:
    """Return the sentence about a file that could not be written or read."""
    if error.errno == errno.ENOSPC:
        return f"The disk of {folder} is full. Free some space; the same command resumes."
    if error.errno == errno.EDQUOT:
        return f"Your disk quota at {folder} is used up. Free some space; the same command resumes."
    return (
        f"{error.filename or folder} could not be written or read ({error.strerror or error})."
        " The same command resumes."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_options(arguments)
    # They log warnings about retries; this script prints its own messages.
    logging.disable(logging.CRITICAL)
    try:
        folder = chosen.to or load(chosen.env_file).model_path
    except ConfigError as error:
        say(error.message)
        return 1
    try:
        folder = Path(folder).expanduser() if chosen.to else ROOT / folder
    except RuntimeError:
        say(f"--to {folder}: ~ is not expanded there. Give the whole path.")
        return 1

    def run() -> int:
        say(f"Looking for {chosen.repository} at {hub.get_hub_address()}.")
        how = {"dry_run": chosen.dry_run, "json": chosen.json}
        download(chosen.repository, chosen.revision, folder, chosen.file, **how)
        if not chosen.dry_run:
            gguf = any(name.endswith(".gguf") for name in chosen.file)
            serve = f"run.sh --model {folder}" if gguf else "start_vllm_server.sh"
            say(f"Done: {folder} is complete. To serve it: bash scripts/{serve}")
        return 0

    return run_guarded(run, folder)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

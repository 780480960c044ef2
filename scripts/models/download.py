#!/usr/bin/env python3
"""Fetch a model's files to MODEL_PATH, and check them. bash scripts/download_model.sh calls this; see its --help."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
# Its own bars would be drawn over the one here.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from config import ConfigError, load  # noqa: E402
from scripts.models import checkpoint, disk, hub, record  # noqa: E402
from scripts.models.disk import in_words  # noqa: E402
from scripts.models.hub import HubFile, Repository  # noqa: E402
from scripts.models.trouble import ModelError, Stopped, say, stopping_on_signals  # noqa: E402

DEFAULT = "Qwen/Qwen2.5-VL-32B-Instruct"
AT_A_TIME = 4
# A file whose content is wrong is fetched anew this often.
ATTEMPTS = 2
# Beside the files: index, record, what the file system takes
SPARE = 16 * 1024 * 1024


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bash scripts/download_model.sh",
        description=__doc__,
    )
    add = parser.add_argument
    add("repository", nargs="?", default=DEFAULT, help=f"the repository's id ({DEFAULT})")
    add("--revision", help="branch, tag or commit (the main branch's newest)")
    add("--to", type=Path, help="the folder (MODEL_PATH of the environment or .env)")
    add("--dry-run", action="store_true", help="fetch nothing")
    add("--env-file", type=Path, default=ROOT / ".env", help="the settings (.env)")
    return parser.parse_args(arguments)


class Progress:
    """Tells how far it is: on a terminal one line that changes, elsewhere a line now and then."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what = what
        self._total = total
        self._first = done
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = self._began + (0.5 if self._terminal else 10.0)

    def show(self, done: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not (last and self._terminal):
            return
        self._next = now + (0.5 if self._terminal else 10.0)
        rate = (done - self._first) / max(0.1, now - self._began)
        left = f", {_duration((self._total - done) / rate)} left" if rate > 0 and not last else ""
        text = (
            f"{self._what} {100 * done // max(1, self._total)} %: {in_words(done)} of {in_words(self._total)},"
            f" {in_words(rate)}/s{left}"
        )
        if self._terminal:
            print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            say(text)


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes + 1} min"


def missing(repository: Repository, folder: Path) -> list[HubFile]:
    """Files whose size is not yet right; what is there in the right size is checked later."""
    return [
        file
        for file in repository.files
        if not (folder / file.name).is_file() or (folder / file.name).stat().st_size != file.size
    ]


def parts(files: Sequence[HubFile], folder: Path) -> int:
    """Bytes of these that are there already."""
    sizes = 0
    for file in files:
        for path in (folder / file.name, folder / f"{file.name}.part"):
            if path.is_file():
                sizes += min(path.stat().st_size, file.size)
                break
    return sizes


def require_own_folder(repository: Repository, folder: Path) -> None:
    """Raises ModelError where another model's files are: together they would be no model."""
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Choose a folder with --to or MODEL_PATH.")
    known = record.read(folder) if folder.is_dir() else None
    other = None if known is None else known["source"].get("repository")
    if known is not None and other != repository.name:
        raise ModelError(
            f"{folder} holds {other or 'a converted model'}. Choose another folder with --to, or remove that one."
        )
    ours = {file.name for file in repository.files}
    strangers = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in ours)
    if strangers and (known is None or not set(strangers) <= set(known["files"])):
        raise ModelError(
            f"{folder} has weights of something else ({', '.join(strangers[:3])}). Choose another folder with --to, or"
            " remove them."
        )
    # Of an earlier revision: gone on with, they would be read as this one's.
    for name in strangers:
        (folder / name).unlink()


def fetch_all(repository: Repository, files: Sequence[HubFile], folder: Path) -> None:
    """Some at a time. Raises ModelError, OSError: the first that comes."""
    if not files:
        return
    here = parts(files, folder)
    total = sum(file.size for file in files)
    progress = Progress("Fetching", total, here)
    failed = threading.Event()

    def one(file: HubFile) -> None:
        if not failed.is_set():
            try:
                hub.fetch(repository, file, folder)
            except BaseException:
                failed.set()
                raise

    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="fetch")
    # Large ones first, so that none of them is alone at the end.
    jobs = [pool.submit(one, file) for file in sorted(files, key=lambda f: -f.size)]
    while True:
        done, running = wait(jobs, timeout=0.2, return_when=FIRST_EXCEPTION)
        for job in done:
            job.result()
        progress.show(parts(files, folder), last=not running)
        if not running:
            break
    pool.shutdown()


def wrong(repository: Repository, folder: Path) -> list[HubFile]:
    """Files whose content is not what the hub says."""
    progress = Progress("Checking", repository.size)
    checked = 0

    def seen(size: int) -> None:
        nonlocal checked
        checked += size
        progress.show(checked)

    found = [file for file in repository.files if not hub.right(file, folder / file.name, seen)]
    progress.show(checked, last=True)
    return found


def download(chosen: argparse.Namespace, folder: Path) -> int:
    repository = hub.look_up(chosen.repository, chosen.revision)
    require_own_folder(repository, folder)
    files = missing(repository, folder)
    needed = sum(file.size for file in files) - parts(files, folder)
    say(
        f"{repository.name} at {repository.commit}: {len(repository.files)} files, {in_words(repository.size)};"
        f" {in_words(needed)} to fetch to {folder}, {in_words(disk.free_bytes(folder))} free there."
    )
    if files:
        disk.require_room(folder, needed + SPARE, "what is to be fetched")
    if chosen.dry_run:
        for file in files:
            print(f"{in_words(file.size):>12}  {file.name}")
        say("Nothing was fetched (--dry-run).")
        return 0
    disk.make_folder(folder)
    with disk.alone_in(folder):
        for attempt in range(ATTEMPTS + 1):
            fetch_all(repository, files, folder)
            files = wrong(repository, folder)
            if not files:
                break
            names = ", ".join(file.name for file in files[:5])
            for file in files:
                (folder / file.name).unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise ModelError(
                    f"The content of {names} is not what the hub says, {attempt + 1} times: the way there changes it"
                    " (a proxy, a mirror), or memory or disk fail. It was removed; the same command fetches it again."
                )
            say(f"The content of {names} is not what the hub says: fetching it anew.")
        finish(repository, folder)
    say(f"Done: {folder} is whole. To serve it: bash scripts/start_vllm_server.sh")
    return 0


def finish(repository: Repository, folder: Path) -> None:
    """The record; what the index names has to be there. Raises ModelError."""
    model = checkpoint.read(folder)
    lost = [name for name in model.shards if not (folder / name).is_file()]
    if lost:
        raise ModelError(
            f"{repository.name} itself lacks {', '.join(lost[:5])}: take another revision."
        )
    files = {
        file.name: {"size": file.size, "sha256": file.sha256}
        for file in repository.files
        if file.sha256 is not None
    }
    source = {"repository": repository.name, "commit": repository.commit}
    record.write(folder, source, files)


def guarded(run: Callable[[], int], folder: Path) -> int:
    """As trouble.ended, with what a disk has to say; leaves at once when stopped, for threads may hang in the network."""
    try:
        with stopping_on_signals():
            status = run()
    except ModelError as error:
        say(error.message)
        status = 1
    except OSError as error:
        reasons = {
            errno.ENOSPC: f"{folder} has no room left. Free some; the same command goes on.",
            errno.EDQUOT: f"Your share of the disk at {folder} is used up. The same command goes on.",
        }
        say(
            reasons.get(
                error.errno or 0,
                f"{error.filename or folder} could not be written or read ({error.strerror or error})."
                " The same command goes on.",
            )
        )
        status = 1
    except Stopped as stopped:
        say(f"Stopped. What came is kept in {folder}: the same command goes on.")
        status = stopped.status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    # Warnings about retries; what matters is said here.
    logging.disable(logging.CRITICAL)
    try:
        folder = chosen.to or load(chosen.env_file).model_path
    except ConfigError as error:
        say(error.message)
        return 1
    folder = Path(folder).expanduser() if chosen.to else ROOT / folder
    return guarded(lambda: download(chosen, folder), folder)


if __name__ == "__main__":
    sys.exit(main())

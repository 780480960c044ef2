"""docker and podman of this machine, where they run, and an image of the tests' own: nothing is
fetched.

The image has this machine's Python and a `vllm` that stands in for the true one
(vllm_in_container).
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Each run of the tests has its own.
IMAGE = f"localhost/qwen-camera-tests:{os.getpid()}"
HERE = Path(__file__).parent
PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
# Of Python's library: what nothing here imports, and of what is compiled all but this.
_LEFT_OUT = re.compile(
    r"__pycache__|(site|dist)-packages|config-.*|test|idlelib|ensurepip|unittest|distutils|lib2to3|pydoc_data|turtledemo"
    r"|tkinter|sqlite3|curses|dbm|wsgiref|xmlrpc|multiprocessing|xml|asyncio|ctypes"
)
_COMPILED = re.compile(
    r"(math|_random|_bisect|_struct|_socket|select|_json|_posixsubprocess|_datetime|binascii|array|_sha\d+|fcntl|grp|resource"
    r"|_heapq|_contextvars|_opcode|_typing|unicodedata)\..*so"
)


def run(*command: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def names(program: str) -> set[str]:
    """Of all containers there are."""
    return set(run(program, "ps", "--all", "--format", "{{.Names}}").stdout.decode().split())


@functools.cache
def why_not(program: str) -> str:
    """Return the reason why it runs no container here; "" when it does.

    Tried once, with the tests' image.
    """
    if sys.platform != "linux":
        return "the image is made of this machine's own Python, which has to be Linux's"
    path = shutil.which(program)
    if path is None:
        return f"{program} is not installed"
    asked = "{{.Server.Version}}" if program == "docker" else "{{.Client.Version}}"
    said = run(path, "version", "--format", asked)
    if said.returncode:
        return f"{program} does not answer: {_last(said)}"
    made = run(path, "import", "-", IMAGE, stdin=_root())
    if made.returncode:
        return f"{program} takes no image: {_last(made)}"
    tried = run(path, "run", "--rm", "--network", "none", IMAGE, str(PYTHON), "-S", "-c", "0")
    return f"{program} starts no container: {_last(tried)}" if tried.returncode else ""


def require(program: str) -> str:
    """Its path; the test is skipped, with a sentence, where it runs no container."""
    if reason := why_not(program):
        pytest.skip(f"No containers for this test: {reason}.")
    path = shutil.which(program)
    assert path is not None
    return path


def forget() -> None:
    """The images that `why_not` made; called when the tests have ended."""
    for program in ("docker", "podman"):
        path = shutil.which(program)
        if path is not None and why_not.cache_info().currsize:
            run(path, "image", "rm", "--force", IMAGE)


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"status {done.returncode}"


def _root() -> bytes:
    """A root file system with Python and nothing else, as a tar."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for folder in ("tmp", "root", "proc", "sys", "dev", "model", "etc", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        _text(tar, "etc/group", "root:x:0:\nvideo:x:44:\n")
        stand_in = (HERE / "vllm_in_container.py").read_text()
        _text(tar, "usr/bin/vllm", f"#!{PYTHON} -S\n{stand_in}", 0o755)
        _text(
            tar,
            "usr/bin/tests/support/engine_stand_in.py",
            (HERE / "engine_stand_in.py").read_text(),
        )
        seen: set[str] = set()
        for path in [PYTHON, *_library(Path(sysconfig.get_path("stdlib")))]:
            _add(tar, path, seen)
            if path == PYTHON or path.suffix == ".so":
                for needed in _needed(path):
                    _add(tar, needed, seen)
    return raw.getvalue()


def _library(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _LEFT_OUT.fullmatch(name)]
        for name in files:
            if name.endswith(".py") or _COMPILED.fullmatch(name):
                yield Path(root, name)


def _needed(path: Path) -> list[Path]:
    """Libraries that the system finds for it."""
    said = run("ldd", str(path)).stdout.decode()
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", said)]


def _add(tar: tarfile.TarFile, path: Path, seen: set[str]) -> None:
    """The file under its own name, links followed."""
    name = str(path).lstrip("/")
    if name in seen:
        return
    seen.add(name)
    with path.open("rb") as file:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o755
        tar.addfile(entry, file)


def _text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    tar.addfile(entry, io.BytesIO(text.encode()))

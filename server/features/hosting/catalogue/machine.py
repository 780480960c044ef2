"""Facts about a machine that runs models (GPUs, memory, programs), and comparison of versions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.vllm import Vllm

GB = 1_000_000_000


class MachineClass(StrEnum):
    """Class of machines with its own default model, the weakest first."""

    # A laptop or a server without a GPU
    CPU = "cpu"
    # A GPU of 8 GB
    GPU_8G = "gpu-8g"
    # A GPU of 12 to 16 GB
    GPU_16G = "gpu-16g"
    # A GPU of 24 GB
    GPU_24G = "gpu-24g"
    # An MI300X, an H200, or another GPU of 80 GB and more
    MI300X = "mi300x"


class Vendor(StrEnum):
    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True, slots=True)
class HostGpu:
    vendor: Vendor
    name: str
    # None: not reported, for example by a partition of a GPU
    total_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Host:
    """Resources and programs of a machine; the defaults mean that there are none.

    The fields `*_error` are sentences with the reason and the remedy; empty if there is no error.
    """

    gpus: tuple[HostGpu, ...] = ()
    gpu_error: str = ""
    # 0: unknown
    ram_total_bytes: int = 0
    ram_free_bytes: int = 0
    # Bytes of it that a GPU without its own memory, such as Apple's, may use; 0: no such GPU
    unified_bytes: int = 0
    # A Python with torch, and its installed libraries with their versions: "torch", "transformers",
    # "diffusers"
    engine_python: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    # Device of its torch other than the CPU: "cuda" (also for ROCm) or ""
    torch_device: str = ""
    # None: not installed or not usable
    vllm: Vllm | None = None
    vllm_error: str = ""
    # Path of a vLLM whose help is still being read, which may take minutes
    vllm_pending: str = ""
    # llama.cpp's server; None: not found or not usable
    llama: LlamaServer | None = None
    llama_error: str = ""
    # Physical cores that this process may use; 0: unknown
    cores: int = 0
    docker: str | None = None
    podman: str | None = None
    # Whether this user can start containers
    container_socket_ok: bool = False
    container_error: str = ""
    # Whether containers can use NVIDIA's GPUs (its container toolkit)
    nvidia_containers: bool = False
    # True in the systemd sandbox of deploy/qwen-webrtc.service: no devices, no homes, no containers
    sandboxed: bool = False
    # The setting TRUST_REMOTE_CODE
    trust_remote_code: bool = False

    @property
    def container_program(self) -> str | None:
        return self.docker or self.podman

    @property
    def gpu_total_bytes(self) -> int | None:
        """Bytes of memory of all GPUs; None if one does not report it."""
        totals = [gpu.total_bytes for gpu in self.gpus]
        return None if None in totals else sum(total or 0 for total in totals)


def format_gigabytes(count: int) -> str:
    """Format a size for display: "7.5 GB", "16 GB"."""
    return f"{count / GB:.0f} GB" if count >= 9.95 * GB else f"{count / GB:.1f} GB"


def summarise_machine(host: Host) -> str:
    """Return a sentence about the machine's resources for models."""
    gpus = [
        f"{gpu.name}"
        + (f" ({format_gigabytes(gpu.free_bytes)} free)" if gpu.free_bytes is not None else "")
        for gpu in host.gpus
    ]
    if host.unified_bytes:
        gpus.append(f"Apple's GPU ({format_gigabytes(host.unified_bytes)} of the memory)")
    parts = [", ".join(gpus) or "No GPU"]
    if host.ram_total_bytes:
        free, total = format_gigabytes(host.ram_free_bytes), format_gigabytes(host.ram_total_bytes)
        parts.append(f"{free} of {total} of memory free")
    if host.sandboxed:
        parts.append("in systemd's sandbox")
    return f"This machine: {'; '.join(parts)}."


def is_at_least(version: str, wanted: str) -> bool:
    """Return whether a version is `wanted` or newer; True if either contains no numbers."""
    mine, needed = _parse_numbers(version), _parse_numbers(wanted)
    if not mine or not needed:
        return True
    length = max(len(mine), len(needed))
    return mine + (0,) * (length - len(mine)) >= needed + (0,) * (length - len(needed))


def _parse_numbers(version: str) -> tuple[int, ...]:
    # llama.cpp writes "b9049".
    match = re.match(r"b?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()

"""What a machine has to run models with: plain facts, and how they are compared and said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

GB = 1_000_000_000


class Vendor(StrEnum):
    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True, slots=True)
class HostGpu:
    vendor: Vendor
    name: str
    # None: not told, as of a part of a divided GPU
    total_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Host:
    """What was found on a machine; the default has nothing."""

    gpus: tuple[HostGpu, ...] = ()
    # Why there is none, for people; empty when there is one
    gpu_trouble: str = ""
    # 0: not known
    ram_total_bytes: int = 0
    ram_free_bytes: int = 0
    # Where models are kept
    disk_free_bytes: int = 0
    cores: int = 1
    # A Python with torch, and what is installed for it with their versions: "torch", "transformers", "diffusers",
    # "fastapi" ...
    engine_python: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    # What its torch computes on beside the CPU: "cuda" (ROCm has that name, too) or ""
    torch_device: str = ""
    # config.json's model_type of all that its transformers answers about pictures or says aloud with; empty: not known
    model_types: frozenset[str] = frozenset()
    # The program, its version and the flags of its own help; None: not installed, or not in a state to run, for which
    # the trouble is a sentence
    vllm: str | None = None
    vllm_version: str = ""
    vllm_flags: frozenset[str] = frozenset()
    # What the model's folder follows on its command line
    vllm_words: tuple[str, ...] = ("vllm", "serve")
    # It is a build for the CPU
    vllm_for_cpu: bool = False
    vllm_trouble: str = ""
    # The program that is being asked what it takes, which takes up to minutes; empty: none
    vllm_pending: str = ""
    docker: str | None = None
    podman: str | None = None
    # Whether containers can be started by this user, and the sentence why not
    container_socket_ok: bool = False
    container_trouble: str = ""
    # Whether containers get at NVIDIA's GPUs (its container toolkit)
    nvidia_containers: bool = False
    # Under systemd with the sandbox of deploy/qwen-webrtc.service: no devices, no homes, no containers
    sandboxed: bool = False
    # The setting TRUST_REMOTE_CODE
    trust_remote_code: bool = False

    @property
    def container_program(self) -> str | None:
        return self.docker or self.podman

    @property
    def gpu_total_bytes(self) -> int | None:
        """The memory of all GPUs; None when one does not tell."""
        totals = [gpu.total_bytes for gpu in self.gpus]
        return None if None in totals else sum(total or 0 for total in totals)


def gigabytes(count: int) -> str:
    """For people: "7.5 GB", "16 GB"."""
    return f"{count / GB:.0f} GB" if count >= 9.95 * GB else f"{count / GB:.1f} GB"


def at_least(version: str, wanted: str) -> bool:
    """Whether a version is `wanted` or newer, by its numbers; true when either says nothing."""
    mine, needed = _numbers(version), _numbers(wanted)
    if not mine or not needed:
        return True
    length = max(len(mine), len(needed))
    return mine + (0,) * (length - len(mine)) >= needed + (0,) * (length - len(needed))


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()

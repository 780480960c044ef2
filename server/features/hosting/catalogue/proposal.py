"""The model of the catalogue that is proposed for a machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.features.hosting.catalogue.entry import Library, Model
from server.features.hosting.catalogue.machine import Host, MachineClass, Vendor, gigabytes
from server.features.hosting.catalogue.modes import GPU_SHARE, RAM_LEFT, no_llama_server
from server.features.hosting.catalogue.sizes import needed

# Bytes that are left free on a disk
ROOM_LEFT = 2 * 1024**3
# Bytes a second that a download is assumed to have: 50 Mbit/s
ASSUMED_SPEED = 50_000_000 / 8
# On such machines a model for a processor alone would be a poor one.
_LARGE = (MachineClass.GPU_24G, MachineClass.MI300X)
_BY_VLLM = "Or serve it with vLLM: the profile gpu-24g of deploy/docker-compose.yml (DEPLOY.md)."


@dataclass(frozen=True, slots=True)
class Proposal:
    # None: none can be had here
    model: Model | None
    # Why better ones that this machine has the memory for are passed over: sentences, best first
    passed: tuple[str, ...] = ()

    @property
    def served(self) -> bool:
        """True when vLLM serves it, which is started by itself."""
        model = self.model
        if model is None or model.library is not Library.TRANSFORMERS:
            return False
        return model.default_for not in (None, MachineClass.CPU)


def propose(models: Iterable[Model], host: Host, free: int | None) -> Proposal:
    """Choose the default of the largest class of machines that fits; without one, for a catalogue
    of one's own, the largest model that does. None for a large GPU that only lacks llama.cpp's server.

    `free`: bytes on the disk for models; None: unknown.
    """
    fitting = [model for model in _ranked(models) if _fits(model, host)]
    passed = []
    told = False
    for model in fitting:
        if model.library is Library.LLAMA_CPP and (trouble := no_llama_server(model, host)):
            if not told:
                passed.append(f"{model.name} would fit. {trouble}")
            told = True
            if model.default_for in _LARGE:
                nvidia = any(gpu.vendor is Vendor.NVIDIA for gpu in host.gpus)
                return Proposal(None, (*passed, _BY_VLLM) if nvidia else tuple(passed))
            continue
        if not (trouble := _no_room(model, free)):
            return Proposal(model, tuple(passed))
        passed.append(trouble)
    return Proposal(None, tuple(passed))


def minutes(size: int) -> int:
    """Return the minutes that a download of so many bytes takes at the assumed speed, at least 1."""
    return max(1, round(size / ASSUMED_SPEED / 60))


def _ranked(models: Iterable[Model]) -> list[Model]:
    """Return the defaults, those for the largest machines first; without any, all that answer."""
    answering = [model for model in models if model.answers and model.memory_bytes]
    order = list(MachineClass)
    defaults = [model for model in answering if model.default_for is not None]
    if not defaults:
        return sorted(answering, key=lambda model: model.memory_bytes, reverse=True)
    return sorted(
        defaults,
        key=lambda model: order.index(model.default_for) if model.default_for else 0,
        reverse=True,
    )


def _fits(model: Model, host: Host) -> bool:
    if model.remote_code and not host.trust_remote_code:
        return False
    total = host.gpu_total_bytes if host.gpus else None
    need = needed(model, gpu=True)
    if total and need <= total * GPU_SHARE:
        return True
    if model.library is Library.LLAMA_CPP and 0 < need <= host.unified_bytes:
        return True
    # Without a GPU the larger ones would answer, too, after minutes.
    small = model.default_for in (None, MachineClass.CPU)
    return small and needed(model, gpu=False) + RAM_LEFT <= host.ram_total_bytes


def _no_room(model: Model, free: int | None) -> str:
    if model.folder is not None or free is None or model.weights_bytes + ROOM_LEFT <= free:
        return ""
    return (
        f"{model.name} needs {gigabytes(model.weights_bytes)} on the disk and"
        f" {gigabytes(ROOM_LEFT)} beside it; {gigabytes(free)} are free."
    )

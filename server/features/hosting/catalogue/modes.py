"""Decide in which modes a model can run on a machine, and which model to propose for it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from server.features.hosting.catalogue.entry import Library, Model, RunMode
from server.features.hosting.catalogue.llama_cpp import install_hint
from server.features.hosting.catalogue.machine import (
    GB,
    Host,
    MachineClass,
    Vendor,
    format_gigabytes,
    is_at_least,
)
from server.features.hosting.catalogue.sizes import compute_memory

# Bytes of main memory reserved for the system and this server
RAM_LEFT = 1 * GB
# Usable share of GPU memory; the driver and others take the rest (vLLM's default is 0.9)
GPU_SHARE = 0.92
# Largest fraction of a pipeline, including activations, that is on the GPU at the same time with CPU offload: 0.45 to
# 0.6 for Wan's pipelines
LARGEST_PART = 0.6


@dataclass(frozen=True, slots=True)
class ModeCheck:
    """Whether a mode works. `reason`: if it does not, the reason and the remedy, else a note about the mode."""

    ok: bool
    reason: str = ""


def check_modes(model: Model, host: Host, dtype: str = "auto") -> dict[RunMode, ModeCheck]:
    """Check every mode, in the order of the panel. `dtype`: the number format to compute in."""
    return {
        RunMode.IN_PROCESS: _check_in_process(model, host, dtype),
        RunMode.SUBPROCESS: _check_subprocess(model, host, dtype),
        RunMode.CONTAINER: _check_container(model, host, dtype),
        RunMode.REMOTE: _check_remote(model),
    }


def choose_device(model: Model, host: Host, dtype: str = "auto") -> str:
    """Return the device for in-process models: "cuda" if the model fits on the GPU, else "cpu"."""
    return "cuda" if _can_fit_gpu(host, compute_memory(model, dtype, gpu=True)) else "cpu"


def should_offload(model: Model, host: Host) -> bool:
    """Return True if a generating model fits only with CPU offload: each part on the GPU, and all in main memory."""
    if model.answers or choose_device(model, host) == "cuda":
        return False
    part = int(model.memory_bytes * LARGEST_PART)
    return _can_fit_gpu(host, part) and not _explain_too_large(
        model.memory_bytes, _get_usable_ram(host)
    )


def _can_fit_gpu(host: Host, need: int) -> bool:
    totals = [gpu.total_bytes for gpu in host.gpus]
    return host.torch_device == "cuda" and any(
        total is None or total * GPU_SHARE >= need for total in totals
    )


# The modes


def _check_remote(model: Model) -> ModeCheck:
    if not model.answers:
        return ModeCheck(
            False,
            f"A remote engine answers questions about pictures; {model.name} ({model.model_type}) does not. Run it in-process.",
        )
    return ModeCheck(
        True, "Any OpenAI-compatible server that has it. The camera's pictures go to that server."
    )


def _check_subprocess(model: Model, host: Host, dtype: str) -> ModeCheck:
    if model.library is Library.LLAMA_CPP:
        return _check_llama_cpp(model, host)
    no = (
        _explain_no_server(model)
        or _explain_untrusted_code(model, host)
        or _explain_no_subprocess(host)
    )
    large = _explain_too_large_for_vllm if host.gpus else _explain_too_large_here
    # First the obstacles that remain after fetching the files
    if (
        no := no
        or large(model, host, dtype)
        or _explain_missing_files(model)
        or _explain_no_vllm(model, host)
    ):
        return ModeCheck(False, no)
    version = host.vllm.version if host.vllm is not None else ""
    return ModeCheck(True, f"vLLM {version}".strip() + ("." if host.gpus else " on the CPU."))


def _check_llama_cpp(model: Model, host: Host) -> ModeCheck:
    """Check llama.cpp's server, which uses GPUs automatically, and main memory for layers that do not fit on them."""
    total = 0 if host.gpu_total_bytes is None else _get_usable_ram(host) + host.gpu_total_bytes
    need = compute_memory(model, gpu=bool(host.gpus))
    if (
        no := explain_no_llama_server(model, host)
        or _explain_too_large(need, total)
        or _explain_missing_files(model)
    ):
        return ModeCheck(False, no)
    version = f" {host.llama.version}" if host.llama is not None and host.llama.version else ""
    return ModeCheck(True, f"llama.cpp's server{version}{'' if host.gpus else ' on the CPU'}.")


def _check_container(model: Model, host: Host, dtype: str) -> ModeCheck:
    no = (
        _explain_gguf(model)
        or _explain_no_server(model)
        or _explain_untrusted_code(model, host)
        or _explain_no_containers(model, host)
    )
    if no := no or _explain_too_large_for_vllm(model, host, dtype) or _explain_missing_files(model):
        return ModeCheck(False, no)
    return ModeCheck(True, "vLLM's own image; the first start pulls it, about 10 GB.")


def _check_in_process(model: Model, host: Host, dtype: str) -> ModeCheck:
    no = _explain_gguf(model) or _explain_untrusted_code(model, host)
    no = no or ("" if should_offload(model, host) else _explain_too_large_here(model, host, dtype))
    if no := no or _explain_missing_files(model) or _explain_no_library(model, host, model.library):
        return ModeCheck(False, no)
    if should_offload(model, host):
        return ModeCheck(
            True,
            "On the GPU, one part at a time (CPU offload), because the whole model does not fit.",
        )
    return ModeCheck(
        True, f"On the {'GPU' if choose_device(model, host, dtype) == 'cuda' else 'CPU'}."
    )


# Obstacles to a mode: a sentence with the reason and the remedy, or ""


def _explain_gguf(model: Model) -> str:
    if model.library is not Library.LLAMA_CPP:
        return ""
    return f"{model.name} is a GGUF file, which llama.cpp's server runs: choose subprocess."


def _explain_no_server(model: Model) -> str:
    if model.answers and model.library is Library.TRANSFORMERS:
        return ""
    return f"No server is started here for {model.name} ({model.model_type}): choose in-process."


def _get_usable_ram(host: Host) -> int:
    """Return the bytes of main memory that a model may use; 0: unknown."""
    return max(1, host.ram_total_bytes - RAM_LEFT) if host.ram_total_bytes else 0


def _explain_too_large(need: int, total: int) -> str:
    """Compare the bytes needed with `total`, which includes bytes in use; 0: unknown."""
    if not total or need <= total:
        return ""
    return (
        f"It needs about {format_gigabytes(need)} of memory, and this machine has {format_gigabytes(total)} for it. Choose a smaller or"
        " quantised model."
    )


def _explain_too_large_for_vllm(model: Model, host: Host, dtype: str) -> str:
    return _explain_too_large(
        compute_memory(model, dtype, gpu=True), int((host.gpu_total_bytes or 0) * GPU_SHARE)
    )


def _explain_too_large_here(model: Model, host: Host, dtype: str) -> str:
    if choose_device(model, host, dtype) == "cuda":
        return ""
    said = _explain_too_large(compute_memory(model, dtype, gpu=False), _get_usable_ram(host))
    if said and host.gpus and host.torch_device != "cuda":
        said += " The GPU cannot be used, because the installed torch is built for the CPU."
    return said


def _explain_no_subprocess(host: Host) -> str:
    if host.sandboxed:
        return (
            "This server runs in systemd's sandbox, which has no access to GPUs. Start the model's server in its own unit"
            " (systemctl start qwen-vllm) and choose remote."
        )
    if host.vllm_pending:
        return f"The options of {host.vllm_pending} are being read, which takes up to a minute the first time. Wait a moment."
    return ""


def _explain_no_containers(model: Model, host: Host) -> str:
    program = host.container_program
    if host.sandboxed:
        return (
            "This server runs in systemd's sandbox and may not start containers, because that would give it root's rights."
            " Start one yourself (deploy/docker-compose.yml, profiles rocm and cuda) and choose remote."
        )
    if program is None:
        return "Neither docker nor podman is installed. Install one, or choose another mode."
    if not host.container_socket_ok:
        why = host.container_error or "This user may not use it."
        return f"{program} is installed, but cannot be used: {why}"
    if "vllm" not in model.needs:
        return (
            f"The image runs vLLM, which does not support {model.architecture}. Choose in-process."
        )
    if not host.gpus:
        return f"The image needs an NVIDIA or AMD GPU. {host.gpu_error or 'No GPU was found.'}"
    if host.gpus[0].vendor is Vendor.NVIDIA and not host.nvidia_containers:
        return "Containers get no GPU here: install NVIDIA's container toolkit (nvidia-ctk), or choose subprocess."
    return ""


def _explain_missing_files(model: Model) -> str:
    if model.folder is not None:
        return ""
    name = model.aliases[0] if model.aliases else model.id
    size = f" ({format_gigabytes(model.weights_bytes)})" if model.weights_bytes else ""
    return (
        f"Its files{size} are not on this machine. Fetch them: bash scripts/run.sh --model {name}"
    )


def _explain_untrusted_code(model: Model, host: Host) -> str:
    if not model.remote_code or host.trust_remote_code:
        return ""
    return (
        f"{model.name} contains Python code, which would run with this server's rights. Read it, and set"
        " TRUST_REMOTE_CODE=true if you trust it."
    )


def explain_no_llama_server(model: Model, host: Host) -> str:
    """Return why llama.cpp's server cannot run the model here, with the remedy; "" if it can."""
    if host.llama is None:
        return host.llama_error or install_hint(sys.platform)
    wanted = model.needs.get(Library.LLAMA_CPP, "")
    if is_at_least(host.llama.version, wanted):
        return ""
    return (
        f"It needs llama.cpp {wanted} or newer, and {host.llama.version} is installed ({host.llama.path}). Upgrade it, or"
        " set LLAMA_SERVER to a newer one."
    )


def _explain_no_vllm(model: Model, host: Host) -> str:
    if "vllm" not in model.needs:
        return f"vLLM does not support {model.architecture}. Choose in-process."
    if host.vllm is None:
        return (
            host.vllm_error
            or "vLLM is not installed. Install it (see docs.vllm.ai), or choose in-process."
        )
    wanted = model.needs["vllm"]
    if not is_at_least(host.vllm.version, wanted):
        return (
            f"It needs vLLM {wanted} or newer, and {host.vllm.version} is installed. Upgrade vLLM."
        )
    if host.gpus and host.vllm.for_cpu:
        return (
            f"{host.vllm.path} is built for the CPU. Install the build for this GPU (docs.vllm.ai)."
        )
    if not host.gpus and not host.vllm.for_cpu:
        why = host.gpu_error or "No GPU was found."
        return f"{why} {host.vllm.path} needs one. Install vLLM's build for the CPU, or choose in-process."
    return ""


def _explain_no_library(model: Model, host: Host, library: Library) -> str:
    if host.engine_python is None:
        return "No Python with torch was found. Run bash scripts/models.sh, or set ENGINE_PYTHON to one."
    for name in ("torch", library.value):
        if name not in host.libraries:
            return (
                f"{name} is not installed for {host.engine_python}: bash scripts/models.sh installs torch and transformers;"
                f" or {host.engine_python} -m pip install {name}."
            )
    if library.value not in model.needs:
        return f"{library.value} does not support {model.architecture}. Choose another model."
    wanted, installed = model.needs[library.value], host.libraries[library.value]
    if not is_at_least(installed, wanted):
        return (
            f"It needs {library.value} {wanted} or newer, and {installed} is installed for {host.engine_python}: upgrade it"
            f" ({host.engine_python} -m pip install -U {library.value})."
        )
    return ""


# The catalogue's model that is proposed for a machine

# Bytes that stay free on the disk
ROOM_LEFT = 2 * 1024**3
# Assumed speed of a download in bytes per second: 50 Mbit/s
ASSUMED_SPEED = 50_000_000 / 8
# Machine classes with a vLLM profile
_LARGE = (MachineClass.GPU_24G, MachineClass.MI300X)
_BY_VLLM = "Or serve it with vLLM: the profile gpu-24g of deploy/docker-compose.yml (DEPLOY.md)."


@dataclass(frozen=True, slots=True)
class Proposal:
    # None: no model fits
    model: Model | None
    # Sentences on why better models that fit into the memory are skipped, best first
    skipped: tuple[str, ...] = ()

    @property
    def needs_vllm(self) -> bool:
        """Whether the model needs vLLM, which people start separately."""
        model = self.model
        if model is None or model.library is not Library.TRANSFORMERS:
            return False
        return model.default_for not in (None, MachineClass.CPU)


def propose(models: Iterable[Model], host: Host, free: int | None) -> Proposal:
    """Propose the default model of the largest machine class that fits, or the largest model if there are no defaults.

    If there is a GPU but no llama.cpp server, no model is proposed: a model for the CPU would leave the GPU idle.
    `free`: free bytes on the disk for models; None: unknown.
    """
    fitting = [model for model in _rank(models) if _can_run(model, host)]
    skipped = []
    reported = False
    for model in fitting:
        if model.library is Library.LLAMA_CPP and (reason := explain_no_llama_server(model, host)):
            if not reported:
                skipped.append(f"{model.name} would fit. {reason}")
            reported = True
            if host.gpus or host.unified_bytes:
                nvidia = any(gpu.vendor is Vendor.NVIDIA for gpu in host.gpus)
                by_vllm = nvidia and model.default_for in _LARGE
                return Proposal(None, (*skipped, _BY_VLLM) if by_vllm else tuple(skipped))
            continue
        if not (reason := _explain_no_space(model, free)):
            return Proposal(model, tuple(skipped))
        skipped.append(reason)
    return Proposal(None, tuple(skipped))


def estimate_minutes(size: int) -> int:
    """Return the minutes that a download of `size` bytes takes at ASSUMED_SPEED, at least 1."""
    return max(1, round(size / ASSUMED_SPEED / 60))


def _rank(models: Iterable[Model]) -> list[Model]:
    """Return the default models, largest machine class first; if there are none, all models that answer, by memory."""
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


def _can_run(model: Model, host: Host) -> bool:
    if model.remote_code and not host.trust_remote_code:
        return False
    total = host.gpu_total_bytes if host.gpus else None
    need = compute_memory(model, gpu=True)
    if total and need <= total * GPU_SHARE:
        return True
    if model.library is Library.LLAMA_CPP and 0 < need <= host.unified_bytes:
        return True
    # Without a GPU the larger models would take minutes for an answer.
    small = model.default_for in (None, MachineClass.CPU)
    return small and compute_memory(model, gpu=False) + RAM_LEFT <= host.ram_total_bytes


def _explain_no_space(model: Model, free: int | None) -> str:
    if model.folder is not None or free is None or model.weights_bytes + ROOM_LEFT <= free:
        return ""
    return (
        f"{model.name} needs {format_gigabytes(model.weights_bytes)} of disk space and"
        f" {format_gigabytes(ROOM_LEFT)} in reserve, but only {format_gigabytes(free)} are free."
    )

"""Build the command that runs a model, as a list of arguments without a shell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.features.hosting.catalogue import llama_cpp, vllm
from server.features.hosting.catalogue.choice import Choice, CommandError, format_value
from server.features.hosting.catalogue.entry import Ability, Library, Model, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch, format_shell_line
from server.features.hosting.catalogue.machine import Host, Vendor
from server.features.hosting.catalogue.modes import check_modes, choose_device, should_offload
from server.features.hosting.catalogue.sizes import compute_context_bytes, compute_memory
from server.models.families import get_family

ROOT = Path(__file__).resolve().parents[4]
DEFAULT_CONTEXT = 8192
LOOPBACK = "127.0.0.1"
MOUNTED_AT = "/model"
# Environment of processes that use transformers or diffusers
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Port inside the container
_INNER_PORT = 8000
# Images of the vLLM project, pinned to a release, and by digest where it is known
IMAGES = {
    Vendor.NVIDIA: "docker.io/vllm/vllm-openai:v0.32.0",
    Vendor.AMD: "docker.io/vllm/vllm-openai-rocm:v0.31.0"
    "@sha256:749f6f3f944f12af49966ac523c1f8573e4b229594b541954bd5f879b4496b1f",
}


def build_command(
    choice: Choice,
    model: Model | None,
    host: Host,
    *,
    api_key: str = "",
    context: int = DEFAULT_CONTEXT,
    concurrent: int = 0,
    container: str = "qwen-camera-engine",
) -> Launch:
    """Return the command for a choice. Raises CommandError with the reason if the mode cannot work.

    `model`: from the catalogue or a folder; None: any model of a remote server. `api_key`: the key that a started server
    requires. `context`: maximum tokens if the choice has no limit. `concurrent`: concurrent answers, for llama.cpp; 0:
    its limit. `container`: a unique name for the container.
    """
    if choice.mode is RunMode.REMOTE:
        return _build_remote(choice, model)
    if model is None:
        raise CommandError(
            f"The model {format_value(choice.model)} is unknown. Give an id or alias of the catalogue, or a folder."
        )
    possible = check_modes(model, host, choice.dtype)[choice.mode]
    if not possible.ok or model.folder is None:
        raise CommandError(possible.reason)
    if choice.context and model.context_length and choice.context > model.context_length:
        raise CommandError(
            f"context is {choice.context}, but {model.name} supports at most {model.context_length} tokens. Choose a smaller context."
        )
    tokens = choice.context or min(model.context_length or context, context)
    choice = choice.model_copy(update={"context": tokens})
    try:
        match choice.mode:
            case RunMode.SUBPROCESS:
                return _build_subprocess(choice, model, model.folder, host, api_key, concurrent)
            case RunMode.CONTAINER:
                return _build_container(choice, model, model.folder, host, api_key, container)
            case _:
                return _build_in_process(choice, model, model.folder, host)
    except vllm.VllmError as error:
        raise CommandError(error.message) from None


# The modes


def _build_remote(choice: Choice, model: Model | None) -> Launch:
    name = choice.model
    if model is not None:
        possible = check_modes(model, Host())[RunMode.REMOTE]
        if not possible.ok:
            raise CommandError(possible.reason)
        name = model.id
    host = urlsplit(choice.url).hostname
    shown = (
        f"Nothing is started here. Each question is a POST {choice.url}/chat/completions for"
        f" {f'the model {name}' if name else 'the first model that it lists'}. Pictures go to {host}."
    )
    return Launch((), {}, shown, base_url=choice.url, served_name=name)


def _build_subprocess(
    choice: Choice, model: Model, folder: Path, host: Host, api_key: str, concurrent: int
) -> Launch:
    if model.library is Library.LLAMA_CPP:
        return _build_llama_cpp(choice, model, folder, host, api_key, concurrent)
    return _build_vllm(choice, model, folder, host, api_key)


def _make_server_launch(
    choice: Choice,
    argv: Sequence[str],
    env: Mapping[str, str],
    name: str,
    warnings: Iterable[str],
    **more: Any,
) -> Launch:
    """Return the launch of a server on loopback. `name`: the model's name in requests."""
    return Launch(
        tuple(argv),
        env,
        format_shell_line(tuple(argv), env),
        port=choice.port,
        base_url=f"http://{LOOPBACK}:{choice.port}/v1",
        served_name=name,
        warnings=tuple(warnings),
        **more,
    )


def _build_llama_cpp(
    choice: Choice, model: Model, folder: Path, host: Host, api_key: str, concurrent: int
) -> Launch:
    if host.llama is None:
        raise CommandError(host.llama_error)
    context = choice.context or DEFAULT_CONTEXT
    gpu = bool(host.gpus)
    most = llama_cpp.GPU_SLOTS if gpu else llama_cpp.CPU_SLOTS
    total = (host.gpu_total_bytes if gpu else host.ram_total_bytes) or 0
    each = compute_context_bytes(model, context)
    # `memory_bytes` includes the memory for one context.
    room = (total - model.memory_bytes) // each + 1 if total and each else most
    slots = max(1, min(most, concurrent or most, room))
    # One core stays free for this server, which decodes the cameras' videos at the same time.
    threads = max(1, host.cores - 1) if host.cores else None
    serving = llama_cpp.LlamaServing(
        weights=str(folder / model.weights_file),
        projector=str(folder / model.projector_file),
        name=model.id,
        host=LOOPBACK,
        port=choice.port,
        context=context,
        slots=slots,
        threads=threads,
        free_bytes=host.ram_total_bytes - (0 if gpu else model.memory_bytes),
        picture_tokens=_get_picture_tokens(choice, model),
    )
    argv = llama_cpp.build_arguments(host.llama, serving)
    env = {**host.llama.env, **_make_key_environment(llama_cpp.KEY, api_key)}
    share = 1.0 if gpu else llama_cpp.compute_picture_share(model.weights_bytes, threads or 1)
    return _make_server_launch(choice, argv, env, model.id, (), picture_share=share)


def _get_picture_tokens(choice: Choice, model: Model) -> tuple[int, int] | None:
    """Return the minimum and maximum tokens of a picture; None if the model's pictures have fixed sizes."""
    if model.geometry is None or model.geometry.tokens is not None:
        return None
    token = model.geometry.factor**2
    most = max(1, min(choice.visual_tokens, model.geometry.max_pixels // token))
    return max(1, min(model.geometry.min_pixels // token, most)), most


def _build_vllm(choice: Choice, model: Model, folder: Path, host: Host, api_key: str) -> Launch:
    found = host.vllm
    assert found is not None
    serving = _make_serving(choice, model, host, str(folder))
    if found.for_cpu:
        free_bytes = host.ram_total_bytes - compute_memory(model, choice.dtype, gpu=False)
        serving = dataclasses.replace(
            serving, cpu_cache_bytes=vllm.compute_cpu_cache_bytes(free_bytes)
        )
    arguments, warnings = vllm.build_arguments(serving, found)
    env = {**vllm.make_environment(serving, found), **_make_key_environment(vllm.KEY, api_key)}
    warnings += vllm.find_version_warnings(found)
    return _make_server_launch(
        choice, arguments, env, serving.name, warnings, for_cpu=found.for_cpu
    )


def _build_container(
    choice: Choice, model: Model, folder: Path, host: Host, api_key: str, name: str
) -> Launch:
    rocm = vllm.ROCM_ENVIRONMENT if _is_amd(host) else {}
    env = {**vllm.ENVIRONMENT, **rocm, **_make_key_environment(vllm.KEY, api_key)}
    words = _make_container_arguments(choice, folder, host, name, env)
    serving = dataclasses.replace(
        _make_serving(choice, model, host, MOUNTED_AT), host="0.0.0.0", port=_INNER_PORT
    )
    version = ".".join(map(str, vllm.SAFE_VERSION))
    found = vllm.Vllm(version, vllm.IMAGE_FLAGS, words=words)
    arguments, warnings = vllm.build_arguments(serving, found)
    return _make_server_launch(choice, arguments, env, serving.name, warnings, container=name)


def _build_in_process(choice: Choice, model: Model, folder: Path, host: Host) -> Launch:
    env = dict(_OFFLINE)
    where = choose_device(model, host, choice.dtype)
    if model.answers:
        module = "server.features.local_models.worker"
        own = ["--device", where, "--context", str(choice.context)]
        own += ["--trust-remote-code"] if model.remote_code else []
        env |= _make_gpu_environment(where, host)
    else:
        module, own = "server.features.generation.worker", _make_generation_arguments(choice, model)
        if should_offload(model, host) and not choice.cpu_offload:
            own.append("--cpu-offload")
        elif not choice.cpu_offload:
            env |= _make_gpu_environment(where, host)
    argv = (
        *(host.engine_python or "", "-m", module, "--model", str(folder), "--dtype", choice.dtype),
        *own,
    )
    return Launch(argv, env, format_shell_line(argv, env, str(ROOT)), served_name=model.id)


def _make_gpu_environment(where: str, host: Host) -> dict[str, str]:
    """Return variables that restrict a process to the GPU with the most free memory, or to no GPU for "cpu"."""
    names = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    if where == "cpu":
        return dict.fromkeys(names, "") if host.gpus else {}
    if len(host.gpus) < 2:
        return {}
    most = max(range(len(host.gpus)), key=lambda at: host.gpus[at].free_bytes or 0)
    if host.gpus[most].vendor is Vendor.AMD:
        return {"HIP_VISIBLE_DEVICES": str(most)}
    # Our list has the driver's order, which is by PCI slot; CUDA's default order is by speed.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(most)}


def _make_generation_arguments(choice: Choice, model: Model) -> list[str]:
    shift: list[str] = []
    if choice.flow_shift is not None and model.model_type is ModelType.VIDEO:
        shift = ["--flow-shift", f"{choice.flow_shift:g}"]
    flags = {
        "--vae-tiling": choice.vae_tiling,
        "--cpu-offload": choice.cpu_offload,
        "--compile": choice.compile,
    }
    return [*shift, *(name for name, on in flags.items() if on)]


def _make_serving(choice: Choice, model: Model, host: Host, folder: str) -> vllm.VllmServing:
    inputs = {"image": choice.images}
    if Ability.VIDEO_IN in model.abilities:
        inputs["video"] = 0
    if Ability.AUDIO_IN in model.abilities:
        inputs["audio"] = 1
    pixels = video = None
    # Only Qwen's image processors have limits with these names. Our pictures have the right size in any case.
    if model.geometry is not None and get_family(model.architecture).paired_frames:
        factor = model.geometry.factor
        pixels = (4 * factor**2, choice.visual_tokens * factor**2)
        video = vllm.get_video_bounds(factor, choice.visual_tokens)
    return vllm.VllmServing(
        folder=folder,
        name=model.id,
        host=LOOPBACK,
        port=choice.port,
        dtype=choice.dtype,
        memory=choice.gpu_memory_utilization,
        context=choice.context or DEFAULT_CONTEXT,
        inputs=inputs,
        tool_parser=get_family(model.architecture).tool_parser,
        video=video,
        pixels=pixels,
        gpus=_count_gpus(choice, model, host),
        amd=_is_amd(host),
        trust_remote_code=model.remote_code,
    )


def _is_amd(host: Host) -> bool:
    return bool(host.gpus) and host.gpus[0].vendor is Vendor.AMD


def _count_gpus(choice: Choice, model: Model, host: Host) -> int:
    """Return the number of GPUs for the model: the smallest power of two that holds it, since tensor parallelism divides
    the attention heads evenly. Raises CommandError.
    """
    there = len(host.gpus)
    if choice.gpus is not None:
        if choice.gpus > there:
            raise CommandError(
                f"gpus is {choice.gpus}, but this machine has {there}. Choose fewer."
            )
        return choice.gpus
    count = 1
    while count * 2 <= there:
        totals = [gpu.total_bytes for gpu in host.gpus[:count]]
        usable = sum(total or 0 for total in totals) * choice.gpu_memory_utilization
        if None in totals or compute_memory(model, choice.dtype, gpu=True) <= usable:
            break
        count *= 2
    return count


def _make_key_environment(variable: str, api_key: str) -> dict[str, str]:
    return {variable: api_key} if api_key else {}


# Command line of a container


def _make_container_arguments(
    choice: Choice, folder: Path, host: Host, name: str, variables: Iterable[str]
) -> tuple[str, ...]:
    """Return the arguments up to `serve`. `variables`: names of environment variables to pass on. Raises CommandError."""
    program = host.container_program or ""
    podman, ram = program == host.podman, host.ram_total_bytes
    if _is_amd(host):
        groups = "keep-groups" if podman else "video"
        gpu: tuple[str, ...] = (
            *("--device", "/dev/kfd", "--device", "/dev/dri"),
            *("--group-add", groups),
        )
    else:
        gpu = ("--device", "nvidia.com/gpu=all") if podman else ("--gpus", "all")
    return (
        *(program, "run", "--rm", "--name", name),
        *gpu,
        # vLLM's processes exchange pictures and weights in shared memory; the default of 64 MiB is too small.
        *("--ipc=private", "--shm-size=8g"),
        # A total of memory and swap equal to the memory keeps pictures and questions out of swap.
        *((f"--memory={ram}b", f"--memory-swap={ram}b") if ram else ()),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        # Otherwise SELinux would hide the folder unless it is relabelled.
        *("--security-opt", "label=disable"),
        *("--ulimit", "core=0", "--log-driver", "none"),
        # A proxy's URL may contain a password, and the container needs no network.
        *(("--http-proxy=false",) if podman else ()),
        # Seconds that the removal waits; the server has already had its grace period.
        *(("--stop-timeout", "1") if podman else ()),
        *("--mount", f"type=bind,src={_require_mountable(folder)},dst={MOUNTED_AT},readonly"),
        *("--publish", f"{LOOPBACK}:{choice.port}:{_INNER_PORT}"),
        # Names without values, which would appear in the process list
        *(word for key in variables for word in ("--env", key)),
        *("--entrypoint", "vllm"),
        choice.image or IMAGES[host.gpus[0].vendor],
        "serve",
    )


def _require_mountable(folder: Path) -> Path:
    """Return the folder if it can be mounted completely. Raises CommandError."""
    root = folder.resolve()
    links = (path for path in folder.rglob("*") if path.is_symlink())
    if not any(char in str(folder) for char in ',"\n') and all(
        link.resolve().is_relative_to(root) for link in links
    ):
        return folder
    raise CommandError(
        f"{format_value(str(folder))} cannot be mounted: it contains links to files outside of it, as in a hub's cache, or its path has a comma"
        " or a quote. Copy it (cp -rL FOLDER COPY), or choose another mode."
    )

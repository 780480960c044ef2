"""The command that serves the model: the catalogue's command with the values of the settings.

This module starts no program.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scripts.models.checkpoint import Checkpoint
from scripts.models.disk import ModelError
from server.features.hosting.catalogue.launch import Launch, format_shell_line
from server.features.hosting.catalogue.vllm import (
    HIGH_DETAIL_TOKENS,
    KEY,
    TOOL_PARSER,
    Vllm,
    VllmError,
    VllmServing,
    build_arguments,
    compute_cpu_cache_bytes,
    find_version_warnings,
    get_video_bounds,
    make_encoder_arguments,
    make_environment,
)
from server.models.families import get_family

if TYPE_CHECKING:
    from config import Settings

# Flags that would log questions, expose a key, or override the settings
_REFUSED = {
    "--api-key": f"the key would be visible in the list of processes; set {KEY}",
    "--enable-log-requests": "questions are never logged",
    "--enable-log-outputs": "answers are never logged",
    "--no-disable-log-requests": "questions are never logged",
    "--config": "a file could enable what is disabled here",
    "--device": "vLLM must not fall back to the CPU",
}

# vLLM's short names of flags
_SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
}


def build(
    settings: Settings,
    model: Checkpoint,
    vllm: Vllm,
    extra: Sequence[str] = (),
    *,
    free_bytes: int = 0,
    gpus: int = 1,
    amd: bool = False,
    assumed: bool = False,
) -> Launch:
    """Build the command.

    `free_bytes`: bytes of main memory left beside the weights, for a build for the CPU; `gpus`: the number over which
    `extra` distributes a copy; `amd`: they are from AMD. `assumed`: the flags of the installed vLLM are unknown, so no
    flag in `extra` is refused as unknown. Raises ModelError if the model cannot be served with these settings.
    """
    host, port = _get_address(settings)
    limits = compute_pixel_bounds(settings, model)
    cache = compute_cpu_cache_bytes(free_bytes) if vllm.for_cpu else None
    # The operator's parser of tool calls takes precedence.
    own = {word.partition("=")[0].replace("_", "-") for word in extra}
    serving = VllmServing(
        folder=str(model.folder),
        name=settings.model_name,
        host=host,
        port=port,
        dtype=settings.model_dtype,
        memory=settings.gpu_memory_utilization,
        context=settings.model_max_tokens,
        # The current picture, and earlier ones for questions about the past and for watches
        inputs={"image": 4, "video": 0},
        video=_compute_video_bounds(settings, model, limits["max_pixels"]),
        pixels=(limits["min_pixels"], limits["max_pixels"]),
        cpu_cache_bytes=cache,
        amd=amd,
        tool_parser=""
        if TOOL_PARSER in own
        else get_family(model.config.get("model_type")).tool_parser,
    )
    try:
        arguments, warnings = build_arguments(serving, vllm)
    except VllmError as error:
        raise ModelError(error.message) from None
    arguments.extend(make_encoder_arguments(gpus, vllm))
    arguments.extend(_check_flags(extra, None if assumed else vllm, arguments))
    variables = make_environment(serving, vllm)
    if key := settings.vllm_api_key.get_secret_value():
        variables[KEY] = key
    elif host not in ("127.0.0.1", "localhost", "::1"):
        warnings.append(
            f"VLLM_API_KEY is empty and {host} is not loopback: anyone who can reach it can use the model."
        )
    warnings += _find_warnings(settings, model, vllm)
    argv = tuple(arguments)
    return Launch(
        argv,
        variables,
        format_shell_line(argv, variables),
        port=port,
        base_url=settings.vllm_base_url,
        served_name=settings.model_name,
        for_cpu=vllm.for_cpu,
        warnings=tuple(warnings),
    )


def compute_pixel_bounds(settings: Settings, model: Checkpoint) -> dict[str, int]:
    """Return the bounds of a picture's pixels within which vLLM resizes no picture of this server. Raises ModelError."""
    vision = model.config.get("vision_config") or {}
    known = isinstance(vision, dict)
    sizes = [vision.get("patch_size") or 14, vision.get("spatial_merge_size") or 2] if known else []
    if not known or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ModelError(
            f"{model.folder / 'config.json'} has an invalid vision_config. Download it again."
        )
    factor = sizes[0] * sizes[1]
    most = max(settings.visual_token_budget, HIGH_DETAIL_TOKENS)
    return {"min_pixels": 4 * factor * factor, "max_pixels": most * factor * factor}


def _compute_video_bounds(
    settings: Settings, model: Checkpoint, most: int
) -> dict[str, int] | None:
    """Return the bounds of a video; None if the model does not accept videos in the server's format."""
    if not get_family(model.config.get("model_type")).paired_frames:
        return None
    tokens = max(settings.visual_token_budget, HIGH_DETAIL_TOKENS)
    return get_video_bounds(math.isqrt(most // tokens), tokens)


def count_weight_bytes(model: Checkpoint) -> int:
    """Return the bytes of the weights in a GPU's memory. Raises ModelError if some are missing."""
    lost = [name for name in model.shards if not (model.folder / name).is_file()]
    if lost:
        raise ModelError(
            f"{model.folder} lacks {', '.join(lost[:5])}. bash scripts/download_model.sh fetches what is missing."
        )
    return model.get_size()


def _get_address(settings: Settings) -> tuple[str, int]:
    parts = urlsplit(settings.vllm_base_url)
    if parts.scheme != "http":
        raise ModelError(
            f"VLLM_BASE_URL is {settings.vllm_base_url}: this starts a server without TLS. Give an http:// address, or"
            " put a TLS proxy in front and start vLLM behind it yourself."
        )
    if parts.path != "/v1":
        raise ModelError(
            f"VLLM_BASE_URL is {settings.vllm_base_url}: vLLM serves its API under /v1, so it has to end with that."
        )
    return parts.hostname or "127.0.0.1", parts.port or 80


def _check_flags(extra: Sequence[str], vllm: Vllm | None, ours: Sequence[str]) -> list[str]:
    for word in extra:
        name = word.partition("=")[0].replace("_", "-")
        # Also with an attached value: -tp2
        short = re.match(r"-[a-z]{1,3}", name)
        name = _SHORT.get(short[0], name) if short else name
        if not name.startswith("--"):
            continue
        if name in _REFUSED:
            raise ModelError(f"{name} is not passed on: {_REFUSED[name]}.")
        if name in ours:
            raise ModelError(f"{name} follows from the settings (env.example); change it there.")
        if vllm is not None and name not in vllm.flags:
            raise ModelError(f"This vLLM ({vllm.version}) has no {name}: see `vllm serve --help`.")
    return list(extra)


def _find_warnings(settings: Settings, model: Checkpoint, vllm: Vllm) -> list[str]:
    said = find_version_warnings(vllm)
    quantized = (model.quantization or {}).get("format")
    if quantized == "pack-quantized" and settings.model_dtype != "float16":
        said.append(
            f"MODEL_DTYPE is {settings.model_dtype}: on AMD, 4-bit weights run only with float16."
        )
    if settings.model_max_tokens < HIGH_DETAIL_TOKENS + settings.response_max_tokens:
        said.append(
            f"MODEL_MAX_TOKENS is {settings.model_max_tokens}: a picture at high detail takes {HIGH_DETAIL_TOKENS} tokens"
            " of it, so such questions will be refused."
        )
    return said

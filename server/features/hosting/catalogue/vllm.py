"""Build the arguments of `vllm serve`, with the flags that the installed vLLM lists in its help. Starts nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.core.errors import OperatorError

# Visual tokens of a picture at high detail (`vision.resize.HIGH_TOKENS`)
HIGH_DETAIL_TOKENS = 1280
# Older versions lack fixes for pictures that crash vLLM
SAFE_VERSION = (0, 30)
KEY = "VLLM_API_KEY"
# Flags of vLLM 0.30 and newer, for container images whose help is not read
IMAGE_FLAGS = frozenset(
    {
        *("--served-model-name", "--host", "--port", "--dtype", "--gpu-memory-utilization"),
        *("--max-model-len", "--limit-mm-per-prompt", "--mm-processor-kwargs"),
        *("--tensor-parallel-size", "--trust-remote-code", "--enable-prefix-caching"),
        *("--no-enable-log-requests", "--allowed-media-domains"),
        *("--enable-prompt-tokens-details", "--mm-encoder-tp-mode"),
    }
)
# A host that cannot exist (RFC 2606): vLLM must not fetch pictures, which are sent as data: URLs.
NO_DOMAIN = "none.invalid"
# Environment that disables usage reports and downloads
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
# Environment for AMD's GPUs, from AMD's guide "vLLM V1 performance optimization" for MI300X (ROCm documentation):
# AITER's kernels for attention, matrices and norms; kernel arguments in GPU memory, so that kernels start sooner;
# weights that are read directly into the GPU; hipBLASLt for matrices.
ROCM_ENVIRONMENT = {
    "VLLM_ROCM_USE_AITER": "1",
    "HIP_FORCE_DEV_KERNARG": "1",
    "SAFETENSORS_FAST_GPU": "1",
    "TORCH_BLAS_PREFER_HIPBLASLT": "1",
}
# Flag for the memory of keys and values on the CPU; its minimum and maximum are _CACHE_BYTES
_CACHE_FLAG = "--kv-cache-memory-bytes"
TOOL_PARSER = "--tool-call-parser"
_ENCODER = "--mm-encoder-tp-mode"
_CACHE_BYTES = (256 << 20, 2 << 30)
# The line of an option in the help, without its explanation, which may name other flags
_OPTION = re.compile(r"^ {1,4}(-\S.*?)(?: {2,}|$)", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class VllmError(OperatorError):
    """vLLM is missing, or cannot be started with the required flags; `message` is for operators."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        # The output of the program
        self.output = output


@dataclass(frozen=True, slots=True)
class Vllm:
    """An installed vLLM, or the vLLM in a container image."""

    version: str
    flags: frozenset[str]
    # True for a build that computes on the CPU even if there is a GPU
    for_cpu: bool = False
    # Arguments before the model's folder
    words: tuple[str, ...] = ("vllm", "serve")
    # Path of the program
    path: str = "vllm"

    @property
    def numbers(self) -> tuple[int, int] | None:
        """Major and minor version; None if the version has another format."""
        match = re.match(r"(\d+)\.(\d+)", self.version)
        return None if match is None else (int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class VllmServing:
    """The model, address and limits of a vLLM server."""

    folder: str
    # The model's name in requests; empty: the folder
    name: str
    host: str
    port: int
    dtype: str
    # Fraction of the GPU's memory, 0 to 1
    memory: float
    # Tokens
    context: int
    # Maximum inputs of each kind in one request, by vLLM's names: {"image": 4, "video": 0}
    inputs: Mapping[str, int]
    # Minimum and maximum pixels of a picture; None: the model's own limits
    pixels: tuple[int, int] | None
    # Size of the largest video, for which vLLM reserves memory, by vLLM's names; None: unknown
    video: Mapping[str, int] | None = None
    # GPUs that share the model
    gpus: int = 1
    # True: GPUs of AMD
    amd: bool = False
    # On the CPU: bytes of main memory for keys and values, because vLLM's default uses most of the memory
    cpu_cache_bytes: int | None = None
    # vLLM's parser of the model's tool calls; "": none
    tool_parser: str = ""
    trust_remote_code: bool = False


def parse_flags(text: str) -> frozenset[str]:
    """Return the flags that have their own lines in an argparse help text."""
    lines = _OPTION.findall(_COLOUR.sub("", text))
    return frozenset(flag for line in lines for flag in _FLAG.findall(line))


def compute_cpu_cache_bytes(free_bytes: int) -> int:
    """Return the bytes for keys and values on the CPU: half of the free memory, 256 MiB to 2 GiB."""
    return min(max(free_bytes // 2, _CACHE_BYTES[0]), _CACHE_BYTES[1])


def make_environment(serving: VllmServing, vllm: Vllm) -> dict[str, str]:
    """Return the environment variables of the server, without its API key."""
    if serving.amd and not vllm.for_cpu:
        return {**ENVIRONMENT, **ROCM_ENVIRONMENT}
    if serving.cpu_cache_bytes is None or _CACHE_FLAG in vllm.flags:
        return dict(ENVIRONMENT)
    # Older builds for the CPU use this variable, in integer GiB.
    return {**ENVIRONMENT, "VLLM_CPU_KVCACHE_SPACE": str(max(1, serving.cpu_cache_bytes >> 30))}


def build_arguments(serving: VllmServing, vllm: Vllm) -> tuple[list[str], list[str]]:
    """Return the command line, and a warning for each flag that this vLLM lacks.

    Raises VllmError if the version cannot keep questions out of its log.
    """
    arguments = [*vllm.words, serving.folder]
    warnings: list[str] = []

    def add_flag(name: str, *values: str) -> None:
        if name in vllm.flags:
            arguments.extend((name, *values))
        else:
            warnings.append(
                f"This vLLM ({vllm.version}) does not support {name}, which was left out."
            )

    if serving.name:
        add_flag("--served-model-name", serving.name)
    add_flag("--host", serving.host)
    add_flag("--port", str(serving.port))
    add_flag("--dtype", serving.dtype)
    if serving.cpu_cache_bytes is None:
        add_flag("--gpu-memory-utilization", f"{serving.memory:g}")
    else:
        if _CACHE_FLAG in vllm.flags:
            add_flag(_CACHE_FLAG, str(serving.cpu_cache_bytes))
        # Compiling needs a compiler and takes minutes.
        add_flag("--enforce-eager")
    add_flag("--max-model-len", str(serving.context))
    # vLLM reserves memory for this many inputs.
    add_flag("--limit-mm-per-prompt", json.dumps(_make_inputs(serving, vllm)))
    if serving.pixels is not None:
        least, most = serving.pixels
        add_flag("--mm-processor-kwargs", json.dumps({"min_pixels": least, "max_pixels": most}))
    if serving.gpus > 1:
        add_flag("--tensor-parallel-size", str(serving.gpus))
    arguments.extend(make_encoder_arguments(serving.gpus, vllm))
    if serving.trust_remote_code:
        add_flag("--trust-remote-code")
    add_flag("--enable-prefix-caching")
    arguments.append(_get_no_log_flag(vllm))
    # Optional flags, which not all versions have
    tools = (("--enable-auto-tool-choice",), (TOOL_PARSER, serving.tool_parser))
    for name, *values in (
        ("--allowed-media-domains", NO_DOMAIN),
        ("--enable-prompt-tokens-details",),
        *(tools if serving.tool_parser else ()),
    ):
        if name in vllm.flags:
            arguments.extend((name, *values))
    return arguments, warnings


def make_encoder_arguments(gpus: int, vllm: Vllm) -> tuple[str, ...]:
    """Return the arguments for the vision encoder of a model on several GPUs.

    The encoder is small: each GPU gets a copy, and the pictures are divided among them.
    """
    return (_ENCODER, "data") if gpus > 1 and _ENCODER in vllm.flags else ()


def get_video_bounds(factor: int, visual_tokens: int) -> dict[str, int]:
    """Return the size of a video of the recent past with no more visual tokens than one picture, by vLLM's names.

    `factor`: pixels of the side of a token.
    """
    frames = 8
    side = factor * math.isqrt(max(1, visual_tokens * 2 // frames))
    return {"num_frames": frames, "width": side, "height": side}


def _make_inputs(serving: VllmServing, vllm: Vllm) -> dict[str, Any]:
    """Return the number of inputs of each kind, with one video if this vLLM accepts the video's size.

    Without the size, vLLM would reserve memory for 14 or 32 pictures of full size.
    """
    inputs: dict[str, Any] = dict(serving.inputs)
    video = serving.video
    # Added after 0.11; tested with 0.30 and newer.
    if video is not None and vllm.numbers is not None and vllm.numbers >= SAFE_VERSION:
        inputs["video"] = {"count": 1, **video}
    return inputs


def find_version_warnings(vllm: Vllm) -> list[str]:
    """Return a warning about an old or unknown version."""
    if vllm.numbers is not None and vllm.numbers >= SAFE_VERSION:
        return []
    return [
        f"vLLM {vllm.version or 'of an unknown version'} seems to be older than 0.30, and may lack fixes for pictures that crash it."
        " This server sends only pictures that it encoded itself. Let nobody else reach the port, and upgrade when there is"
        " a build for your GPU."
    ]


def _get_no_log_flag(vllm: Vllm) -> str:
    # The default is on in 0.9.2 and off in newer versions, so set it in any case.
    for name in ("--no-enable-log-requests", "--disable-log-requests"):
        if name in vllm.flags:
            return name
    raise VllmError(
        f"This vLLM ({vllm.version}) has no flag that keeps questions out of its log, so it is not started."
        " Install 0.9.2 or newer."
    )

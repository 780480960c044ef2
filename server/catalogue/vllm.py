"""What `vllm serve` is given, from what the installed vLLM lists in its own help. Starts nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Visual tokens of a picture at high detail: what a question about reading sends.
HIGH_DETAIL_TOKENS = 1280
# Below it vLLM lacks fixes for pictures that crash it.
SAFE_VERSION = (0, 30)
# The oldest that this was written for
OLDEST = (0, 9)
KEY = "VLLM_API_KEY"
# RFC 2606: no such host can be. Pictures come as data: URLs, and vLLM shall fetch none.
NO_DOMAIN = "none.invalid"
# Of the environment: nothing is reported, nothing is fetched.
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
# On the CPU: how much memory requests may hold, and the least and most of it that is given
_CACHE_FLAG = "--kv-cache-memory-bytes"
_CACHE_BYTES = (256 << 20, 2 << 30)
# An option's own line, without the text that explains it; such texts name other flags, too.
_OPTION = re.compile(r"^ {1,4}(-\S.*?)(?: {2,}|$)", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class VllmError(Exception):
    """There is no vLLM, or it cannot be started as it has to be; `message` says why."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        # What it printed when it was asked
        self.output = output


@dataclass(frozen=True, slots=True)
class Vllm:
    version: str
    flags: frozenset[str]
    # A build that computes on the CPU, whatever GPU there is
    for_cpu: bool = False
    # What the model's folder follows on its command line
    words: tuple[str, ...] = ("vllm", "serve")

    @property
    def numbers(self) -> tuple[int, int] | None:
        """Major and minor; None when the version is of another form."""
        match = re.match(r"(\d+)\.(\d+)", self.version)
        return None if match is None else (int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, where, within which bounds."""

    folder: str
    # The name that requests ask for; empty: the folder
    name: str
    host: str
    port: int
    dtype: str
    # Share of the GPU's memory, 0 to 1
    memory: float
    # Tokens
    context: int
    # Of each kind in one request, as vLLM calls them: {"image": 1, "video": 0}
    inputs: Mapping[str, int]
    # Least and most pixels of a picture; None: the model's own
    pixels: tuple[int, int] | None
    # GPUs that share the model
    gpus: int = 1
    # On the CPU: bytes of main memory for what requests hold; vLLM would else take most of it all
    cpu_cache_bytes: int | None = None
    # Answers at a time; None: vLLM's own number
    sequences: int | None = None
    trust_remote_code: bool = False


def listed_flags(text: str) -> frozenset[str]:
    """The flags that have a line of their own in an argparse help."""
    lines = _OPTION.findall(_COLOUR.sub("", text))
    return frozenset(flag for line in lines for flag in _FLAG.findall(line))


def cpu_cache_bytes(room: int) -> int:
    """For what requests hold, of `room` bytes that the model leaves of main memory: half of them, within reason."""
    return min(max(room // 2, _CACHE_BYTES[0]), _CACHE_BYTES[1])


def environment(serving: Serving, vllm: Vllm) -> dict[str, str]:
    """What is set for it beside its arguments, the key aside."""
    if serving.cpu_cache_bytes is None or _CACHE_FLAG in vllm.flags:
        return dict(ENVIRONMENT)
    # Older builds for the CPU take whole GiB, by this name.
    return {**ENVIRONMENT, "VLLM_CPU_KVCACHE_SPACE": str(max(1, serving.cpu_cache_bytes >> 30))}


def serve_arguments(
    program: Sequence[str], serving: Serving, vllm: Vllm
) -> tuple[list[str], list[str]]:
    """`program` with what it is given, and a sentence for each flag that this vLLM lacks.

    Raises VllmError for one that cannot keep questions out of its log.
    """
    arguments = [*program, serving.folder]
    warnings: list[str] = []

    def flag(name: str, *values: str) -> None:
        if name in vllm.flags:
            arguments.extend((name, *values))
        else:
            warnings.append(f"This vLLM ({vllm.version}) has no {name}: left out.")

    if serving.name:
        flag("--served-model-name", serving.name)
    flag("--host", serving.host)
    flag("--port", str(serving.port))
    flag("--dtype", serving.dtype)
    if serving.cpu_cache_bytes is None:
        flag("--gpu-memory-utilization", f"{serving.memory:g}")
    else:
        if _CACHE_FLAG in vllm.flags:
            flag(_CACHE_FLAG, str(serving.cpu_cache_bytes))
        # Compiling first takes a compiler and minutes.
        flag("--enforce-eager")
    flag("--max-model-len", str(serving.context))
    if serving.sequences is not None:
        flag("--max-num-seqs", str(serving.sequences))
    # vLLM keeps no memory for more than this.
    flag("--limit-mm-per-prompt", json.dumps(dict(serving.inputs)))
    if serving.pixels is not None:
        least, most = serving.pixels
        flag("--mm-processor-kwargs", json.dumps({"min_pixels": least, "max_pixels": most}))
    if serving.gpus > 1:
        flag("--tensor-parallel-size", str(serving.gpus))
    if serving.trust_remote_code:
        flag("--trust-remote-code")
    flag("--enable-prefix-caching")
    arguments.append(_no_request_log(vllm))
    # Useful, and not in all versions.
    for name, *values in (
        ("--allowed-media-domains", NO_DOMAIN),
        ("--enable-prompt-tokens-details",),
    ):
        if name in vllm.flags:
            arguments.extend((name, *values))
    return arguments, warnings


def doubts(vllm: Vllm) -> list[str]:
    """Sentences on a version that is old or not known."""
    said = []
    numbers = vllm.numbers
    if numbers is None:
        said.append(f"The version of vLLM is not known ({vllm.version or 'it says nothing'}).")
    elif numbers < OLDEST:
        said.append(f"vLLM {vllm.version} is older than all that this was written for (0.9.2).")
    if numbers is None or numbers < SAFE_VERSION:
        said.append(
            f"vLLM {vllm.version} is below 0.30 and lacks fixes for pictures that crash it. The server makes the pictures"
            " itself; let nobody else reach this port, and upgrade when there is a build for your GPU."
        )
    return said


def _no_request_log(vllm: Vllm) -> str:
    # On by default in 0.9.2, off in later ones; either way it is said.
    for name in ("--no-enable-log-requests", "--disable-log-requests"):
        if name in vllm.flags:
            return name
    raise VllmError(
        f"This vLLM ({vllm.version}) has no flag that keeps questions out of its log, so it is not started."
        " Install 0.9.2 or newer."
    )

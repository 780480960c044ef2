"""Parse the log of an engine: the progress of its start, and the cause of a failure. Pure.

Supports the logs of vLLM, llama.cpp's server, `transformers serve`, docker and podman.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.features.hosting.catalogue.llama_cpp import FAILED

_ERROR_CHARS = 200
_PHASE_CHARS = 60


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Progress of loading a model."""

    # Such as "loading weights"
    phase: str
    # 0 to 100, of this phase; None: unknown
    percent: float | None = None
    # Bytes done in this phase; None: not counted
    done_bytes: int | None = None
    total_bytes: int | None = None


# Patterns and their meanings; the first match is used.
Table = tuple[tuple[re.Pattern[str], str], ...]


def _compile_table(*rows: tuple[str, str]) -> Table:
    return tuple((re.compile(pattern), text) for pattern, text in rows)


# tqdm: "Loading weights:  45%|####5     | 26/57 [00:00<00:00, 99.1it/s]", "… shards:  25% Completed | 1/4 [...]"
_BAR = re.compile(r"^(?P<what>[^|%]{0,200}?):?\s{1,20}(?P<share>\d{1,3})%(?: Completed|\|)")
_PHASES = _compile_table(
    (
        r"^Unable to find image|: Pulling from |^Trying to pull |^Getting image source|^Copying blob |^[0-9a-f]{12}: (?:Pull|Down)",
        "fetching the image",
    ),
    (r"^Installing llama\.cpp's server", "installing llama.cpp's server"),
    (
        r"Capturing (?:CUDA|HIP|cuda)? ?graphs?|torch\.compile (?:takes|took|and)|Compiling a graph|Dynamo bytecode",
        "compiling",
    ),
    (
        r"Starting to load model|Loading model|(?:load_model|main): loading model|^(?i:loading|materiali[sz]ing)\b",
        "loading weights",
    ),
)

PORT_TAKEN = r"(?i)address already in use|\[Errno 98\]|port is already allocated|couldn't bind [\w ]{0,20}socket"
# Also for vLLM's help, which fails without a GPU in some builds
NO_GPU = (
    "This vLLM finds no GPU and would run on the CPU. It is a build for another maker's GPU, or this user may not open"
    " the GPU (AMD: /dev/kfd, groups render and video). Install the build for this GPU."
)
# `{memory}`, `{context}` and `{dtype}` are names of settings with their values; `{port}` and `{path}` are values.
_CAUSES = _compile_table(
    (
        r"platform (?:is )?cpu\b|device_config=cpu|device_type=cpu|Failed to infer device type",
        NO_GPU,
    ),
    (
        r"Free memory on device.*less than desired GPU memory utilization",
        "Other programs hold the GPU's memory. End them, or lower {memory}; if the context no longer fits then, lower"
        " {context}, too.",
    ),
    (
        r"larger than the available KV cache memory|max seq len .* is larger than|No available memory for the cache blocks"
        r"|max_model_len \(?\d+\)? is greater than the derived",
        "The context does not fit beside the weights, or exceeds the model's limit. Lower {context}, or, if nothing"
        " else uses the GPU, raise {memory}. 8-bit weights leave more room: python3 scripts/convert_model.py --help",
    ),
    (
        r"OutOfMemoryError|(?:CUDA|HIP) out of memory|OUT_OF_RESOURCES|hipErrorOutOfMemory|ErrorOutOfDeviceMemory",
        "The GPU's memory is full. Lower {memory} if other programs use the GPU, too, lower {context} if the model's share is"
        " too small, or use 8-bit weights: python3 scripts/convert_model.py --help",
    ),
    (
        r"can't allocate|[Cc]annot allocate|\bMemoryError|Available memory on node|failed to allocate"
        r"|insufficient memory|unable to allocate|out of memory|bad_alloc|EngineDeadError",
        "Main memory does not hold the model and its context. Lower {context}, choose a smaller model or one with fewer bits,"
        " or end other programs.",
    ),
    (
        r"(?i)no space left on device",
        "A disk is full: that of container images (vLLM's takes 10 GB), ~/.cache or /dev/shm. Free some space there.",
    ),
    (PORT_TAKEN, "Another program has port {port}. End it, or choose another port."),
    (
        r"no ROCm-capable device|No (?:HIP|CUDA) GPUs|hipErrorNoDevice|driver version is insufficient|driver too old"
        r"|could not select device driver|nvidia-container-cli|unresolvable CDI|error gathering device information"
        r"|stat /dev/(?:kfd|dri)",
        "It cannot open the GPU. Check the driver, the rights of this user (AMD: groups render and video), and for a container"
        " the maker's container toolkit.",
    ),
    (
        r"invalid device function|hipErrorNoBinaryForGpu|no kernel image|compute capability|Failed to find a kernel"
        r"|(?:dtype|float16|bfloat16) is not supported|[Qq]uantization (?:scheme|method).* not supported",
        "This GPU, or this build of vLLM, does not support {dtype} or the model's quantisation. Set another precision (float16,"
        " bfloat16), convert the model to another format, or install the build for this GPU.",
    ),
    (
        r"architectures? .* (?:is|are) not supported|not recognize this architecture|unknown model architecture"
        r"|unknown (?:vision |audio )?projector type|unknown pre-tokenizer",
        "The engine does not support the architecture of this model, which is newer. Upgrade the engine.",
    ),
    (
        r"SafetensorError|HeaderTooLarge|IncompleteBuffer|InvalidHeader|size of tensor .* must match|exceeds dimension size"
        r"|not initialized from checkpoint|not have a file named|Can't load |not the path to a directory"
        r"|not within the file bounds|failed to (?:seek for|read) |invalid magic|tensor '[^']*' not found|to find tensor"
        r"|has wrong shape|tensors expected but|failed to open GGUF|wrong number of tensors|error loading model hyperparameters"
        r"|mismatch between (?:text model .{0,80}mmproj|vision and audio)|Failed to load CLIP model|CLIP cannot be used as main model",
        "A file of the model in {path} is missing, damaged or of another model. Fetch the model again; python3"
        " scripts/convert_model.py --verify-only names a damaged .safetensors file.",
    ),
    (
        r"libgomp\.so",
        "llama.cpp's server needs the library libgomp. Install it: apt install libgomp1 (Debian, Ubuntu) or dnf install libgomp.",
    ),
)
# After this line vLLM would continue on the CPU, so it must be stopped.
ON_CPU = _CAUSES[0][0]
# Last line of a traceback, "RuntimeError: …", also after the prefix of a logger
_ERROR = re.compile(r"(?:^|[\s\]])((?:\w+\.)*[A-Z]\w*(?:Error|Exception): \S.*)")


def parse_progress(line: str) -> LoadProgress | None:
    """Return the progress that a line reports; None for other lines."""
    bar = _BAR.match(line)
    what = bar["what"].strip() if bar is not None else line
    phase = next((text for pattern, text in _PHASES if pattern.search(what)), "")
    if bar is None:
        return LoadProgress(phase) if phase else None
    named = phase or (what[:1].lower() + what[1:])[:_PHASE_CHARS] or "working"
    return LoadProgress(named, min(100.0, float(bar["share"])))


def explain_failure(
    lines: Iterable[str],
    *,
    for_cpu: bool = False,
    memory: str = "the share of GPU memory",
    context: str = "the context",
    dtype: str = "the precision",
    port: object = "",
    path: object = "its folder",
) -> str:
    """Return the cause of a failure and the remedy; "" if unknown.

    `memory`, `context` and `dtype`: names of the settings to change. `for_cpu`: the engine is meant to run on the CPU.
    """
    kept = list(lines)
    if ours := next((line.removeprefix(FAILED) for line in kept if line.startswith(FAILED)), ""):
        return ours
    text = "\n".join(kept)
    cause = next((said for pattern, said in _CAUSES[for_cpu:] if pattern.search(text)), "")
    return cause.format(memory=memory, context=context, dtype=dtype, port=port, path=path)


def find_last_error(lines: Sequence[str]) -> str:
    """Return a sentence with the first Python error in a log, which causes later errors, or else with the last line; ""
    for an empty log.
    """
    errors = (match[1] for line in lines if (match := _ERROR.search(line)))
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = next(errors, last)[:_ERROR_CHARS].rstrip(". ")
    return f"Its log says: {said}." if said else ""

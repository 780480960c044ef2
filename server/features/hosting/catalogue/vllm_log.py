"""Read vLLM's log: the step of its start, and the cause of a failure as a sentence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Patterns with what they mean; the first that matches is used.
Table = tuple[tuple[re.Pattern[str], str], ...]


def table(*rows: tuple[str, str]) -> Table:
    return tuple((re.compile(pattern), text) for pattern, text in rows)


def meaning(of: Table, text: str) -> str:
    """Return what a text means by a table; "" for nothing that is known."""
    return next((found for pattern, found in of if pattern.search(text)), "")


_LOWER = (
    "Lower {memory} when other programs need the GPU's memory, too (rocm-smi and nvidia-smi"
    " show them), and {context} when the model's own share is too small for the context."
)
# Also used for vLLM's help, which fails without a GPU in some builds.
NO_GPU = (
    "This vLLM finds no GPU and would run on the CPU. It is a build for another maker's GPU, or this user may not open"
    " the GPU (AMD: /dev/kfd, groups render and video). Install the build for this GPU."
)
# `{memory}`, `{context}`, `{dtype}` name a setting with its value, `{elsewhere}` says how to set
# another port; `{port}` and `{path}` are values.
_FAILURES = table(
    (
        r"platform (?:is )?cpu\b|device_config=cpu|device_type=cpu|Failed to infer device type",
        NO_GPU,
    ),
    (
        r"Available memory on node .* is less than",
        "Main memory does not hold what vLLM sets aside for requests. End other programs, choose a smaller model, or lower"
        " VLLM_CPU_KVCACHE_SPACE where it is set.",
    ),
    (
        r"Free memory on device.*less than desired GPU memory utilization",
        "Other programs hold the GPU's memory. End them, or lower {memory}; should the context not fit then, lower"
        " {context}, too.",
    ),
    (
        r"larger than the available KV cache memory|max seq len .* is larger than the maximum number of tokens",
        "The context does not fit beside the weights. Lower {context}, or, when nothing else uses"
        " the GPU, raise {memory}. 8-bit weights leave more room:"
        " python3 scripts/convert_model.py --help",
    ),
    (
        r"No available memory for the cache blocks",
        "The weights leave no room for the context. Convert the model to 8 bits (python3 scripts/convert_model.py --help),"
        " or, when nothing else uses the GPU, raise {memory}.",
    ),
    (
        r"out of memory|OutOfMemoryError|hipErrorOutOfMemory|HSA_STATUS_ERROR_OUT_OF_RESOURCES",
        "The GPU's memory is full. " + _LOWER + " 8-bit weights take half:"
        " python3 scripts/convert_model.py --help",
    ),
    (
        r"max_model_len \(?\d+\)? is greater than the derived",
        "The model cannot hold so much. Lower {context}.",
    ),
    (
        r"address already in use|Address already in use|\[Errno 98\]",
        "Another program has port {port}. End it, or {elsewhere}.",
    ),
    (
        r"invalid device function|hipErrorNoBinaryForGpu|no kernel image is available",
        "This vLLM was not built for this GPU. Install the build that names it.",
    ),
    (
        r"no ROCm-capable device|No HIP GPUs|No CUDA GPUs|hipErrorNoDevice|CUDA driver version is insufficient"
        r"|driver too old",
        "vLLM cannot open the GPU. Check the driver, and the access of this user (AMD: groups render and video).",
    ),
    (
        r"only supported on GPUs with compute capability|(?:dtype|float16|bfloat16) is not supported",
        "This GPU does not take {dtype}. Set another (float16, bfloat16).",
    ),
    (
        r"[Qq]uantization (?:scheme|method).* not supported|Failed to find a kernel that can implement",
        "This GPU or this vLLM cannot run the model's quantised form. Use 8-bit floats (python3 scripts/convert_model.py"
        " --quantize 8) or the original model.",
    ),
    (
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader|size of tensor .* must match|exceeds dimension size"
        r"|weights were not initialized from checkpoint",
        "The weights in {path} are damaged or of another model. Look at them:"
        " python3 scripts/convert_model.py --verify-only --model-path {path}",
    ),
    (
        r"does not appear to have a file named|Can't load the configuration|is not the path to a directory"
        r"|Can't load (?:image|video|feature) processor|Can't load tokenizer",
        "Files of the model are missing in {path}. bash scripts/download_model.sh fetches them.",
    ),
    (
        r"architectures? .* (?:is|are) not supported|does not recognize this architecture",
        "This vLLM does not know the model's architecture. Install a newer one.",
    ),
    (
        r"unrecognized arguments|error: argument",
        "This vLLM does not take an argument that its help lists, or not this value of it: the line above names it.",
    ),
    (
        r"No space left on device",
        "A disk is full: vLLM writes compiled kernels to ~/.cache, and to /dev/shm (in a container: --shm-size).",
    ),
    (
        r"No module named|ImportError|undefined symbol|cannot open shared object file",
        "vLLM is not installed whole, or beside a torch that it was not built for. Install it anew.",
    ),
    (
        r"EngineDeadError",
        "vLLM's own worker ended, most likely for want of memory. Lower {context}, choose a smaller model, or end other"
        " programs.",
    ),
)
# With this line vLLM continues on the CPU, so it has to be stopped.
ON_CPU = _FAILURES[0][0]
_PHASES = table(
    (r"Capturing (?:CUDA|HIP|cuda)? ?graphs?|Graph capturing", "recording graphs"),
    (r"torch\.compile (?:takes|took|and)|Compiling a graph|Dynamo bytecode", "compiling"),
    (r"Maximum concurrency|KV cache size|GPU KV cache", "room for the context is set aside"),
    (r"Loading weights took|Model loading took", "weights are loaded"),
    (r"Loading safetensors checkpoint shards:\s+(?P<share>\d+)%", "loading weights"),
    (r"Starting to load model|Loading model", "loading weights"),
    (r"Resolved architecture", "reading the model's files"),
    (r"Initializing a V\d LLM engine", "starting the engine"),
    (r"Application startup complete|Starting vLLM API server", "opening the port"),
)


def step(line: str) -> tuple[str, float | None]:
    """Return the step that a line names, and its percentage or None; ("", None) for any other line."""
    for pattern, text in _PHASES:
        if match := pattern.search(line):
            share = match.groupdict().get("share")
            return text, float(share) if share is not None else None
    return "", None


def explanation(lines: Iterable[str], *, for_cpu: bool = False, **settings: object) -> str:
    """Return the cause of a failure and the remedy; "" for an unknown failure.

    `settings` fill in the sentence. `for_cpu`: computing on the CPU is intended, not a failure.
    """
    return meaning(_FAILURES[for_cpu:], "\n".join(lines)).format(**settings)

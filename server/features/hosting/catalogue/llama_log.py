"""Read the log of llama.cpp's server: the step of its start, and the cause of a failure as a sentence.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Pattern and sentence; the first that matches is used. `{context}` names a setting with its value;
# `{path}` is the model's folder.
_FAILURES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (
            r"unknown model architecture|unknown (?:vision |audio )?projector type|unknown pre-tokenizer type",
            "This llama.cpp does not know the kind of this model, which is newer. Upgrade llama.cpp the way it was installed,"
            " or name a newer llama-server in LLAMA_SERVER.",
        ),
        (
            r"mismatch between text model .{0,80}mmproj|mismatch between vision and audio mmproj",
            "What reads pictures (the mmproj file) in {path} is of another model than the weights. Put the mmproj of the same"
            " model there.",
        ),
        (
            r"not within the file bounds|failed to (?:seek for|read) tensor|failed to read (?:key-value pairs|tensor info)"
            r"|invalid magic characters|unable to find tensor|tensor '[^']*' not found|has wrong shape"
            r"|tensors expected but|failed to open GGUF file|wrong number of tensors",
            "The files in {path} are damaged or cut off. Remove them and fetch the model again.",
        ),
        (
            r"failed to allocate|insufficient memory|unable to allocate|out of memory|std::bad_alloc|ErrorOutOfDeviceMemory",
            "Memory does not hold the model and its context. Lower {context}, choose a smaller model or one with fewer bits,"
            " or end other programs.",
        ),
        (
            r"couldn't bind (?:to server socket|HTTP server socket)",
            "Another program has the port. Choose another one, or leave the port empty for a free one.",
        ),
        (
            r"(?:^|\s)error: (?:invalid argument|while handling argument|unknown argument)",
            "This llama-server does not take an option that its help lists. Upgrade it the way it was installed, or name"
            " another in LLAMA_SERVER.",
        ),
        (
            r"error while loading shared libraries|Library not loaded|cannot open shared object file",
            "llama.cpp's server is not installed whole: a library is missing. Install it again.",
        ),
        (
            r"[Nn]o space left on device",
            "A disk is full. Make room, and start the model again.",
        ),
        (
            r"GGML_ASSERT\(|GGML_ABORT|ggml_abort|CUDA error|ggml_vulkan: .{0,80}(?:error|failed)",
            "llama.cpp met a fault of its own; its log names the place. Upgrade it, or choose another model.",
        ),
    )
)
_PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"load_model: loading model|main: loading model", "loading weights"),
        (r"loaded multimodal model", "preparing for pictures"),
        (r"initializing(?: slots)?, n_slots", "room for the context is set aside"),
        (
            r"(?:main|llama_server): model loaded|(?:llama_server: listening|server is listening) on",
            "opening the port",
        ),
    )
)


def step(line: str) -> str:
    """Return the step that a line names; "" for any other line."""
    return next((text for pattern, text in _PHASES if pattern.search(line)), "")


def explanation(lines: Iterable[str], **settings: object) -> str:
    """Return the cause of a failure and the remedy; "" for an unknown failure. `settings` fill in the
    sentence.
    """
    text = "\n".join(lines)
    for pattern, sentence in _FAILURES:
        if pattern.search(text):
            return sentence.format(**settings)
    return ""

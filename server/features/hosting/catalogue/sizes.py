"""Memory that a model needs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.features.hosting.catalogue.entry import Model

# Memory beside weights and context: one picture's activations, the library itself
OVERHEAD_BYTES = 800_000_000
# Tokens of the one context that is counted, unless the model's is shorter
CONTEXT = 8192
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def estimate_memory(weights_bytes: int) -> int:
    """Return the memory of a model whose files say no more than their size: a tenth for one context."""
    return weights_bytes + weights_bytes // 10 + OVERHEAD_BYTES


def memory_needed(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Return the bytes of weights, one context, one picture and the library when computed in `dtype`; 0 when they are
    unknown.

    "auto" is the stored format, on a GPU at most 16 bits. For generating models it is `memory_bytes`, counted with 16 bits.
    """
    if not (model.memory_bytes and model.weights_bytes and model.answers) or model.quantization:
        return model.memory_bytes
    stored = _BYTES.get(model.dtype, 2)
    each = _BYTES.get(dtype) or (min(stored, 2) if gpu else stored)
    rest = max(0, model.memory_bytes - OVERHEAD_BYTES)
    return model.memory_bytes - rest + rest * each // stored


def context_bytes(model: Model, context: int) -> int:
    """Return the bytes of the keys and values of so many tokens; 0 when the model's sizes are unknown."""
    counted = max(0, model.memory_bytes - model.weights_bytes - OVERHEAD_BYTES)
    return counted * context // min(model.context_length or CONTEXT, CONTEXT)

"""Compute the memory that a model needs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.features.hosting.catalogue.entry import Model

# Bytes in addition to weights and context: the activations for one picture, and the library
OVERHEAD_BYTES = 800_000_000
# Tokens of the one context that `memory_bytes` includes, unless the model's context is shorter
CONTEXT = 8192
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def estimate_memory(weights_bytes: int) -> int:
    """Return the bytes of memory for a model if only its file size is known: add a tenth for one context."""
    return weights_bytes + weights_bytes // 10 + OVERHEAD_BYTES


def compute_memory(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Return the bytes for weights in the format `dtype`, one context, one picture and the library; 0: unknown.

    "auto": the stored format, on a GPU 16 bits at most. For generating models: `memory_bytes`, which assumes 16 bits.
    """
    if not (model.memory_bytes and model.weights_bytes and model.answers) or model.quantization:
        return model.memory_bytes
    stored = _BYTES.get(model.dtype, 2)
    each = _BYTES.get(dtype) or (min(stored, 2) if gpu else stored)
    rest = max(0, model.memory_bytes - OVERHEAD_BYTES)
    return model.memory_bytes - rest + rest * each // stored


def compute_context_bytes(model: Model, context: int) -> int:
    """Return the bytes for the keys and values of `context` tokens; 0: unknown."""
    counted = max(0, model.memory_bytes - model.weights_bytes - OVERHEAD_BYTES)
    return counted * context // min(model.context_length or CONTEXT, CONTEXT)

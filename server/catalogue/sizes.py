"""What a model takes of memory where it is computed, and which libraries its quantised weights need. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from server.catalogue.entry import Model

# Beside weights and context: one picture's activations, the library itself
OVERHEAD_BYTES = 800_000_000
# Tokens of the one context that is counted, where a model takes so many
CONTEXT = 8192
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
# What transformers needs beside itself for quantised weights, by config.json's quant_method and with the names that pip
# knows (transformers 5.23, quantizers/). What is not named here is tried.
QUANTISED: Mapping[str, tuple[str, ...]] = {
    "aqlm": ("aqlm", "accelerate"),
    "auto-round": ("auto-round",),
    "awq": ("gptqmodel", "accelerate"),
    "bitnet": ("accelerate",),
    "bitsandbytes": ("bitsandbytes", "accelerate"),
    "compressed-tensors": ("compressed-tensors",),
    "eetq": ("kernels", "accelerate"),
    "fp8": ("accelerate",),
    "gptq": ("optimum", "gptqmodel"),
    "hqq": ("hqq",),
    "mxfp4": ("accelerate",),
    "nvfp4": ("kernels", "accelerate"),
    "quanto": ("optimum-quanto", "accelerate"),
    "torchao": ("torchao",),
    "vptq": ("vptq", "accelerate"),
}
# Those that a processor has no arithmetic for: transformers makes 16 bits of their 8 or 4 when it loads them.
_WIDENED = {"fp8": 2, "mxfp8": 2, "mxfp4": 4}


def needed(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Bytes that answering takes, computed in `dtype`; 0 when the model's sizes are not known.

    "auto" is what the weights are stored in, and on a GPU never more than 16 bits. What makes something is counted with
    16 bits as it is.
    """
    if not (model.memory_bytes and model.weights_bytes and model.answers):
        return model.memory_bytes
    rest = max(0, model.memory_bytes - model.weights_bytes)
    if model.quantization:
        widened = 1 if gpu else _WIDENED.get(model.quantization, 1)
        return model.weights_bytes * widened + rest
    stored = _BYTES.get(model.dtype, 2)
    each = _BYTES.get(dtype) or (min(stored, 2) if gpu else stored)
    # The context was counted with two bytes a number.
    context = max(0, rest - OVERHEAD_BYTES)
    return model.weights_bytes * each // stored + context * each // 2 + rest - context


def kept_a_token(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Bytes that one token's keys and values take; 0 when the model's sizes are not known."""
    if not (model.memory_bytes and model.weights_bytes and model.answers):
        return 0
    # The context was counted with two bytes a number.
    counted = max(0, model.memory_bytes - model.weights_bytes - OVERHEAD_BYTES)
    stored = _BYTES.get(model.dtype, 2)
    each = 2 if model.quantization else _BYTES.get(dtype) or (min(stored, 2) if gpu else stored)
    return counted * each // 2 // _counted_tokens(model)


def before_requests(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Bytes that the model takes before anything is asked: `needed` without the one context that is in it."""
    kept = kept_a_token(model, dtype, gpu=gpu) * _counted_tokens(model)
    return max(0, needed(model, dtype, gpu=gpu) - kept)


def _counted_tokens(model: Model) -> int:
    return min(model.context_length or CONTEXT, CONTEXT)

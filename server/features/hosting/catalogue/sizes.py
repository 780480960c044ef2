"""Memory that a model needs, and the answers at a time that it leaves room for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from server.features.hosting.catalogue.machine import gigabytes

if TYPE_CHECKING:
    from server.features.hosting.catalogue.entry import Model

# Memory beside weights and context: one picture's activations, the library itself
OVERHEAD_BYTES = 800_000_000
# Tokens of the one context that is counted, unless the model's is shorter
CONTEXT = 8192
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
# Layers with a state of constant size
_STATE = re.compile(r"linear|mamba|recurrent|conv")
# States that vLLM holds for an answer: where it is, and where the part that others may share ends
_STATES = 2
# Upper bound of a context or size in a config; a larger one is a mistake, or means "no limit".
_MOST = 10**9


def cache_bytes(sizes: Mapping[str, Any], context: int) -> int:
    """Return the bytes of one context's keys and values, two per number, and of the states of linear
    attention. `sizes`: of config.json's text model. 0 where it does not give them.
    """
    layers, heads = whole(sizes.get("num_hidden_layers")), whole(sizes.get("num_attention_heads"))
    hidden = whole(sizes.get("hidden_size"))
    head = whole(sizes.get("head_dim")) or (hidden // heads if hidden and heads else 0)
    pairs = whole(sizes.get("num_key_value_heads")) or heads
    if not (layers and pairs):
        return 0
    kinds = sizes.get("layer_types")
    listed = kinds if isinstance(kinds, list) else []
    with_state = sum(1 for kind in listed if _STATE.search(str(kind)))
    kept = 4 * (layers - min(with_state, layers)) * pairs * head * context
    return kept + _STATES * with_state * _state_bytes(sizes)


def _state_bytes(sizes: Mapping[str, Any]) -> int:
    """Return the bytes of the state of one layer of Qwen3.5's linear attention: four per number, and two in
    its short convolution. 0 for others.
    """
    values, keys, value, key, width = (
        whole(sizes.get(f"linear_{name}")) or 0
        for name in (
            *("num_value_heads", "num_key_heads", "value_head_dim", "key_head_dim"),
            "conv_kernel_dim",
        )
    )
    convolution = (values * value + 2 * keys * key) * max(0, width - 1)
    return 4 * values * value * key + 2 * convolution


def whole(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= _MOST else None


def needed(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Return the bytes of weights, one context, one picture and the library when computed in `dtype`; 0 when they are
    unknown.

    "auto" is the stored format, on a GPU at most 16 bits. For generating models it is `memory_bytes`, counted with 16 bits.
    """
    if not (model.memory_bytes and model.weights_bytes and model.answers):
        return model.memory_bytes
    each, stored = _formats(model, dtype, gpu=gpu)
    rest = max(0, model.memory_bytes - OVERHEAD_BYTES)
    return model.memory_bytes - rest + rest * each // stored


def kept_a_token(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Return the bytes of one token's keys and values; 0 when the model's sizes are unknown."""
    if not (model.memory_bytes and model.weights_bytes and model.answers):
        return 0
    each, stored = _formats(model, dtype, gpu=gpu)
    counted = max(0, model.memory_bytes - model.weights_bytes - OVERHEAD_BYTES)
    return counted * each // stored // _counted_tokens(model)


def before_requests(model: Model, dtype: str = "auto", *, gpu: bool) -> int:
    """Return the bytes that the model takes before any request: `needed` without its one context."""
    kept = kept_a_token(model, dtype, gpu=gpu) * _counted_tokens(model)
    return max(0, needed(model, dtype, gpu=gpu) - kept)


def _formats(model: Model, dtype: str, *, gpu: bool) -> tuple[int, int]:
    """Return the bytes of a number as it is computed, and as it is stored."""
    stored = _BYTES.get(model.dtype, 2)
    if model.quantization:
        return stored, stored
    return _BYTES.get(dtype) or (min(stored, 2) if gpu else stored), stored


def _counted_tokens(model: Model) -> int:
    return min(model.context_length or CONTEXT, CONTEXT)


# Answers at a time

# vLLM's default of --max-num-seqs in most of its versions
MOST = 256


class Batch(NamedTuple):
    # Concurrent answers (--max-num-seqs)
    sequences: int
    # A sentence with the reason for this number
    reason: str
    # True: the memory holds fewer than this server requests at a time
    tight: bool = False


def batch(*, concurrent: int, free_bytes: int | None, token_bytes: int, context: int) -> Batch:
    """Choose `--max-num-seqs`.

    `concurrent`: MAX_CONCURRENT_INFERENCES; 0: as many as the memory holds. `free_bytes`: memory beside the weights, None if
    unknown. `token_bytes`: bytes of one token's keys and values, 0 if unknown. `context`: most
    tokens of one answer.
    """
    most = max(concurrent, MOST)
    if free_bytes is None or token_bytes <= 0:
        return Batch(most, f"{most} answers at a time: the size of the memory is not known.")
    left = max(0, free_bytes)
    held = left // (token_bytes * context)
    if held < concurrent:
        why = (
            f"MAX_CONCURRENT_INFERENCES is {concurrent}, but the {gigabytes(left)} that the weights leave hold {held} answers of"
            f" {context} tokens ({token_bytes:,} bytes a token): when all are that long, some wait or are computed twice. Lower"
            " it or the context, or take a smaller model."
        )
        return Batch(concurrent, why, tight=True)
    sequences = max(1, min(held, most))
    return Batch(
        sequences,
        f"{sequences} answers at a time: the {gigabytes(left)} that the weights leave hold {held} of {context} tokens"
        f" ({token_bytes:,} bytes a token).",
    )

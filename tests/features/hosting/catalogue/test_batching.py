"""The concurrent answers of a GPU, their speed, and DEPLOY's sizes, which are computed from them."""

from __future__ import annotations

import math
import re

import pytest

from server.features.hosting.catalogue import batching
from server.features.hosting.catalogue.entry import Catalogue
from server.features.hosting.catalogue.machine import GB
from server.features.hosting.catalogue.sizes import (
    OVERHEAD_BYTES,
    before_requests,
    cache_bytes,
    kept_a_token,
    needed,
)
from tests.features.hosting.catalogue.test_modes import MODEL
from tests.support.documents import ROOT

LARGE = Catalogue.load().require("large")
# An MI300X: bytes, and bytes a second
MEMORY, BANDWIDTH = 192 * GB, 5.3e12
# 64 layers, 8 pairs of heads of 128 numbers, two bytes each
TOKEN_BYTES = 64 * 8 * 128 * 2 * 2
ANSWER_TOKENS = 128


@pytest.mark.parametrize(
    ("concurrent", "free_bytes", "sequences", "held", "tight"),
    [
        (8, 100 * GB, 48, 48, False),
        (8, 1000 * GB, 256, 488, False),
        (48, 100 * GB, 48, 48, False),
        (49, 100 * GB, 49, 48, True),
        (8, -GB, 8, 0, True),
        (8, None, 256, None, False),
        (0, 100 * GB, 48, 48, False),
        (0, GB, 1, 0, False),
        (0, None, 256, None, False),
    ],
)
def test_as_many_as_the_memory_holds_and_never_fewer_than_are_asked(
    concurrent: int, free_bytes: int | None, sequences: int, held: int | None, tight: bool
) -> None:
    """Of 250,000 bytes a token and 8,192 tokens; what is not known bounds nothing."""
    found = batching.batch(
        concurrent=concurrent, free_bytes=free_bytes, token_bytes=250_000, context=8192
    )
    assert (found.sequences, found.held, found.tight) == (sequences, held, tight)
    assert str(sequences) in found.reason
    assert ("Lower it" in found.reason) is tight


# Share of the upper bound of answers per second to plan with: prompts and pictures take time, and
# requests come in bursts.
PLANNED = 0.5
# Answers at a time that this is a share of
TOGETHER = 8


def test_what_a_model_keeps_and_what_it_takes_before_make_what_it_needs() -> None:
    """The catalogue counts one context of 8,192 tokens, or as many as the model takes."""
    for tokens in (None, 4096, 128_000):
        model = MODEL.model_copy(update={"context_length": tokens})
        counted = min(tokens or 8192, 8192)
        for dtype in ("auto", "float32"):
            kept = kept_a_token(model, dtype, gpu=True)
            assert kept * counted == pytest.approx(
                2_200_000_000 * (2 if dtype == "float32" else 1), abs=counted
            )
            before = before_requests(model, dtype, gpu=True)
            assert before + kept * counted == needed(model, dtype, gpu=True)
    assert kept_a_token(MODEL.model_copy(update={"memory_bytes": 0}), gpu=True) == 0
    # Rounded to 0.1 GB in the catalogue
    assert kept_a_token(LARGE, gpu=True) == pytest.approx(TOKEN_BYTES, rel=0.03)


# Of config.json's text models
QWEN25_VL_32B = {
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "hidden_size": 5120,
}
QWEN38_27B = {
    "num_hidden_layers": 64,
    "layer_types": [*["linear_attention"] * 3, "full_attention"] * 16,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_size": 5120,
    "linear_num_value_heads": 48,
    "linear_num_key_heads": 16,
    "linear_value_head_dim": 128,
    "linear_key_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


@pytest.mark.parametrize(
    ("sizes", "gibibytes", "held"), [(QWEN25_VL_32B, 9, 4.50), (QWEN38_27B, 12, 14.71)]
)
def test_as_many_answers_fit_as_vllm_counts(
    sizes: dict[str, object], gibibytes: int, held: float
) -> None:
    """What vLLM 0.26 printed on a GPU for 8,192 tokens and so much memory (docs/figures/models.json)."""
    assert gibibytes * 2**30 / cache_bytes(sizes, 0, 8192) == pytest.approx(held, rel=0.05)


def step_seconds(weights: int, bandwidth: float) -> float:
    """Return the least time of one step, which reads all weights and makes one token of every
    answer.

    `bandwidth`: bytes per second of GPU memory.
    """
    return weights / bandwidth


def tokens_a_second(answers: int, weights: int, bandwidth: float) -> float:
    """Return the upper bound of the tokens per second of a batch."""
    return answers / step_seconds(weights, bandwidth)


def answers_a_second(
    concurrent: int, held: int, weights: int, bandwidth: float, tokens: int
) -> float:
    """Return the upper bound of the answers of `tokens` per second, when at most `concurrent` and
    `held` run at once.
    """
    return tokens_a_second(min(concurrent, held), weights, bandwidth) / tokens


def test_deploys_table_of_sizes_follows_from_batching() -> None:
    """Questions, GPUs and processes of each row, and the figures that the text derives them from."""
    text = " ".join((ROOT / "DEPLOY.md").read_text(encoding="utf-8").split())
    weights = LARGE.weights_bytes
    free_bytes = batching.free_bytes_of(MEMORY, 0.9, weights + OVERHEAD_BYTES)
    held = free_bytes // (TOKEN_BYTES * 8192)
    step = step_seconds(weights, BANDWIDTH)
    assert f"{weights / GB:.0f} GB at 5.3 TB/s, {step * 1000:.1f} ms" in text
    floor = answers_a_second(TOGETHER, held, weights, BANDWIDTH, ANSWER_TOKENS)
    # More than the memory holds are no faster.
    full = answers_a_second(held, held, weights, BANDWIDTH, ANSWER_TOKENS)
    assert answers_a_second(999, held, weights, BANDWIDTH, ANSWER_TOKENS) == full
    assert f"plan with half of what {TOGETHER} answers at a time give" in text
    planned = floor * PLANNED
    assert f"GPUs ({planned:.1f} answers/s each)" in text
    rows = re.findall(r"\| ([\d,]+) \| ([\d.]+) \| (\d+) \| (\d+) \| [\d.]+ GiB \|", text)
    assert len(rows) == 5
    for people, *given in rows:
        questions = int(people.replace(",", "")) / 30
        gpus, processes = math.ceil(questions / planned), math.ceil(questions / 2)
        said = f"{questions:.1f}" if questions < 10 else f"{questions:.0f}"
        assert given == [said, str(gpus), str(processes)], people

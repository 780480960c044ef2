"""Count the answers that a GPU works on at a time, by its memory, and their speed, by reading the weights once for all. Pure.

A token of each running answer takes one reading of all weights, so a batch is as many times faster as it has answers. That is
the floor of a step: reading prompts and pictures, and what answers keep, come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.catalogue.machine import gigabytes

# What vLLM takes at a time where nothing is said, in most of its versions
MOST = 256
# Of the floor's answers a second, those to plan with: prompts and pictures take their time, and people do not come evenly.
PLANNED = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    # Answers that vLLM works on at a time
    sequences: int
    # How many of them fill their context without going beyond the memory; None: not known
    held: int | None
    # A sentence on why that many
    reason: str
    # Fewer fit than this server asks at a time
    tight: bool = False


def batch(*, concurrent: int, room: int | None, token_bytes: int, context: int) -> Batch:
    """Find what `--max-num-seqs` is to be.

    `concurrent`: MAX_CONCURRENT_INFERENCES. `room`: bytes that the weights leave of the memory, `token_bytes`: what one token
    keeps of it; None or 0 where not known. `context`: tokens of one answer at most.
    """
    if room is None or token_bytes <= 0:
        most = max(concurrent, MOST)
        return Batch(most, None, f"{most} answers at a time: what the memory holds is not known.")
    held = max(0, room) // (token_bytes * context)
    left = gigabytes(max(0, room))
    if held < concurrent:
        return Batch(
            concurrent,
            held,
            f"MAX_CONCURRENT_INFERENCES is {concurrent}, and the {left} that the weights leave hold {held} answers of {context}"
            f" tokens ({token_bytes:,} bytes a token): where all are that long, some wait or are worked out again. Lower it or"
            " the context, or take a smaller model.",
            tight=True,
        )
    sequences = min(held, max(concurrent, MOST))
    return Batch(
        sequences,
        held,
        f"{sequences} answers at a time: the {left} that the weights leave hold {held} of {context} tokens"
        f" ({token_bytes:,} bytes a token), and MAX_CONCURRENT_INFERENCES is {concurrent}.",
    )


def room(memory: int, share: float, taken: int) -> int:
    """Find what is left for keys and values of `share` of the GPUs' memory; `taken`: by weights and library."""
    return int(memory * share) - taken


def step_seconds(weights: int, bandwidth: float) -> float:
    """Find how long one token of all answers takes at least. `bandwidth`: bytes a second of the GPU's memory."""
    return weights / bandwidth


def tokens_a_second(answers: int, weights: int, bandwidth: float) -> float:
    """Find the most that a batch of so many answers makes together."""
    return answers / step_seconds(weights, bandwidth)


def answers_a_second(
    concurrent: int, held: int, weights: int, bandwidth: float, tokens: int
) -> float:
    """Find the most answers of `tokens` that are made when `concurrent` run and no more than the memory holds."""
    return tokens_a_second(min(concurrent, held), weights, bandwidth) / tokens

"""Compute the number of concurrent answers from the GPU's memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.features.hosting.catalogue.machine import gigabytes

# vLLM's default of --max-num-seqs in most of its versions
MOST = 256


@dataclass(frozen=True, slots=True)
class Batch:
    # Concurrent answers (--max-num-seqs)
    sequences: int
    # Answers with a full context that the memory holds; None: unknown
    held: int | None
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
    if free_bytes is None or token_bytes <= 0:
        most = max(concurrent, MOST)
        return Batch(most, None, f"{most} answers at a time: the size of the memory is not known.")
    held = max(0, free_bytes) // (token_bytes * context)
    left = gigabytes(max(0, free_bytes))
    if held < concurrent:
        return Batch(
            concurrent,
            held,
            f"MAX_CONCURRENT_INFERENCES is {concurrent}, but the {left} that the weights leave hold {held} answers of {context}"
            f" tokens ({token_bytes:,} bytes a token): when all are that long, some wait or are computed twice. Lower it or"
            " the context, or take a smaller model.",
            tight=True,
        )
    sequences = max(1, min(held, max(concurrent, MOST)))
    return Batch(
        sequences,
        held,
        f"{sequences} answers at a time: the {left} that the weights leave hold {held} of {context} tokens"
        f" ({token_bytes:,} bytes a token).",
    )


def free_bytes_of(memory: int, share: float, taken: int) -> int:
    """Return the bytes for keys and values: `share` of the GPUs' memory less what is `taken`."""
    return int(memory * share) - taken

"""Sentences on failures of a local model. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from server.core.time_limits import Seconds


@dataclass(frozen=True, slots=True)
class TimeLimits(Seconds):
    """Seconds.

    A processor without a GPU takes tens of seconds for the first word of a large model.
    """

    load: float = 1800.0
    first_token: float = 120.0
    between_tokens: float = 30.0
    total: float = 300.0
    # Without a sign of life, whether it answers or not
    silent: float = 60.0


def refusal(code: str, context_length: int | None) -> EngineError:
    """The error for a code of the worker's (see `worker.chat.AnswerError`)."""
    match code:
        case "context":
            length = f" of {context_length:,} tokens" if context_length else ""
            return EngineRefused(
                f"The question and the conversation so far do not fit into the model's context{length}. "
                "Ask in fewer words or begin a new chat.",
                public=True,
            )
        case "picture":
            return EngineFailed(
                "The local model could not read the picture. Ask again.", public=True
            )
        case "memory":
            return EngineFailed(
                "The local model ran out of memory at this question. Ask with less detail, or load a smaller model."
            )
        case "template":
            return EngineRefused(
                "The model's chat template does not take a question about a picture. Load another model."
            )
        case "numbers":
            return EngineFailed(
                "The local model's numbers overflow in the format that it is computed in. Load it in bfloat16 or float32"
                " (MODEL_DTYPE, or the number format in the engine panel)."
            )
        case "busy":
            return EngineUnavailable(
                "The local model is busy. Ask again in a moment.", retry_after=1.0, public=True
            )
    return EngineFailed("The local model failed at this question. Ask again.", public=True)


def too_slow(limits: TimeLimits, began: bool, total: bool) -> EngineTimeout:
    """`began`: a first piece came. `total`: it was the limit of the whole answer."""
    if total:
        return EngineTimeout(
            f"The answer was not complete after {limits.total:g} s. Ask for something shorter.",
            public=True,
        )
    if began:
        return EngineTimeout(
            f"The local model fell silent in mid-answer for {limits.between_tokens:g} s. Ask again.",
            public=True,
        )
    return EngineTimeout(
        f"The local model did not begin to answer within {limits.first_token:g} s. Load a smaller one, or use a GPU."
    )


def cause(status: int) -> str:
    """Say in a few words how a process ended, from its exit status or minus its signal's number."""
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"{name}, perhaps for lack of memory" if -status == signal.SIGKILL else name

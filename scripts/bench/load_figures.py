"""Compute the figures of a load run. Names and definitions are those of vLLM's serving benchmark.

ttft: from the planned arrival to the first text; itl: between pieces of text as they come (the
server may merge pieces for a slow reader); tpot: the time after the first text by token; e2el: from
the planned arrival to the end. Goodput: questions answered within the objective (`slo`), a second.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from scripts.bench.chat_client import Answer
from scripts.bench.report import Row, Spread, percentile


@dataclass(slots=True)
class Sample:
    """One question. Times are seconds from the run's beginning; None: it did not come so far."""

    number: int
    # Planned time...
    planned: float
    # ...and when a session was free to ask it
    sent: float | None = None
    first_text: float | None = None
    ended: float | None = None
    # Between pieces of the answer, ms
    gaps: list[float] = field(default_factory=list)
    # A code of the server's, or timeout, connection_lost, unreachable; "" when it was answered
    error: str = ""
    # The server's own, ms (server/core/messages/answers.py)
    timings: dict[str, float | None] = field(default_factory=dict)
    frame_age_ms: float | None = None
    visual_tokens: int | None = None
    prompt_tokens: int | None = None
    # As the engine counts them; the pieces of text where it does not
    completion_tokens: int | None = None

    @property
    def waited_ms(self) -> float | None:
        """Time that it waited for a free session."""
        return None if self.sent is None else (self.sent - self.planned) * 1000

    @property
    def ttft_ms(self) -> float | None:
        if self.error or self.first_text is None:
            return None
        return (self.first_text - self.planned) * 1000

    @property
    def e2el_ms(self) -> float | None:
        return None if self.error or self.ended is None else (self.ended - self.planned) * 1000

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first, as vLLM's benchmark defines it."""
        if self.e2el_ms is None or self.ttft_ms is None or (self.completion_tokens or 0) < 2:
            return None
        return (self.e2el_ms - self.ttft_ms) / ((self.completion_tokens or 0) - 1)

    def fill(self, answer: Answer, began: float) -> None:
        """Note what is known of an answer, whole or not; `began` in epoch seconds."""
        pieces = [a.at for a in answer.messages if a.message["type"] == "delta"]
        if pieces:
            self.first_text = pieces[0] - began
            self.gaps = [(b - a) * 1000 for a, b in pairwise(pieces)]
        if answer.error is not None:
            self.error = str(answer.error["code"])
        response = answer.response
        if response is None:
            return
        self.ended = answer.ended_at - began
        if response["finish_reason"] not in ("stop", "length"):
            self.error = str(response["finish_reason"])
        self.timings = response["timings"]
        frame, usage = response.get("frame") or {}, response.get("usage") or {}
        self.frame_age_ms, self.visual_tokens = frame.get("age_ms"), frame.get("visual_tokens")
        self.prompt_tokens = usage.get("prompt_tokens")
        self.completion_tokens = usage.get("completion_tokens") or len(pieces) or None


# The server's own steps of an answer, in order, and what they are called
STAGES = {
    "wait_frame_ms": "waiting for a frame captured after it",
    "prepare_ms": "preparing the frame",
    "queue_ms": "waiting for the model",
    "first_token_ms": "request → first token",
    "total_ms": "question → whole answer",
}


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """`seconds`: from the first planned arrival to the last end."""

    samples: Sequence[Sample]
    asked: int
    slo: float
    seconds: float

    @classmethod
    def of(cls, samples: Sequence[Sample], *, asked: int, slo: float) -> LoadFigures:
        """`asked`: how many were due, those that were still open when the run ended among them."""
        first = min((s.planned for s in samples), default=0.0)
        last = max((s.ended for s in samples if s.ended is not None), default=first)
        return cls(samples, asked, slo, max(1e-9, last - first))

    @property
    def answered(self) -> list[Sample]:
        return [s for s in self.samples if not s.error]

    @property
    def good(self) -> int:
        return sum((s.e2el_ms or math.inf) <= self.slo * 1000 for s in self.answered)

    @property
    def errors(self) -> dict[str, int]:
        return dict(sorted(Counter(s.error for s in self.samples if s.error).items()))

    def values(self, name: str) -> list[float]:
        """Return ttft, tpot, itl or e2el of every answered question, in ms."""
        if name == "itl":
            return [gap for s in self.answered for gap in s.gaps]
        return _known(getattr(s, f"{name}_ms") for s in self.answered)

    def stage(self, name: str) -> list[float]:
        return _known(s.timings.get(name) for s in self.answered)

    def summary(self) -> dict[str, Any]:
        """One flat object, in milliseconds and per second."""
        tokens = sum(s.completion_tokens or 0 for s in self.answered)
        summary: dict[str, Any] = {
            "duration": self.seconds,
            "completed": len(self.answered),
            "failed": len(self.samples) - len(self.answered),
            "unfinished": self.asked - len(self.samples),
            "errors": self.errors,
            "total_input_tokens": sum(s.prompt_tokens or 0 for s in self.answered),
            "total_output_tokens": tokens,
            "request_throughput": len(self.answered) / self.seconds,
            "request_goodput": self.good / self.seconds,
            "goodput_slo_seconds": self.slo,
            "output_throughput": tokens / self.seconds,
        }
        for name in ("ttft", "tpot", "itl", "e2el"):
            summary |= _statistics(f"{name}_ms", self.values(name))
        for name in STAGES:
            summary |= _statistics(f"server_{name}", self.stage(name))
        ages = _known(s.frame_age_ms for s in self.answered)
        waits = _known(s.waited_ms for s in self.samples)
        return summary | _statistics("frame_age_ms", ages) | _statistics("session_wait_ms", waits)

    def rows(self) -> list[Row]:
        """The same as a table."""
        spread = self._spread
        met = self.good / len(self.samples) if self.samples else 0.0
        errors = ", ".join(f"{code} {n}" for code, n in self.errors.items()) or "none"
        unfinished = self.asked - len(self.samples)
        held_up = sum((s.waited_ms or 0) > 50 for s in self.samples)
        return [
            _rate(
                "answered",
                len(self.answered) / self.seconds,
                f"{len(self.answered)} of {self.asked} in {self.seconds:.1f} s; errors: {errors}"
                + (f"; {unfinished} were still open at the end" if unfinished else ""),
            ),
            _rate(
                f"goodput: answered within {self.slo:g} s",
                self.good / self.seconds,
                f"{met:.0%} of all questions",
            ),
            _rate(
                "output tokens", sum(s.completion_tokens or 0 for s in self.answered) / self.seconds
            ),
            spread("ttft: planned arrival → first text", self.values("ttft")),
            spread("tpot: time per output token", self.values("tpot")),
            spread("itl: between pieces of text", self.values("itl")),
            spread("e2el: planned arrival → whole answer", self.values("e2el")),
            spread(
                "waiting here for a free session",
                _known(s.waited_ms for s in self.samples),
                f"{held_up} questions waited over 50 ms; it is part of ttft and e2el",
            ),
            *(spread(f"server: {what}", self.stage(name)) for name, what in STAGES.items()),
            spread(
                "server: frame's age at the model", _known(s.frame_age_ms for s in self.answered)
            ),
        ]

    def _spread(self, what: str, values: list[float], note: str = "") -> Row:
        return Row(what, "ms", Spread.of(values), note=note)

    def slow(self) -> list[Sample]:
        """The answers that took longer than the objective, and those that a time limit ended."""
        return [
            s
            for s in self.samples
            if (s.e2el_ms or 0) > self.slo * 1000 or s.error in ("timeout", "engine_timeout")
        ]


def advice(figures: LoadFigures, limits: dict[str, Any]) -> list[str]:
    """Name the settings to lower when answers take longer than the objective.

    `limits`: those of `ready`.

    Each part that makes up a sixth or more of the slow answers is named, the largest first.
    """
    slow = figures.slow()
    refused = sum(figures.errors.get(code, 0) for code in ("busy", "engine_timeout", "timeout"))
    if not slow and not refused:
        return []
    lines = [
        f"{len(slow)} of {len(figures.samples)} questions took over {figures.slo:g} s"
        + (f", {refused} were refused or given up" if refused else "")
        + "."
    ]
    parts = {name: _mean(slow, part) for name, part in _PARTS.items()}
    whole = sum(parts.values())
    for name in sorted(parts, key=lambda name: -parts[name]):
        if whole and parts[name] >= whole / 6:
            share = f"{parts[name] / whole:.0%} of that time ({parts[name] / 1000:.1f} s)"
            lines.append(f"- {share}: {_REMEDIES[name].format_map(_Named(limits))}")
    if refused and not whole:
        lines.append(f"- {_REMEDIES['queue'].format_map(_Named(limits))}")
    return lines


def _decode(sample: Sample) -> float:
    stages = [sample.timings.get(name) or 0.0 for name in STAGES]
    return max(0.0, stages[-1] - sum(stages[:-1])) if stages[3] else 0.0


def _stage(name: str) -> Callable[[Sample], float]:
    return lambda sample: sample.timings.get(name) or 0.0


_PARTS: dict[str, Callable[[Sample], float]] = {
    "session": lambda sample: sample.waited_ms or 0.0,
    "frame": _stage("wait_frame_ms"),
    "prepare": _stage("prepare_ms"),
    "queue": _stage("queue_ms"),
    "first_token": _stage("first_token_ms"),
    "decode": _decode,
}
_REMEDIES = {
    "session": "all sessions here were busy. That is the answers' own slowness adding up: lower what is named below, "
    "or --rate; more --sessions would ask more at once.",
    "frame": "waiting for the camera. No setting to lower: look at the cameras' network and at the processor here.",
    "prepare": "preparing frames. Turn ENABLE_FACE_BLUR and ENABLE_NSFW_FILTER off, or give the server more processor.",
    "queue": "waiting for a place at the model. Lower RESPONSE_MAX_TOKENS (now {max_tokens}) and VISUAL_TOKEN_BUDGET "
    "(now {visual_tokens}), so that places come free sooner, and FRAME_SAMPLE_RATE where descriptions run.",
    "first_token": "the model reading the picture. Lower VISUAL_TOKEN_BUDGET (now {visual_tokens}), and "
    "MAX_CONCURRENT_INFERENCES when many answers share the GPU.",
    "decode": "the model writing. Lower RESPONSE_MAX_TOKENS (now {max_tokens}), and MAX_CONCURRENT_INFERENCES when "
    "many answers share the GPU; a model in 8 bits (scripts/convert_model.py) writes faster.",
}


class _Named(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "unknown"


def _mean(samples: Sequence[Sample], part: Callable[[Sample], float]) -> float:
    return statistics.fmean(part(s) for s in samples) if samples else 0.0


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _rate(what: str, value: float, note: str = "") -> Row:
    return Row(what, "/s", value=value, at_least=True, note=note)


def _statistics(name: str, values: Sequence[float]) -> dict[str, float]:
    """mean_, median_, std_, p95_ and p99_ of `name`; NaN without values."""
    some = bool(values)
    return {
        f"mean_{name}": statistics.fmean(values) if some else math.nan,
        f"median_{name}": statistics.median(values) if some else math.nan,
        f"std_{name}": statistics.pstdev(values) if some else math.nan,
        f"p50_{name}": percentile(values, 50),
        f"p95_{name}": percentile(values, 95),
        f"p99_{name}": percentile(values, 99),
    }

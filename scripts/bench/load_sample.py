"""The measurements of one question of a load run."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from scripts.bench.chat_client import Answer


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

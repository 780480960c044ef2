"""Doubts about settings that are allowed but probably not meant: a function for each subject.

Pure. The sentences never have a secret's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.core.secret_rules import MAKE_A_SECRET, MIN_OPERATOR_CHARS


def access(code: str, metrics_token: str, *, required: bool) -> Iterator[str]:
    """`required`: REQUIRE_AUTH."""
    if required and not code:
        yield "REQUIRE_AUTH is true but ACCESS_CODE is empty: anybody may take a token. Set ACCESS_CODE to change that."
    if code and len(code) < 8:
        yield f"ACCESS_CODE has only {len(code)} characters and can be guessed; 8 or more are better."
    if metrics_token and len(metrics_token) < MIN_OPERATOR_CHARS:
        yield (
            f"METRICS_TOKEN has only {len(metrics_token)} characters and can be guessed; make a long one with:"
            f" {MAKE_A_SECRET}"
        )


def engine(answer_tokens: int, context: int) -> Iterator[str]:
    """`answer_tokens`: RESPONSE_MAX_TOKENS; `context`: MODEL_MAX_TOKENS."""
    if answer_tokens >= context // 2:
        yield (
            f"RESPONSE_MAX_TOKENS is {answer_tokens}, at least half of MODEL_MAX_TOKENS ({context}): answers will be cut"
            " to leave room for the question."
        )


def transport(
    turn_urls: Sequence[str], ports: tuple[int, int] | None, sessions: int, *, turn_secret: bool
) -> Iterator[str]:
    """`ports`: UDP_PORT_RANGE; `sessions`: MAX_SESSIONS; `turn_secret`: TURN_SECRET is set."""
    if turn_secret and not turn_urls:
        yield "TURN_SECRET is set but TURN_URLS is empty, so no relay is offered."
    if ports and (count := ports[1] - ports[0] + 1) < sessions:
        yield (
            f"UDP_PORT_RANGE has {count} ports, fewer than MAX_SESSIONS ({sessions}): each camera takes one, and one more"
            " while it reconnects. Cameras beyond that are refused."
        )

"""Problems that keep the server from starting: a function for each subject.

The sentences never have a secret's text.
"""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from server.core.setting_text import shown
from server.core.tls_files import MIN_SECRET_CHARS


def signing_key(key: str, *, guarded: bool) -> list[str]:
    """`guarded`: a token is required."""
    weakness = secret_weakness(key)
    if weakness and guarded:
        return [
            f"JWT_SECRET_KEY {weakness}. REQUIRE_AUTH and ACCESS_CODE need at least {MIN_SECRET_CHARS} random"
            f" characters there; make them with: {MAKE_A_SECRET}"
        ]
    return []


def operator(token: str) -> list[str]:
    if not token or len(token) >= MIN_OPERATOR_CHARS:
        return []
    return [
        f"OPERATOR_TOKEN has only {len(token)} characters. Whoever has it can start programs here, so it needs at"
        f" least {MIN_OPERATOR_CHARS} random ones; make them with: {MAKE_A_SECRET}"
    ]


def turn(urls: Sequence[str], secret: str) -> list[str]:
    if not urls or secret:
        return []
    return [
        "TURN_SECRET is empty. TURN_URLS needs the secret that the TURN server has as static-auth-secret."
    ]


def log(path: Path | None, allowed: str | None) -> list[str]:
    if path is None or (path.parent.is_dir() and not path.is_dir()):
        return []
    return [f"LOG_FILE is {shown(path)}. Allowed: {allowed}."]


# The file of settings: find lines in it that have no effect.


def unused_lines(path: Path, keys: Sequence[str], used: Sequence[str]) -> list[str]:
    """Warn of lines and names that have no effect.

    `keys`: all settings; `used`: without those of features that are off.
    """
    if not path.is_file():
        return []
    warnings = []
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            if binding.error:
                warnings.append(
                    f"Line {binding.original.line} of {path.name} is not understood and is ignored."
                )
            key = (binding.key or "").upper()
            if not key or key in used:
                continue
            if key in keys:
                warnings.append(f"{key} in {path.name} is of a feature that FEATURES leaves out.")
                continue
            near = difflib.get_close_matches(key[:60], keys, n=1, cutoff=0.7)
            meant = f"; did you mean {near[0]}?" if near else "."
            warnings.append(f"{key[:60]} in {path.name} is not a setting and is ignored{meant}")
    return warnings


def unused_variables(
    given: Mapping[str, str], keys: Sequence[str], used: Sequence[str]
) -> list[str]:
    """Warn of environment variables of features that are off. `keys`, `used`: see `unused_lines`."""
    off = sorted({name.upper() for name, value in given.items() if value} & set(keys) - set(used))
    return [f"{key} is set, and is of a feature that FEATURES leaves out." for key in off]


# One sentence for each setting that cannot be used; never with a secret's text.


class Problems(ValueError):
    """Problems between settings that are each right alone; `sentences` has one for each.

    Outside the tree of errors: pydantic makes its own error of a ValueError.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__(" ".join(self.sentences))


def sentences_of(
    error: ValidationError, fields: Mapping[str, FieldInfo], secrets: Collection[str]
) -> list[str]:
    """`fields`: all settings by their name in lower case; `secrets`: names whose values are hidden."""
    sentences: dict[str, None] = {}
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            sentences.update(dict.fromkeys(cause.sentences))
            continue
        name = str(problem["loc"][0]).lower()
        value = problem["input"]
        if name in secrets:
            value_shown = f"(hidden, {len(value) if isinstance(value, str) else 0} characters)"
        else:
            value_shown = shown(value)
        why = f": {cause}" if isinstance(cause, ValueError) else ""
        sentence = f"{name.upper()} is {value_shown}{why}. Allowed: {fields[name].description}."
        sentences[sentence] = None
    return list(sentences)


# Doubts about settings that are allowed but probably not meant: a function for each subject.
# Pure. The sentences never have a secret's text.


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


# Judge secrets that people choose, and make some. Pure, but for chance.

MIN_OPERATOR_CHARS = 16

MAKE_A_SECRET = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

_PLACEHOLDER = re.compile(
    r"change.?(me|this|it)|replace|your[-_ ]|placeholder|example|secret|passwor[dt]|dummy|default|12345678",
    re.IGNORECASE,
)


def secret_weakness(secret: str) -> str:
    """Say how a signing key is weak, as the end of a sentence that begins with its name; "" for a good one."""
    if not secret:
        return "is empty"
    if len(secret) < MIN_SECRET_CHARS:
        return f"has only {len(secret)} characters"
    if secret.startswith(("-----BEGIN", "ssh-")):
        return "is a public or private key, which must not sign tokens as a shared secret"
    if _PLACEHOLDER.search(secret) or len(set(secret)) < 8:
        return "is a placeholder or easily guessed"
    return ""


def short_code() -> str:
    """Make a code of 50 random bits to type on a phone, of letters and digits that do not look alike."""
    letters = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(10))
    return f"{letters[:5]}-{letters[5:]}"

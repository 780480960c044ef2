"""Problems that keep the server from starting: a function for each subject.

The sentences never have a secret's text.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from server.core.secret_rules import MAKE_A_SECRET, MIN_OPERATOR_CHARS, secret_weakness
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

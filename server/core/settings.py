"""Settings of features, kinds of settings, and their errors and warnings. `config` joins the features' with the core's.

Errors and warnings never contain the text of a secret.
"""

from __future__ import annotations

import difflib
import math
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from dotenv.parser import Binding, parse_stream
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from server.core.setting_text import MIN_SECRET_CHARS, check_base_url, parse_port_range, quote


class FeatureSettings(BaseModel):
    """Base class of a feature's settings: fields as in `config.Settings`, each a key of env.example."""

    @classmethod
    def of(cls, settings: object) -> Self:
        """Return the program's settings as this feature's. Raises TypeError if they do not include them."""
        if not isinstance(settings, cls):
            raise TypeError(f"the settings do not include {cls.__name__}")
        return settings

    def core(self, name: str) -> Any:
        """Return a setting of the core, with which these are composed."""
        return getattr(self, name)

    def find_errors(self) -> Iterable[str]:
        """Return a sentence for each error that prevents the start."""
        return ()

    def find_warnings(self) -> Iterable[str]:
        """Return a sentence for each value that is allowed but probably a mistake."""
        return ()

    def needs_code(self) -> bool:
        """Return True if an access code is required; one is generated if ACCESS_CODE is empty."""
        return False

    def get_max_sessions(self) -> float:
        """Return the maximum number of sessions of this process."""
        return math.inf


# Kinds of settings. Each returns a pydantic field, whose description says what is allowed.


def list_of(one: Callable[[str], Any]) -> BeforeValidator:
    """Parse a comma-separated list without repetitions; `one` parses an entry and raises ValueError."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(one(part.strip()) for part in value.split(",") if part.strip()))

    return BeforeValidator(read)


def ports(value: object) -> object:
    return parse_port_range(value) if isinstance(value, str) else value


def integer(default: int, low: int, high: int, unit: str = "") -> Any:
    return Field(
        default=default, ge=low, le=high, description=f"a whole number from {low} to {high}{unit}"
    )


def number(default: float, low: float, high: float) -> Any:
    return Field(default=default, ge=low, le=high, description=f"a number from {low:g} to {high:g}")


def flag(default: bool = False) -> Any:
    return Field(default=default, description="true or false")


def text(default: str = "", allowed: str = "text of at most 1000 characters") -> Any:
    return Field(default=default, max_length=1000, description=allowed)


def secret(allowed: str = "text of at most 1000 characters, or empty") -> Any:
    return Field(default=SecretStr(""), max_length=1000, description=allowed)


def make_secret_validator(one: Callable[[str], str]) -> AfterValidator:
    """Check a secret with `one`, which returns it or raises ValueError."""
    return AfterValidator(lambda value: SecretStr(one(value.get_secret_value())))


BaseUrl = Annotated[str, AfterValidator(lambda value: check_base_url(value) if value else value)]


def identifier(default: str) -> Any:
    return Field(
        default=default,
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="1 to 32 letters, digits, - and _",
    )


def names(allowed: str) -> Any:
    return Field(default=(), max_length=64, description=f"a comma-separated list of {allowed}")


def path(allowed: str) -> Any:
    return Field(default=None, description=allowed)


def checksum() -> Any:
    return Field(
        default="",
        pattern=r"^([0-9a-fA-F]{64})?$",
        description="a file's SHA-256, 64 hexadecimal digits, or empty",
    )


# The `.env` file, and its lines without effect


def read_env_lines(path: Path) -> list[Binding]:
    """Parse a `.env` file without expanding variables; empty if it does not exist. Raises OSError, UnicodeDecodeError."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as stream:
        return list(parse_stream(stream))


def find_unused_lines(
    path: Path, lines: Iterable[Binding], keys: Sequence[str], used: Sequence[str]
) -> list[str]:
    """Return warnings about lines and names without effect.

    `keys`: all settings; `used`: those of enabled features.
    """
    warnings = []
    for binding in lines:
        if binding.error:
            warnings.append(
                f"Line {binding.original.line} of {path.name} cannot be parsed and is ignored."
            )
        key = (binding.key or "").upper()
        if not key or key in used:
            continue
        if key in keys:
            warnings.append(
                f"{key} in {path.name} belongs to a feature that FEATURES does not enable."
            )
            continue
        near = difflib.get_close_matches(key[:60], keys, n=1, cutoff=0.7)
        meant = f"; did you mean {near[0]}?" if near else "."
        warnings.append(f"{key[:60]} in {path.name} is not a setting and is ignored{meant}")
    return warnings


def find_permission_warnings(path: Path, has_secret: bool) -> list[str]:
    """Return a warning if other accounts can read a `.env` that has a secret."""
    if not has_secret or not path.stat().st_mode & 0o077:
        return []
    return [
        f"{path.name} contains secrets, and other accounts can read it. Run: chmod 600 {path.name}"
    ]


def find_unused_variables(
    given: Mapping[str, str], keys: Sequence[str], used: Sequence[str]
) -> list[str]:
    """Return warnings about variables of features that are not enabled. `keys`, `used`: see `find_unused_lines`."""
    off = sorted({name.upper() for name, value in given.items() if value} & set(keys) - set(used))
    return [f"{key} is set, but belongs to a feature that FEATURES does not enable." for key in off]


class InvalidSettings(ValueError):
    """Settings that are valid alone but not together; `sentences` has one sentence for each error.

    Not a QwenCameraError: pydantic converts a ValueError to its own error.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__(" ".join(self.sentences))


def make_error_sentences(
    error: ValidationError, fields: Mapping[str, FieldInfo], secrets: Collection[str]
) -> list[str]:
    """Return a sentence for each error of a validation.

    `fields`: all settings by name in lower case; `secrets`: names of settings whose values are hidden.
    """
    sentences: dict[str, None] = {}
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, InvalidSettings):
            sentences.update(dict.fromkeys(cause.sentences))
            continue
        name = str(problem["loc"][0]).lower()
        value = problem["input"]
        if name in secrets:
            value_shown = f"(hidden, {len(value) if isinstance(value, str) else 0} characters)"
        else:
            value_shown = quote(value)
        why = f": {cause}" if isinstance(cause, ValueError) else ""
        sentence = f"{name.upper()} is {value_shown}{why}. Allowed: {fields[name].description}."
        sentences[sentence] = None
    return list(sentences)


# Secrets chosen by people, and generated ones

MIN_OPERATOR_CHARS = 16

MAKE_A_SECRET = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

_PLACEHOLDER = re.compile(
    r"change.?(me|this|it)|replace|your[-_ ]|placeholder|example|secret|passwor[dt]|dummy|default|12345678",
    re.IGNORECASE,
)


def find_secret_weakness(secret: str) -> str:
    """Return why a signing key is weak, as the predicate of a sentence about it; "" for a strong one."""
    if not secret:
        return "is empty"
    if len(secret) < MIN_SECRET_CHARS:
        return f"has only {len(secret)} characters"
    if secret.startswith(("-----BEGIN", "ssh-")):
        return "is a public or private key, which must not be used as a shared secret"
    if _PLACEHOLDER.search(secret) or len(set(secret)) < 8:
        return "is a placeholder or easy to guess"
    return ""


def generate_short_code() -> str:
    """Generate a code of 50 random bits to type on a phone, without letters and digits that look alike."""
    letters = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(10))
    return f"{letters[:5]}-{letters[5:]}"

"""The settings that a feature brings, which `config` adds to the core's; the kinds of settings, and lines without effect.

The sentences never have a secret's text.
"""

from __future__ import annotations

import difflib
import math
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from dotenv.parser import Binding, parse_stream
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from server.core.setting_text import MIN_SECRET_CHARS, base_url, port_range, quote


class ListedCamera(Protocol):
    """A fixed camera that an operator has listed."""

    @property
    def name(self) -> str: ...

    @property
    def mqtt(self) -> bool:
        """It is told of over MQTT."""

    @property
    def watches(self) -> tuple[str, ...]:
        """Conditions that it is watched for, in words"""

    @property
    def describe(self) -> bool:
        """It is described all the time."""


class FeatureSettings(BaseModel):
    """A feature's settings: fields as in `config.Settings`, each a key of env.example."""

    @classmethod
    def of(cls, settings: object) -> Self:
        """Return the program's settings as this feature's. Raises TypeError when they lack them."""
        if not isinstance(settings, cls):
            raise TypeError(f"{cls.__name__} are not among the settings")
        return settings

    def core(self, name: str) -> Any:
        """Return one of the core's settings, which these are composed with."""
        return getattr(self, name)

    def find_errors(self) -> Iterable[str]:
        """Return a sentence for each problem that keeps the server from starting."""
        return ()

    def find_warnings(self) -> Iterable[str]:
        """Return sentences on what is allowed but probably not meant; without secrets."""
        return ()

    def needs_code(self) -> bool:
        """Return whether nobody may get in without a code: one is made where ACCESS_CODE is empty."""
        return False

    def most_sessions(self) -> float:
        """Return how many of MAX_SESSIONS this process takes at most."""
        return math.inf

    def listed_cameras(self) -> Sequence[ListedCamera]:
        """Return the fixed cameras of an operator's list. Raises OSError, ValueError."""
        return ()


# The kinds of a setting: each makes a pydantic field, whose description is what is allowed.


def list_of(one: Callable[[str], Any]) -> BeforeValidator:
    """Read a comma-separated list; `one` reads an entry and raises ValueError. Repeated entries count once."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(one(part.strip()) for part in value.split(",") if part.strip()))

    return BeforeValidator(read)


def ports(value: object) -> object:
    return port_range(value) if isinstance(value, str) else value


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


def checked_secret(one: Callable[[str], str]) -> AfterValidator:
    """Check a secret; `one` returns it, and raises ValueError."""
    return AfterValidator(lambda value: SecretStr(one(value.get_secret_value())))


BaseUrl = Annotated[str, AfterValidator(lambda value: base_url(value) if value else value)]


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


# The file of settings: find lines in it that have no effect.


def env_lines(path: Path) -> list[Binding]:
    """Parse a `.env`, without filling in variables; empty where there is none. Raises OSError, UnicodeDecodeError."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as stream:
        return list(parse_stream(stream))


def unused_lines(
    path: Path, lines: Iterable[Binding], keys: Sequence[str], used: Sequence[str]
) -> list[str]:
    """Warn of lines and names that have no effect.

    `keys`: all settings; `used`: without those of features that are off.
    """
    warnings = []
    for binding in lines:
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


def permission_warnings(path: Path, has_secret: bool) -> list[str]:
    """Warn of a `.env` with a secret that other accounts can read."""
    if not has_secret or not path.stat().st_mode & 0o077:
        return []
    return [
        f"{path.name} has secrets and can be read by others than its owner; chmod 600 changes that."
    ]


def unused_variables(
    given: Mapping[str, str], keys: Sequence[str], used: Sequence[str]
) -> list[str]:
    """Warn of environment variables of features that are off. `keys`, `used`: see `unused_lines`."""
    off = sorted({name.upper() for name, value in given.items() if value} & set(keys) - set(used))
    return [f"{key} is set, and is of a feature that FEATURES leaves out." for key in off]


class InvalidSettings(ValueError):
    """Problems between settings that are each right alone; `sentences` has one for each.

    Outside the tree of errors: pydantic makes its own error of a ValueError.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__(" ".join(self.sentences))


def error_sentences(
    error: ValidationError, fields: Mapping[str, FieldInfo], secrets: Collection[str]
) -> list[str]:
    """`fields`: all settings by their name in lower case; `secrets`: names whose values are hidden."""
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

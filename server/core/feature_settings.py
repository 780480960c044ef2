"""The settings that a feature brings, which `config` adds to the core's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr

from server.core.setting_text import base_url, port_range


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

    def problems(self) -> Iterable[str]:
        """Return a sentence for each problem that keeps the server from starting."""
        return ()

    def doubts(self) -> Iterable[str]:
        """Return sentences on what is allowed but probably not meant; without secrets."""
        return ()

    def needs_code(self) -> bool:
        """Find whether nobody may get in without a code: one is made where ACCESS_CODE is empty."""
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


def whole(default: int, low: int, high: int, unit: str = "") -> Any:
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


def word(default: str) -> Any:
    return Field(
        default=default,
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="1 to 32 letters, digits, - and _",
    )


def names(allowed: str, default: tuple[Any, ...] = ()) -> Any:
    return Field(default=default, max_length=64, description=f"a comma-separated list of {allowed}")


def path(allowed: str) -> Any:
    return Field(default=None, description=allowed)


def checksum() -> Any:
    return Field(
        default="",
        pattern=r"^([0-9a-fA-F]{64})?$",
        description="a file's SHA-256, 64 hexadecimal digits, or empty",
    )


def short_name() -> Any:
    return Field(
        default="",
        pattern=r"^[a-z0-9]{0,16}$",
        description="at most 16 characters of a to z and 0 to 9, or empty",
    )

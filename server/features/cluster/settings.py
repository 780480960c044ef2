"""Settings of several processes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, SecretStr

from server.core.setting_text import HOST, MIN_SECRET_CHARS
from server.core.settings import (
    MAKE_A_SECRET,
    FeatureSettings,
    find_secret_weakness,
    integer,
    make_secret_validator,
    secret,
)

_REDIS_URL = re.compile(
    rf"rediss?://(?:[^\s/?#@]{{0,400}}@)?{HOST}(?::(?P<port>\d{{1,5}}))?(?:/\d{{0,3}})?"
    r"|unix://(?:[^\s/?#@]{0,400}@)?/[^\s?#@]{1,100}(?:\?db=\d{1,3})?",
    re.ASCII,
)


def redis_url(text: str) -> str:
    """Return a URL for redis-py, or empty text, unchanged. Raises ValueError."""
    if text and ((match := _REDIS_URL.fullmatch(text)) is None or int(match["port"] or 1) > 65535):
        raise ValueError("it does not have this form")
    return text


RedisUrl = Annotated[SecretStr, make_secret_validator(redis_url)]


def short_name() -> Any:
    return Field(
        default="",
        pattern=r"^[a-z0-9]{0,16}$",
        description="at most 16 characters of a to z and 0 to 9, or empty",
    )


class ClusterSettings(FeatureSettings):
    gateway_name: str = short_name()
    process_name: str = short_name()
    gateway_sessions: int = integer(0, 0, 10_000, " (0 is MAX_SESSIONS)")
    redis_url: RedisUrl = secret(
        "a URL like redis://127.0.0.1:6379/0, redis://:password@host:6379, rediss://... or"
        " unix:///run/redis/redis.sock, or empty"
    )

    def find_errors(self) -> Iterable[str]:
        core: Any = self
        weakness = find_secret_weakness(core.jwt_secret_key.get_secret_value())
        if weakness and self.redis_url.get_secret_value():
            yield (
                f"JWT_SECRET_KEY {weakness}. With REDIS_URL all processes need the same key, of at least {MIN_SECRET_CHARS}"
                f" random characters; generate it with: {MAKE_A_SECRET}"
            )

    def get_max_sessions(self) -> float:
        return self.gateway_sessions or math.inf


SETTINGS = ClusterSettings

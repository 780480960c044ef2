"""An operator's choice of a model and how to run it; every field is validated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from server.core.errors import BadRequest
from server.features.hosting.catalogue import vllm
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.catalogue.gguf import is_gguf
from server.models.files import clean

_IMAGE = r"^([a-z0-9][a-z0-9.-]*(:\d{1,5})?(/[a-z0-9][a-z0-9._-]*){0,4}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?)?$"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}")


class CommandError(BadRequest):
    """The choice cannot run; `message` states what was given, why it fails, and the remedy."""


def _make_integer_field(default: int | None, low: int, high: int, more: str = "") -> Any:
    said = f"a whole number from {low} to {high}{more}"
    return Field(default=default, ge=low, le=high, description=said)


def _make_number_field(default: float, low: float, high: float, more: str = "") -> Any:
    said = f"a number from {low:g} to {high:g}{more}"
    return Field(default=default, ge=low, le=high, allow_inf_nan=False, description=said)


def _make_flag_field() -> Any:
    return Field(default=False, strict=True, description="true or false")


class Choice(BaseModel):
    """A model and how to run it."""

    # The `description` of a field lists the allowed values, and ends its error message.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # An id or alias of the catalogue, or a model's absolute folder; needed unless `remote`. For
    # `remote` the name on that server; empty: its first model
    model: str = Field(
        default="", max_length=1000, description="an id, an alias, or the absolute path of a folder"
    )
    # How it runs
    mode: RunMode = Field(description="remote, subprocess, container or in_process")
    # Number format; `auto`: the model's own
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto", description="auto, bfloat16, float16 or float32"
    )
    # On loopback
    port: int = _make_integer_field(8002, 1024, 65_535)
    # Tokens; absent: the model's own, MODEL_MAX_TOKENS at most
    context: int | None = _make_integer_field(None, 512, 1_048_576)
    # Share of the GPU's memory
    gpu_memory_utilization: float = _make_number_field(0.9, 0.05, 1)
    # GPUs that share the model (vLLM); absent: the fewest that hold it
    gpus: int | None = _make_integer_field(None, 1, 16, ", or left out")
    # Pictures in one request: that of now, and earlier ones for questions about the past and for
    # watches
    images: int = _make_integer_field(4, 1, 64)
    # Of one picture
    visual_tokens: int = _make_integer_field(vllm.HIGH_DETAIL_TOKENS, 16, 16_384)
    # Videos: shift of the schedule (Wan: 5 for 720p, 3 for 480p); null: the model's own
    flow_shift: float | None = _make_number_field(5.0, 0.1, 20, ", or null for the model's own")
    # Videos: saves memory, costs time
    vae_tiling: bool = _make_flag_field()
    # Videos: saves memory, costs time
    cpu_offload: bool = _make_flag_field()
    # Videos: compile before the first step, for speed afterwards
    compile: bool = _make_flag_field()
    # The container's image; empty: vLLM's own for the GPU
    image: str = Field(
        default="",
        max_length=300,
        pattern=_IMAGE,
        description="an image like docker.io/vllm/vllm-openai:v0.32.0, or empty",
    )
    # Base URL of its API, without user, query and fragment; needed for `remote`
    url: str = Field(
        default="",
        max_length=1000,
        description="an http or https URL like http://192.0.2.7:8001/v1, without a user, query or fragment",
    )
    # The key of its server, `remote` only; no text contains it.
    api_key: SecretStr = Field(
        default=SecretStr(""),
        max_length=500,
        description="a key without spaces, as it stands in an Authorization header",
    )

    @classmethod
    def read(cls, data: object) -> Choice:
        """Parse a request's data. Raises CommandError with the field and what is allowed."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        known = cls.model_fields.get(name)
        if known is not None:
            given = data.get(name) if isinstance(data, Mapping) else None
            # Do not repeat secrets: a URL may contain a password.
            said = "unusable" if name in ("url", "api_key") else format_value(given)
            said = "missing" if first["type"] == "missing" else said
            raise CommandError(f"{name} is {said}. Allowed: {known.description}.")
        if name:
            raise CommandError(
                f"There is no field {format_value(name)}. The fields are: {', '.join(cls.model_fields)}."
            )
        message = str(first["msg"]).removeprefix("Value error, ")
        raise CommandError(
            message if message.endswith(".") else f"The choice is unusable: {message}."
        )

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        path = value.startswith("/") and value.isprintable()
        if value and not path and not _NAME.fullmatch(value):
            raise ValueError("not a name")
        return value

    @field_validator("api_key")
    @classmethod
    def _api_key(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
            raise ValueError("not a key")
        return value

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        bad = parts.username or parts.password or parts.query or parts.fragment or parts.port == 0
        plain = value.isprintable() and not any(char in value for char in " \\'\"<>")
        if parts.scheme not in ("http", "https") or not parts.hostname or bad or not plain:
            raise ValueError("not a URL")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _validate(self) -> Choice:
        if self.mode is RunMode.REMOTE and not self.url:
            raise ValueError(
                "The mode remote needs url, an http or https URL like http://192.0.2.7:8001/v1."
            )
        if self.mode is not RunMode.REMOTE and self.api_key.get_secret_value():
            raise ValueError(f"The mode {self.mode} accepts no api_key; only the mode remote does.")
        if self.mode is not RunMode.REMOTE and not self.model:
            raise ValueError(f"The mode {self.mode} needs model: an id, an alias or a folder.")
        return self


def format_value(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return clean(text) or "empty"


def make_choice_from_settings(
    folder: Path, dtype: Literal["auto", "bfloat16", "float16", "float32"]
) -> Choice:
    """Return the choice for the settings LOCAL_MODEL and MODEL_DTYPE. Blocking."""
    mode = RunMode.SUBPROCESS if is_gguf(folder) else RunMode.IN_PROCESS
    return Choice(model=str(folder.absolute()), mode=mode, dtype=dtype)

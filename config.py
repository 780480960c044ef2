"""The settings, read once from the environment and `.env`, then frozen. env.example documents every key."""

from __future__ import annotations

import functools
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.app.features import get_settings_classes, list_installed_features, parse_features
from server.core.addresses import Address, Network
from server.core.errors import OperatorError, check_unique
from server.core.frames import Role
from server.core.setting_text import (
    MIN_SECRET_CHARS,
    check_base_urls,
    check_stun_url,
    find_certificate_errors,
    find_file_errors,
    get_origin,
    get_server_address,
    parse_allowed_host,
    parse_engine_machine,
    parse_network,
    parse_public_address,
    quote,
    read_certificate_der,
    turn_url,
    unquote,
)
from server.core.settings import (
    MAKE_A_SECRET,
    MIN_OPERATOR_CHARS,
    FeatureSettings,
    InvalidSettings,
    find_permission_warnings,
    find_secret_weakness,
    find_unused_lines,
    find_unused_variables,
    flag,
    generate_short_code,
    integer,
    list_of,
    make_error_sentences,
    names,
    number,
    path,
    ports,
    read_env_lines,
    secret,
    text,
)


class ConfigError(OperatorError):
    """The settings are invalid; `message` has a line for each error."""


# Engines of this server that can be assigned to a role
_OWN_ENGINES = ("local", "builtin")
_ROLE_URL = "a URL as in VLLM_BASE_URL, local or builtin, or empty for the engine that answers"


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """The engine of a role: an engine of this server, by name, or a model server."""

    name: str
    url: str = ""
    model: str = ""
    key: SecretStr = field(default_factory=lambda: SecretStr(""))


class Settings(BaseSettings):
    """The core's keys of env.example, in lower case; `load` adds those of the features.

    The `description` of a field says what is allowed, for the error about an invalid value.
    An empty value means the default, except for a list: an empty list is empty.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    # Server
    # `load` reads it first, because it decides which other settings exist.
    features: str = text("all", "all, or a comma-separated list of features")
    host: str = Field(
        default="0.0.0.0",
        pattern=r"^[A-Za-z0-9.:_-]{1,253}$",
        description="an IP address or host name of this machine (0.0.0.0 and :: mean all)",
    )
    port: int = integer(8000, 0, 65535, " (0 takes any free port)")
    log_file: Path | None = path("a file in an existing directory, or empty for standard output")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    metrics_token: SecretStr = secret()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, list_of(parse_network)] = names(
        "IP addresses and networks like 10.0.0.0/8"
    )
    drain_seconds: float = number(20, 0, 600)

    # Engine
    engine: Literal["auto", "vllm", "local", "builtin"] = Field(
        default="auto", description="auto, vllm, local or builtin"
    )
    vllm_base_url: str = text(
        "http://127.0.0.1:8001/v1",
        "an http or https URL like http://127.0.0.1:8001/v1, without a user, query or fragment",
    )
    engine_machines: Annotated[
        tuple[tuple[str, str], ...], NoDecode, list_of(parse_engine_machine)
    ] = names("HOST:PORT=MACHINE, such as 127.0.0.1:8001=gpu.example.org or vllm:8001=here")
    vllm_api_key: SecretStr = secret()
    model_name: str = text()
    model_voice: str = text()
    watches_base_url: str = text("", _ROLE_URL)
    watches_model: str = text()
    watches_api_key: SecretStr = secret()
    reads_base_url: str = text("", _ROLE_URL)
    reads_model: str = text()
    reads_api_key: SecretStr = secret()
    engine_python: Path | None = path(
        "the path of a Python with torch and transformers (~ is the home directory)"
    )
    model_path: Path = Field(
        default=Path("~/models/qwen2.5-vl-32b"),
        description="a directory (~ is the home directory)",
    )
    model_dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="auto", description="auto, float16, bfloat16 or float32"
    )
    gpu_memory_utilization: float = number(0.90, 0.05, 1)
    model_max_tokens: int = integer(8192, 512, 1_048_576)
    response_max_tokens: int = integer(128, 1, 4096)
    thinking: bool = flag()
    thinking_max_tokens: int = integer(1024, 1, 32_768)
    model_start_seconds: int = integer(300, 5, 3600)
    max_concurrent_inferences: int = integer(0, 0, 256)
    max_queue: int = integer(64, 1, 10_000)

    # Frames
    frame_sample_rate: float = number(2.0, 0.1, 30)
    background_tokens_per_minute: int = integer(30_000, 1000, 10_000_000)
    change_sensitivity: float = number(1.0, 0.25, 4)
    visual_token_budget: int = integer(512, 16, 16_384)
    enable_face_blur: bool = flag()
    enable_nsfw_filter: bool = flag()

    # Access
    require_auth: bool = flag()
    jwt_secret_key: SecretStr = secret()
    access_code: SecretStr = secret()
    operator_token: SecretStr = secret()
    allowed_origins: Annotated[tuple[str, ...], NoDecode, list_of(get_origin)] = names(
        "origins like https://cam.example.org:8443, without wildcards and paths"
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, list_of(parse_allowed_host)] = names(
        "host names like cam.example.org or *.example.org, without scheme and port"
    )
    frame_ancestors: Annotated[tuple[str, ...], NoDecode, list_of(get_origin)] = names(
        "origins like https://home.example.org:8123, without wildcards and paths"
    )
    session_timeout: int = integer(3600, 1, 604_800, " (seconds)")
    token_max_age: int = integer(86_400, 60, 2_592_000, " (seconds)")
    max_sessions: int = integer(100, 1, 1_000_000)
    max_connections: int = integer(500, 10, 100_000)
    rate_limit_per_minute: int = integer(60, 0, 100_000, " (0 is no limit)")

    @property
    def sessions_here(self) -> int:
        """Maximum number of sessions of this process."""
        return int(
            min(
                [
                    self.max_sessions,
                    *(kind.get_max_sessions(self) for kind in _get_feature_settings(self)),
                ]
            )
        )

    # Transport
    https_enabled: bool = flag()
    ssl_cert_path: Path | None = path("a readable PEM file")
    ssl_key_path: Path | None = path("a readable PEM file")
    ca_cert_path: Path | None = path("a readable PEM file with a certificate")
    stun_urls: Annotated[tuple[str, ...], NoDecode, list_of(check_stun_url)] = names(
        "URLs like stun:stun.example.org:3478 or stuns:..., without //"
    )
    turn_urls: Annotated[tuple[str, ...], NoDecode, list_of(turn_url)] = names(
        "URLs like turn:turn.example.org:3478?transport=udp or turns:..., without // and user"
    )
    turn_secret: SecretStr = secret()
    turn_ttl: int = integer(3600, 60, 604_800, " (seconds)")
    udp_port_range: Annotated[tuple[int, int] | None, NoDecode, BeforeValidator(ports)] = Field(
        default=None, description="two ports from 1024 to 65535 like 40000-40999, or empty for any"
    )
    public_addresses: Annotated[tuple[Address, ...], NoDecode, list_of(parse_public_address)] = (
        names("IP addresses that clients can reach")
    )

    _warnings: tuple[str, ...] = PrivateAttr(())
    _made_access_code: bool = PrivateAttr(False)
    _made_secret: bool = PrivateAttr(False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings, as sentences without secrets, about values that are allowed but probably mistakes."""
        return self._warnings

    @property
    def made_access_code(self) -> bool:
        """True if ACCESS_CODE was empty, and a code was generated for this run."""
        return self._made_access_code

    @property
    def made_secret(self) -> bool:
        """True if a JWT_SECRET_KEY was generated for this run."""
        return self._made_secret

    @model_validator(mode="before")
    @classmethod
    def _unquote_values(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        lists = {
            name for name, one in cls.model_fields.items() if isinstance(one.default, tuple)
        } | {"features"}
        tidy = {
            key: unquote(value) if isinstance(value, str) else value for key, value in data.items()
        }
        return {key: value for key, value in tidy.items() if value != "" or key in lists}

    @field_validator("log_level", "engine", "model_dtype", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def machines(self) -> Mapping[str, str]:
        """Names of the machines behind server addresses, by host and port; "" is this machine."""
        found: dict[str, list[str]] = {}
        for address, machine in self.engine_machines:
            found.setdefault(address, []).append(machine)
        return {address: ", ".join(filter(None, each)) for address, each in found.items()}

    @field_validator("vllm_base_url")
    @classmethod
    def _base_urls(cls, value: str) -> str:
        return " ".join(check_base_urls(value))

    @field_validator("watches_base_url", "reads_base_url")
    @classmethod
    def _role_urls(cls, value: str) -> str:
        return value if value in ("", *_OWN_ENGINES) else " ".join(check_base_urls(value))

    def has_engine(self, name: str) -> bool:
        """Return True if an engine may answer, or is assigned to a role."""
        return self.engine in ("auto", name) or name in (self.watches_base_url, self.reads_base_url)

    def get_role_settings(self, role: Role) -> RoleSettings | None:
        """Return the engine assigned to a role, or None if the answering engine also has this role."""
        if role is Role.ANSWERS:
            return None
        url, model = getattr(self, f"{role}_base_url"), getattr(self, f"{role}_model")
        if url in _OWN_ENGINES:
            return RoleSettings(name=url)
        url = url or (self.vllm_base_url if model else "")
        if not url:
            return None
        key: SecretStr = getattr(self, f"{role}_api_key")
        if not key.get_secret_value() and url == self.vllm_base_url:
            key = self.vllm_api_key
        return RoleSettings(name=role, url=url, model=model, key=key)

    def get_own_roles(self) -> dict[Role, RoleSettings]:
        """Return the roles with an engine of their own."""
        found = {role: self.get_role_settings(role) for role in Role}
        return {role: own for role, own in found.items() if own is not None}

    @field_validator("*")
    @classmethod
    def _home(cls, value: object) -> object:
        try:
            return value.expanduser() if isinstance(value, Path) else value
        except RuntimeError:
            raise ValueError("~ cannot be used: this user has no home directory") from None

    @model_validator(mode="after")
    def _validate(self) -> Settings:
        needed = any(kind.needs_code(self) for kind in _get_feature_settings(self))
        if needed and not self.access_code.get_secret_value():
            object.__setattr__(self, "access_code", SecretStr(generate_short_code()))
            self._made_access_code = True
        if self.access_code.get_secret_value():
            object.__setattr__(self, "require_auth", True)
        key = self.jwt_secret_key.get_secret_value()
        guarded = self.require_auth and bool(key or not self._made_access_code)
        if problems := list(self._find_errors(guarded)):
            raise InvalidSettings(problems)
        warnings = []
        if (weakness := find_secret_weakness(key)) and not guarded:
            if key:
                warnings.append(
                    f"JWT_SECRET_KEY {weakness}, so a random key is used until the server stops."
                    f" Generate one with: {MAKE_A_SECRET}"
                )
            object.__setattr__(self, "jwt_secret_key", SecretStr(secrets.token_urlsafe(48)))
            self._made_secret = True
        for name in ("vllm_base_url", "watches_base_url", "reads_base_url"):
            urls = getattr(self, name).split()
            if len(urls) > 1:
                object.__setattr__(self, name, urls[0])
                workers = " ".join(url.removesuffix("/v1") for url in urls)
                warnings.append(
                    f"{name.upper()} has {len(urls)} addresses; only {urls[0]} is used. To use all of them, start vLLM's"
                    f' router with ROUTER_WORKERS="{workers}" bash scripts/start_router.sh, and set'
                    f" {name.upper()} to its address, http://127.0.0.1:8009/v1."
                )
        self._warnings = (*warnings, *self._find_warnings())
        return self

    def _find_errors(self, guarded: bool) -> Iterator[str]:
        """Yield a sentence for each error that prevents the start. `guarded`: a token is required."""
        if self.https_enabled:
            yield from find_certificate_errors(self.ssl_cert_path, self.ssl_key_path)
        advice = "The page offers this file for download: correct the path, or leave it empty."
        yield from find_file_errors("CA_CERT_PATH", self.ca_cert_path, read_certificate_der, advice)
        log = self.log_file
        if log is not None and (log.is_dir() or not log.parent.is_dir()):
            allowed = type(self).model_fields["log_file"].description
            yield f"LOG_FILE is {quote(log)}. Allowed: {allowed}."
        for kind in _get_feature_settings(self):
            yield from kind.find_errors(self)
        if guarded and (weakness := find_secret_weakness(self.jwt_secret_key.get_secret_value())):
            yield (
                f"JWT_SECRET_KEY {weakness}. With REQUIRE_AUTH or ACCESS_CODE it needs at least {MIN_SECRET_CHARS} random"
                f" characters. Generate them with: {MAKE_A_SECRET}"
            )
        if 0 < (length := len(self.operator_token.get_secret_value())) < MIN_OPERATOR_CHARS:
            yield (
                f"OPERATOR_TOKEN has only {length} characters. It allows starting programs on this machine, so it needs at"
                f" least {MIN_OPERATOR_CHARS} random characters. Generate them with: {MAKE_A_SECRET}"
            )
        if self.turn_urls and not self.turn_secret.get_secret_value():
            yield "TURN_SECRET is empty. With TURN_URLS it must be the static-auth-secret of the TURN server."

    def _find_warnings(self) -> Iterator[str]:
        """Yield a sentence for each value that is allowed but probably a mistake."""
        code = self.access_code.get_secret_value()
        if self.require_auth and not code:
            yield "REQUIRE_AUTH is true, but ACCESS_CODE is empty: anybody can get a token. Set ACCESS_CODE to prevent that."
        if code and len(code) < 8:
            yield f"ACCESS_CODE has only {len(code)} characters and can be guessed. Use at least 8."
        if 0 < (length := len(self.metrics_token.get_secret_value())) < MIN_OPERATOR_CHARS:
            yield (
                f"METRICS_TOKEN has only {length} characters and can be guessed. Generate a longer one with:"
                f" {MAKE_A_SECRET}"
            )
        if self.response_max_tokens >= self.model_max_tokens // 2:
            yield (
                f"RESPONSE_MAX_TOKENS is {self.response_max_tokens}, at least half of MODEL_MAX_TOKENS"
                f" ({self.model_max_tokens}): answers will be shortened to leave room for the question."
            )
        servers = {
            get_server_address(str(getattr(self, name)))
            for name in type(self).model_fields
            if name.endswith("_base_url")
        }
        for address, machine in self.machines.items():
            if machine and address not in servers:
                yield f"ENGINE_MACHINES names {address}, but no server of these settings has that address."
        for kind in _get_feature_settings(self):
            yield from kind.find_warnings(self)
        if self.turn_secret.get_secret_value() and not self.turn_urls:
            yield "TURN_SECRET is set, but TURN_URLS is empty, so no relay is offered."
        low, high = self.udp_port_range or (1, math.inf)
        if (count := high - low + 1) < self.sessions_here:
            yield (
                f"UDP_PORT_RANGE has {count} ports, fewer than MAX_SESSIONS ({self.sessions_here}): each camera takes one,"
                " and another one while it reconnects. Further cameras are refused."
            )


def _get_feature_settings(settings: Settings) -> list[Any]:
    """Return the settings classes of the features in these settings."""
    return [kind for kind in type(settings).__bases__ if issubclass(kind, FeatureSettings)]


@functools.cache
def compose_settings(features: tuple[str, ...]) -> type[Settings]:
    """Return the settings class with those of these features. Raises Collision."""
    brought: list[Any] = get_settings_classes(features)
    kinds: list[type[BaseModel]] = [Settings, *brought]
    check_unique(
        "setting", ((name.upper(), kind.__module__) for kind in kinds for name in kind.model_fields)
    )
    made: type[Settings] = create_model("Settings", __base__=(Settings, *brought))
    return made if brought else Settings


def get_known_keys(features: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the keys of the settings. `features`: None for all installed ones."""
    names = list_installed_features() if features is None else features
    kinds: list[type[BaseModel]] = [Settings, *get_settings_classes(names)]
    return tuple(dict.fromkeys(name.upper() for kind in kinds for name in kind.model_fields))


def _get_secret_fields(kind: type[Settings]) -> frozenset[str]:
    fields = kind.model_fields.items()
    return frozenset(name for name, field in fields if isinstance(field.default, SecretStr))


def load(env_file: str | Path | None = ".env", **overrides: Any) -> Settings:
    """Load the settings: `overrides` take precedence over the environment, and that over `env_file`. Raises ConfigError."""
    try:
        lines = read_env_lines(Path(env_file)) if env_file else []
        environment = {name.lower(): value for name, value in os.environ.items()}
        file = {
            line.key.lower(): line.value for line in lines if line.key and line.value is not None
        }
        given = {**file, **environment, **overrides}
        try:
            names = parse_features(unquote(given.get("features", "all")))
            kind = compose_settings(names)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        warnings = []
        if env_file:
            keys = get_known_keys(), get_known_keys(names)
            warnings = [
                *find_unused_lines(Path(env_file), lines, *keys),
                *find_unused_variables(os.environ, *keys),
                *find_permission_warnings(
                    Path(env_file), any(map(file.get, _get_secret_fields(kind)))
                ),
            ]
        settings = kind(**{name: given[name] for name in kind.model_fields if name in given})
    except OSError as exc:
        raise ConfigError(
            f"{env_file} cannot be read ({exc.strerror}). Make it readable by this user, or remove it."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{env_file} is not UTF-8 text. Save it as UTF-8.") from None
    except ValidationError as exc:
        # Without the cause, whose text could contain values.
        raise ConfigError(
            "\n".join(make_error_sentences(exc, kind.model_fields, _get_secret_fields(kind)))
        ) from None
    settings._warnings = (*warnings, *settings._warnings)
    return settings

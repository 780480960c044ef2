"""Checks on the server's machine: settings, ports, local model, model servers, speech recognition, end-of-turn model, and
voice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from config import ConfigError, Settings, load
from scripts.bench.http_json import Reply, request
from scripts.checks.finding import Finding, State
from server.features.hosting.catalogue.choice import CommandError, make_choice_from_settings
from server.features.hosting.catalogue.command import build_command
from server.features.hosting.catalogue.folder import ModelFolderError, read_model
from server.features.hosting.host import HostProbe
from server.features.hosting.settings import HostingSettings


def check_settings(env_file: Path) -> tuple[Finding, Settings | None]:
    """Read the settings as the server does; None if it would not start with them."""
    finding = partial(Finding, "settings", "Settings")
    where = env_file.name if env_file.is_file() else f"there is no {env_file.name}"
    try:
        settings = load(env_file)
    except ConfigError as error:
        text = "The server does not start with these settings."
        todo = "Correct .env (see env.example), then start the server again."
        return finding(State.FAILED, text, error.message.replace("\n", " "), todo), None
    if settings.warnings:
        text = f"They are valid ({where}), with warnings."
        return finding(State.WARN, text, " ".join(settings.warnings)), settings
    return finding(State.OK, f"They are valid ({where})."), settings


def is_port_taken(host: str, port: int) -> bool:
    """Return True if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def check_udp_ports(settings: Settings) -> Finding:
    """Check that a port of UDP_PORT_RANGE is free for cameras."""
    finding = partial(Finding, "udp_ports", "UDP ports")
    if settings.udp_port_range is None:
        text = "Any free port is used (UDP_PORT_RANGE is empty): a firewall must allow all of them."
        return finding(State.SKIPPED, text)
    low, high = settings.udp_port_range
    free = 0
    for port in range(low, high + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.bind(("0.0.0.0", port))
            free += 1
    count = high - low + 1
    if free == 0:
        return finding(
            State.FAILED,
            f"None of the {count} ports {low}-{high} is free.",
            "Cameras or other programs use all of them, so offers get 503.",
            "Extend UDP_PORT_RANGE, and open it in the firewall.",
        )
    text = f"{free} of the {count} ports {low}-{high} are free; a firewall must allow UDP there."
    return finding(State.OK, text)


async def check_local_model(settings: Settings, health: Any) -> Finding | None:
    """Check that LOCAL_MODEL, if set, can be loaded. `health`: the body of /health, or None."""
    if not isinstance(settings, HostingSettings) or settings.local_model is None:
        return None
    finding = partial(Finding, "local_model", "Local model")
    if not settings.has_engine("local"):
        text = f"ENGINE={settings.engine} does not load LOCAL_MODEL."
        return finding(State.SKIPPED, text)
    engines = health.get("engines", []) if isinstance(health, dict) else []
    reported: dict[str, Any] = next((one for one in engines if one.get("name") == "local"), {})
    state, detail = reported.get("state"), str(reported.get("detail") or "")
    if state in ("ready", "busy", "loading"):
        # The running model uses the memory, so that a new check would find too little.
        name = reported.get("model") or settings.local_model.name
        return finding(State.OK, f"{name}: {state!s}.")

    def make_problem(cause: str) -> Finding:
        todo = "Correct LOCAL_MODEL or the cause, then start the server again."
        return finding(State.FAILED, "LOCAL_MODEL cannot be loaded.", cause, todo)

    def plan_model(folder: Path) -> str:
        """Plan the model as the server does. Return its name."""
        probe = HostProbe(
            engine_python=str(settings.engine_python or ""),
            trust_remote_code=settings.trust_remote_code,
        )
        model = read_model(folder)
        build_command(
            make_choice_from_settings(folder, settings.model_dtype), model, probe.probe(vllm=False)
        )
        return model.name

    try:
        name = await asyncio.to_thread(plan_model, settings.local_model)
    except (CommandError, ModelFolderError) as error:
        return make_problem(error.message)
    if state is not None and not detail.startswith("No model is loaded"):
        # The check passes, but the server failed to load the model.
        return make_problem(detail)
    return finding(State.OK, f"{name} can be loaded, according to its files.")


async def check_model_server(settings: Settings) -> Finding:
    """Check that the server at VLLM_BASE_URL responds and has the model."""
    finding = partial(Finding, "model_server", "Model server")
    if settings.engine == "builtin":
        return finding(State.SKIPPED, "ENGINE=builtin uses no model server.")
    # With ENGINE=auto the built-in engine answers instead.
    bad = State.WARN if settings.engine == "auto" else State.FAILED
    names, key = ("VLLM", "MODEL_NAME"), settings.vllm_api_key
    found = await _check_model_server(
        finding, names, settings.vllm_base_url, key, settings.model_name, bad
    )
    if (
        settings.engine == "auto"
        and "vllm_base_url" not in settings.model_fields_set
        and found.state is not State.OK
    ):
        # Without a setting the built-in engine answers, which is not an error.
        text = "None is set (VLLM_BASE_URL): the built-in engine answers."
        return finding(State.SKIPPED, text)
    return found


async def check_role_servers(settings: Settings) -> list[Finding]:
    """Check the model servers of roles, as the one at VLLM_BASE_URL."""
    findings = []
    for role, own in settings.get_own_roles().items():
        if not own.url:
            continue
        # With only a model's name, the role uses another model of the same server.
        prefix = role.upper() if getattr(settings, f"{role}_base_url") else "VLLM"
        names = (prefix, f"{role.upper()}_MODEL")
        finding = partial(Finding, f"{role}_server", f"Server of {role}")
        # The answering engine replaces it.
        findings.append(
            await _check_model_server(finding, names, own.url, own.key, own.model, State.WARN)
        )
    return findings


async def _check_model_server(
    finding: Callable[..., Finding],
    names: tuple[str, str],
    url: str,
    key: SecretStr,
    model: str,
    bad: State,
    without: str = "",
) -> Finding:
    """Check a server's list of models. `bad`: the state if the model is not listed; `without`: the consequence, for a
    server that may list none.
    """
    prefix, setting = names
    where = f"{prefix}_BASE_URL"

    def make_finding(text: str, cause: str, todo: str, state: State = bad) -> Finding:
        return finding(state, text, f"{cause} {without}".rstrip(), todo)

    try:
        reply = await request(
            "GET",
            f"{url}/models",
            token=key.get_secret_value() or None,
            timeout=SECONDS,
            tls=ssl.create_default_context(),
        )
    except ssl.SSLCertVerificationError as error:
        return make_finding(
            "Its TLS certificate is not trusted.",
            f"{error.verify_message}.",
            "Install its certificate authority on this machine, or use a name that is in the certificate.",
        )
    except TimeoutError:
        return make_finding(
            f"{where} does not respond within {SECONDS:g} s.",
            "It hangs, or a firewall drops the packets.",
            f"See its log; check the address in {where}.",
        )
    except (OSError, EOFError, ValueError):
        start = " (bash scripts/start_vllm_server.sh)" if prefix == "VLLM" else ""
        return make_finding(
            f"Nothing listens at {where}.",
            "It is not running, is still loading, or listens elsewhere.",
            f"Start it{start}, or correct {where}.",
        )
    if reply.status in (401, 403):
        return make_finding(
            f"It refuses this key ({reply.status}).",
            "It was started with another --api-key.",
            f"Set {prefix}_API_KEY to the same.",
        )
    if (without or model) and reply.status in (404, 405, 500, 501):
        return finding(State.OK, "It responds, but lists no models, as some servers do.")
    known = _parse_model_names(reply)
    if known is None:
        return make_finding(
            f"No model list at {where}/models (status {reply.status}).",
            "Another program responds there, or the path is wrong.",
            f"{where} usually ends with /v1.",
        )
    if model and known and model not in known:
        todo = f"If requests fail, set {setting} to one of these, or leave it empty."
        return make_finding(
            f"It does not list {setting}.", describe_models(known), todo, State.WARN
        )
    return finding(State.OK, describe_models(known))


SECONDS = 5.0
_MOST_NAME = 256


def _parse_model_names(reply: Reply) -> list[str] | None:
    """Return the names of an OpenAI-compatible server's models; None if it lists none."""
    try:
        if reply.status == 200:
            data = reply.parse_json()
            data = data if isinstance(data, list) else data.get("data", data.get("models"))
            names = [str(model["id"])[:_MOST_NAME] for model in data]
            # Only printable characters, because another program chose the names.
            return ["".join(filter(str.isprintable, name)) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def describe_models(names: list[str]) -> str:
    """Return a sentence about the models of a server."""
    if not names:
        return "Its list of models is empty."
    return f"It has {', '.join(names[:3])}."


# Speech

_NO_MODEL = "The file is not an end-of-turn model."


async def check_recogniser(settings: Any, health: Any) -> Finding | None:
    """Check the configured recogniser; None if there is none. `health`: the body of /health, or None."""
    finding = partial(Finding, "recogniser", "Recogniser")
    if not hasattr(settings, "transcription_base_url"):
        return None
    if settings.transcription_base_url:
        return await _check_model_server(
            *(finding, ("TRANSCRIPTION", "TRANSCRIPTION_MODEL")),
            settings.transcription_base_url,
            settings.transcription_api_key,
            *(settings.transcription_model, State.WARN),
            "Spoken questions need an engine that accepts sound; typing works.",
        )
    if settings.transcription_local_model is None:
        return None
    folder = settings.transcription_local_model
    return _check_folder(
        finding, "TRANSCRIPTION_LOCAL_MODEL", folder, _get_reported_state(health, "recogniser")
    )


async def check_voice(settings: Any, health: Any) -> Finding | None:
    """Check the configured voice; None if there is none, or if its feature is off. `health`: as above."""
    finding = partial(Finding, "voice", "Voice")
    if not hasattr(settings, "speech_base_url"):
        return None
    if settings.speech_local_model is not None:
        folder = settings.speech_local_model
        return _check_folder(
            finding, "SPEECH_LOCAL_MODEL", folder, _get_reported_state(health, "voice")
        )
    if not settings.speech_base_url:
        return None
    return await _check_model_server(
        *(finding, ("SPEECH", "SPEECH_MODEL")),
        settings.speech_base_url,
        settings.speech_api_key,
        *(settings.speech_model, State.WARN),
        "Each browser reads answers with its own voice.",
    )


async def check_end_of_turn(settings: Any, health: Any) -> Finding | None:
    """Check the configured end-of-turn model; None if there is none. `health`: as above."""
    path = getattr(settings, "end_of_turn_model", None)
    if path is None or not settings.microphone:
        return None
    # The feature is enabled if it has settings.
    from server.features.voice_in.turn_model import TurnModel
    from server.shared.onnx_file import ModelTrouble, ModelUnusable

    troubles = {
        ModelTrouble.UNREADABLE: "The file cannot be read.",
        ModelTrouble.OTHER_SHA256: "The file's SHA-256 differs from END_OF_TURN_SHA256.",
    }
    finding, name = partial(Finding, "end_of_turn", "End of turn"), path.name
    reported = _get_reported_state(health, "end_of_turn")
    state = None if reported is None else reported.get("state")
    if state == "ready":
        return finding(State.OK, f"{name} is ready.")
    todo = "Correct END_OF_TURN_MODEL or the cause, then start the server again."
    without = "Until then only silence ends spoken questions."
    try:
        await asyncio.to_thread(TurnModel, path, settings.end_of_turn_sha256)
    except ModelUnusable as error:
        text = "END_OF_TURN_MODEL cannot be loaded."
        cause = f"{troubles.get(error.trouble, _NO_MODEL)} {without}"
        return finding(State.WARN, text, cause, todo)
    if state is not None:
        # The file was corrected after the start.
        return finding(State.WARN, f"{name} is not ready.", without, todo)
    return finding(State.OK, f"{name} can be loaded, according to its files.")


def _get_reported_state(health: Any, part: str) -> dict[str, Any] | None:
    """Return a part's state in /health; None if it has none."""
    reported = health.get(part) if isinstance(health, dict) else None
    return reported if isinstance(reported, dict) else None


def _check_folder(
    finding: Callable[..., Finding], setting: str, folder: Path, reported: dict[str, Any] | None
) -> Finding:
    if reported is not None and reported.get("state") == "ready":
        return finding(State.OK, f"{folder.name} is ready.")
    needed = {"config.json": "config.json", "weights (.safetensors)": "*.safetensors"}
    missing = [name for name, files in needed.items() if not any(folder.glob(files))]
    todo = f"Correct {setting} or the cause, then start the server again."
    if missing:
        text = f"{setting} cannot be loaded."
        return finding(State.WARN, text, f"Its folder has no {missing[0]}.", todo)
    if reported is not None:
        cause = str(reported.get("detail") or "")
        return finding(State.WARN, f"{folder.name} is not ready.", cause, todo)
    return finding(State.OK, f"{folder.name} has its files.")

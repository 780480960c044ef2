"""Checks on the server's machine: settings, ports, local model, model server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from config import ConfigError, RoleSettings, Settings, load
from scripts.checks.finding import Finding, State
from scripts.checks.model_list import Trouble, has, listed
from server.features.hosting.catalogue.choice import CommandError, own_choice
from server.features.hosting.catalogue.command import command
from server.features.hosting.catalogue.folder import ModelFolderError, read_model
from server.features.hosting.host import HostProbe
from server.features.hosting.settings import HostingSettings


def check_settings(env_file: Path) -> tuple[Finding, Settings | None]:
    """Read the settings like the server does; None when it would not start with them."""
    finding = partial(Finding, "settings", "Settings")
    where = env_file.name if env_file.is_file() else f"there is no {env_file.name}"
    try:
        settings = load(env_file)
    except ConfigError as error:
        text = "The server does not start with these settings."
        todo = "Correct .env (env.example explains every key), then start the server again."
        return finding(State.FAILED, text, error.message.replace("\n", " "), todo), None
    if settings.warnings:
        text = f"They hold ({where}), with doubts."
        return finding(State.WARN, text, " ".join(settings.warnings)), settings
    return finding(State.OK, f"They hold ({where})."), settings


def port_taken(host: str, port: int) -> bool:
    """Return True when the port is in use."""
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
        text = (
            "Any free one is taken (UDP_PORT_RANGE is empty): a firewall has to let in all of them."
        )
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
            "Cameras or other programs hold them all, so offers get 503.",
            "Make UDP_PORT_RANGE longer, and open it in the firewall.",
        )
    text = f"{free} of the {count} ports {low}-{high} are free; a firewall has to let in UDP there."
    return finding(State.OK, text)


async def check_local_model(settings: Settings, health: Any) -> Finding | None:
    """Check that LOCAL_MODEL can be loaded; None when it is not set.

    `health`: the body of /health, None without a server.
    """
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
        # The running model uses the memory, so a new check would find too little.
        name = reported.get("model") or settings.local_model.name
        return finding(State.OK, f"{name}: {state!s}.")

    def problem(cause: str) -> Finding:
        todo = "Correct LOCAL_MODEL or what the cause names, then start the server again."
        return finding(State.FAILED, "LOCAL_MODEL cannot be loaded.", cause, todo)

    def tried(folder: Path) -> str:
        """Plan the model like the server does, and return its name."""
        probe = HostProbe(
            engine_python=str(settings.engine_python or ""),
            trust_remote_code=settings.trust_remote_code,
        )
        model = read_model(folder)
        command(own_choice(folder, settings.model_dtype), model, probe.probe(vllm=False))
        return model.name

    try:
        name = await asyncio.to_thread(tried, settings.local_model)
    except (CommandError, ModelFolderError) as error:
        return problem(error.message)
    if state is not None and not detail.startswith("No model is loaded"):
        # The check passes here, but the server has failed to load it.
        return problem(detail)
    return finding(State.OK, f"{name} can be loaded, as far as its files tell.")


async def check_model_server(settings: Settings) -> Finding:
    """Check that each server of VLLM_BASE_URL answers and has the model."""
    title, urls = "Model server", settings.vllm_base_urls
    if settings.engine == "builtin":
        return Finding("model_server", title, State.SKIPPED, "ENGINE=builtin asks no model server.")
    # With ENGINE=auto the built-in engine answers instead.
    bad = State.WARN if settings.engine == "auto" else State.FAILED
    main = RoleSettings("vllm", urls, settings.model_name, settings.vllm_api_key)
    found = await _each_server("model_server", title, main, ("VLLM", "MODEL_NAME"), bad)
    if (
        settings.engine == "auto"
        and "vllm_base_url" not in settings.model_fields_set
        and all(one.state is not State.OK for one in found)
    ):
        # Nobody set one: the built-in engine answers, and nothing is wrong.
        text = "None is set (VLLM_BASE_URL): the built-in engine answers."
        return Finding("model_server", title, State.SKIPPED, text)
    return _together(urls, found, "VLLM_BASE_URL")


async def check_role_servers(settings: Settings) -> list[Finding]:
    """Check each model server that a role has for itself as that of VLLM_BASE_URL."""
    findings = []
    for role, own in settings.own_roles().items():
        if not own.urls:
            continue
        # With the model's name alone it is another model of the same server.
        prefix = role.upper() if getattr(settings, f"{role}_base_url") else "VLLM"
        names = (prefix, f"{role.upper()}_MODEL")
        # The engine that answers does its work meanwhile.
        found = await _each_server(f"{role}_server", f"Server of {role}", own, names, State.WARN)
        findings.append(_together(own.urls, found, f"{prefix}_BASE_URL"))
    return findings


def _together(urls: Sequence[str], found: Sequence[Finding], setting: str) -> Finding:
    """Return one result for all servers of a setting."""
    bad = [(url, one) for url, one in zip(urls, found, strict=True) if one.state is not State.OK]
    if len(found) == 1 or not bad:
        return found[0]
    url, first = bad[0]
    count = len(found) - len(bad)
    # The others answer for it.
    state = State.WARN if count else first.state
    text = f"{count} of {len(found)} servers of {setting} answer. {url}: {first.text}"
    return replace(first, state=state, text=text)


async def _each_server(
    id: str, title: str, own: RoleSettings, names: tuple[str, str], bad: State
) -> list[Finding]:
    """Check each server. `names`: the prefix of its settings, and the one of its model."""
    prefix, setting = names
    start = "bash scripts/start_vllm_server.sh" if prefix == "VLLM" else ""

    async def check(url: str) -> Finding:
        known = await listed(prefix, url, own.key, start=start)
        if isinstance(known, Trouble):
            return Finding(id, title, bad, known.text, known.cause, known.todo)
        if own.model and known and own.model not in known:
            todo = f"Set {setting} to one of these, or leave it empty."
            return Finding(id, title, bad, f"It does not have {setting}.", has(known), todo)
        return Finding(id, title, State.OK, has(known))

    return await asyncio.gather(*map(check, own.urls))

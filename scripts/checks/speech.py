"""Checks of what makes words of speech, of what hears where it ends, and of what speaks answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from scripts.checks.finding import Finding, State
from scripts.checks.model_list import Trouble, has, listed

_NO_MODEL = "The file is no model for the end of turns."


async def check_recogniser(settings: Any, health: Any) -> Finding | None:
    """Check the recogniser that the settings name; None without one, or its feature.

    `health`: the body of /health, None without a server.
    """
    finding = partial(Finding, "recogniser", "Recogniser")
    if not hasattr(settings, "transcription_base_url"):
        return None
    if settings.transcription_base_url:
        return await _server(
            *(finding, "TRANSCRIPTION"),
            settings.transcription_base_url,
            settings.transcription_api_key,
            settings.transcription_model,
            without="Spoken questions need an engine that hears; typing works.",
        )
    if settings.transcription_local_model is None:
        return None
    folder = settings.transcription_local_model
    return _local(finding, "TRANSCRIPTION_LOCAL_MODEL", folder, _reported(health, "recogniser"))


async def check_voice(settings: Any, health: Any) -> Finding | None:
    """Check the voice that the settings name; None without one, or its feature. `health`: as above."""
    finding = partial(Finding, "voice", "Voice")
    if not hasattr(settings, "speech_base_url"):
        return None
    if settings.speech_local_model is not None:
        folder = settings.speech_local_model
        return _local(finding, "SPEECH_LOCAL_MODEL", folder, _reported(health, "voice"))
    if not settings.speech_base_url:
        return None
    return await _server(
        *(finding, "SPEECH"),
        settings.speech_base_url,
        settings.speech_api_key,
        settings.speech_model,
        without="Each browser reads answers with its own voice.",
    )


async def check_end_of_turn(settings: Any, health: Any) -> Finding | None:
    """Check the end-of-turn model that the settings name; None without one. `health`: as above."""
    path = getattr(settings, "end_of_turn_model", None)
    if path is None or not settings.microphone:
        return None
    # The feature is there where it has settings.
    from server.features.voice_in.turn_model import TurnModel
    from server.shared.onnx_file import ModelTrouble, ModelUnusable

    troubles = {
        ModelTrouble.UNREADABLE: "The file cannot be read.",
        ModelTrouble.OTHER_SHA256: "The file has another SHA-256 than END_OF_TURN_SHA256.",
    }
    finding, name = partial(Finding, "end_of_turn", "End of turn"), path.name
    reported = _reported(health, "end_of_turn")
    state = None if reported is None else reported.get("state")
    if state == "ready":
        return finding(State.OK, f"{name} is ready.")
    todo = "Correct END_OF_TURN_MODEL or what the cause names, then start the server again."
    without = "Until then silence alone ends spoken questions."
    try:
        await asyncio.to_thread(TurnModel, path, settings.end_of_turn_sha256)
    except ModelUnusable as error:
        text = "END_OF_TURN_MODEL cannot be loaded."
        cause = f"{troubles.get(error.trouble, _NO_MODEL)} {without}"
        return finding(State.WARN, text, cause, todo)
    if state is not None:
        # It was corrected after the start.
        return finding(State.WARN, f"{name} is not ready.", without, todo)
    return finding(State.OK, f"{name} can be loaded, as far as its files tell.")


def _reported(health: Any, part: str) -> dict[str, Any] | None:
    """Return what the server says of a part; None where it says nothing."""
    reported = health.get(part) if isinstance(health, dict) else None
    return reported if isinstance(reported, dict) else None


async def _server(
    finding: Callable[..., Finding],
    prefix: str,
    url: str,
    key: SecretStr,
    model: str,
    *,
    without: str,
) -> Finding:
    found = await listed(prefix, url, key, start="")
    if isinstance(found, Trouble):
        if found.unlisted:
            return finding(State.OK, "It answers, and lists no models, as some do.")
        return finding(State.WARN, found.text, f"{found.cause} {without}", found.todo)
    if model and found and model not in found:
        return finding(
            State.WARN,
            f"It does not have {prefix}_MODEL.",
            f"{has(found)} {without}",
            f"Set {prefix}_MODEL to one of these, or leave it empty.",
        )
    return finding(State.OK, has(found))


def _local(
    finding: Callable[..., Finding], setting: str, folder: Path, reported: dict[str, Any] | None
) -> Finding:
    if reported is not None and reported.get("state") == "ready":
        return finding(State.OK, f"{folder.name} is ready.")
    needed = {"config.json": "config.json", "weights (.safetensors)": "*.safetensors"}
    missing = [name for name, files in needed.items() if not any(folder.glob(files))]
    todo = f"Correct {setting} or what the cause names, then start the server again."
    if missing:
        text = f"{setting} cannot be loaded."
        return finding(State.WARN, text, f"Its folder has no {missing[0]}.", todo)
    if reported is not None:
        cause = str(reported.get("detail") or "")
        return finding(State.WARN, f"{folder.name} is not ready.", cause, todo)
    return finding(State.OK, f"{folder.name} has its files.")

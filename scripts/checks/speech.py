"""Checks of what makes words of speech, of what hears where it ends, and of what speaks answers."""

from __future__ import annotations

import asyncio
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
    title, id = "Recogniser", "recogniser"
    if not hasattr(settings, "transcription_base_url"):
        return None
    if settings.transcription_base_url:
        return await _server(
            *(id, title, "TRANSCRIPTION"),
            settings.transcription_base_url,
            settings.transcription_api_key,
            settings.transcription_model,
            without="Spoken questions need an engine that hears; typing works.",
        )
    if settings.transcription_local_model is None:
        return None
    return _local(
        id, title, "TRANSCRIPTION_LOCAL_MODEL", settings.transcription_local_model, health
    )


async def check_voice(settings: Any, health: Any) -> Finding | None:
    """Check the voice that the settings name; None without one, or its feature. `health`: as above."""
    title, id = "Voice", "voice"
    if not hasattr(settings, "speech_base_url"):
        return None
    if settings.speech_local_model is not None:
        return _local(id, title, "SPEECH_LOCAL_MODEL", settings.speech_local_model, health)
    if not settings.speech_base_url:
        return None
    return await _server(
        *(id, title, "SPEECH"),
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
    title, id, name = "End of turn", "end_of_turn", path.name
    reported = health.get(id) if isinstance(health, dict) else None
    state = reported.get("state") if isinstance(reported, dict) else None
    if state == "ready":
        return Finding(id, title, State.OK, f"{name} is ready.")
    todo = "Correct END_OF_TURN_MODEL or what the cause names, then start the server again."
    without = "Until then silence alone ends spoken questions."
    try:
        await asyncio.to_thread(TurnModel, path, settings.end_of_turn_sha256)
    except ModelUnusable as error:
        text = "END_OF_TURN_MODEL cannot be loaded."
        cause = f"{troubles.get(error.trouble, _NO_MODEL)} {without}"
        return Finding(id, title, State.WARN, text, cause, todo)
    if state is not None:
        # It was corrected after the start.
        return Finding(id, title, State.WARN, f"{name} is not ready.", without, todo)
    text = f"{name} can be loaded, as far as its files tell."
    return Finding(id, title, State.OK, text)


async def _server(
    id: str,
    title: str,
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
            text = "It answers, and lists no models, as some do."
            return Finding(id, title, State.OK, text)
        cause = f"{found.cause} {without}"
        return Finding(id, title, State.WARN, found.text, cause, found.todo)
    if model and found and model not in found:
        return Finding(
            id,
            title,
            State.WARN,
            f"It does not have {prefix}_MODEL.",
            f"{has(found)} {without}",
            f"Set {prefix}_MODEL to one of these, or leave it empty.",
        )
    return Finding(id, title, State.OK, has(found))


def _local(id: str, title: str, setting: str, folder: Path, health: Any) -> Finding:
    reported = health.get(id) if isinstance(health, dict) else None
    if isinstance(reported, dict) and reported.get("state") == "ready":
        return Finding(id, title, State.OK, f"{folder.name} is ready.")
    missing = [
        name
        for name, there in (
            ("config.json", (folder / "config.json").is_file()),
            ("weights (.safetensors)", any(folder.glob("*.safetensors"))),
        )
        if not there
    ]
    todo = f"Correct {setting} or what the cause names, then start the server again."
    if missing:
        text = f"{setting} cannot be loaded."
        return Finding(id, title, State.WARN, text, f"Its folder has no {missing[0]}.", todo)
    if isinstance(reported, dict):
        text, cause = (
            f"{folder.name} is not ready.",
            str(reported.get("detail") or ""),
        )
        return Finding(id, title, State.WARN, text, cause, todo)
    return Finding(id, title, State.OK, f"{folder.name} has its files.")

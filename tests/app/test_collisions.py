"""Two features that bring the same name keep the server from starting, with a sentence that names both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from fastapi import APIRouter

import config
from config import ConfigError, load
from server.app import app
from server.app.api import Api
from server.app.api import register as register_all
from server.core.errors import Collision, QwenCameraError
from server.core.messages import ClientMessage
from server.core.settings import FeatureSettings, flag
from server.session.part import SessionPart


class Point(ClientMessage):
    type: Literal["point"]


class Guidance(ClientMessage):
    type: Literal["settings"]
    guidance: bool = False


class Limit(FeatureSettings):
    rate_limit_per_minute: bool = flag()


def start(monkeypatch: pytest.MonkeyPatch, add: Any) -> None:
    """Start with one more feature's additions."""

    def register(names: Any, api: Any, on: list[str]) -> None:
        register_all(names, api, on)
        add(api("other"))

    monkeypatch.setattr(app, "register", register)
    app.create_app(load(None, engine="builtin"))


@pytest.mark.parametrize(
    ("message", "said"),
    [(Point, "the message point"), (Guidance, "the field of settings guidance")],
)
def test_a_message(
    monkeypatch: pytest.MonkeyPatch, message: type[ClientMessage], said: str
) -> None:
    with pytest.raises(Collision, match=f"messages and {__name__} both define {said}"):
        start(monkeypatch, lambda api: api.add_session_part(SessionPart, message))


def test_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(api: Api) -> None:
        router: APIRouter = api.make_router()
        router.add_api_route("/health", lambda: None, methods=["GET"])

    with pytest.raises(Collision, match="both define the route GET /health"):
        start(monkeypatch, add)


def test_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(api: Api) -> None:
        api.provide(Limit, Limit())
        assert api.get_service(Limit) is api.require_service(Limit)
        replace(api, name="another").provide(Limit, Limit())

    with pytest.raises(Collision, match="another and an earlier feature both provide Limit"):
        start(monkeypatch, add)


def test_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    config.compose_settings.cache_clear()
    monkeypatch.setattr(config, "get_settings_classes", lambda names: [Limit])
    with pytest.raises(ConfigError, match="both define the setting RATE_LIMIT_PER_MINUTE"):
        load(None)


def test_an_error_code() -> None:
    with pytest.raises(Collision, match="both define the error code not_found"):

        class Lost(QwenCameraError):
            code = "not_found"

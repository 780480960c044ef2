"""The operator's route for MQTT: whether the broker is connected, and for which cameras."""

from __future__ import annotations

from fastapi import APIRouter

from server.access.operator_guard import OperatorGuard
from server.mqtt.mqtt import Mqtt
from server.operator.routes import for_operators
from server.web.context import Services

PREFIX = "/api/operator/mqtt"


def create_mqtt_router(services: Services, operators: OperatorGuard, mqtt: Mqtt) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))

    @router.get("")
    async def seen() -> dict[str, object]:
        return mqtt.seen()

    return router

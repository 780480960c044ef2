"""Parts for the cameras of the house, made from the settings."""

from __future__ import annotations

from config import Settings
from server.core.mqtt_address import mqtt_address
from server.mqtt.mqtt import MqttPlan
from server.mqtt.topics import Topics


def mqtt_plan(settings: Settings) -> MqttPlan:
    """Read where the broker is, and how it is spoken to."""
    url = settings.mqtt_url.get_secret_value()
    return MqttPlan(
        mqtt_address(url) if url else None,
        str(settings.mqtt_ca or ""),
        Topics(settings.mqtt_prefix, settings.mqtt_discovery_prefix),
    )

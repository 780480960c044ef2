"""Cameras over MQTT: topics, Home Assistant's discovery, published states, and received requests.

`link.py` owns the connection; only `client.py` imports the library, and is imported if MQTT_URL is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Publish opted-in cameras at the broker of MQTT_URL: fixed ones and visitors'."""
    from server.features.mqtt.messages import SetHomeAssistant
    from server.features.mqtt.mqtt import HomeAssistantDevice, Mqtt
    from server.features.mqtt.settings import MqttSettings
    from server.shared.services import ListedCameras

    settings = MqttSettings.of(api.settings)
    broker = settings.mqtt_broker
    mqtt = Mqtt(
        settings,
        settings.read_listed_cameras(),
        api.get_service(ListedCameras),
        api.metrics,
        find=api.sessions.get,
    )
    api.provide(Mqtt, mqtt)
    api.run("mqtt", start=mqtt.start, close=mqtt.close)
    api.on_session_ended(mqtt.visitors.on_left)
    if broker is not None:
        api.on_alert(mqtt.on_alert)
    if broker is not None and settings.mqtt_visitors:
        api.add_session_part(
            lambda context: HomeAssistantDevice(context, mqtt.visitors, broker.place),
            SetHomeAssistant,
        )

    @api.make_operator_router("/api/operator/mqtt").get("")
    async def seen() -> dict[str, object]:
        """Return the state of the connection to the MQTT broker.

        `broker` (its address without user and password; empty without one), `state` (`off`,
        `waiting`, `connected`), `trouble` (a word; empty for none), `detail` (a sentence),
        `retry_seconds` (or `null`), `waiting`, `sent`, `prefix`, `cameras`, `visitors` (the number
        of visitors' cameras that are devices); with `off` only `broker`, `state`, `prefix`,
        `cameras` and `visitors`.
        """
        return mqtt.seen()

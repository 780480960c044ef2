"""The settings of MQTT."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr

from server.core.feature_settings import FeatureSettings
from server.core.setting_fields import checked_secret, flag, path, secret, word
from server.core.setting_text import shown
from server.core.tls_files import authority_reason
from server.features.mqtt.address import MqttAddress, mqtt_address, mqtt_url

MqttUrl = Annotated[SecretStr, checked_secret(mqtt_url)]


class MqttSettings(FeatureSettings):
    mqtt_url: MqttUrl = secret(
        "a URL like mqtts://user:password@broker.example.org:8883 or mqtt://127.0.0.1:1883, or empty"
    )
    mqtt_ca: Path | None = path("a readable PEM file with a certificate")
    mqtt_prefix: str = word("qwen-camera")
    mqtt_discovery_prefix: str = word("homeassistant")
    mqtt_visitors: bool = flag()

    @property
    def mqtt_broker(self) -> MqttAddress | None:
        url = self.mqtt_url.get_secret_value()
        return mqtt_address(url) if url else None

    def problems(self) -> Iterable[str]:
        if self.mqtt_ca is None or not (reason := authority_reason(self.mqtt_ca)):
            return ()
        return (
            f"MQTT_CA is {shown(self.mqtt_ca)}, {reason}. The broker's certificate is checked with it.",
        )

    def doubts(self) -> Iterable[str]:
        broker = self.mqtt_broker
        if broker is None:
            if self.mqtt_visitors:
                yield "MQTT_VISITORS is true but MQTT_URL is empty, so no camera goes to MQTT."
            return
        if not broker.tls and not broker.near:
            yield (
                "MQTT_URL begins with mqtt:// and leads out of this network: pictures, words and the password can be read on"
                " their way. Use mqtts://."
            )
        if not self.mqtt_visitors and not any(one.mqtt for one in self.listed_cameras()):
            yield (
                "MQTT_URL is set but no camera of STANDING_CAMERAS has mqtt = true, so the broker gets nothing but the end of"
                " what it had."
            )


SETTINGS = MqttSettings

"""Settings of MQTT."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import SecretStr

from server.core.setting_text import find_file_errors, read_certificate_der
from server.core.settings import flag, identifier, make_secret_validator, path, secret
from server.features.mqtt.discovery import USUAL_DISCOVERY
from server.shared.listed_cameras import CameraListSettings

# The address of an MQTT broker (MQTT_URL), and whether it is in a private network. Pure.

_URL = re.compile(
    r"(?P<scheme>mqtts?)://(?:(?P<user>[^\s/?#@:]{1,200})(?::(?P<password>[^\s/?#@:]{0,400}))?@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?/?",
    re.ASCII,
)
PORTS = {"mqtt": 1883, "mqtts": 8883}
# Domains reserved for private networks
_NEAR = (".local", ".lan", ".home.arpa", ".internal", ".localhost")


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """Parsed MQTT_URL."""

    host: str
    port: int
    tls: bool
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """URL without user and password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.place}"

    @property
    def near(self) -> bool:
        """True if the host is this machine or in a private network."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            host = self.host.lower()
            return "." not in host or host.endswith(_NEAR)
        return address.is_private or address.is_loopback or address.is_link_local


def parse_mqtt_address(text: str) -> MqttAddress:
    """Parse a URL. Raises ValueError with a text that contains no part of it."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("it does not have this form")
    port = int(match["port"] or PORTS[match["scheme"]])
    if not 1 <= port <= 65535:
        raise ValueError("its port is not between 1 and 65535")
    user, password = unquote(match["user"] or ""), unquote(match["password"] or "")
    if not (user + password).isprintable():
        raise ValueError("its user or password has characters that are not allowed")
    return MqttAddress(match["host"].strip("[]"), port, match["scheme"] == "mqtts", user, password)


def mqtt_url(text: str) -> str:
    """Return a valid URL or empty text unchanged. Raises ValueError."""
    if text:
        parse_mqtt_address(text)
    return text


MqttUrl = Annotated[SecretStr, make_secret_validator(mqtt_url)]


class MqttSettings(CameraListSettings):
    mqtt_url: MqttUrl = secret(
        "a URL like mqtts://user:password@broker.example.org:8883 or mqtt://127.0.0.1:1883, or empty"
    )
    mqtt_ca: Path | None = path("a readable PEM file with a certificate")
    mqtt_prefix: str = identifier("qwen-camera")
    mqtt_discovery_prefix: str = identifier(USUAL_DISCOVERY)
    mqtt_visitors: bool = flag()

    @property
    def mqtt_broker(self) -> MqttAddress | None:
        url = self.mqtt_url.get_secret_value()
        return parse_mqtt_address(url) if url else None

    def find_errors(self) -> Iterable[str]:
        advice = "It is used to verify the broker's certificate."
        return find_file_errors("MQTT_CA", self.mqtt_ca, read_certificate_der, advice)

    def find_warnings(self) -> Iterable[str]:
        broker = self.mqtt_broker
        if broker is None:
            if self.mqtt_visitors:
                yield "MQTT_VISITORS is true but MQTT_URL is empty, so no camera is published. Set MQTT_URL."
            return
        if not broker.tls and not broker.near:
            yield (
                "MQTT_URL begins with mqtt:// and leads out of this network: pictures, texts and the password are sent"
                " unencrypted. Use mqtts://."
            )
        if not self.mqtt_visitors and not any(one.mqtt for one in self.read_listed_cameras()):
            yield (
                "MQTT_URL is set but no camera of STANDING_CAMERAS has mqtt = true, so no camera is published, and earlier"
                " ones are removed."
            )


SETTINGS = MqttSettings

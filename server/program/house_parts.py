"""The cameras of the house, webhooks and MQTT, made from the settings."""

from __future__ import annotations

from collections.abc import Sequence

from config import Settings
from server import __version__
from server.core.metrics import Metrics
from server.core.mqtt_address import mqtt_address
from server.core.standing_list import StandingCamera, read_list
from server.core.webhook_list import WebhookList, read_webhooks
from server.mqtt.mqtt import Mqtt, MqttPlan
from server.mqtt.topics import Topics
from server.session_manager import SessionManager
from server.standing.standing import StandingCameras


def make_mqtt(
    settings: Settings,
    listed: Sequence[StandingCamera],
    cameras: StandingCameras,
    sessions: SessionManager,
    metrics: Metrics,
) -> Mqtt:
    """Make what tells the broker of cameras: of those of the list, and of the visitors'."""
    url = settings.mqtt_url.get_secret_value()
    plan = MqttPlan(
        mqtt_address(url) if url else None,
        str(settings.mqtt_ca or ""),
        Topics(settings.mqtt_prefix, settings.mqtt_discovery_prefix),
        settings.mqtt_visitors,
    )
    return Mqtt(plan, listed, cameras, metrics, __version__, find=sessions.get)


def listed_cameras(settings: Settings) -> tuple[StandingCamera, ...]:
    """Read the list of the house's cameras. Raises OSError, ValueError."""
    path = settings.standing_cameras
    return read_list(path) if path is not None else ()


def listed_webhooks(settings: Settings) -> WebhookList:
    """Read the list of receivers. Raises OSError, ValueError."""
    path = settings.webhooks
    return read_webhooks(path) if path is not None else WebhookList()

"""The settings of Web Push."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from server.core.settings import FeatureSettings, list_of, names, text

# Of Chrome, Edge and Opera; Firefox; Safari; Windows. Subdomains are included.
SERVICES = (
    "fcm.googleapis.com",
    "push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)


def _service(value: str) -> str:
    """Parse a host, or the base URL of a self-hosted service, which may use `http`."""
    parts = urlsplit(value if "://" in value else f"https://{value}")
    if not parts.hostname or parts.scheme not in ("http", "https") or parts.path.strip("/"):
        raise ValueError("must be hosts, such as push.example.com, or http://10.0.0.2:8080")
    return f"{parts.scheme}://{parts.netloc}"


class PushSettings(FeatureSettings):
    """Settings of Web Push."""

    push_services: Annotated[tuple[str, ...], list_of(_service)] = names(
        "further push services: hosts, or addresses of own ones such as http://10.0.0.2:8080"
    )
    push_contact: str = text("mailto:push@localhost.invalid", "a mailto: or https: address")

    def find_errors(self) -> Iterable[str]:
        if not self.push_contact.startswith(("mailto:", "https:")):
            yield "PUSH_CONTACT must be a mailto: or https: address, at which push services can reach you."


SETTINGS = PushSettings

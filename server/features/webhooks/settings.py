"""The settings of webhooks."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.core.setting_text import find_file_errors, quote
from server.core.settings import path
from server.shared.listed_cameras import CameraListSettings
from server.shared.operator_list import HOST_AND_PORT, NAME, check_table, has_port, read_tables


class WebhookSettings(CameraListSettings):
    """The list of webhooks, checked at the start."""

    webhooks: Path | None = path(
        "a TOML file with webhooks, as server/features/webhooks/README.md shows"
    )

    def find_errors(self) -> Iterable[str]:
        advice = "server/features/webhooks/README.md shows such a file."
        refused = find_file_errors("WEBHOOKS", self.webhooks, read_webhooks, advice)
        return refused or self._find_missing()

    def _find_missing(self) -> list[str]:
        """Return an error for each `ca` that cannot be read, and each camera that does not exist."""
        path, listed = self.webhooks, self.read_webhook_list().webhooks
        for one in listed:
            if one.ca and not os.access(one.ca, os.R_OK):
                return [
                    f"WEBHOOKS is {quote(path)}, whose webhook {one.name} has a ca that cannot be read."
                ]
        try:
            known = {one.name for one in self.read_listed_cameras()}
        except (OSError, ValueError):
            # STANDING_CAMERAS reports its own errors.
            return []
        named = {name for one in listed for name in one.cameras} - {"*"}
        return [
            f"WEBHOOKS is {quote(path)}, which names the camera {name}. STANDING_CAMERAS has no camera of this name:"
            " correct it in one of the two files."
            for name in sorted(named - known)
        ]

    def read_webhook_list(self) -> WebhookList:
        """Return the webhooks of WEBHOOKS; none if it is empty. Raise OSError or ValueError for a bad file."""
        return read_webhooks(self.webhooks) if self.webhooks is not None else WebhookList()


SETTINGS = WebhookSettings


# The operator's list of webhooks (WEBHOOKS), a TOML file: each receiver, and the alerts that it gets. Pure.

# Most receivers
MOST_WEBHOOKS = 8
# Least and most bytes of a secret, as Standard Webhooks requires
SECRET_BYTES = (24, 64)
_URL = re.compile(rf"https?://{HOST_AND_PORT}(?:/[\x21\x22\x24-\x7e]{{0,1024}})?", re.ASCII)
_TEXTS = ("name", "url", "secret", "token", "evidence", "ca")
_FLAGS = ("people", "private")
_LISTS = ("cameras",)


class Evidence(StrEnum):
    """How a webhook gets the picture of an alert."""

    INLINE = "inline"
    LINK = "link"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver of alerts."""

    name: str
    # The path and query may contain a secret of the receiver.
    url: str = field(repr=False)
    # whsec_ and base64
    secret: str = field(repr=False)
    # Sent as `Authorization: Bearer`; "" for none
    token: str = field(default="", repr=False)
    evidence: Evidence = Evidence.INLINE
    # A PEM file with its certificate authority; "" for those of the system
    ca: str = ""
    # Names of the fixed cameras whose alerts it gets; "*" for all of them
    cameras: tuple[str, ...] = ()
    # True: visitors may choose it for their own alerts.
    people: bool = False
    # True: it is in the operator's own network, and may use http.
    private: bool = False

    @property
    def host(self) -> str:
        """The host of its URL, with the port if there is one."""
        return urlsplit(self.url).netloc

    @property
    def key(self) -> bytes:
        """The bytes of its secret, 24 to 64."""
        return base64.b64decode(self.secret.removeprefix("whsec_"))

    def accepts_camera(self, camera: str) -> bool:
        """Return True if this webhook gets the alerts of the fixed camera."""
        return camera in self.cameras or "*" in self.cameras


@dataclass(frozen=True, slots=True)
class WebhookList:
    """All webhooks of the server."""

    webhooks: tuple[Webhook, ...] = ()
    # The URL at which receivers reach this server, for links, without a final slash; "" for none
    address: str = ""


def read_webhooks(path: Path) -> WebhookList:
    """Return the webhooks of a TOML file.

    Raise OSError, or ValueError with a relative clause ("which has …") that contains no secret.
    """
    webhooks, found, others_read = read_tables(
        path, "webhook", MOST_WEBHOOKS, _parse_webhook, "address"
    )
    if others_read and webhooks:
        raise ValueError(
            "which contains secrets and is readable by other users; run chmod 600 on it"
        )
    address = found.get("address", "")
    if address and not _is_address(address):
        raise ValueError("whose address is not a URL like https://cam.example.org, without a path")
    if not address and any(one.evidence is Evidence.LINK for one in webhooks):
        raise ValueError(
            'which has evidence = "link" but no address; write address = "https://cam.example.org" at its top, under which'
            " receivers reach this server"
        )
    return WebhookList(webhooks, address.rstrip("/"))


def _is_address(address: Any) -> bool:
    if not isinstance(address, str) or _URL.fullmatch(address) is None:
        return False
    return has_port(address) and urlsplit(address).path in ("", "/") and "?" not in address


def _parse_webhook(which: str, entry: Any) -> Webhook:
    check_table(which, entry, texts=_TEXTS, flags=_FLAGS, lists=_LISTS, most=1300)
    _check(which, entry)
    return Webhook(
        **{
            name: entry[name] for name in (*_TEXTS, *_FLAGS) if name in entry and name != "evidence"
        },
        evidence=Evidence(entry.get("evidence", Evidence.INLINE)),
        cameras=tuple(entry.get("cameras", [])),
    )


def _check(which: str, entry: dict[str, Any]) -> None:
    url = entry.get("url", "")
    if _URL.fullmatch(url) is None or not has_port(url):
        raise ValueError(
            f"{which} has no url like https://hooks.example.org/camera, with a port of 1 to 65535 if any, without a user"
            " and a fragment"
        )
    if url.startswith("http:") and not entry.get("private"):
        raise ValueError(
            f"{which} has an http url: pictures would go unencrypted. Use https, or set private = true for a receiver in"
            " your own network"
        )
    if not _is_secret(entry.get("secret", "")):
        raise ValueError(
            f"{which} needs a secret of whsec_ followed by {SECRET_BYTES[0]} to {SECRET_BYTES[1]} random bytes in base64;"
            ' create one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    if re.fullmatch(r"[\x21-\x7e]*", entry.get("token", "")) is None:
        raise ValueError(
            f"{which} has a token with spaces or characters that are not ASCII; copy it from the receiver's settings"
        )
    if entry.get("evidence", "inline") not in list(Evidence):
        raise ValueError(f"{which} has unknown evidence; write one of {', '.join(Evidence)}")
    cameras = entry.get("cameras", [])
    if not isinstance(cameras, list) or not all(
        isinstance(one, str) and (one == "*" or NAME.fullmatch(one)) for one in cameras
    ):
        raise ValueError(
            f'{which} has cameras that are not a list of names of fixed cameras; for all of them write ["*"]'
        )
    if not cameras and not entry.get("people"):
        raise ValueError(
            f'{which} gets no alerts: name fixed cameras, such as cameras = ["front-door"], or set'
            " people = true"
        )


def _is_secret(text: str) -> bool:
    if not text.startswith("whsec_"):
        return False
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return SECRET_BYTES[0] <= len(key) <= SECRET_BYTES[1]

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

from server.core.setting_text import file_errors, quote
from server.core.settings import FeatureSettings, path
from server.shared.operator_list import HOST_AND_PORT, NAME, check_table, has_port, read_tables


class WebhookSettings(FeatureSettings):
    webhooks: Path | None = path(
        "a TOML file with webhooks, as server/features/webhooks/README.md shows"
    )

    def find_errors(self) -> Iterable[str]:
        advice = "server/features/webhooks/README.md shows such a file."
        refused = file_errors("WEBHOOKS", self.webhooks, read_webhooks, advice)
        return refused or self._missing()

    def _missing(self) -> list[str]:
        """Find authorities and cameras that are named and not there."""
        path, listed = self.webhooks, self.webhook_list().webhooks
        for one in listed:
            if one.ca and not os.access(one.ca, os.R_OK):
                return [
                    f"WEBHOOKS is {quote(path)}, whose webhook {one.name} has a ca that cannot be read."
                ]
        try:
            known = {one.name for one in self.listed_cameras()}
        except (OSError, ValueError):
            # The cameras' own setting tells of it.
            return []
        named = {name for one in listed for name in one.cameras} - {"*"}
        return [
            f"WEBHOOKS is {quote(path)}, which names the camera {name}. STANDING_CAMERAS has no camera of this name:"
            " correct it in one of the two files."
            for name in sorted(named - known)
        ]

    def webhook_list(self) -> WebhookList:
        """Raises OSError, ValueError."""
        return read_webhooks(self.webhooks) if self.webhooks is not None else WebhookList()


SETTINGS = WebhookSettings


# The operator's list of webhooks (WEBHOOKS): a TOML file that says who gets which alerts. Pure.

# Most receivers of one server
MOST_WEBHOOKS = 8
# Bytes of a secret, as Standard Webhooks has them
SECRET_BYTES = (24, 64)
_URL = re.compile(rf"https?://{HOST_AND_PORT}(?:/[\x21\x22\x24-\x7e]{{0,1024}})?", re.ASCII)
_TEXTS = ("name", "url", "secret", "token", "evidence", "ca")
_FLAGS = ("people", "private")
_LISTS = ("cameras",)


class Evidence(StrEnum):
    INLINE = "inline"
    LINK = "link"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Webhook:
    name: str
    # Its path and query may hold a secret of the receiver's.
    url: str = field(repr=False)
    # whsec_ and base64
    secret: str = field(repr=False)
    # Sent as `Authorization: Bearer`; "" for none
    token: str = field(default="", repr=False)
    evidence: Evidence = Evidence.INLINE
    # A PEM file with the authority of its certificate; "" for the system's
    ca: str = ""
    # The names of cameras of the house whose alerts it gets; "*" is every one
    cameras: tuple[str, ...] = ()
    # It is offered to visitors, and gets the alerts of those who agree.
    people: bool = False
    # It is in the operator's own network, and may be without TLS.
    private: bool = False

    @property
    def host(self) -> str:
        """Its host, with the port if one is named."""
        return urlsplit(self.url).netloc

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.secret.removeprefix("whsec_"))

    def accepts_camera(self, camera: str) -> bool:
        """Find whether it gets the alerts of a camera of the house."""
        return camera in self.cameras or "*" in self.cameras


@dataclass(frozen=True, slots=True)
class WebhookList:
    webhooks: tuple[Webhook, ...] = ()
    # The address under which receivers reach this server, for links; "" for none
    address: str = ""


def read_webhooks(path: Path) -> WebhookList:
    """Read the file. Raises OSError, and ValueError with a relative clause that has no secret."""
    webhooks, found, others_read = read_tables(path, "webhook", MOST_WEBHOOKS, _webhook, "address")
    if others_read and webhooks:
        raise ValueError(
            "which has secrets and can be read by others than its owner; chmod 600 changes that"
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


def _webhook(which: str, entry: Any) -> Webhook:
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
            f"{which} has no secret of whsec_ and the base64 of {SECRET_BYTES[0]} to {SECRET_BYTES[1]} random bytes; make one"
            ' with: echo "whsec_$(openssl rand -base64 32)"'
        )
    if re.fullmatch(r"[\x21-\x7e]*", entry.get("token", "")) is None:
        raise ValueError(f"{which} has a token that is not ASCII characters without spaces")
    if entry.get("evidence", "inline") not in list(Evidence):
        raise ValueError(f"{which} has evidence that is not one of {', '.join(Evidence)}")
    cameras = entry.get("cameras", [])
    if not isinstance(cameras, list) or not all(
        isinstance(one, str) and (one == "*" or NAME.fullmatch(one)) for one in cameras
    ):
        raise ValueError(f'{which} has cameras that are neither a list of camera names nor ["*"]')
    if not cameras and not entry.get("people"):
        raise ValueError(
            f'{which} gets no alerts: name cameras of the house, such as cameras = ["front-door"], or set'
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

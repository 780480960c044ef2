"""Settings of fixed cameras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.core.frames import Part
from server.core.setting_text import find_file_errors
from server.core.settings import path
from server.shared.listed_cameras import CameraListSettings
from server.shared.operator_list import HOST_AND_PORT, check_table, has_port, read_tables


class RtspSettings(CameraListSettings):
    standing_cameras: Path | None = path(
        "a TOML file with cameras, as described in server/features/rtsp/README.md"
    )

    def find_errors(self) -> Iterable[str]:
        return find_file_errors(
            "STANDING_CAMERAS",
            self.standing_cameras,
            read_list,
            "server/features/rtsp/README.md describes the format.",
        )

    def read_listed_cameras(self) -> tuple[FixedCamera, ...]:
        return read_list(self.standing_cameras) if self.standing_cameras is not None else ()


SETTINGS = RtspSettings


# The list of fixed cameras (STANDING_CAMERAS): an operator's TOML file. Pure.

# Maximum cameras of one server: each has its own process.
MOST_CAMERAS = 16
# Maximum watches of a session (features/watches/rule.py), and characters of a condition
MOST_WATCHES = 8
MOST_CHARACTERS = 200
_DEVICE = re.compile(r"/dev/video\d{1,3}", re.ASCII)
_URL = re.compile(rf"(?:rtsps?|https?)://{HOST_AND_PORT}(?:/[\x21-\x7e]{{0,1024}})?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", re.ASCII)
_TEXTS = ("name", "url", "user", "password", "ca")
_FLAGS = ("describe", "clear_password", "mqtt")
_LISTS = ("watches", "engines")
# Maximum ignored regions
MOST_PARTS = 8


@dataclass(frozen=True, slots=True)
class FixedCamera:
    """Entry of the list."""

    name: str
    # rtsp://, rtsps://, http:// or https:// without credentials, or a device such as /dev/video0
    url: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    # PEM file with the certificate authority; "" for the system's
    ca: str = ""
    # The password may be sent unencrypted and unhashed.
    clear_password: bool = False
    describe: bool = False
    # Publish its states to the broker of MQTT_URL, and accept description requests from it.
    mqtt: bool = False
    # Conditions to watch for, in words
    watches: tuple[str, ...] = ()
    # Other machines whose engines may receive its pictures
    engines: tuple[str, ...] = ()
    # Regions of the picture whose changes are ignored, such as a clock
    ignore: tuple[Part, ...] = ()

    @property
    def where(self) -> str:
        """Address without path and query, which may contain secrets."""
        if self.url.startswith("/"):
            return self.url
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def read_list(path: Path) -> tuple[FixedCamera, ...]:
    """Read the file. Raises OSError, and ValueError with a relative clause without secrets."""
    cameras, _, others_read = read_tables(path, "camera", MOST_CAMERAS, _parse_camera)
    if others_read and any(one.password for one in cameras):
        raise ValueError(
            "which contains passwords and is readable by other users; run chmod 600 on it"
        )
    return cameras


def _parse_camera(which: str, entry: Any) -> FixedCamera:
    check_table(which, entry, texts=_TEXTS, flags=_FLAGS, lists=(*_LISTS, "ignore"), most=1100)
    for name in _LISTS:
        items = entry.get(name, [])
        if not isinstance(items, list) or not all(
            isinstance(one, str) and 0 < len(one.strip()) <= MOST_CHARACTERS for one in items
        ):
            raise ValueError(
                f"{which} has invalid {name}: a list of texts of 1 to {MOST_CHARACTERS} characters is needed"
            )
    _check(which, entry)
    return FixedCamera(
        **{name: entry[name] for name in (*_TEXTS, *_FLAGS) if name in entry},
        watches=tuple(one.strip() for one in entry.get("watches", [])),
        engines=tuple(one.strip().lower() for one in entry.get("engines", [])),
        ignore=_parse_parts(which, entry.get("ignore", [])),
    )


def _parse_parts(which: str, entry: Any) -> tuple[Part, ...]:
    if not isinstance(entry, list) or len(entry) > MOST_PARTS or not all(map(_is_part, entry)):
        raise ValueError(
            f"{which} has an invalid ignore: allowed are up to {MOST_PARTS} lists of left, top, right and bottom,"
            " as fractions of the picture from 0 to 1"
        )
    return tuple(
        (float(left), float(top), float(right), float(bottom)) for left, top, right, bottom in entry
    )


def _is_part(entry: Any) -> bool:
    if (
        not isinstance(entry, list)
        or len(entry) != 4
        or not all(type(one) in (int, float) for one in entry)
    ):
        return False
    left, top, right, bottom = entry
    return bool(0 <= left < right <= 1 and 0 <= top < bottom <= 1)


def _check(which: str, entry: dict[str, Any]) -> None:
    url = entry.get("url", "")
    if _URL.fullmatch(url) is None and _DEVICE.fullmatch(url) is None:
        raise ValueError(
            f"{which} has no url like rtsp://192.168.1.20:554/stream, rtsps://, http://, https:// or /dev/video0;"
            " its user and password belong in the keys user and password"
        )
    if not url.startswith("/") and not has_port(url):
        raise ValueError(f"{which} has a url with a port outside of 1 to 65535")
    if entry.get("password") and not entry.get("user"):
        raise ValueError(f"{which} has a password but no user")
    if ":" in entry.get("user", ""):
        raise ValueError(
            f"{which} has a user name that contains a colon, which cameras do not accept"
        )
    if len(entry.get("watches", [])) > MOST_WATCHES:
        raise ValueError(f"{which} has more than {MOST_WATCHES} watches")
    if any(_HOST.fullmatch(one.strip()) is None for one in entry.get("engines", [])):
        raise ValueError(f"{which} has engines that are not host names such as gpu.example.org")

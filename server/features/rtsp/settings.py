"""The settings of fixed cameras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.core.frames import Part
from server.core.setting_text import file_errors
from server.core.settings import FeatureSettings, path
from server.shared.operator_list import HOST_AND_PORT, check_table, has_port, read_tables


class RtspSettings(FeatureSettings):
    standing_cameras: Path | None = path(
        "a TOML file with cameras, as server/features/rtsp/README.md shows"
    )

    def find_errors(self) -> Iterable[str]:
        return file_errors(
            "STANDING_CAMERAS",
            self.standing_cameras,
            read_list,
            "server/features/rtsp/README.md shows such a file.",
        )

    def listed_cameras(self) -> tuple[FixedCamera, ...]:
        return read_list(self.standing_cameras) if self.standing_cameras is not None else ()


SETTINGS = RtspSettings


# The list of the house's cameras (STANDING_CAMERAS): a TOML file of the operator's. Pure.

# Most cameras of one server: each has a process of its own.
MOST_CAMERAS = 16
# Watches of a session (features/watches/rule.py), and characters of a watch's condition
MOST_WATCHES = 8
MOST_CHARACTERS = 200
_DEVICE = re.compile(r"/dev/video\d{1,3}", re.ASCII)
_URL = re.compile(rf"(?:rtsps?|https?)://{HOST_AND_PORT}(?:/[\x21-\x7e]{{0,1024}})?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", re.ASCII)
_TEXTS = ("name", "url", "user", "password", "ca")
_FLAGS = ("describe", "clear_password", "mqtt")
_LISTS = ("watches", "engines")
# Parts of a picture that are ignored
MOST_PARTS = 8


@dataclass(frozen=True, slots=True)
class FixedCamera:
    """One camera of the list."""

    name: str
    # rtsp://, rtsps://, http://, https:// without a user, or a device like /dev/video0
    url: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    # A PEM file with the authority of its certificate; "" for the system's
    ca: str = ""
    # Its password may go unencrypted and unhashed.
    clear_password: bool = False
    describe: bool = False
    # The broker of MQTT_URL gets what it tells, and may order looks.
    mqtt: bool = False
    # Conditions to watch for, in words
    watches: tuple[str, ...] = ()
    # Other machines whose engines may get its pictures
    engines: tuple[str, ...] = ()
    # Parts of the picture in which no change matters, such as a clock
    ignore: tuple[Part, ...] = ()

    @property
    def where(self) -> str:
        """Its address without path and query, which may hold secrets."""
        if self.url.startswith("/"):
            return self.url
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def read_list(path: Path) -> tuple[FixedCamera, ...]:
    """Read the file. Raises OSError, and ValueError with a relative clause that has no secret."""
    cameras, _, others_read = read_tables(path, "camera", MOST_CAMERAS, _camera)
    if others_read and any(one.password for one in cameras):
        raise ValueError(
            "which has passwords and can be read by others than its owner; chmod 600 changes that"
        )
    return cameras


def _camera(which: str, entry: Any) -> FixedCamera:
    check_table(which, entry, texts=_TEXTS, flags=_FLAGS, lists=(*_LISTS, "ignore"), most=1100)
    for name in _LISTS:
        items = entry.get(name, [])
        if not isinstance(items, list) or not all(
            isinstance(one, str) and 0 < len(one.strip()) <= MOST_CHARACTERS for one in items
        ):
            raise ValueError(
                f"{which} has {name} that are not a list of texts of 1 to {MOST_CHARACTERS} characters"
            )
    _check(which, entry)
    return FixedCamera(
        **{name: entry[name] for name in (*_TEXTS, *_FLAGS) if name in entry},
        watches=tuple(one.strip() for one in entry.get("watches", [])),
        engines=tuple(one.strip().lower() for one in entry.get("engines", [])),
        ignore=_parts(which, entry.get("ignore", [])),
    )


def _parts(which: str, entry: Any) -> tuple[Part, ...]:
    if not isinstance(entry, list) or len(entry) > MOST_PARTS or not all(map(_is_part, entry)):
        raise ValueError(
            f"{which} has ignore that is not a list of up to {MOST_PARTS} lists of left, top, right and bottom,"
            " shares of the picture from 0 to 1"
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
        raise ValueError(f"{which} has a user with a colon, which no camera takes")
    if len(entry.get("watches", [])) > MOST_WATCHES:
        raise ValueError(f"{which} has more than {MOST_WATCHES} watches")
    if any(_HOST.fullmatch(one.strip()) is None for one in entry.get("engines", [])):
        raise ValueError(f"{which} has engines that are not host names such as gpu.example.org")

"""Problems that keep the server from starting: a function for each subject.

The sentences never have a secret's text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from server.core.secret_rules import MAKE_A_SECRET, MIN_OPERATOR_CHARS, secret_weakness
from server.core.setting_text import shown
from server.core.standing_list import read_list
from server.core.tls_files import MIN_SECRET_CHARS, authority_reason, unreadable
from server.core.webhook_list import Webhook, read_webhooks


def signing_key(key: str, *, guarded: bool, shared: bool) -> list[str]:
    """`guarded`: a token is required; `shared`: several processes need the same key."""
    weakness = secret_weakness(key)
    if weakness and guarded:
        return [
            f"JWT_SECRET_KEY {weakness}. REQUIRE_AUTH and ACCESS_CODE need at least {MIN_SECRET_CHARS} random"
            f" characters there; make them with: {MAKE_A_SECRET}"
        ]
    if weakness and shared:
        return [
            f"JWT_SECRET_KEY {weakness}. REDIS_URL is for several processes, which need one and the same, of at least"
            f" {MIN_SECRET_CHARS} random characters; make them with: {MAKE_A_SECRET}"
        ]
    return []


def operator(token: str) -> list[str]:
    if not token or len(token) >= MIN_OPERATOR_CHARS:
        return []
    return [
        f"OPERATOR_TOKEN has only {len(token)} characters. Whoever has it can start programs here, so it needs at"
        f" least {MIN_OPERATOR_CHARS} random ones; make them with: {MAKE_A_SECRET}"
    ]


def engine(name: str, *, local: bool, operator: bool) -> list[str]:
    """`name`: ENGINE; `local`: LOCAL_MODEL is set; `operator`: OPERATOR_TOKEN is set."""
    if name != "local" or local or operator:
        return []
    return [
        "LOCAL_MODEL is empty. ENGINE=local needs the folder of a model there, or OPERATOR_TOKEN, so that an operator"
        " can choose one; ENGINE=auto needs neither."
    ]


def speech(url: str, folder: Path | None) -> list[str]:
    if not url or folder is None:
        return []
    return [
        "SPEECH_BASE_URL and SPEECH_LOCAL_MODEL are both set. Only one of them can be used: leave the other one empty."
    ]


def end_of_turn(path: Path | None, checksum: str) -> list[str]:
    """The file itself is read at the start: without it silence ends turns."""
    if path is None or checksum:
        return []
    return [
        "END_OF_TURN_SHA256 is empty. END_OF_TURN_MODEL needs the checksum of its file there: sha256sum prints it, and so"
        " does the page from which the file comes."
    ]


def turn(urls: Sequence[str], secret: str) -> list[str]:
    if not urls or secret:
        return []
    return [
        "TURN_SECRET is empty. TURN_URLS needs the secret that the TURN server has as static-auth-secret."
    ]


def catalogue(source: str, allowed: str | None) -> list[str]:
    """An address is not asked here: the server starts without a network, too."""
    if not source or "://" in source or Path(os.path.expanduser(source)).is_file():
        return []
    return [
        f"CATALOGUE is {shown(source)}, but there is no such file. Allowed: {allowed}. Leave it empty for our own."
    ]


def standing(path: Path | None) -> list[str]:
    return unreadable("STANDING_CAMERAS", path, read_list, "docs/standing.md shows such a file.")


def webhooks(path: Path | None, cameras: Path | None) -> list[str]:
    """`cameras`: STANDING_CAMERAS, whose names the list may have."""
    if path is None:
        return []
    try:
        listed = read_webhooks(path).webhooks
    except OSError as exc:
        reason = f"which cannot be read ({exc.strerror})"
    except ValueError as exc:
        reason = str(exc)
    else:
        return _webhook_parts(path, listed, cameras)
    return [f"WEBHOOKS is {shown(path)}, {reason}. docs/webhooks.md shows such a file."]


def _webhook_parts(path: Path, listed: Sequence[Webhook], cameras: Path | None) -> list[str]:
    """Find authorities and cameras that are named and not there."""
    for one in listed:
        if one.ca and not os.access(one.ca, os.R_OK):
            return [
                f"WEBHOOKS is {shown(path)}, whose webhook {one.name} has a ca that cannot be read."
            ]
    try:
        known = {one.name for one in read_list(cameras)} if cameras is not None else set()
    except (OSError, ValueError):
        return []
    named = {name for one in listed for name in one.cameras} - {"*"}
    return [
        f"WEBHOOKS is {shown(path)}, which names the camera {name}. STANDING_CAMERAS has no camera of this name:"
        " correct it in one of the two files."
        for name in sorted(named - known)
    ]


def mqtt(ca: Path | None) -> list[str]:
    if ca is None or not (reason := authority_reason(ca)):
        return []
    return [f"MQTT_CA is {shown(ca)}, {reason}. The broker's certificate is checked with it."]


def log(path: Path | None, allowed: str | None) -> list[str]:
    if path is None or (path.parent.is_dir() and not path.is_dir()):
        return []
    return [f"LOG_FILE is {shown(path)}. Allowed: {allowed}."]

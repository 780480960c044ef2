"""Problems that keep the server from starting: a function for each subject.

The sentences never have a secret's text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from server.core.secret_rules import MAKE_A_SECRET, MIN_OPERATOR_CHARS, secret_weakness
from server.core.setting_text import shown
from server.core.tls_files import MIN_SECRET_CHARS


def signing_key(key: str, *, guarded: bool) -> list[str]:
    """`guarded`: a token is required."""
    weakness = secret_weakness(key)
    if weakness and guarded:
        return [
            f"JWT_SECRET_KEY {weakness}. REQUIRE_AUTH and ACCESS_CODE need at least {MIN_SECRET_CHARS} random"
            f" characters there; make them with: {MAKE_A_SECRET}"
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


def log(path: Path | None, allowed: str | None) -> list[str]:
    if path is None or (path.parent.is_dir() and not path.is_dir()):
        return []
    return [f"LOG_FILE is {shown(path)}. Allowed: {allowed}."]

"""Settings of pairing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic_settings import NoDecode

from server.auth import derive_signing_key
from server.core.addresses import normalise_origin
from server.core.setting_text import MIN_SECRET_CHARS, find_file_errors, host_name
from server.core.settings import FeatureSettings, list_of, names, path


def read_secret(path: Path) -> str:
    """Return the secret in a file that only its owner can read.

    Raises OSError; ValueError, whose text is a relative clause for the error about the setting.
    """
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        text = stream.read(4096).decode("ascii", "replace").strip()
    if status.st_mode & 0o077:
        raise ValueError("which other users can read; run chmod 600 on it")
    if len(text) < MIN_SECRET_CHARS:
        raise ValueError(f"which has fewer than {MIN_SECRET_CHARS} characters")
    return text


class PairingSettings(FeatureSettings):
    device_key_path: Path | None = path(
        "a file with at least 32 characters that its owner alone can read"
    )
    pairing_hosts: Annotated[tuple[str, ...], NoDecode, list_of(host_name)] = names(
        "addresses and names of this machine"
    )

    def find_errors(self) -> Iterable[str]:
        return find_file_errors(
            "DEVICE_KEY_PATH",
            self.device_key_path,
            read_secret,
            "It signs the access of paired devices.",
        )

    def find_warnings(self) -> Iterable[str]:
        core: Any = self
        hosts = self.pairing_hosts
        if not hosts:
            return
        if not core.https_enabled:
            yield (
                "PAIRING_HOSTS is set but HTTPS_ENABLED is false: on phones the page gets no camera, and the pairing code is"
                " sent unencrypted. Start with bash scripts/run.sh --https."
            )
        served = {
            normalise_origin(f"https://{f'[{host}]' if ':' in host else host}:{core.port}")
            for host in hosts
        }
        if core.allowed_origins and not served & set(core.allowed_origins):
            yield (
                f"ALLOWED_ORIGINS has no address of this machine like https://{hosts[0]}:{core.port}, so phones are refused there."
                " Add it, or leave the list empty."
            )

    def needs_code(self) -> bool:
        # Without an access code, anybody could enter and pairing would be pointless.
        return bool(self.pairing_hosts)

    def device_key(self) -> str:
        """Return the key that signs device tokens.

        It depends on the secrets that are set, not on those generated for one run, so that devices stay paired.
        """
        core: Any = self
        secret = core.jwt_secret_key.get_secret_value()
        if self.device_key_path is not None:
            secret = read_secret(self.device_key_path) + ("" if core.made_secret else secret)
        code = "" if core.made_access_code else core.access_code.get_secret_value()
        return derive_signing_key(secret, "device tokens", code)


SETTINGS = PairingSettings

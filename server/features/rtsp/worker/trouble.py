"""The reasons why a camera cannot be read. Pure."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """A bounded set, for states, log lines and metrics."""

    # Nothing answers at its address, or its name has none.
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    # User or password are wrong, or missing.
    CREDENTIALS = "credentials"
    # It wants the password in clear text over a connection that is not encrypted.
    CLEAR_PASSWORD = "clear_password"
    # It names another address.
    REDIRECT = "redirect"
    # The path of its URL is wrong.
    NOT_FOUND = "not_found"
    # Its answer is no 200 for another reason: it is busy, or does not take our way.
    REFUSED = "refused"
    # It sends neither H.264 nor H.265 nor JPEGs.
    CODEC = "codec"
    # Pictures of a known codec that are not decoded here.
    FORMAT = "format"
    SIZE = "size"
    MEMORY = "memory"
    SILENT = "silent"
    ENDED = "ended"
    MALFORMED = "malformed"
    # A device of this machine: it is not there, this user may not open it, it is no camera, another program has it.
    DEVICE_MISSING = "device_missing"
    DEVICE_FORBIDDEN = "device_forbidden"
    DEVICE_OTHER = "device_other"
    DEVICE_BUSY = "device_busy"
    # The process that reads it ended by itself.
    CRASHED = "crashed"


class SourceFailed(Exception):
    """The camera cannot be read for now.

    Outside the server's tree of errors: it stays in the worker's process. `detail`: a codec's name,
    from a bounded alphabet; never another text of the camera.
    """

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
        self.detail = detail

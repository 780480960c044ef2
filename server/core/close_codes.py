"""The close codes of /ws, as docs/protocol.md lists them."""

from __future__ import annotations

from enum import IntEnum


class Close(IntEnum):
    # RFC 6455, section 7.4.1
    NORMAL = 1000
    UNSUPPORTED = 1003
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL = 1011
    DRAINING = 1013
    # Ours
    UNAUTHORIZED = 4401
    FORBIDDEN_ORIGIN = 4403
    # There is no such session, or it has ended: a page begins a new one by itself.
    NO_SESSION = 4404
    # Nobody was there: a page waits for its person.
    IDLE = 4408
    REPLACED = 4409
    # The operator ended it.
    TAKEN_BACK = 4410
    TOO_MANY = 4429

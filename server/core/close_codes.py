"""The close codes of /ws.

The server accepts each socket before it closes it with one of these, since browsers cannot read the status of a
refused upgrade. A message that is not UTF-8 is closed with 1007 by the library below.
"""

from __future__ import annotations

from enum import IntEnum


class Close(IntEnum):
    # The session's end, without an error (RFC 6455, section 7.4.1, as those below 4000)
    NORMAL = 1000
    # A binary message: send text.
    UNSUPPORTED = 1003
    # `page` or `attempt` is malformed.
    POLICY = 1008
    # A message over 64 KiB
    TOO_LARGE = 1009
    # A fault of the server: connect again.
    INTERNAL = 1011
    # The server is about to stop: connect again after some seconds.
    DRAINING = 1013
    # Not authorised, or no token within 5 s: get a new one.
    UNAUTHORIZED = 4401
    # This origin is not allowed.
    FORBIDDEN_ORIGIN = 4403
    # There is no such session, or it has ended: get a new token, with which a new session begins.
    NO_SESSION = 4404
    # No activity for `SESSION_TIMEOUT`: get a new token when the person is back.
    IDLE = 4408
    # A newer socket of the same session took its place.
    REPLACED = 4409
    # The operator ended it.
    TAKEN_BACK = 4410
    # Too many sockets, sessions or messages, or the client reads too slowly: wait, then connect again.
    TOO_MANY = 4429

"""The name of a session for model servers and their router: a keyed hash of its id. Pure."""

from __future__ import annotations

import hashlib
import hmac

# vLLM's router keeps requests with the same value at one server.
SESSION_HEADER = "X-Session-ID"
# vLLM makes its own id of a request of this, and its router passes it on.
REQUEST_HEADER = "X-Request-ID"
_PURPOSE = b"sessions at model servers"


class SessionKeys:
    """The names under one secret, JWT_SECRET_KEY: the same in all processes that share it."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()

    def of(self, session_id: str) -> str:
        """Return 32 hexadecimal digits, from which nobody finds the id."""
        said = session_id.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:32]

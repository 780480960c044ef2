"""Judge secrets that people choose, and make some. Pure, but for chance."""

from __future__ import annotations

import re
import secrets

from server.core.tls_files import MIN_SECRET_CHARS

MIN_OPERATOR_CHARS = 16
MAKE_A_SECRET = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

_PLACEHOLDER = re.compile(
    r"change.?(me|this|it)|replace|your[-_ ]|placeholder|example|secret|passwor[dt]|dummy|default|12345678",
    re.IGNORECASE,
)


def secret_weakness(secret: str) -> str:
    """Say how a signing key is weak, as the end of a sentence that begins with its name; "" for a good one."""
    if not secret:
        return "is empty"
    if len(secret) < MIN_SECRET_CHARS:
        return f"has only {len(secret)} characters"
    if secret.startswith(("-----BEGIN", "ssh-")):
        return "is a public or private key, which must not sign tokens as a shared secret"
    if _PLACEHOLDER.search(secret) or len(set(secret)) < 8:
        return "is a placeholder or easily guessed"
    return ""


def short_code() -> str:
    """Make a code of 50 random bits to type on a phone, of letters and digits that do not look alike."""
    letters = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(10))
    return f"{letters[:5]}-{letters[5:]}"

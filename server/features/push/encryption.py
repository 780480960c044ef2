"""Encryption of push messages (RFC 8291) and signed identification of the server (VAPID, RFC 8292). Pure."""

from __future__ import annotations

import base64
import binascii
import os
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jose import jwt

_CURVE = ec.SECP256R1()
# Order of the curve's group (FIPS 186-5)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Record size; messages are one record.
_RECORD = 4096
# Maximum plaintext that push services must accept (RFC 8030, 7.2, less the header and the tag)
MOST_BYTES = 3993


def encode(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Decode base64url with or without padding. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def encrypt(
    plaintext: bytes, device: bytes, auth: bytes, *, key: ec.EllipticCurvePrivateKey | None = None
) -> bytes:
    """Encrypt a message for a device, with a new key unless one is given.

    `device`: the subscription's `p256dh`, 65 bytes; `auth`: its secret, 16 bytes. Raises ValueError.
    """
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, device)
    key = key or ec.generate_private_key(_CURVE)
    own = public_bytes(key)
    shared = key.exchange(ec.ECDH(), receiver)
    secret = _derive(shared, auth, b"WebPush: info\0" + device + own, 32)
    salt = os.urandom(16)
    content = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
    record = AESGCM(content).encrypt(nonce, plaintext + b"\x02", None)
    return salt + struct.pack("!IB", _RECORD, len(own)) + own + record


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Identity:
    """The server's VAPID key pair, derived from a secret: the same in all its processes and after a restart."""

    def __init__(self, secret: str) -> None:
        drawn = _derive(secret.encode(), b"", b"qwen-camera web push", 48)
        self._key = ec.derive_private_key(int.from_bytes(drawn) % (_ORDER - 1) + 1, _CURVE)
        self._pem = self._key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode()
        self.public = encode(public_bytes(self._key))

    def sign(self, origin: str, contact: str, now: float) -> str:
        """Return the Authorization header for a push service, valid for an hour.

        `contact`: a mailto: or https: address; `now`: seconds since the epoch.
        """
        claims = {"aud": origin, "exp": int(now) + 3600, "sub": contact}
        return f"vapid t={jwt.encode(claims, self._pem, algorithm='ES256')}, k={self.public}"

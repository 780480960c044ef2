"""A push service with a device behind it, which decrypts what arrives (RFC 8291)."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jose import jwt

from server.features.push.encryption import decode, encode
from server.features.push.messages import Subscribe
from tests.support.http_stand_in import HttpRequest, HttpStandIn

CURVE = ec.SECP256R1()


def derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


class Device:
    """A browser's subscription, with its private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None, auth: bytes = b"") -> None:
        self.key = key or ec.generate_private_key(CURVE)
        self.auth = auth or os.urandom(16)
        self.public = self.key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def subscribe(self, endpoint: str) -> Subscribe:
        return Subscribe(
            type="push", endpoint=endpoint, p256dh=encode(self.public), auth=encode(self.auth)
        )

    def decrypt(self, body: bytes) -> bytes:
        salt, (size, length) = body[:16], struct.unpack("!IB", body[16:21])
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert len(record) <= size
        point = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender)
        shared = self.key.exchange(ec.ECDH(), point)
        secret = derive(shared, self.auth, b"WebPush: info\0" + self.public + sender, 32)
        key = derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derive(secret, salt, b"Content-Encoding: nonce\0", 12)
        plain = AESGCM(key).decrypt(nonce, record, None)
        assert plain.endswith(b"\x02")
        return plain[:-1]


class PushService(HttpStandIn):
    """Answers with the given statuses, the last one again and again; 0: not at all."""

    def __init__(self, statuses: Sequence[int] = (201,)) -> None:
        super().__init__()
        self.statuses = list(statuses)
        self.requests: list[HttpRequest] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def claims(self, request: HttpRequest) -> dict[str, Any]:
        """Check the server's signature, and return what it claims."""
        scheme, _, rest = request.headers["authorization"].partition(" ")
        assert scheme == "vapid"
        token, key = (part.strip().partition("=")[2] for part in rest.split(","))
        x, y = decode(key)[1:33], decode(key)[33:]
        jwk = {"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "alg": "ES256"}
        claims: dict[str, Any] = jwt.decode(token, jwk, "ES256", audience=self.origin)
        return claims

    def message(self, device: Device) -> dict[str, Any]:
        """Decrypt the newest message."""
        found: dict[str, Any] = json.loads(device.decrypt(self.requests[-1].body))
        return found

    async def _answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        self.requests.append(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if not status:
            await asyncio.sleep(3600)
        return await self._reply(writer, status, b"", "text/plain")

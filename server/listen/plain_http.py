"""Answer plain http at the https port with a redirect to https."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path

from server.core.errors import BadRequest
from server.core.messages import error_body
from server.core.origins import normalise_origin

# Beginning of a request; a TLS handshake begins with the byte 22.
_METHOD = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|PRI) ")
_TARGET = re.compile(rb"(?:GET|HEAD) (/[!-~]{0,2000}) HTTP/1\.[01]\r\n")
_HOST = re.compile(rb"\r\nhost:[ \t]*([!-~]{1,300})[ \t]*\r\n", re.IGNORECASE)
_WHY = "Only https is spoken here. Put https:// in front of the address."


def answer_to(first: bytes) -> bytes | None:
    """Return the response to a connection's first bytes; None when they are no plain HTTP.

    Pages are redirected to the same address by https, everything else gets 400.
    """
    if (method := _METHOD.match(first)) is None:
        return None
    target, host = _TARGET.match(first), _HOST.search(first)
    origin = normalise_origin(f"https://{host[1].decode('ascii')}") if host else None
    status, where = "400 Bad Request", ""
    if target is not None and origin is not None:
        status, where = (
            "307 Temporary Redirect",
            f"Location: {origin}{target[1].decode('ascii')}\r\n",
        )
    body = json.dumps(error_body(BadRequest(_WHY))).encode()
    head = (
        f"HTTP/1.1 {status}\r\n{where}Content-Type: application/json\r\nCache-Control: no-store\r\n"
        f"X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (b"" if method[1] == b"HEAD" else body)


class HttpsContext(ssl.SSLContext):
    """A server's TLS context that answers plain HTTP in place of a handshake.

    Raises OSError, ValueError, ssl.SSLError.

    Such a connection ends by the handshake's time limit, or when the client closes it.
    """

    def __new__(cls, certificate: Path | None, key: Path | None) -> HttpsContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Path | None, key: Path | None) -> None:
        if certificate is None:
            raise ValueError("There is no https without a certificate.")
        self.load_cert_chain(certificate, key)
        self.sslobject_class = _Handshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Handshake)
        made.incoming, made.outgoing = incoming, outgoing
        return made


class _Handshake(ssl.SSLObject):
    """Checks the first bytes before OpenSSL reads them."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    _looked = False
    _answered = False

    def do_handshake(self) -> None:
        if not self._looked and self.incoming.pending:
            self._looked = True
            first = self.incoming.read()
            answer = answer_to(first)
            if answer is None:
                self.incoming.write(first)
            else:
                self._answered = True
                self.outgoing.write(answer)
        if self._answered:
            # Discard the rest.
            self.incoming.read()
            raise ssl.SSLWantReadError
        super().do_handshake()

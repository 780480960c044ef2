"""A small https server on loopback that answers as a test tells it to, badly too."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.turn_server import make_certificate

NAME = "files.test"
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    files: Files

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.files.asked.append(f"{self.headers['Host']}{self.path}")
        self.files.answers[self.path](self)

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


@dataclass
class Files:
    """`answers` by path; `asked` is host and path of each request."""

    port: int
    trust: ssl.SSLContext
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    # Set when the server ends: for answers that wait
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = NAME) -> str:
        return f"https://{host}:{self.port}{path}"

    def resolve(self, host: str, port: int) -> list[str]:
        """As a name server would that knows this one alone."""
        if host == NAME:
            return ["127.0.0.1"]
        # Numbers are looked up without a network.
        found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]) for entry in found]


class Server(ThreadingHTTPServer):
    """Serves on loopback in a thread, while it is a context. Set `over` lets answers go that wait."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away here by design."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


@contextmanager
def https_server(folder: Path) -> Iterator[Files]:
    """Trusted by `Files.trust` alone, as NAME and 127.0.0.1."""
    certificate = make_certificate(folder, NAME, "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.chain, certificate.key)
    handler = type("One", (Handler,), {})
    server = Server(handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    trust = certificate.client_context()
    files = Files(server.server_address[1], trust, over=server.over)
    handler.files = files  # type: ignore[attr-defined]
    with server:
        yield files

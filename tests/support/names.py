"""A name that leads to this machine and is not its own, as another machine's does for the program."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def named(*names: str) -> Iterator[None]:
    """As if a name server had these names, each at 127.0.0.1; all others are asked about as before."""
    real = socket.getaddrinfo

    def resolve(host: Any, *given: Any, **more: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if text in names else host, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield

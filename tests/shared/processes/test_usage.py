"""The port that a process and its descendants listen at."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from server.shared.processes.usage import is_listening

LISTENS = """
import socket, subprocess, sys
code = "import socket; s = socket.create_server(('%s', 0)%s); print(s.getsockname()[1], flush=True); input()"
sys.exit(subprocess.run([sys.executable, "-S", "-c", code]).returncode)
"""


@pytest.mark.parametrize(
    ("address", "more"),
    [("127.0.0.1", ""), ("0.0.0.0", ""), ("::", ", family=socket.AF_INET6, dualstack_ipv6=True")],
)
def test_a_descendants_port_is_known(address: str, more: str) -> None:
    """However it listens; to everybody else it is another's."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", LISTENS % (address, more)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as one:
        assert one.stdout is not None
        port = int(one.stdout.readline())
        assert is_listening(one.pid, port) is True
        with subprocess.Popen(["sleep", "60"]) as other:
            assert is_listening(other.pid, port) is False
            other.kill()
        one.communicate("\n", timeout=10)


def test_where_nobody_listens_there_is_no_telling() -> None:
    """Nor where one listens on another address only."""
    with closing(socket.socket()) as held, closing(socket.socket()) as bound:
        # So that nobody else listens there meanwhile
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        bound.bind(("127.0.0.2", port))
        bound.listen()
        assert is_listening(os.getpid(), port) is None
        bound.close()
        assert is_listening(os.getpid(), port) is None

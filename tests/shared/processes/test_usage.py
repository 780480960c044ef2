"""The memory of a process and its descendants, and the port that it listens at."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

from server.shared.processes.process import ChildProcess
from server.shared.processes.usage import TreeMemory, listens
from tests.support.fakes import until as soon

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
        assert listens(one.pid, port) is True
        with subprocess.Popen(["sleep", "60"]) as other:
            assert listens(other.pid, port) is False
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
        assert listens(os.getpid(), port) is None
        bound.close()
        assert listens(os.getpid(), port) is None


async def test_memory_is_that_of_the_whole_tree() -> None:
    """A child's memory counts; what is gone has none."""
    code = "import subprocess, sys; b = bytearray(30 * 2**20); print('up', flush=True); subprocess.run(['sleep', '9'])"
    process = ChildProcess([sys.executable, "-S", "-c", code], {}, grace=0.2)
    process.start()
    await soon(lambda: bool(process.lines))
    assert process.pid is not None
    memory = TreeMemory()
    held = memory.bytes(process.pid)
    assert held is not None
    assert 30 * 2**20 < held < 100 * 2**20
    await process.stop()
    assert memory.bytes(None) == 0


def test_what_is_left_of_a_tree_counts() -> None:
    """A child counts after its parent's end, until it has gone, too; before there is nothing."""
    memory = TreeMemory()
    assert memory.bytes(None) is None
    with subprocess.Popen(
        ["sh", "-c", "setsid sleep 60 & echo $!; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        whole = memory.bytes(parent.pid) or 0
        parent.kill()
        parent.wait()
        left = memory.bytes(None) or 0
        assert 0 < left < whole
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while memory.bytes(None):
            assert time.monotonic() < deadline, "it still counts"
            time.sleep(0.01)
    assert memory.bytes(None) == 0

"""Hosts of a fleet as network namespaces: they reach each other, one is cut off, and nothing stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.fleet_hosts import Hosts, Namespaces
from scripts.bench.processes import MeasurementError
from tests.support.programs import ran

ROOT = Path(__file__).resolve().parents[2]
# In a process of its own, which moves into a namespace.
PROGRAM = """
import asyncio
from scripts.bench.fleet_hosts import Namespaces

async def reached(address):
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(address, 8123)
            writer.close()
            return True
    except (OSError, TimeoutError):
        return False

async def main():
    async with Namespaces(("people", "far")) as hosts:
        far = hosts["far"]
        server = await asyncio.create_subprocess_exec(
            *far.command, "python3", "-m", "http.server", "8123", "--bind", far.address,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(30):
                while not await reached(far.address):
                    await asyncio.sleep(0.05)
            await hosts.cut("far")
            assert not await reached(far.address)
            await hosts.mend("far")
            async with asyncio.timeout(30):
                while not await reached(far.address):
                    await asyncio.sleep(0.05)
        finally:
            server.kill()
            await server.wait()
    print("well", hosts._prefix)

asyncio.run(main())
"""


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MeasurementError, match="needs root"):
        Namespaces(("people",))


async def test_one_machine_has_no_partition() -> None:
    with pytest.raises(MeasurementError, match="--namespaces"):
        await Hosts(()).cut("h1")


@pytest.mark.slow
def test_a_host_is_cut_off_and_comes_back() -> None:
    """Two hosts; afterwards the machine has none of their namespaces."""
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip("network namespaces need root")
    done = ran([sys.executable, "-c", PROGRAM], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said, prefix = done.stdout.split()
    assert said == "well"
    left = ran(["ip", "netns"], check=True).stdout
    assert prefix not in left

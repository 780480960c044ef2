"""The web server works as shut in as its unit asks: what is taken away there, nothing needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fakes_server import ServerProcess
from tests.support.programs import ran
from tests.whole.test_nothing_kept import whole_session

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "qwen-webrtc.service"
SHUT_IN = ROOT / "tests" / "support" / "shut_in.py"


def command(unit: Path) -> list[str]:
    """Return the start of a command that runs another one under the unit's restrictions."""
    return ["unshare", "--mount", "--fork", sys.executable, str(SHUT_IN), str(unit)]


def why_not() -> str | None:
    if shutil.which("systemd-analyze") is None:
        return "systemd-analyze is missing; scripts/test.sh installs it."
    probe = "import os; open('/tmp/shut_in', 'w')"
    done = ran([*command(UNIT), sys.executable, "-c", probe], timeout=60)
    if "Read-only file system" in done.stderr:
        return None
    return f"nothing can be shut in here: {done.stderr[-300:]}"


@pytest.fixture(scope="module")
def permitted() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.mark.usefixtures("permitted")
async def test_a_whole_session_works_in_what_the_unit_leaves() -> None:
    """Camera, questions, a held frame, a description, and a clean end: with its system calls, address families and privileges, on a read-only disk."""
    async with ServerProcess(wrapper=command(UNIT)) as server:
        texts = await whole_session(server)
        assert "4711" in texts[0]
        assert await server.stop() == 0
    assert '"level": "error"' not in server.text
    assert "Traceback" not in server.text


@pytest.mark.usefixtures("permitted")
@pytest.mark.parametrize(
    "probe",
    [
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)",
        "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "import tempfile; tempfile.TemporaryFile(dir='/var/tmp')",
        "import os; os.chroot('/')",
    ],
    ids=["memory", "priority", "address family", "file", "root"],
)
def test_what_the_unit_takes_away_is_gone(probe: str, tmp_path: Path) -> None:
    """Or the test above would show nothing: each of these works outside and fails inside a unit that asks for all."""
    unit = tmp_path / "all.service"
    text = UNIT.read_text().replace("MemoryDenyWriteExecute=no", "MemoryDenyWriteExecute=yes")
    unit.write_text(text)
    outside = [sys.executable, "-c", probe]
    assert subprocess.run(outside, timeout=60, check=False).returncode == 0
    inside = ran([*command(unit), *outside], timeout=60, check=False)
    assert inside.returncode == 1
    assert "Error" in inside.stderr

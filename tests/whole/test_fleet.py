"""A fleet of real gateways behind a real nginx and Redis, with simulated people and a scripted fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The program's own end is sooner; a busy machine gets some more.
SECONDS = 150

pytestmark = [pytest.mark.slow, pytest.mark.night]


def descendants(pid: int) -> list[int]:
    """All processes below one, as they are now."""
    found: list[int] = []
    for one in [pid]:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                for child in (task / "children").read_text().split():
                    found += [int(child), *descendants(int(child))]
    return found


async def test_people_stay_with_their_chat(tmp_path: Path) -> None:
    """One gateway drains and another is killed: nobody's chat is lost, every camera is live again,
    and no question is lost but those in mid-answer at the killed one.
    """
    for needed in ("nginx", "redis-server"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is missing; bash scripts/test.sh installs it where it may.")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "scripts/benchmark.py", "--fleet", "--output", str(tmp_path)),
        *("--gateways", "3", "--engines", "2", "--cameras", "5", "--rate", "2", "--phase", "4"),
        *("--turnover", "0", "--faults", "drain", "kill"),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = bytearray()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while (line := await process.stdout.readline()) != b"":
                said += line
            status = await process.wait()
    finally:
        if process.returncode is None:
            for pid in [*descendants(process.pid), process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()
    text = said.decode(errors="replace")
    assert status == 0, text
    (written,) = tmp_path.glob("fleet-*.json")
    drain, kill = json.loads(written.read_text())["faults"]
    for row in (drain, kill):
        assert row["live_at_end"] == row["people"] == 5, text
        assert row["never_back"] == 0, text
        assert row["chats_kept"] == row["chats_due"], text
        assert row["lost"] == 0, text
    assert drain["mid_answer"] == 0, text
    # Sessions are spread, so each gateway has some.
    assert drain["moved"] + drain["cut_off"] + kill["cut_off"] > 0, text

"""`python -m benchmarks`, as a program."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.programs import ran


@pytest.mark.slow
def test_it_measures_a_server_that_it_starts_itself(tmp_path: Path) -> None:
    """Questions through simulated cameras: all reach the model, with a full-size frame captured
    after each.
    """
    words = (
        *("--rows", "--num-requests", "6", "--sessions", "2", "--rate", "3", "--warm-up", "1"),
        *("--only", "questions,first", "--output", str(tmp_path)),
    )
    done = ran([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "typed question → model request" in done.stdout
    assert "median 0.5-1.5 s, p95 1.5-2.5 s, 1-3 frames/s" in done.stdout
    (result,) = tmp_path.glob("*.json")
    rows = json.loads(result.read_text())["rows"]
    by_number = {row["number"]: row for row in rows if row["number"]}
    assert by_number["1"]["value"] == 1280
    questions = [row for row in rows if row["number"] in ("2", "3")]
    assert sum(row["spread"]["n"] for row in questions) == 6
    assert all(" 0 before" in row["note"] for row in questions), questions
    assert by_number["10"]["spread"]["n"] == 10
    assert len(list(tmp_path.glob("*.csv"))) == 1


@pytest.mark.slow
async def test_one_that_is_asked_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    """SIGTERM in the middle of the rows: a sentence, status 130, and the server and the stand-in
    end with it.

    In a shell's background, too, where SIGINT is ignored.
    """
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'trap "" INT; exec "$@"', "sh"),
        *(sys.executable, "-m", "benchmarks", "--rows", "--only", "questions"),
        *("--num-requests", "500", "--rate", "3", "--output", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def started() -> list[Path]:
        found = [Path(f"/proc/{pid}") for pid in children.read_text().split()]
        return [path for path in found if b"server.main" in (path / "cmdline").read_bytes()]

    try:
        async with asyncio.timeout(60):
            while not (servers := started()):
                assert process.returncode is None
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)
            others = [Path(f"/proc/{pid}") for pid in children.read_text().split()]
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 130
    assert err.decode().endswith("Interrupted before anything was measured: nothing was written.\n")
    assert not [path for path in (*servers, *others) if path.exists()]
    assert list(tmp_path.iterdir()) == []

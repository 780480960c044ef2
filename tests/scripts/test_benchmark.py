from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import cv2

from scripts.bench.processes import ROOT


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "scripts" / "benchmark.py"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode or 0, out.decode(), err.decode()


async def test_it_measures_a_server_that_it_starts_itself(tmp_path: Path) -> None:
    """Questions through simulated cameras: all reach the model, with a full-size frame captured after each."""
    code, out, err = await run(
        *("--rows", "--num-requests", "6", "--sessions", "2", "--rate", "3", "--warm-up", "1"),
        *("--only", "questions,first", "--output", str(tmp_path)),
    )
    assert code == 0, err
    assert "typed question → model request" in out
    assert "median 0.5-1.5 s, p95 1.5-2.5 s, 1-3 frames/s" in out
    (result,) = tmp_path.glob("*.json")
    rows = json.loads(result.read_text())["rows"]
    by_number = {row["number"]: row for row in rows if row["number"]}
    assert by_number["1"]["value"] == 1280
    questions = [row for row in rows if row["number"] in ("2", "3")]
    assert sum(row["spread"]["n"] for row in questions) == 6
    assert all(" 0 before" in row["note"] for row in questions), questions
    assert by_number["10"]["spread"]["n"] == 10
    assert len(list(tmp_path.glob("*.csv"))) == 1


async def test_a_load_run_of_a_server_that_it_starts_itself(tmp_path: Path) -> None:
    """As the README has it, small: all questions are answered, and there are JSON, CSV and pictures."""
    code, out, err = await run(
        *("--num-requests", "12", "--sessions", "2", "--rate", "6", "--warm-up", "1"),
        *("--first-token-ms", "30", "--size", "640x360", "--monitor-gpu"),
        *("--output", str(tmp_path)),
    )
    assert code == 0, err
    assert "median 0.5-1.5 s, p95 1.5-2.5 s, 1-3 frames/s" in out
    assert "stand-in in the model's place" in out
    (result,) = tmp_path.glob("*.json")
    body = json.loads(result.read_text())
    summary = body["summary"]
    # A machine that is full of other things loses a picture now and then.
    assert summary["completed"] >= 9
    assert summary["errors"].keys() <= {"camera_stalled"}
    assert summary["completed"] + summary["failed"] == len(body["questions"]) == 12
    assert summary["median_e2el_ms"] >= summary["median_ttft_ms"] >= 30
    assert summary["median_tpot_ms"] > 0
    assert summary["total_output_tokens"] == summary["completed"] * 8
    answered = [question for question in body["questions"] if not question["error"]]
    assert all(question["timings"]["total_ms"] > 0 for question in answered)
    assert summary["p95_frame_age_ms"] < 1000
    names = sorted(path.name.removeprefix(result.stem) for path in tmp_path.iterdir())
    assert [n for n in names if "gpu" not in n] == [
        "-latency.png",
        "-questions.csv",
        "-stages.png",
        ".csv",
        ".json",
    ]
    for picture in tmp_path.glob("*.png"):
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.std() > 5, "it is empty"


async def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    """No traceback for a wrong address, and no results either."""
    code, _, err = await run("--server-url", "http://127.0.0.1:9", "--output", str(tmp_path))
    assert code == 1
    assert "broken off" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


async def test_one_that_is_asked_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    """SIGTERM in the middle of the rows: a sentence, status 130, and the server and the stand-in end with it.

    In a shell's background, too, where SIGINT is ignored.
    """
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'trap "" INT; exec "$@"', "sh"),
        *(sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--rows", "--only", "questions"),
        *("--num-requests", "500", "--rate", "3", "--output", str(tmp_path)),
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
    assert err.decode().endswith("Interrupted before anything was measured: nothing is written.\n")
    assert not [path for path in (*servers, *others) if path.exists()]
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest

from tests.support.documents import ROOT
from tests.support.programs import ran

pytestmark = pytest.mark.slow


def run(*arguments: str, seconds: float = 90) -> tuple[int, str, str]:
    done = ran([sys.executable, ROOT / "scripts" / "benchmark.py", *arguments], timeout=seconds)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.night
def test_a_load_run_of_a_server_that_it_starts_itself(tmp_path: Path) -> None:
    """As the README has it, small: all questions are answered; there are JSON, CSV and pictures."""
    code, out, err = run(
        *("--num-requests", "12", "--sessions", "2", "--rate", "6", "--warm-up", "1"),
        *("--first-token-ms", "30", "--size", "640x360", "--monitor-gpu"),
        *("--output", str(tmp_path)),
    )
    assert code == 0, err
    assert "median 0.5-1.5 s, p95 1.5-2.5 s, 1-3 frames/s" in out
    assert "measured with a stand-in for the model" in out
    (result,) = tmp_path.glob("*.json")
    body = json.loads(result.read_text())
    counts = body["counts"]
    # A machine that is full of other things loses a picture now and then.
    assert counts["completed"] >= 9
    assert counts["errors"].keys() <= {"camera_stalled"}
    assert counts["completed"] + counts["failed"] == len(body["questions"]) == 12
    p50 = {row["what"]: row["spread"]["p50"] for row in body["rows"] if row["spread"]}
    whole = p50["e2el: planned arrival → whole answer"]
    assert whole >= p50["ttft: planned arrival → first text"] >= 30
    assert p50["tpot: time per output token"] > 0
    assert p50["server: frame's age at the model"] < 1000
    answered = [question for question in body["questions"] if not question["error"]]
    assert all(question["timings"]["total_ms"] > 0 for question in answered)
    names = sorted(path.name.removeprefix(result.stem) for path in tmp_path.iterdir())
    assert names == [".csv", ".json", ".png"]
    for picture in tmp_path.glob("*.png"):
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.std() > 5, "it is empty"


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    """No traceback for a wrong address, and no results either."""
    code, _, err = run("--server-url", "http://127.0.0.1:9", "--output", str(tmp_path))
    assert code == 1
    assert "aborted" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_simulation_is_reached_from_here(tmp_path: Path) -> None:
    """From any folder, with JSON and CSV as the other ways have them."""
    code, out, err = run("--simulate", "--sessions", "1", "--output", str(tmp_path))
    assert code == 0, err
    assert "beside background work" in out
    (result,) = tmp_path.glob("simulate-*.json")
    rows = json.loads(result.read_text())["rows"]
    assert {row["what"] for row in rows} >= {"1 sessions: first token alone"}
    assert result.with_suffix(".csv").is_file()


@pytest.mark.night
def test_watches_are_measured_from_here(tmp_path: Path) -> None:
    """A short scene in which a thing comes: the table, JSON and CSV."""
    code, out, err = run(
        *("--watch", "--minutes", "0.5", "--only", "still", "--false-yes", "0", "--false-no", "0"),
        *("--no-plots", "--output", str(tmp_path)),
    )
    assert code == 0, err
    assert "recall 1/1" in out
    (result,) = tmp_path.glob("watch-*.json")
    ours = json.loads(result.read_text())["scores"][0]
    assert (ours["seen"], ours["false"], ours["premature"]) == (1, 0, 0)
    assert ours["proven"] == ours["alerts"] == 1
    # Without machine noise it takes 0.4 s.
    assert ours["delays"][0] < 5


@pytest.mark.night
def test_voice_is_measured_from_here(tmp_path: Path) -> None:
    """Two spoken questions and one interruption: what was heard when, as JSON, CSV and a picture."""
    code, out, err = run(
        *("--voice", "--only", "turns,interruptions,cpu", "--turns", "2", "--interruptions", "1"),
        *("--cpu-seconds", "1", "--silence-ms", "500", "--output", str(tmp_path)),
    )
    assert code == 0, err
    assert "end of speech → first sound received" in out
    assert "a listener more, while it talks" in out
    (result,) = tmp_path.glob("voice-*.json")
    body = json.loads(result.read_text())
    whole = [turn for turn in body["turns"] if not turn["error"]]
    assert whole
    for turn in whole:
        assert turn["begin"] < turn["end"] < turn["decided"] <= turn["text"] <= turn["model"]
        assert turn["model"] < turn["token"] < turn["pcm"] < turn["sound"]
        assert turn["decided"] - turn["end"] > 0.4
    assert [one["stopped"] for one in body["interruptions"]] == [True]
    names = sorted(path.name.removeprefix(result.stem) for path in tmp_path.iterdir())
    assert names == [".csv", ".json", ".png"]

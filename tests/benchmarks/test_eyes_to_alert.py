"""Eyes to alert: what an alert is worth, the forms of clips and times, the stand-in's errors, and one true run."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from tests.scripts.test_benchmark import run
from tests.support.parts import at_night
from tools.eyes_clips import (
    HEIGHT,
    WIDTH,
    ClientAlert,
    Clip,
    Event,
    Score,
    read_folder,
)

COMES, GOES = "a cat comes", "a dog comes"


def event(begin: float, end: float, condition: str = COMES) -> Event:
    return Event(condition, begin, end, begin - 0.25, end + 0.25)


def scored(events: list[Event], *alerts: ClientAlert, early: float = 3.0) -> Score:
    score = Score("some")
    score.take(events, alerts, 60, early)
    return score


# What alerts are worth


def test_the_first_alert_of_an_event_counts_by_the_frame_that_proves_it() -> None:
    """One that arrives after the event is late and no miss; one for what can be seen in part is none too early."""
    score = scored(
        [event(10, 15), event(20, 21), event(30, 35)],
        ClientAlert(COMES, 10.2, 10.7),
        ClientAlert(COMES, 21.2, 23.5),
        ClientAlert(COMES, 29.8, 29.9),
    )
    assert score.delays == pytest.approx([0.7, 3.5, 0.0])
    assert (score.missed, score.within) == (0, 2)
    assert (score.premature, score.false, score.repeated) == (0, 0, 0)


def test_alerts_before_an_event_are_premature_others_false_and_further_ones_repeated() -> None:
    score = scored(
        [event(10, 15), event(50, 55)],
        ClientAlert(COMES, 8, 9.9),
        ClientAlert(COMES, 11, 11.2),
        ClientAlert(COMES, 13, 13.2),
        ClientAlert(COMES, 18, 18.2),
        ClientAlert(GOES, 51, 51.2),
    )
    assert (score.premature, score.repeated, score.false, score.missed) == (1, 1, 2, 1)
    # An answer before the time spoils the one in time.
    assert score.delays == pytest.approx([1.2])
    assert score.within == 0


# Clips


def film(path: Path, seconds: int, size: tuple[int, int] = (320, 180)) -> Path:
    """A video of ten pictures a second that gets lighter by a grey level with each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size
        for number in range(10 * seconds):
            grey = np.full((size[1], size[0], 3), 50 + number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def luma(clip: Clip, *times: float) -> list[float]:
    picture = clip.open()
    return [float(picture(at)[:HEIGHT].mean()) for at in times]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_folder_of_clips_with_its_times(tmp_path: Path, form: str) -> None:
    """A condition without a begin is watched for and never happens; without an end it holds until the clip's."""
    film(tmp_path / "one.mp4", 6)
    film(tmp_path / "two.mp4", 3, (180, 320))
    rows = [
        {"clip": "one.mp4", "condition": COMES, "begin": "0:02", "end": "3.5"},
        {"clip": "one.mp4", "condition": GOES, "begin": "4", "end": ""},
        {"clip": "two.mp4", "condition": COMES, "begin": "", "end": ""},
    ]
    if form == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (tmp_path / "times.csv").write_text("\n".join(lines))
    else:
        (tmp_path / "times.json").write_text(json.dumps(rows))
    one, two = read_folder(tmp_path)
    assert [(e.condition, e.begin, e.end) for e in one.events] == [(COMES, 2, 3.5), (GOES, 4, 6)]
    assert (one.conditions, two.conditions, two.events) == ((COMES, GOES), (COMES,), ())
    assert one.is_true(COMES, 2.1)
    assert not one.is_true(COMES, 3.6)
    assert (one.seconds, two.seconds) == (6, 3)
    first, later, same = luma(one, 0.05, 3.05, 3.06)
    assert 20 < later - first < 35
    assert later == same
    assert two.open()(1).shape == (HEIGHT * 3 // 2, WIDTH)


# The stand-in


# A true run


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["stated", *at_night("builtin")])
def test_a_short_true_run(tmp_path: Path, engine: str) -> None:
    """A visit through WebRTC: an alert, none false; a model has pictures to confirm."""
    code, _, err = run(
        *("--watch", "--clips", "made", "--only", "a person comes", "--visits", "1"),
        *("--minutes", "0", "--engine", engine),
        *("--false-yes", "0", "--false-no", "0", "--output", str(tmp_path)),
        seconds=180,
    )
    assert code == 0, err
    (result,) = tmp_path.glob("eyes-*.json")
    rows = {row["what"]: row for row in json.loads(result.read_text())["rows"]}
    assert rows["comes: events alerted for"]["value"] == 100
    assert rows["comes: false alerts"]["value"] == 0
    assert rows["comes: event to alert"]["spread"]["p50"] < 5
    assert rows["comes: looks of the detector"]["value"] > 1
    assert (rows["comes: visual tokens"]["value"] > 0) is (engine == "stated")

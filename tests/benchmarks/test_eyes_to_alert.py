"""Eyes to alert: what an alert is worth, the forms of clips and times, the stand-in's errors, and one true run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import numpy as np
import pytest

from server.shared.watch_answers import question, read_answers
from tests.scripts.test_benchmark import run
from tests.support.parts import at_night
from tools.eyes_clips import (
    CONDITIONS,
    HEIGHT,
    SHARES,
    STILL,
    WIDTH,
    Alerted,
    Clip,
    Event,
    NoClips,
    Score,
    folder,
    made,
    streamingbench,
)
from tools.eyes_to_alert import StatedModel

COMES, GOES = "a cat comes", "a dog comes"


def event(begin: float, end: float, condition: str = COMES) -> Event:
    return Event(condition, begin, end, begin - 0.25, end + 0.25)


def scored(events: list[Event], *alerts: Alerted, early: float = 3.0) -> Score:
    score = Score("some")
    score.take(events, alerts, 60, early)
    return score


# What alerts are worth


def test_the_first_alert_of_an_event_counts_by_the_frame_that_proves_it() -> None:
    """One that arrives after the event is late and no miss; one for what can be seen in part is none too early."""
    score = scored(
        [event(10, 15), event(20, 21), event(30, 35)],
        Alerted(COMES, 10.2, 10.7),
        Alerted(COMES, 21.2, 23.5),
        Alerted(COMES, 29.8, 29.9),
    )
    assert score.delays == pytest.approx([0.7, 3.5, 0.0])
    assert (score.missed, score.within) == (0, 2)
    assert (score.premature, score.false, score.repeated) == (0, 0, 0)


def test_alerts_before_an_event_are_premature_others_false_and_further_ones_repeated() -> None:
    score = scored(
        [event(10, 15), event(50, 55)],
        Alerted(COMES, 8, 9.9),
        Alerted(COMES, 11, 11.2),
        Alerted(COMES, 13, 13.2),
        Alerted(COMES, 18, 18.2),
        Alerted(GOES, 51, 51.2),
    )
    assert (score.premature, score.repeated, score.false, score.missed) == (1, 1, 2, 1)
    # An answer before the time spoils the one in time.
    assert score.delays == pytest.approx([1.2])
    assert score.within == 0


def test_what_comes_before_the_time_of_streamingbench_is_always_premature() -> None:
    score = scored([event(50, 55)], Alerted(COMES, 2, 2.2), early=math.inf)
    assert (score.premature, score.false) == (1, 0)


def test_figures_are_an_hour_and_merge() -> None:
    whole, other = Score("some", requests=1), scored([event(10, 15)], Alerted(COMES, 10.5, 10.6))
    other.requests = 2
    whole.merge(other)
    whole.merge(other)
    rows = {row.what: row for row in whole.rows(0.5, 0.7)}
    assert rows["some: requests"].value == 5 * 30
    assert rows["some: events alerted for"].value == 100
    assert rows["some: event to alert"].reached is False
    assert "2 of 2" in whole.row()


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
    one, two = folder(tmp_path)
    assert [(e.condition, e.begin, e.end) for e in one.events] == [(COMES, 2, 3.5), (GOES, 4, 6)]
    assert (one.conditions, two.conditions, two.events) == ((COMES, GOES), (COMES,), ())
    assert one.holds(COMES, 2.1)
    assert not one.holds(COMES, 3.6)
    assert (one.seconds, two.seconds) == (6, 3)
    first, later, same = luma(one, 0.05, 3.05, 3.06)
    assert 20 < later - first < 35
    assert later == same
    assert two.open()(1).shape == (HEIGHT * 3 // 2, WIDTH)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (None, "times.csv"),
        ("clip,condition\n,a cat comes", "Row 1"),
        ("clip,condition,begin,end\nfilm.mp4,a cat comes,4,2", "ends before it begins"),
        ("clip,condition,begin\nfilm.mp4,a cat comes,soon", "no time such as"),
        ("clip,condition,begin\nnone.mp4,a cat comes,1", "no video that can be read"),
    ],
)
def test_what_cannot_be_played_is_said(tmp_path: Path, lines: str | None, says: str) -> None:
    film(tmp_path / "film.mp4", 5)
    if lines is not None:
        (tmp_path / "times.csv").write_text(lines)
    with pytest.raises(NoClips, match=says):
        folder(tmp_path)


def test_questions_of_streamingbench_become_watches(tmp_path: Path) -> None:
    """In a file made in its form as far as it is known: flat, or with the questions below their video."""
    film(tmp_path / "sample_1.mp4", 12)
    asked = {
        "task_type": "Proactive Output",
        "question": 'When the cat comes to the door, output "CAT".',
        "time_stamp": "00:00:02",
        "ground_truth_time_stamp": "00:00:06",
        "ground_truth_output": "CAT",
    }
    flat, nested = tmp_path / "flat.csv", tmp_path / "nested.json"
    row = {"question_id": "sample_1", **asked, "question": asked["question"].replace('"', "")}
    flat.write_text(",".join(row) + "\n" + ",".join(f'"{one}"' for one in row.values()))
    nested.write_text(json.dumps([{"video_path": "./videos/sample_1.mp4", "questions": [asked]}]))
    for listed in (flat, nested):
        (clip,) = streamingbench(listed, tmp_path)
        (one,) = clip.events
        assert clip.conditions == ("When the cat comes to the door",)
        # It begins when the question is asked, and ends with the video.
        assert (one.begin, clip.seconds, clip.early) == (4, 10, math.inf)
        assert luma(clip, 0.0)[0] == pytest.approx(luma(clip, 0.0)[0])
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"question": "What is it?"}]))
    with pytest.raises(NoClips, match="no row with a question"):
        streamingbench(other, tmp_path)


@pytest.mark.parametrize(
    ("named", "layout"),
    [
        ({"question_id": "Proactive Output_sample_17_2"}, "sample_17/video.mp4"),
        ({"question_id": "Active Output_sample_17_2"}, "proactive/sample_17/Active Output_3.mp4"),
        ({"question_id": "Proactive Output_17_1"}, "sample_17/video.mp4"),
        ({"video_path": "./videos/sample_17_proactive.mp4"}, "proactive/sample_17/video.mp4"),
        ({"video_path": "./videos/sample_17_proactive.mp4"}, "videos/sample_17_proactive.mp4"),
    ],
)
def test_a_sample_of_streamingbench_is_found_where_its_archives_have_it(
    tmp_path: Path, named: dict[str, str], layout: str
) -> None:
    """Each archive has a folder a sample, with one video of any name; the lists name it otherwise."""
    asked = {
        "question": 'When the scoreboard shows 3 points for USA, output "3".',
        "time_stamp": "00:00:01",
        "ground_truth_time_stamp": "00:00:02",
    }
    for sample, seconds in (("sample_1", 4), ("sample_17", 3), ("sample_170", 5)):
        path = tmp_path / layout.replace("sample_17", sample)
        path.parent.mkdir(parents=True, exist_ok=True)
        film(path, seconds)
    listed = tmp_path / "questions.json"
    listed.write_text(json.dumps([{**named, **asked}]))
    (clip,) = streamingbench(listed, tmp_path)
    assert clip.seconds == 2
    assert clip.conditions == ("When the scoreboard shows 3 points for USA",)


def test_two_videos_of_one_sample_are_not_guessed_between(tmp_path: Path) -> None:
    """Other tasks' archives have the same folders."""
    for task in ("proactive", "real"):
        (tmp_path / task / "sample_2").mkdir(parents=True)
        film(tmp_path / task / "sample_2" / "video.mp4", 3)
    row = {
        "question_id": "Proactive Output_sample_2_1",
        "question": "When it rings, output bell.",
        "ground_truth_time_stamp": "2",
    }
    listed = tmp_path / "questions.json"
    listed.write_text(json.dumps([row]))
    with pytest.raises(NoClips, match="2 videos in folders sample_2"):
        streamingbench(listed, tmp_path)
    with pytest.raises(NoClips, match="no video Proactive Output_sample_2_1 and no sample_2"):
        streamingbench(listed, tmp_path / "real" / "none")


def test_made_clips_are_seeded_and_show_what_they_say() -> None:
    """A thing takes up its share of the picture while its event lasts, and nothing of it before."""
    clips, again, other = (made(seed, 4, 1) for seed in (1, 1, 2))
    assert [clip.events for clip in clips] == [clip.events for clip in again]
    assert [clip.events for clip in clips] != [clip.events for clip in other]
    assert {clip.kind for clip in clips} == {"comes", *STILL}
    cat = next(clip for clip in clips if clip.name == CONDITIONS["cat"])
    picture, seen = cat.open(), cat.events[2]
    before = picture(seen.seen_from - 0.1).astype(int)
    middle = picture((seen.begin + seen.end) / 2).astype(int)
    assert (np.abs(middle - before)[:HEIGHT] > 40).mean() > SHARES[2] / 3
    assert (np.abs(picture(seen.seen_until + 0.1) - before)[:HEIGHT] > 60).mean() < 0.01


# The stand-in


def test_the_stand_in_errs_at_the_stated_rates() -> None:
    """Seeded, and from the truth alone; two of the same seed say the same."""
    asked = question({"w1": COMES, "w2": GOES})

    def seen(seed: int) -> list[tuple[bool, bool]]:
        model = StatedModel(delay=0.3, false_yes=0.1, false_no=0.3, seed=seed)
        model.truth = lambda condition: condition == COMES
        answers = [read_answers(model.said(asked, 8)[0], {"w1", "w2"}) for _ in range(400)]
        return [(one["w1"].seen, one["w2"].seen) for one in answers]

    found = seen(1)
    assert found == seen(1) != seen(2)
    assert 0.2 < sum(not there for there, _ in found) / 400 < 0.4
    assert 0.05 < sum(other for _, other in found) / 400 < 0.16


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

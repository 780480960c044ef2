"""WatchBench's scenes, its model with stated errors, and its score."""

from __future__ import annotations

import json
import time
from typing import Any

import cv2
import pytest

from benchmarks.watch_scenes import CONDITIONS, TOKENS, Happens, Model, Score, Stage, staged
from server.shared.watch_answers import question


def jpeg_of(stage: Stage, at: float) -> bytes:
    bgr = cv2.cvtColor(stage.planes(at), cv2.COLOR_YUV2BGR_I420)
    return bytes(cv2.imencode(".jpg", bgr)[1])


def asked(model: Model, stage: Stage, at: float, conditions: int = 1) -> list[dict[str, Any]]:
    text = question({f"w{n}": one for n, one in enumerate(CONDITIONS[:conditions])})
    content = [{"type": "image_url", "image_url": {}}, {"type": "text", "text": text}]
    body = {"messages": [{"role": "user", "content": content}]}
    found: list[dict[str, Any]] = json.loads(model.answer(body, jpeg_of(stage, at))[0])["watches"]
    return found


@pytest.mark.parametrize("kind", ["still", "noisy", "flickering", "shaken", "busy"])
def test_a_model_without_errors_sees_the_thing_and_nothing_else(kind: str) -> None:
    """Not what looks alike, and not what is almost there."""
    stage = staged(kind, 60, 1)
    model = Model(0, 0, 0, 1)
    assert {event.what for event in stage.events} == {"thing", "alike", "almost"}
    for event in stage.events:
        (one,) = asked(model, stage, event.begin + 0.1)
        assert one["seen"] == (event.what == "thing") == (one["where"] is not None)
    assert model.usage.requests == len(stage.events)
    assert model.usage.visual_tokens == TOKENS * len(stage.events)
    assert not model.blind


@pytest.mark.slow
def test_errors_come_at_the_stated_rates_and_repeat_themselves() -> None:
    """Each condition errs by itself; a model that does not see a thing says when."""
    stage = Stage("still", [Happens("thing", 0, 9, 0.4, 0.4)], 1)
    model = Model(0.02, 0.1, 0, 1)
    seen = [{entry["id"] for entry in asked(model, stage, 1, 8)} for _ in range(100)]
    wrong = sum("w0" not in names for names in seen)
    assert 3 <= wrong <= 20
    assert len(model.blind) == wrong
    assert all(abs(at - time.time()) < 600 for at in model.blind)
    others = sum(len(names - {"w0"}) for names in seen)
    assert 3 <= others <= 35
    linked = Model(0, 0.5, 1, 1)
    assert len({asked(linked, stage, 1)[0]["seen"] for _ in range(20)}) == 1


def test_alerts_are_scored_by_their_evidence() -> None:
    """An alert about a look-alike is premature, one about nothing is false; delays count from the change."""
    events = [Happens("thing", 10, 2, 0.4, 0.4), Happens("alike", 20, 3, 0.4, 0.4)]
    score = Score("ours")
    alerts = [(10.1, 10.4), (10.5, 10.9), (21.0, 21.4), (30.0, 30.3)]
    score.take(Stage("still", events, 1), alerts, 60)
    assert (score.things, score.seen, score.alerts, score.proven) == (1, 1, 4, 2)
    assert (score.premature, score.false) == (1, 1)
    assert score.delays == score.clean == pytest.approx([0.4])
    erred = Score("ours")
    erred.take(Stage("still", events, 1), alerts[:1], 60, blind=[10.2])
    assert (len(erred.delays), erred.clean) == (1, [])
    score.merge(erred)
    assert (score.things, score.seconds, len(score.delays)) == (2, 120, 2)

"""The stages of a question: each way between two, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from server.core.sound import Sound
from server.media.camera import QuestionTime
from server.session.request.asking import STAGES, Asking, Stage, Step
from server.session.request.parts import Spoken
from server.session.request.question import Question
from tests.support.fakes import make_job

QUESTION = Question("q", "What is it?", QuestionTime.now())


class Stopped:
    def stop(self, reason: str) -> None:
        raise AssertionError(reason)


def steps(asking: Asking) -> dict[Step, Callable[[], None]]:
    job, _ = make_job()
    return {
        Step.SUBMITTED: lambda: asking.on_submitted(job),
        Step.LOOKS: lambda: asking.take_looks(Stopped()),
        Step.CALLED: lambda: asking.on_called(replace(QUESTION, closer=True)),
        Step.END: asking.end,
    }


# How a question gets to a stage
WAYS = {
    Stage.FRAME: (),
    Stage.ENGINE: (Step.SUBMITTED,),
    Stage.LOOKS: (Step.SUBMITTED, Step.LOOKS),
    Stage.AGAIN: (Step.SUBMITTED, Step.CALLED),
    Stage.ENDED: (Step.SUBMITTED, Step.END),
}


@pytest.mark.parametrize(("stage", "step"), [*product(Stage, Step)])
def test_each_step_of_each_stage(stage: Stage, step: Step) -> None:
    """It leads where the table says, with what belongs to that stage; a step that is not there raises."""
    asking = Asking(QUESTION)
    for one in WAYS[stage]:
        steps(asking)[one]()
    assert asking.stage is stage
    if (stage, step) not in STAGES:
        with pytest.raises(KeyError):
            steps(asking)[step]()
        assert asking.stage is stage
        return
    steps(asking)[step]()
    assert asking.stage is STAGES[stage, step]
    assert (asking.job is not None) == (asking.stage is Stage.ENGINE)
    assert (asking.looks is not None) == (asking.stage is Stage.LOOKS)
    assert asking.question.closer == (Step.CALLED in (*WAYS[stage], step))


@pytest.mark.parametrize("spoken", [None, Spoken(sound=Sound(np.zeros(4, np.int16), 0.0))])
def test_an_ended_question_holds_no_sound_and_no_job(spoken: Spoken | None) -> None:
    asking = Asking(replace(QUESTION, spoken=spoken))
    steps(asking)[Step.SUBMITTED]()
    asking.end()
    assert (asking.job, asking.task, asking.looks) == (None, None, None)
    kept = asking.question.spoken
    assert kept is None or kept.sound is None

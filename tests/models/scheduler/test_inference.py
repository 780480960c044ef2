"""The inference queue: who is asked next, how work is stopped, and that nothing is left over."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from server.core.errors import (
    Busy,
    CameraStalled,
    Draining,
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    Internal,
)
from server.core.frames import JobKind, Role
from server.core.metrics import Metrics
from server.inference import Inference
from server.models.base import Capabilities, Engine, EngineRequest, Usage
from server.models.scheduler.job import Job, Result
from tests.support.clients import sample
from tests.support.fakes import (
    FakeEngine,
    FakeEngines,
    RecordingSink,
    engine_error,
    make_job,
    make_request,
    until,
)

CHAT, WATCH, DESCRIBE = JobKind.CHAT, JobKind.WATCH, JobKind.DESCRIBE
Build = Callable[..., Inference]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
async def build(metrics: Metrics) -> AsyncIterator[Build]:
    """Makes inference queues, and checks that each leaves nothing over."""
    made: list[Inference] = []

    def make(
        engines: FakeEngines | FakeEngine,
        *,
        slots: int = 1,
        queue: int = 8,
        failover_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Inference:
        if isinstance(engines, FakeEngine):
            engines = FakeEngines(engines)
        inference = Inference(
            engines,
            max_concurrent=slots,
            max_queue=queue,
            metrics=metrics,
            failover_seconds=failover_seconds,
            clock=clock,
        )
        made.append(inference)
        return inference

    yield make
    for inference in made:
        await inference.close()
        assert_idle(inference)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("inference/")]


def assert_idle(inference: Inference) -> None:
    assert inference.running == 0
    assert inference.count_waiting() == dict.fromkeys(JobKind, 0)
    assert inference.idle


def holding(at: int = 0, **more: Any) -> FakeEngine:
    """An engine whose answers wait before chunk number `at`."""
    engine = FakeEngine(**more)
    engine.hold(at)
    return engine


def submitted(
    inference: Inference, jobs: list[tuple[Job, RecordingSink]]
) -> list[tuple[Job, RecordingSink]]:
    """Submit all, and return them."""
    for job, _ in jobs:
        inference.submit(job)
    return jobs


def sent(inference: Inference, *about: Any, **more: Any) -> tuple[Job, RecordingSink]:
    """Submit a job like `make_job`'s, and return it with its sink."""
    return submitted(inference, [make_job(*about, **more)])[0]


async def ends(jobs: list[tuple[Job, RecordingSink]]) -> None:
    await until(lambda: all(sink.ended for _, sink in jobs))


async def served(inference: Inference, *about: Any, **more: Any) -> RecordingSink:
    """Submit a job like `make_job`'s, and return its sink at its end."""
    _, sink = sent(inference, *about, **more)
    await until(lambda: sink.ended)
    return sink


def result_of(sink: RecordingSink) -> Result:
    assert sink.result is not None
    return sink.result


async def turns() -> None:
    """Some turns of the loop, for what must not happen in them."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_is_told_in_order(build: Build, metrics: Metrics) -> None:
    """started, the deltas as they come, then the whole text with usage, engine and times."""
    inference = build(FakeEngine())
    sink = await served(inference)
    assert sink.calls == ["started", "delta", "delta", "delta", "finished"]
    result = result_of(sink)
    assert (result.text, result.finish_reason) == ("A red cup.", "stop")
    assert (result.engine, result.model) == ("fake", "fake-1")
    assert result.usage == Usage(10, 3, None)
    assert result.cancel_reason is None
    assert result.first_token_seconds is not None
    assert 0 <= result.first_token_seconds <= result.inference_seconds
    assert sample(metrics, "inferences_total", kind="chat", result="ok") == 1
    assert sample(metrics, "tokens_total", direction="prompt") == 10
    assert sample(metrics, "tokens_total", direction="completion") == 3
    assert sample(metrics, "visual_tokens_total") == 64
    assert sample(metrics, "frame_age_seconds_count") == 1
    assert sample(metrics, "first_token_seconds_count", role="answers") == 1
    assert sample(metrics, "queue_wait_seconds_count", kind="chat") == 1
    assert sample(metrics, "inference_seconds_count", kind="chat") == 1


async def test_a_text_without_an_end_is_ended(build: Build, metrics: Metrics) -> None:
    """An engine that does not keep to the limit of tokens says no more than 16 characters for each."""
    engine = FakeEngine(chunks=lambda request: ["x" * 64] * (request.max_tokens + 100))
    inference = build(engine)
    sink = await served(inference)
    assert result_of(sink).finish_reason == "length"
    assert len(sink.text) <= 16 * engine.requests[0].max_tokens
    assert engine.aborted == 1


async def test_deltas_come_straight_from_the_engine(build: Build) -> None:
    """Each delta reaches the sink before the engine is asked for the next one, all in one task."""
    engine = holding(at=1)
    inference = build(engine)
    _, sink = sent(inference)
    await until(lambda: sink.text == "A ")
    engine.release()
    await until(lambda: sink.ended)
    assert len(set(sink.tasks)) == 1


async def test_classes_and_sessions_are_served_in_turn(build: Build) -> None:
    """Behind a running answer: questions first, sessions in turn, then watches, then descriptions."""
    engine = holding()
    inference = build(engine, slots=1, queue=16)
    order = [
        ("x", CHAT, "running"),
        ("a", DESCRIBE, "a describe"),
        ("b", WATCH, "b watch"),
        ("a", CHAT, "a1"),
        ("a", CHAT, "a2"),
        ("b", CHAT, "b1"),
    ]
    jobs = [sent(inference, session, kind, question=text) for session, kind, text in order]
    assert inference.count_waiting() == {
        CHAT: 3,
        WATCH: 1,
        DESCRIBE: 1,
        JobKind.PREFILL: 0,
        JobKind.PROGRAM: 0,
    }
    await until(lambda: engine.open == 1)
    engine.release()
    await ends(jobs)
    assert engine.questions() == ["running", "a1", "b1", "a2", "b watch", "a describe"]
    assert engine.most_open == 1


async def test_slots_are_bounded_by_the_setting(build: Build) -> None:
    engine = FakeEngine()
    inference = build(engine, slots=3, queue=16)
    jobs = submitted(inference, [make_job(f"s{number}") for number in range(10)])
    await ends(jobs)
    assert engine.most_open == 3


async def test_slots_follow_the_engine_live(build: Build) -> None:
    """An engine that states fewer narrows the slots, one that states more widens them, live."""
    engine = holding(capabilities=Capabilities(max_concurrency=1))
    inference = build(engine, slots=3, queue=16)
    jobs = submitted(inference, [make_job(f"s{number}") for number in range(4)])
    await until(lambda: engine.open == 1)
    assert (inference.slots, inference.running) == (1, 1)
    engine.capabilities = replace(engine.capabilities, max_concurrency=2)
    inference.engine_changed()
    await until(lambda: engine.open == 2)
    engine.capabilities = replace(engine.capabilities, max_concurrency=None)
    inference.engine_changed()
    await until(lambda: engine.open == 3)
    engine.release()
    await ends(jobs)
    assert engine.most_open == 3


async def test_a_narrower_engine_stops_nothing_that_runs(build: Build) -> None:
    """Descriptions beyond the new number of slots go on while no question waits."""
    engine = holding(at=1)
    inference = build(engine, slots=4)
    jobs = submitted(inference, [make_job(session, DESCRIBE) for session in "abc"])
    await until(lambda: all(sink.text for _, sink in jobs))
    engine.capabilities = Capabilities(max_concurrency=1)
    inference.engine_changed()
    assert not any(sink.ended for _, sink in jobs)


async def test_a_session_runs_one_question_and_one_background_job(build: Build) -> None:
    """A session does not take further slots, even free ones."""
    engine = holding()
    inference = build(engine, slots=8)
    jobs = submitted(inference, [make_job("a", kind) for kind in (CHAT, DESCRIBE)])
    await until(lambda: engine.open == 2)
    more = submitted(
        inference, [make_job("a", CHAT, question="next"), make_job("a", WATCH, question="watch")]
    )
    assert inference.running == 2
    assert inference.count_waiting() == {
        CHAT: 1,
        WATCH: 1,
        DESCRIBE: 0,
        JobKind.PREFILL: 0,
        JobKind.PROGRAM: 0,
    }
    engine.release()
    await ends(jobs + more)
    assert engine.most_open == 2


async def test_a_newer_frame_replaces_the_waiting_one(build: Build, metrics: Metrics) -> None:
    """The older background job ends as replaced, and is counted."""
    engine = holding()
    inference = build(engine)
    sent(inference, "x")
    _, old_sink = sent(inference, "a", DESCRIBE, question="old")
    _, new_sink = sent(inference, "a", DESCRIBE, question="new")
    assert old_sink.calls == ["finished"]
    assert (result_of(old_sink).finish_reason, result_of(old_sink).engine) == ("replaced", "")
    assert sample(metrics, "frames_replaced_total") == 1
    assert sample(metrics, "inferences_total", kind="describe", result="replaced") == 1
    await until(lambda: engine.open == 1)
    engine.release()
    await until(lambda: new_sink.ended)
    assert "old" not in engine.questions()


async def test_a_full_queue_refuses_a_question_with_an_error(
    build: Build, metrics: Metrics
) -> None:
    """Busy is raised, with a time after which to try again, and the sink hears nothing."""
    engine = holding()
    inference = build(engine, slots=1, queue=2)
    for session in "abc":
        sent(inference, session)
    job, sink = make_job("d")
    with pytest.raises(Busy) as caught:
        inference.submit(job)
    # One slot, two wait, and an answer is guessed at a second before any was seen.
    assert caught.value.retry_after == 3.0
    assert sink.calls == []
    assert sample(metrics, "inferences_total", kind="chat", result="dropped") == 1


async def test_retry_after_follows_the_answers(build: Build) -> None:
    """Quick answers bring the estimate down, more slots too, but never below half a second."""
    engine = FakeEngine()
    inference = build(engine, slots=2, queue=1)
    for number in range(30):
        await served(inference, f"s{number}")
    await until(lambda: inference.running == 0)
    engine.hold()
    for session in "abc":
        sent(inference, session)
    with pytest.raises(Busy) as caught:
        sent(inference, "d")
    assert caught.value.retry_after == 0.5


async def test_a_full_queue_drops_background_work(build: Build, metrics: Metrics) -> None:
    """The sink hears of it, and it is counted; a question evicts background work instead."""
    engine = holding()
    inference = build(engine, slots=1, queue=1)
    sent(inference, "x")
    _, waiting_sink = sent(inference, "a", DESCRIBE)
    _, refused_sink = sent(inference, "b", DESCRIBE)
    assert isinstance(refused_sink.error, Busy)
    assert not waiting_sink.ended
    sent(inference, "c")
    assert isinstance(waiting_sink.error, Busy)
    assert sample(metrics, "inferences_total", kind="describe", result="dropped") == 2
    assert inference.count_waiting() == {
        CHAT: 1,
        WATCH: 0,
        DESCRIBE: 0,
        JobKind.PREFILL: 0,
        JobKind.PROGRAM: 0,
    }


async def test_a_question_preempts_the_newest_background(build: Build, metrics: Metrics) -> None:
    """With every slot taken the newest description gives its slot, one for each question."""
    engine = holding(at=1)
    inference = build(engine, slots=3)
    background = submitted(inference, [make_job(session, DESCRIBE) for session in "ab"])
    await until(lambda: all(sink.text for _, sink in background))
    sent(inference, "c")
    assert not any(sink.ended for _, sink in background)
    _, sink = sent(inference, "d")
    result = result_of(background[1][1])
    assert (result.finish_reason, result.cancel_reason, result.text) == (
        "cancelled",
        "preempted",
        "A ",
    )
    assert not background[0][1].ended
    await until(lambda: bool(sink.text))
    assert engine.most_open == 3
    assert engine.aborted == 1
    assert sample(metrics, "cancellations_total", reason="preempted") == 1


async def test_cancelling_a_waiting_job(build: Build, metrics: Metrics) -> None:
    """It leaves the queue, its sink hears it at once, and the engine never does."""
    engine = holding()
    inference = build(engine)
    sent(inference, "x")
    job, sink = sent(inference, "a")
    inference.cancel(job, "user")
    assert sink.calls == ["finished"]
    assert (result_of(sink).finish_reason, result_of(sink).cancel_reason) == ("cancelled", "user")
    assert result_of(sink).inference_seconds == 0
    assert inference.count_waiting()[CHAT] == 0
    assert sample(metrics, "cancellations_total", reason="user") == 1
    inference.cancel(job, "user")
    assert sample(metrics, "cancellations_total", reason="user") == 1


async def test_cancelling_a_running_job_closes_the_stream(build: Build, metrics: Metrics) -> None:
    """The sink has the partial text at once, the generator is closed, the slot is free again."""
    engine = holding(at=2)
    inference = build(engine)
    job, sink = sent(inference)
    await until(lambda: sink.text == "A red ")
    inference.cancel(job, "replaced")
    assert (result_of(sink).text, result_of(sink).finish_reason) == ("A red ", "replaced")
    await until(lambda: engine.open == 0)
    await until(lambda: inference.running == 0)
    assert engine.aborted == 1
    assert sink.calls == ["started", "delta", "delta", "finished"]
    assert sample(metrics, "inferences_total", kind="chat", result="replaced") == 1
    assert sample(metrics, "cancellations_total", reason="replaced") == 1


async def test_a_slot_is_given_back_when_the_engine_has_let_go(build: Build) -> None:
    """A cancelled answer that is still being closed upstream keeps its slot: no engine is overrun."""
    engine = holding()
    engine.slow_close = asyncio.Event()
    inference = build(engine, slots=1)
    job, _ = sent(inference, "a")
    await until(lambda: engine.open == 1)
    inference.cancel(job, "user")
    _, sink = sent(inference, "a", question="next")
    await turns()
    assert (inference.running, sink.calls) == (1, [])
    engine.release()
    engine.slow_close.set()
    await until(lambda: sink.ended)
    assert engine.most_open == 1


async def test_cancelling_while_the_picture_is_prepared(build: Build) -> None:
    engine = FakeEngine()
    inference = build(engine)
    preparing = asyncio.Event()

    async def prepare(engine: Engine) -> EngineRequest:
        preparing.set()
        await asyncio.Event().wait()
        raise AssertionError

    sink = RecordingSink()
    job = Job(session_id="a", kind=DESCRIBE, make_request=prepare, sink=sink)
    inference.submit(job)
    await preparing.wait()
    inference.cancel(job, "camera_ended")
    assert sink.calls == ["finished"]
    await until(lambda: inference.running == 0)
    assert engine.requests == []


async def test_cancelling_a_session_stops_all_of_it_and_only_it(build: Build) -> None:
    """Waiting and running jobs of the session end; none of its waiting ones starts on a freed slot."""
    engine = holding()
    inference = build(engine, slots=2)
    mine = [make_job("a"), make_job("a", DESCRIBE), make_job("a", question="2")]
    submitted(inference, mine)
    _, other_sink = sent(inference, "b")
    await until(lambda: engine.open == 2)
    inference.cancel_session("a", "session_ended")
    assert all(sink.result is not None for _, sink in mine)
    engine.release()
    await until(lambda: other_sink.ended)
    assert result_of(other_sink).finish_reason == "stop"
    assert engine.questions().count("2") == 0


async def test_the_end_of_one_job_may_end_another_one_of_its_session(build: Build) -> None:
    """By what is told of it; the session's others end all the same."""
    inference = build(holding(), slots=1)
    first, waiting, last = made = [make_job("a", question=str(n)) for n in range(3)]
    submitted(inference, made)
    first[1].on_finished = lambda _result: inference.cancel(waiting[0], "user")
    inference.cancel_session("a", "session_ended")
    assert [sink.ended for _, sink in (first, waiting, last)] == [True] * 3


async def test_a_hundred_jobs_with_every_tenth_cancelled(build: Build, metrics: Metrics) -> None:
    """The other ninety are exact, and nothing is left over."""

    def words(request: EngineRequest) -> list[str]:
        return [f"{request.question}:{number} " for number in range(10)]

    engine = FakeEngine(chunks=words)
    inference = build(engine, slots=8, queue=100)
    jobs = [make_job(f"s{number % 25}", question=f"q{number}") for number in range(100)]

    # Stopped at different moments: when submitted, or after some of their own text.
    def stop_after(job: Job, pieces: int) -> Callable[[str], None]:
        seen = []

        def on_piece(text: str) -> None:
            seen.append(text)
            if len(seen) == pieces:
                asyncio.get_running_loop().call_soon(inference.cancel, job, "user")

        return on_piece

    for number, (job, sink) in enumerate(jobs):
        if number % 10 == 0 and number:
            sink.on_piece = stop_after(job, number // 10)
        inference.submit(job)
    inference.cancel(jobs[0][0], "user")
    await ends(jobs)
    await until(lambda: inference.running == 0)
    for number, (_, sink) in enumerate(jobs):
        assert sink.result is not None
        whole = "".join(f"q{number}:{i} " for i in range(10))
        if number % 10:
            assert (sink.result.finish_reason, sink.result.text) == ("stop", whole)
        else:
            assert sink.result.finish_reason == "cancelled"
            assert whole.startswith(sink.result.text)
        assert sink.text == sink.result.text
    assert engine.open == 0
    assert engine.most_open <= 8
    assert_idle(inference)
    assert sample(metrics, "inferences_total", kind="chat", result="ok") == 90
    assert sample(metrics, "cancellations_total", reason="user") == 10


@pytest.mark.parametrize("fault", [EngineUnavailable, EngineLoading, EngineTimeout, EngineFailed])
async def test_another_engine_takes_over_before_the_first_token(
    build: Build, fault: type[EngineError]
) -> None:
    """The failure is reported, and the engine that took over is asked, once."""
    first = FakeEngine("vllm", fail_at=0, fail_with=engine_error(fault))
    second = FakeEngine("builtin")
    engines = FakeEngines(first, second)
    inference = build(engines)
    sink = await served(inference)
    assert sink.calls == ["started", "started", "delta", "delta", "delta", "finished"]
    assert sink.engines == ["vllm", "builtin"]
    assert result_of(sink).engine == "builtin"
    assert engines.reported == [first]


async def test_a_failing_second_engine_is_the_end(build: Build) -> None:
    first = FakeEngine("vllm", fail_at=0, fail_with=engine_error(EngineUnavailable))
    second = FakeEngine("local", fail_at=0, fail_with=engine_error(EngineLoading))
    third = FakeEngine("builtin")
    engines = FakeEngines(first, second, third)
    inference = build(engines)
    sink = await served(inference)
    assert isinstance(sink.error, EngineLoading)
    assert [len(engine.requests) for engine in (first, second, third)] == [1, 1, 0]
    assert engines.reported == [first, second]


async def test_answers_are_never_spliced(build: Build, metrics: Metrics) -> None:
    """After the first token an engine's failure ends the answer, whatever else is there."""
    first = FakeEngine("vllm", fail_at=1, fail_with=engine_error(EngineUnavailable))
    second = FakeEngine("builtin")
    inference = build(FakeEngines(first, second))
    sink = await served(inference)
    assert sink.calls == ["started", "delta", "failed"]
    assert isinstance(sink.error, EngineUnavailable)
    assert second.requests == []
    assert sample(metrics, "inferences_total", kind="chat", result="error") == 1


async def test_a_refusal_is_not_retried(build: Build) -> None:
    """The request is at fault, so no engine is reported and no other asked."""
    first = FakeEngine("vllm", fail_at=0, fail_with=engine_error(EngineRefused))
    engines = FakeEngines(first, FakeEngine("builtin"))
    inference = build(engines)
    sink = await served(inference)
    assert isinstance(sink.error, EngineRefused)
    assert engines.reported == []


@pytest.mark.parametrize("how", ["same", "not ready", "stuck"])
async def test_without_another_ready_engine_the_error_is_told(build: Build, how: str) -> None:
    """Neither the same engine is asked again nor one that is not ready; the wait is bounded."""
    first = FakeEngine("vllm", fail_at=0, fail_with=engine_error(EngineUnavailable))
    engines = FakeEngines(first, *([FakeEngine(ready=False)] if how == "not ready" else []))
    engines.stuck = how == "stuck"
    inference = build(engines, failover_seconds=0.01)
    sink = await served(inference)
    assert isinstance(sink.error, EngineUnavailable)
    assert len(first.requests) == 1


async def test_an_engine_breaks_its_promise(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    """Any other exception becomes engine_failed; the log tells its type and nothing of its text."""
    inference = build(FakeEngine(fail_at=1, fail_with=RuntimeError("the secret question")))
    with caplog.at_level(logging.DEBUG):
        sink = await served(inference)
    assert isinstance(sink.error, EngineFailed)
    assert any(getattr(record, "error", None) == "RuntimeError" for record in caplog.records)
    assert not any("secret" in str(vars(record)) for record in caplog.records)
    assert "secret" not in sink.error.message


async def test_an_answer_without_an_end_is_a_failure(build: Build) -> None:
    """A generator that just stops did not finish its answer."""

    class Broken(FakeEngine):
        async def answer(self, request: EngineRequest):  # type: ignore[no-untyped-def]
            async for chunk in super().answer(request):
                if not hasattr(chunk, "finish_reason"):
                    yield chunk

    inference = build(Broken())
    sink = await served(inference)
    assert isinstance(sink.error, EngineFailed)


@pytest.mark.parametrize(
    ("raised", "told"),
    [(CameraStalled("The camera sends nothing."), CameraStalled), (KeyError("private"), Internal)],
)
async def test_no_picture_no_answer(build: Build, raised: Exception, told: type[Exception]) -> None:
    """The sink gets an error of make_request that is meant for people; others become Internal."""
    engine = FakeEngine()
    inference = build(engine)

    async def prepare(engine: Engine) -> EngineRequest:
        raise raised

    sink = RecordingSink()
    inference.submit(Job(session_id="a", kind=CHAT, make_request=prepare, sink=sink))
    await until(lambda: sink.ended)
    assert sink.calls == ["failed"]
    assert type(sink.error) is told
    assert engine.requests == []


@pytest.mark.parametrize("call", ["started", "delta", "finished", "failed"])
async def test_a_sink_that_raises_ends_only_its_own_job(build: Build, call: str) -> None:
    """Its stream is closed, its slot given back, and the other job is answered."""
    fault = engine_error(EngineRefused) if call == "failed" else None
    engine = FakeEngine(fail_at=2 if fault is not None else None, fail_with=fault)
    inference = build(engine, slots=2)
    _, bad_sink = sent(inference, "a", sink=RecordingSink(raise_in=call))
    _, good_sink = sent(inference, "b")
    await until(lambda: good_sink.ended)
    await until(lambda: inference.running == 0)
    if call in ("started", "delta"):
        assert isinstance(bad_sink.error, Internal)
    else:
        assert bad_sink.calls[-1] == call
    assert good_sink.text.startswith("A red ")
    assert engine.open == 0


async def test_a_sink_may_cancel_its_own_job(build: Build) -> None:
    """As when a slow client's messages overflow: no further delta, the stream closed in peace."""
    engine = FakeEngine()
    engine.slow_close = asyncio.Event()
    inference = build(engine)
    job, sink = make_job()
    sink.on_piece = lambda text: inference.cancel(job, "socket_closed")
    inference.submit(job)
    await until(lambda: sink.ended)
    await turns()
    engine.slow_close.set()
    await until(lambda: inference.running == 0)
    assert sink.calls == ["started", "delta", "finished"]
    assert (engine.open, engine.aborted) == (0, 1)


async def test_making_a_request_may_end_its_own_job(build: Build) -> None:
    """A job that is cancelled from within make_request goes no further."""
    engine = FakeEngine()
    inference = build(engine)

    async def prepare(engine: Engine) -> EngineRequest:
        inference.cancel(job, "camera_ended")
        return make_request()

    sink = RecordingSink()
    job = Job(session_id="a", kind=DESCRIBE, make_request=prepare, sink=sink)
    inference.submit(job)
    await until(lambda: inference.running == 0)
    assert sink.calls == ["finished"]
    assert engine.requests == []


async def test_a_sink_may_submit_the_next_job(build: Build) -> None:
    """Work handed in while an end is reported is served."""
    inference = build(FakeEngine())
    follow_up, second = make_job("a", question="second")
    job, first = make_job("a")
    first.on_finished = lambda result: inference.submit(follow_up)
    inference.submit(job)
    await until(lambda: second.ended)
    assert second.text == "A red cup."


async def test_draining_answers_questions_and_drops_the_rest(
    build: Build, metrics: Metrics
) -> None:
    """Questions finish, background work ends at once, new work is refused."""
    engine = holding()
    inference = build(engine, slots=2)
    describing = make_job("c", DESCRIBE)
    waiting = make_job("d", DESCRIBE)
    questions = [make_job("a"), make_job("a", question="second")]
    submitted(inference, [describing, *questions, waiting])
    await until(lambda: engine.open == 2)
    draining = asyncio.create_task(inference.drain(5))
    await until(lambda: describing[1].ended)
    assert result_of(describing[1]).cancel_reason == "draining"
    assert isinstance(waiting[1].error, Draining)
    for kind in (CHAT, DESCRIBE):
        with pytest.raises(Draining):
            sent(inference, "e", kind)
    engine.release()
    await draining
    assert [sink.text for _, sink in questions] == ["A red cup."] * 2
    assert_idle(inference)


async def test_draining_ends_in_time(build: Build) -> None:
    """A running answer ends with its text so far; a waiting one fails with Draining."""
    engine = holding(at=1)
    inference = build(engine)
    _, running_sink = sent(inference, "a")
    _, waiting_sink = sent(inference, "b")
    await until(lambda: running_sink.text == "A ")
    await inference.drain(0.01)
    assert (result_of(running_sink).text, result_of(running_sink).cancel_reason) == (
        "A ",
        "draining",
    )
    assert isinstance(waiting_sink.error, Draining)
    assert len(engine.requests) == 1
    assert_idle(inference)


async def test_closing_waits_for_the_engines(build: Build) -> None:
    """After close no stream is open; closing again does nothing."""
    engine = holding(at=1)
    inference = build(engine, slots=4)
    jobs = submitted(inference, [make_job(session) for session in "abcdef"])
    await until(lambda: engine.open == 4)
    engine.slow_close = asyncio.Event()
    # Its engine is letting go already: that must not be cut short.
    inference.cancel_session("a", "user")
    await turns()
    closing = asyncio.create_task(inference.close())
    await turns()
    engine.slow_close.set()
    await closing
    assert engine.open == 0
    assert all(sink.ended for _, sink in jobs)
    assert_idle(inference)
    await inference.close()


async def test_a_job_is_submitted_once(build: Build) -> None:
    """The same job twice is the caller's mistake, and raises."""
    engine = holding()
    inference = build(engine)
    job, _ = sent(inference)
    with pytest.raises(ValueError, match="already"):
        inference.submit(job)


async def test_a_request_is_logged_under_the_id_that_the_engine_gets(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """Answered or not; each has another one, of 128 random bits."""
    engine = FakeEngine()
    inference = build(engine)
    with caplog.at_level(logging.INFO, "server"):
        for error in (None, engine_error(EngineRefused)):
            engine.fail_at, engine.fail_with = 0, error
            await served(inference)
    ids = [request.id for request in engine.requests]
    assert len({*ids}) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    logged = {one.message: getattr(one, "request", "") for one in caplog.records}
    assert logged == {"answered": ids[0], "engine failed": ids[1], "answer failed": ids[1]}


async def test_one_prompt_of_background_work_at_a_time(build: Build) -> None:
    """The next one begins with the first word of the one before."""
    engine = holding()
    inference = build(engine, slots=8)
    jobs = submitted(inference, [make_job(session, DESCRIBE) for session in "abc"])
    await until(lambda: engine.open == 1)
    await turns()
    assert engine.open == 1
    engine.release()
    await ends(jobs)


async def test_descriptions_do_not_starve_beside_watches(build: Build) -> None:
    """Every third job is a description, while both wait."""
    engine = holding()
    inference = build(engine, slots=1, queue=32)
    sent(inference, "q")
    submitted(inference, [make_job(f"w{number}", WATCH) for number in range(6)])
    submitted(inference, [make_job(f"d{number}", DESCRIBE) for number in range(2)])
    engine.release()
    await until(lambda: len(engine.requests) == 9 and inference.running == 0)
    kinds = [request.kind for request in engine.requests[1:]]
    assert kinds == [WATCH, WATCH, DESCRIBE, WATCH, WATCH, DESCRIBE, WATCH, WATCH]


async def test_without_a_setting_the_model_server_says_how_many() -> None:
    """64 at most; an engine that states its own number gets that."""
    engines = FakeEngines(FakeEngine())
    inference = Inference(engines, max_concurrent=0, max_queue=8, metrics=Metrics("0"))
    assert inference.slots == 64
    engines.current = FakeEngine(capabilities=Capabilities(max_concurrency=3))
    assert inference.slots == 3
    await inference.close()


# Roles


def of_two(**capabilities: Any) -> tuple[FakeEngines, FakeEngine, FakeEngine]:
    """A large engine that answers, and a small one that watches."""
    large = FakeEngine("vllm", capabilities=Capabilities(**capabilities))
    small = FakeEngine("watches", capabilities=Capabilities(**capabilities))
    engines = FakeEngines(large)
    engines.roles[Role.WATCHES] = small
    return engines, large, small


def watch(session_id: str = "s") -> tuple[Job, RecordingSink]:
    job, sink = make_job(session_id, WATCH)
    job.role = Role.WATCHES
    return job, sink


@pytest.mark.parametrize("slow", ["large", "small"])
async def test_one_engines_work_keeps_no_other_waiting(build: Build, slow: str) -> None:
    """Each with one slot: the other one's is free, also for the same session, and its queue is its own."""
    engines, large, small = of_two(max_concurrency=1)
    inference = build(engines, slots=8, queue=2)
    (large if slow == "large" else small).hold()
    held = submitted(
        inference, [make_job(f"q{n}") if slow == "large" else watch(f"q{n}") for n in range(3)]
    )
    await until(lambda: large.open + small.open == 1)
    job, sink = watch("q0") if slow == "large" else make_job("q0")
    inference.submit(job)
    await until(lambda: sink.ended)
    assert sink.engines == ["watches" if slow == "large" else "vllm"]
    assert not any(sink.ended for _, sink in held)
    idle, busy = Role.WATCHES, Role.ANSWERS
    if slow == "small":
        idle, busy = busy, idle
    await until(lambda: inference.free(idle))
    assert not inference.free(busy)
    (large if slow == "large" else small).release()
    await ends(held)
    assert large.most_open == small.most_open == 1


async def test_roles_of_one_engine_share_its_slots(build: Build) -> None:
    """A question goes before watches there, and stops one."""
    engine = FakeEngine(capabilities=Capabilities(max_concurrency=1))
    inference = build(engine, slots=8)
    engine.hold()
    background, stopped = watch("a")
    inference.submit(background)
    await until(lambda: engine.open == 1)
    _, sink = sent(inference, "b")
    engine.release()
    await until(lambda: sink.ended)
    assert result_of(stopped).cancel_reason == "preempted"
    assert engine.most_open == 1


async def test_watches_fill_an_engine_that_nobody_asks(build: Build) -> None:
    """No slot stays free for a question there, and prompts go side by side."""
    engines, large, small = of_two(max_concurrency=3)
    inference = build(engines, slots=8)
    for engine in (large, small):
        engine.hold()
    jobs = [watch(f"w{number}") for number in range(4)]
    asked = [make_job(f"d{number}", DESCRIBE) for number in range(4)]
    submitted(inference, [*jobs, *asked])
    await until(lambda: small.open == 3)
    await turns()
    assert large.open == 1
    for engine in (large, small):
        engine.release()
    await ends([*jobs, *asked])


async def test_waiting_work_follows_its_role_to_another_engine(build: Build) -> None:
    """The watch that runs ends where it runs; those that wait go where watches are looked at now."""
    engines, _, small = of_two(max_concurrency=1)
    inference = build(engines, slots=8)
    small.hold(at=1)
    (first, running), *waiting = (watch(f"w{number}") for number in range(3))
    submitted(inference, [(first, running), *waiting])
    await until(lambda: small.open == 1)
    del engines.roles[Role.WATCHES]
    inference.engine_changed()
    await ends(waiting)
    assert [sink.engines for _, sink in waiting] == [["vllm"], ["vllm"]]
    small.release()
    await until(lambda: running.ended)
    assert running.engines == ["watches"]


async def test_a_failed_answers_slot_goes_with_it(build: Build) -> None:
    """The engine that stands in has one slot: the next watch waits for the one that moved there."""
    engines, large, small = of_two(max_concurrency=1)
    inference = build(engines, slots=8)
    small.fail_at, small.fail_with = 0, EngineUnavailable("gone")
    large.hold(at=1)
    first, moved = watch("a")
    inference.submit(first)

    async def wait_probed(engine: Engine) -> None:
        engines.roles.pop(Role.WATCHES, None)

    engines.wait_probed = wait_probed  # type: ignore[method-assign]
    await until(lambda: large.open == 1)
    second, waits = watch("b")
    inference.submit(second)
    await turns()
    assert large.open == 1
    assert not waits.calls
    large.release()
    await until(lambda: moved.ended and waits.ended)
    assert moved.engines == ["watches", "vllm"]
    assert large.most_open == 1


async def test_times_are_of_each_role(build: Build, metrics: Metrics) -> None:
    engines, _, _ = of_two()
    inference = build(engines, slots=8)
    jobs = submitted(inference, [make_job("a"), watch("b"), watch("c")])
    await ends(jobs)
    assert sample(metrics, "first_token_seconds_count", role="answers") == 1
    assert sample(metrics, "first_token_seconds_count", role="watches") == 2

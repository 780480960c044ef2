"""Load runs of the benchmark against live servers: the open loop, what ends it early, and what it
does not begin with.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request
from scripts.bench.load_run import LoadRun, finish, format_text, run_load
from scripts.bench.open_loop import plan_poisson
from scripts.bench.processes import MeasurementError
from scripts.bench.report import Report
from scripts.bench.stand_in_model import StandInModel
from scripts.benchmark import main, parse_options
from tests.support.clients import metric, soon
from tests.support.documents import ROOT
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import ServerProcess, free_port
from tests.support.running import Running, running

pytestmark = pytest.mark.slow


@asynccontextmanager
async def serving(model: StandInModel, **settings: Any) -> AsyncIterator[Running]:
    """A server whose engine is `model`, ready for questions."""
    await model.start()
    try:
        settings = {"engine": "vllm", "vllm_base_url": model.base_url, **settings}
        async with running(**{"rate_limit_per_minute": 0, **settings}) as run:
            while (await request("GET", f"{run.base_url}/health")).status != 200:
                await asyncio.sleep(0.05)
            yield run
    finally:
        await model.close()


async def measure(*arguments: str) -> tuple[LoadRun, str]:
    """A run with small cameras, and what it said meanwhile."""
    said = io.StringIO()
    run = await run_load(
        parse_options([*arguments, "--size", "320x240"]), Console(file=said, width=100)
    )
    return run, said.getvalue()


async def test_queueing_is_not_hidden() -> None:
    """A model that serves one at a time gets four times what it can: questions come as planned all
    the same, and each one's latency holds what those before it took. A loop that waits for answers
    would show a fraction of that.
    """
    service, count, sessions = 0.2, 16, 4
    model = StandInModel(first_token=service, between=0.0, pieces=2)
    async with serving(model, max_concurrent_inferences=1) as server:
        run, _ = await measure(
            *("--server-url", server.base_url, "--num-requests", str(count), "--rate", "20"),
            *("--sessions", str(sessions), "--warm-up", "1", "--steady", "15", "--slo", "1"),
        )
    plan = plan_poisson(count, 20, 1)
    assert {s.number: s.planned for s in run.samples} == {p.number: p.at for p in plan}
    samples = sorted(run.figures.answered, key=lambda s: s.ended or 0)
    # A machine that is full of other things loses a picture now and then.
    assert len(samples) >= 3 * count / 4, run.figures.errors
    for place, sample in enumerate(samples, 1):
        # Nothing that is served one at a time can have ended earlier.
        assert sample.ended is not None
        assert sample.ended >= plan[0].at + place * service
        assert (sample.e2el_ms or 0) == pytest.approx((sample.ended - sample.planned) * 1000)
    # As many at once as there are sessions: nobody waited for an answer before asking the next.
    at_once = max(
        sum(other.sent <= s.sent < other.ended for other in samples if other.sent and other.ended)
        for s in samples
        if s.sent is not None
    )
    assert at_once == sessions
    last = samples[-1]
    assert last.sent is not None
    assert last.ended is not None
    closed_loop = last.ended - last.sent
    # The model's pace, as this machine let it go
    pace = (last.ended - (samples[0].ended or 0)) / (len(samples) - 1)
    assert closed_loop < (sessions + 1.5) * pace
    assert (last.e2el_ms or 0) / 1000 > 1.5 * closed_loop
    finish(run)
    answers, goodput = (row.value for row in run.report.rows[:2])
    # Of what was over the objective the time went in waiting here and at the model.
    assert 0 < (goodput or 0) < (answers or 0) <= 1 / service
    text = format_text(run)
    assert "took over 1 s" in text
    assert "RESPONSE_MAX_TOKENS (now " in text
    assert "measured with a stand-in for the model" not in text
    assert "median 0.5-1.5 s, p95 1.5-2.5 s, 1-3 frames/s" in text


def answered(server: Running) -> float:
    return metric(server, "inferences_total", kind="chat", result="ok")


async def test_an_interrupted_run_keeps_what_was_measured(tmp_path: Path) -> None:
    """Ctrl+C: status 130, and files with the questions that had ended, which say so."""
    async with serving(StandInModel(first_token=0.05)) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "scripts/benchmark.py", "--server-url", server.base_url),
            *("--num-requests", "1000", "--rate", "10", "--sessions", "2", "--warm-up", "1"),
            *("--size", "320x240", "--steady", "10", "--no-plots", "--output", str(tmp_path)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while "asking 1000" not in (await process.stderr.readline()).decode():
                assert process.returncode is None
        before = answered(server)
        await soon(lambda: answered(server) >= before + 5, 60)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 130, err.decode()
        assert metric(server, "errors_total", code="internal") == 0
    assert "The run ended early (interrupted)" in out.decode()
    (as_json,) = tmp_path.glob("*.json")
    body = json.loads(as_json.read_text())
    assert body["interrupted"] == "interrupted"
    assert 0 < body["counts"]["completed"] < 100
    assert body["counts"]["errors"].keys() <= {"camera_stalled"}
    assert len(body["questions"]) == body["counts"]["completed"] + body["counts"]["failed"]
    assert not list(tmp_path.glob(".*"))


async def test_a_server_that_goes_away_ends_the_run() -> None:
    """Not after all that was planned: once no session opens any more. The figures so far stay."""
    model = StandInModel(first_token=0.05)
    await model.start()
    try:
        async with ServerProcess({"ENGINE": "vllm", "VLLM_BASE_URL": model.base_url}) as server:
            while (await request("GET", f"{server.url}/health")).status != 200:
                await asyncio.sleep(0.05)
            measuring = asyncio.create_task(
                measure(
                    *("--server-url", server.url, "--num-requests", "1000", "--rate", "20"),
                    *("--sessions", "2", "--warm-up", "0", "--steady", "10"),
                )
            )
            async with asyncio.timeout(30):
                while len(model.records) < 10:
                    await asyncio.sleep(0.02)
                os.kill(server.pid, signal.SIGKILL)
                run, _ = await measuring
    finally:
        await model.close()
    assert run.cut_short == "the server can no longer be reached"
    figures = run.figures
    assert len(figures.answered) >= 5
    assert figures.errors["unreachable"] >= 3
    assert len(run.samples) < 100


async def test_a_camera_that_is_cancelled_while_it_closes_leaves_nothing() -> None:
    """As when the server goes away, and the visitors are on their way to another session."""
    async with running() as run, live_encoder(320, 240) as encoder:
        peer = CameraPeer(run.base_url, encoder)
        await peer.connect()
        closing = asyncio.create_task(peer.drop_camera())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()


async def test_it_waits_where_the_server_limits_new_sessions() -> None:
    """A full allowance of tokens and offers: it waits as told, says so, and then measures."""
    async with serving(StandInModel(first_token=0.02), rate_limit_per_minute=60) as server:
        while (await request("POST", f"{server.base_url}/api/token", {})).status == 200:
            pass
        run, said = await measure(
            *("--server-url", server.base_url, "--num-requests", "2", "--rate", "20"),
            *("--sessions", "1", "--warm-up", "0", "--steady", "10", "--monitor-gpu"),
        )
    assert "the server limits how fast sessions open: waiting" in said
    assert len(run.samples) == 2
    finish(run)
    assert any(row.what.startswith("GPU") for row in run.report.rows)
    assert (
        run.report.more["gpu"]["source"] or "No GPU was found" in run.report.more["gpu"]["why_none"]
    )


async def test_a_server_without_a_model_is_not_measured() -> None:
    """Its own reason is passed on."""
    async with running(engine="vllm", vllm_base_url=f"http://127.0.0.1:{free_port()}/v1") as server:
        with pytest.raises(MeasurementError, match="cannot answer questions: engine unreachable"):
            await measure("--server-url", server.base_url)


def test_comparing_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 for what is no result."""
    assert main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "No such file" in capsys.readouterr().err
    figure: dict[str, Any] = {"what": "x", "unit": "ms"}
    bodies: tuple[Any, ...] = (
        [],
        {"rows": [1]},
        {"rows": [{"what": "x"}]},
        {"rows": [figure | {"value": "1"}]},
        {"rows": [figure | {"spread": {"p50": "1"}}]},
        {"rows": [figure | {"spread": 1}]},
        {"rows": [figure | {"value": 1}], "conditions": []},
    )
    for body in bodies:
        (tmp_path / "a").write_text(json.dumps(body))
        assert main(["--compare", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
        assert "has no figures of the benchmark" in capsys.readouterr().err


def test_an_access_code_is_not_in_the_results() -> None:
    """It comes from the environment, too; results are passed on to others."""
    report = Report.of("t", argparse.Namespace(access_code="x", rate=2.0))
    assert report.conditions["arguments"] == {"rate": "2.0"}

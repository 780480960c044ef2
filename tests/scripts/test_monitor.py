"""scripts/monitor.py against servers that run, that are half down, and that are not there."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import os
import signal
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from rich.console import Console

from scripts import arguments, monitor
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.program import run_until_signal
from scripts.local_certificate import make_authority, make_leaf, to_pem
from scripts.monitor import format_json_line, make_target, parse_options, read_once, watch
from scripts.monitoring.reading import Reading, Samples, Target, take_reading
from scripts.monitoring.state import Level, State, put_together
from scripts.monitoring.view import render, to_plain
from server.features.hosting.gpu import Gpu, GpuReader
from tests.support.answering import answering
from tests.support.clients import visitor
from tests.support.documents import ROOT
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import free_port
from tests.support.running import running

TOKEN = "canary-of-the-metrics-4c81"

# The page of vLLM 0.32, and the same with the names that 0.9.2 had.
NEW = (ROOT / "tests" / "data" / "vllm_metrics.txt").read_text()
OLD = (
    NEW.replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
    .replace("vllm:prefix_cache_", "vllm:gpu_prefix_cache_")
    .replace("vllm:inter_token_latency_", "vllm:time_per_output_token_")
)


def shown(state: State) -> str:
    out = io.StringIO()
    Console(file=out, width=110, markup=False, highlight=False).print(render(state))
    return out.getvalue()


def texts(state: State) -> str:
    return " ".join(problem.text for problem in state.problems)


async def test_what_happened_between_two_looks() -> None:
    """A question that was asked in between is in the rates and latencies of the interval; all is
    well, and all is shown.
    """
    async with (
        LiveEncoder(Scene(320, 240), rate=15) as encoder,
        FakeOpenAI() as fake,
        answering(NEW) as engine,
        running(engine="vllm", vllm_base_url=fake.base_url, rate_limit_per_minute=0) as run,
    ):
        target = Target(run.base_url, engine_url=engine.url)
        async with visitor(run, encoder) as one:
            earlier = await take_reading(target)
            await one.page.ask("what?")
            state = put_together(target.url, earlier, await take_reading(target))
    # A machine that is full of other tests may be late.
    assert not [p for p in state.problems if "event loop" not in p.text], state.problems
    body = json.loads(format_json_line(state))
    assert (body["sessions"], body["cameras"]) == (1, {"live": 1})
    assert body["limits"]["sessions"] > 1
    assert body["engines"] == {"vllm": 1}
    assert body["rates"]["answers"] > 0
    for name in ("frame_age", "frame_wait", "first_token", "answer"):
        spread = body["latencies"][name]["interval"]
        assert spread["n"] == 1, name
        assert 0 < spread["p50"] <= spread["p95"], name
    assert body["engine_metrics"]["running"] == 3
    text = shown(state)
    for word in ("works", "vllm", "live 1", "frame's age at the model", "prefix hits 90%"):
        assert word in text


async def test_limits_that_are_nearly_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds for a real server: its names are still those that are looked for."""
    monkeypatch.setattr("scripts.monitoring.state.NEARLY_FULL", 0.0)
    async with running(max_sessions=7, max_queue=9, max_connections=11) as run:
        state = await read_once(Target(run.base_url), 0)
    told = [problem.text for problem in state.problems]
    assert [text for text in told if text.endswith("sessions are in use.")]
    assert [text for text in told if text.endswith("at most 9 places in the queue are in use.")]
    assert [text for text in told if text.endswith("of at most 11 connections are in use.")]


@pytest.mark.parametrize("text", [NEW, OLD], ids=["0.32", "0.9.2"])
def test_the_model_servers_names_of_both_releases(text: str) -> None:
    """The KV cache, the prefix cache and the time between tokens changed their names in between."""
    engine = Samples.parse(text)
    state = put_together("x", Reading(0.0, engine=Samples.parse("")), Reading(10.0, engine=engine))
    told = state.body["engine_metrics"]
    assert (told["running"], told["waiting"], told["kv_cache_usage"]) == (3, 0, 0.25)
    assert told["prefix_cache_hit_rate"] == pytest.approx(1152 / 1286)
    assert told["rates"]["generation_tokens"] == 640
    for name, both in told["latencies"].items():
        assert both["since_start"] == {"n": 100, "p50": 0.26, "p95": 1.75, "beyond": []}, name


async def test_a_server_that_is_not_there() -> None:
    """Said in words, with what to do, at once: there is nothing to wait an interval for."""
    port = free_port()
    async with asyncio.timeout(3):
        state = await read_once(Target(f"http://127.0.0.1:{port}"), 60)
    assert state.level is Level.DOWN
    assert f"Nothing listens at http://127.0.0.1:{port}" in texts(state)
    assert "bash scripts/run.sh" in shown(state)


async def test_a_server_that_can_not_answer_questions() -> None:
    """It runs and its model server does not: another status, with the server's own reason."""
    gone = f"http://127.0.0.1:{free_port()}"
    async with running(engine="vllm", vllm_base_url=f"{gone}/v1") as run:
        state = await read_once(Target(run.base_url, engine_url=gone), 0)
    assert state.level is Level.UNABLE
    assert "runs, but cannot answer questions: engine unreachable" in texts(state)
    assert state.body["missing"]["engine"]["text"].startswith("Nothing listens at")


@pytest.mark.slow
async def test_the_built_in_engine_in_the_models_place() -> None:
    """Questions are answered, but not by what the operator counts on."""
    gone = f"http://127.0.0.1:{free_port()}"
    async with running(engine="auto", vllm_base_url=f"{gone}/v1") as run:
        state = await read_once(Target(run.base_url, engine_url=gone), 0)
    assert state.level is Level.LOOK
    assert texts(state) == "The engine vllm is down; builtin answers in its place."


async def test_metrics_that_need_their_token() -> None:
    """Without it health alone is shown, and said so; with it everything; it is printed nowhere."""
    async with running(metrics_token=TOKEN) as run:
        without = await read_once(Target(run.base_url), 0)
        wrong = await read_once(Target(run.base_url, metrics_token="other"), 0)
        right = await read_once(Target(run.base_url, metrics_token=TOKEN), 0)
    assert (without.level, wrong.level, right.level) == (Level.LOOK, Level.LOOK, Level.OK)
    assert texts(without).startswith("METRICS_TOKEN is needed")
    assert texts(wrong).startswith("Another METRICS_TOKEN is needed")
    assert "version" in shown(without)
    assert TOKEN not in format_json_line(right) + shown(right)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of loopback")
async def test_the_token_goes_to_no_server_that_is_not_trusted(tmp_path: Path) -> None:
    """Elsewhere than on this machine the certificate has to hold; --authority names who vouches."""
    name, now = x509.IPAddress(ipaddress.ip_address("127.0.0.2")), datetime.now(UTC)
    key, authority = make_authority([name], "test", now)
    (tmp_path / "authority.pem").write_bytes(to_pem(None, authority))
    (tmp_path / "server.pem").write_bytes(to_pem(*make_leaf(key, authority, [name], now)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    async with answering("{}", host="127.0.0.2", tls=tls) as one:
        state = await read_once(Target(one.url, TOKEN), 0)
        assert "is not trusted" in texts(state)
        assert one.heads == []
        await read_once(Target(one.url, TOKEN, authorities=(tmp_path / "authority.pem",)), 0)
    assert any(f"Authorization: Bearer {TOKEN}" in asked for asked in one.heads)


def test_what_somebody_should_look_at() -> None:
    """Old frames, slow answers, errors, relays, a full KV cache: each is reported, of the interval and
    not of long ago.
    """
    bucket = 'qwen_camera_{name}_bucket{{{labels}le="{le}"}} {n}\n'

    def page(n: int, errors: int) -> Samples:
        text = f'qwen_camera_relays{{state="failing"}} 1\nqwen_camera_errors_total{{code="busy"}} {errors}\n'
        text += f'qwen_camera_limit{{of="sessions"}} 100\nqwen_camera_sessions {85 + n}\n'
        for name, labels in (("frame_age_seconds", ""), ("inference_seconds", 'kind="chat",')):
            for le, count in (("0.1", 0), ("3.0", 0), ("30.0", 100 + n), ("+Inf", 100 + n)):
                text += bucket.format(name=name, labels=labels, le=le, n=count)
        return Samples.parse(text)

    health = {"engine": {"name": "vllm", "reachable": True, "model": "m\x1b[2J"}}
    engine = Samples.parse("vllm:kv_cache_usage_perc 0.97\n")
    gpus = [Gpu(0, "AMD Instinct MI300X", 0.5, 96 * 2**30, 192 * 2**30, 600.0, 60.0)]
    before = Reading(0.0, health, True, page(0, 5))
    after = Reading(10.0, health, True, page(10, 8), engine, gpus)
    told = texts(state := put_together("x", before, after))
    assert state.level is Level.LOOK
    for words in (
        "TURN relays",
        "Frames are old",
        "Answers take over 3 s",
        "busy 3",
        "97% full",
        "95 of at most 100 sessions",
    ):
        assert words in told
    quiet = put_together("x", before, Reading(10.0, health, True, page(0, 5)))
    assert texts(quiet) == "1 TURN relays do not work."
    text = shown(state)
    assert "AMD Instinct MI300X: 50%, 96.0 of 192.0 GiB, 600 W, 60 °C" in text
    assert "\x1b" not in text
    assert to_plain("a\x1b[31m\nb") == "a[31mb"


async def test_watching_on_a_terminal_until_ctrl_c() -> None:
    """The view is drawn again each interval; Ctrl+C ends it and gives the screen back."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, markup=False)
    async with running() as run:
        target = Target(run.base_url, gpus=GpuReader())
        work = run_until_signal(watch(target, 0.05, as_json=False, console=console))
        watching = asyncio.create_task(work)
        async with asyncio.timeout(10):
            while out.getvalue().count("sessions") < 2:
                await asyncio.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)
            await watching
    assert out.getvalue().rstrip().endswith("\x1b[?25h\x1b[?1049l")


async def run_script(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "scripts" / "monitor.py"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.slow
async def test_from_the_command_line(tmp_path: Path) -> None:
    """As cron runs it: JSON to standard output, status by the state, token of the environment."""
    arguments = ("--once", "--json", "--interval", "0.1", "--no-gpu")
    async with running(metrics_token=TOKEN) as run:
        status, out, err = await run_script(
            *arguments, "--server-url", run.base_url, "--engine-url", "none", METRICS_TOKEN=TOKEN
        )
    assert (status, err) == (0, "")
    assert json.loads(out)["state"] == "ok"
    env_file = tmp_path / "settings.env"
    env_file.write_text(f"PORT={free_port()}\n")
    status, out, err = await run_script(*arguments, "--env-file", str(env_file))
    assert (status, err) == (4, "")
    assert json.loads(out)["problems"][0]["level"] == "down"


def test_this_machines_token_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server gets the one of the environment, or of a file that was named."""
    for module in (arguments, monitor):
        monkeypatch.setattr(module, "ENV_FILE", tmp_path / ".env")
    monkeypatch.delenv("METRICS_TOKEN", raising=False)
    (tmp_path / ".env").write_text(f"METRICS_TOKEN={TOKEN}\n")
    there = ["--no-gpu", "--server-url", "https://cam.example.org"]
    assert make_target(parse_options(["--no-gpu"])).metrics_token == TOKEN
    here = ["--no-gpu", "--server-url", "http://localhost:8123"]
    assert make_target(parse_options(here)).metrics_token == TOKEN
    assert make_target(parse_options(there)).metrics_token == ""
    monkeypatch.setenv("METRICS_TOKEN", "theirs")
    assert make_target(parse_options(there)).metrics_token == "theirs"
    monkeypatch.delenv("METRICS_TOKEN")
    (tmp_path / "theirs.env").write_text("METRICS_TOKEN=named\n")
    named = [*there, "--env-file", str(tmp_path / "theirs.env")]
    assert make_target(parse_options(named)).metrics_token == "named"


def test_where_it_looks_by_itself(tmp_path: Path) -> None:
    """This machine's server and model server, as the settings say; elsewhere no model server."""

    def target(text: str, *arguments: str) -> Any:
        env_file = tmp_path / "settings.env"
        env_file.write_text(text)
        return make_target(parse_options(["--no-gpu", "--env-file", str(env_file), *arguments]))

    settings = "HOST=::\nPORT=8123\nVLLM_BASE_URL=http://10.0.0.5:8001/v1\nMETRICS_TOKEN=abc\n"
    found = target(settings)
    assert (found.url, found.engine_url) == ("http://[::1]:8123", "http://10.0.0.5:8001")
    assert found.metrics_token == "abc"
    assert target(settings, "--server-url", "https://cam.example.org/").engine_url == ""
    assert target("ENGINE=builtin\n").engine_url == ""
    assert target(settings, "--engine-url", "none").engine_url == ""


@pytest.mark.parametrize("status", [200, 404])
async def test_a_model_server_without_figures_is_no_failure(status: int) -> None:
    """Others than vllm have no /metrics, or a page there: all is well, and the JSON says what is
    missing.
    """
    async with (
        FakeOpenAI() as fake,
        answering("hello\n" if status == 200 else "", status) as engine,
        running(engine="vllm", vllm_base_url=fake.base_url, rate_limit_per_minute=0) as run,
    ):
        state = await read_once(Target(run.base_url, engine_url=engine.url), 0)
    assert (state.level, texts(state)) == (0, "")
    assert state.body["missing"]["engine"]["text"].startswith("Its /metrics cannot be used")


# Samples


def reading(*values: float, registry: CollectorRegistry | None = None) -> Samples:
    registry = registry or CollectorRegistry()
    seconds = Histogram("x_seconds", "x", ("kind",), registry=registry, buckets=(0.1, 0.2, 1.0))
    for value in values:
        seconds.labels("chat").observe(value)
    return Samples.parse(generate_latest(registry).decode())


def test_a_quantile_is_where_promql_has_it() -> None:
    """Linear within its bucket."""
    found = reading(*[0.05] * 10, *[0.15] * 10).get_histogram("x_seconds")
    assert found is not None
    assert found.count == 20
    assert found.get_quantile(0.25) == pytest.approx(0.05)
    assert found.get_quantile(0.5) == pytest.approx(0.1)
    assert found.get_quantile(0.95) == pytest.approx(0.19)

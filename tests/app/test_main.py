"""The program as it is started: what the terminal says, and how it stops."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import socket
import sys
import termios
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from config import load
from scripts.bench.camera_peer import CameraPeer
from server.app.app import Program, create_app
from server.core.aio import Deadline
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.impressions import Impression
from server.features.hosting.active_engine import ActiveEngine
from server.features.hosting.hosting import Hosting
from server.models.base import EngineState
from tests.support.clients import Page, open_page
from tests.support.fakes import FakeEngine
from tests.support.fakes_app import assert_error, client_of
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.running import Running, running
from tests.support.timing import at_once

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Process:
    """`python -m server.main` in an empty folder, with nothing but these settings."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        # The terminal's lines up to the empty line after the address.
        self.greeting = ""
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def run(self) -> Running:
        """It as `open_page` needs it."""
        return cast("Running", SimpleNamespace(ws_url=self.base_url.replace("http", "ws")))

    async def read_greeting(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        async with asyncio.timeout(60):
            while not self.greeting.endswith("\n\n") or not self.port:
                line = (await stream.readline()).decode()
                assert line, f"it stopped with: {self.greeting}"
                self.greeting += line
                if match := re.search(r"https?://[^:]+:(\d+)$", line.strip()):
                    self.port = self.port or int(match[1])

    async def read_until(self, words: str) -> None:
        """Read standard error until it has these words."""
        stream = self._process.stderr
        assert stream is not None
        async with asyncio.timeout(60):
            while words not in self.greeting:
                self.greeting += (await stream.readline()).decode()

    def signal(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    async def end(self, timeout: float = 60) -> tuple[int, str, str]:
        """Exit status, standard output, and what is left of standard error."""
        async with asyncio.timeout(timeout):
            out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, out.decode(), err.decode()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@asynccontextmanager
async def started(folder: Path, *, program: str = "", **settings: Any) -> AsyncIterator[Process]:
    """Nothing is read yet; it is dead afterwards.

    `program`: Python code that runs in place of `-m server.main`.
    """
    keep = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    env |= {"PYTHONPATH": str(ROOT), "HOST": "127.0.0.1", "PORT": "0", "DRAIN_SECONDS": "5"}
    env |= {name.upper(): str(value) for name, value in settings.items()}
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            *(("-c", program) if program else ("-m", "server.main")),
            cwd=folder,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    try:
        yield process
    finally:
        await process.kill()


async def test_the_terminal_says_where_to_click_and_what_answers(tmp_path: Path) -> None:
    """Address, engine, and how to get a better one; one signal stops it with status 0, and nothing
    is written.
    """
    settings = {"vllm_base_url": "http://127.0.0.1:9/v1", "operator_token": "T" * 20}
    async with started(tmp_path, engine="auto", **settings) as process:
        await process.read_greeting()
        assert f"http://localhost:{process.port}" in process.greeting
        assert f"http://localhost:{process.port}/#operator" in process.greeting
        assert "T" * 20 not in process.greeting
        assert "Access code" not in process.greeting
        assert re.search(r"Engine +The built-in engine names", process.greeting)
        assert "VLLM_BASE_URL" in process.greeting
        assert "http://127.0.0.1:9/v1" in process.greeting
        async with httpx.AsyncClient(base_url=process.base_url, trust_env=False) as client:
            assert (await client.get("/health")).status_code == 200
        process.signal()
        status, out, err = await process.end()
        assert status == 0
        assert "Traceback" not in out + err
        assert list(tmp_path.iterdir()) == []


async def at_a_terminal(folder: Path, **settings: str) -> tuple[str, int | None]:
    """The words on a terminal of 80 columns, until the engine is named or it ends; its status."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.main"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        start_new_session=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "NO_COLOR": "1",
            **settings,
        },
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""
    try:
        async with asyncio.timeout(60):
            while b"#pair=" not in shown or not shown.endswith(b"\n"):
                try:
                    shown += os.read(ours, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.02)
                except OSError:
                    # The other end is closed, since it ends.
                    await process.wait()
                    break
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.returncode


async def test_a_terminal_shows_the_greeting_and_the_code(tmp_path: Path) -> None:
    """80 columns break no word of them."""
    settings = {"VLLM_BASE_URL": "http://127.0.0.1:9/v1", "PAIRING_HOSTS": "127.0.0.1"}
    shown, _ = await at_a_terminal(tmp_path, **settings)
    logged = re.compile(r"\d\d:\d\d:\d\d ")
    said = [line for line in shown.splitlines() if not logged.match(line)]
    assert all(word in shown for word in ("A better one", "Access code", "#pair="))
    assert max(map(len, said)) <= 80


async def test_a_port_in_use(tmp_path: Path) -> None:
    """A sentence that says so, and status 1, after the log's lines."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown, status = await at_a_terminal(tmp_path, PORT=str(port), JWT_SECRET_KEY="short")
    assert status == 1
    assert f"PORT {port}: Address already in use" in shown
    assert "Traceback" not in shown
    assert re.search(r"warning JWT_SECRET_KEY has only 5 characters", shown)


async def test_a_chosen_engine_is_named_with_its_model_or_its_trouble(tmp_path: Path) -> None:
    """vLLM with its model; one that does not answer with what is wrong."""
    async with FakeOpenAI() as fake:
        async with started(tmp_path, engine="vllm", vllm_base_url=fake.base_url) as process:
            await process.read_greeting()
            assert re.search(r"Engine +vllm \(fake-vl\)", process.greeting)
            assert "#operator" not in process.greeting
            assert "A better one" not in process.greeting
        url = fake.base_url
    async with started(tmp_path, engine="vllm", vllm_base_url=url) as process:
        await process.read_greeting()
        assert re.search(r"Engine +vllm\n +unreachable: ", process.greeting)


async def test_bad_settings_stop_the_start(tmp_path: Path) -> None:
    """A sentence for each, naming key, value and what is allowed; status 2; no secret in it."""
    secret = "short-secret-77"
    async with started(
        tmp_path, port="99999", engine="best", require_auth="true", jwt_secret_key=secret
    ) as process:
        status, out, err = await process.end()
    assert status == 2
    assert "PORT is '99999'. Allowed: a whole number from 0 to 65535" in err
    assert "ENGINE is 'best'. Allowed: auto, vllm, local or builtin" in err
    assert secret not in out + err
    assert "Traceback" not in err


@asynccontextmanager
async def asking(process: Process) -> AsyncIterator[tuple[CameraPeer, Page]]:
    """Somebody with a camera and a socket."""
    async with live_encoder(320, 240) as encoder:
        peer = CameraPeer(process.base_url, encoder)
        try:
            await peer.connect()
            page = await open_page(process.run, peer.token, peer.session_id)
            await page.next("status", camera="live")
            yield peer, page
            await page.close()
        finally:
            await peer.close()


async def test_sigterm_under_load(tmp_path: Path) -> None:
    """ready turns false, the running answer ends, new work is refused, sockets get 1013, exit 0."""
    async with (
        FakeOpenAI() as fake,
        started(tmp_path, engine="vllm", vllm_base_url=fake.base_url) as process,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await process.read_greeting()
        async with asking(process) as (peer, page):
            fake.hold()
            await page.send(type="chat", content="What?", id="running")
            await page.next("delta", id="running")
            process.signal()
            async with at_once():
                while True:
                    ready = await client.get(f"{process.base_url}/health/ready")
                    if ready.status_code == 503:
                        break
            assert "draining" in ready.json()["reason"]
            assert (await client.get(f"{process.base_url}/health/live")).status_code == 200
            late = await open_page(process.run, peer.token, peer.session_id)
            assert (await late.closed())[0] == 1013
            fake.let_go()
            response = await page.next("response", id="running")
            assert (response["text"], response["finish_reason"]) == ("I see a cup.", "stop")
            assert (await page.closed())[0] == 1013
            status, out, err = await process.end()
        assert status == 0
        assert "Traceback" not in out + err


async def test_answers_beyond_the_limit_are_stopped(tmp_path: Path) -> None:
    """DRAIN_SECONDS is a limit: what runs by then ends as cancelled, with what there is of it."""
    async with (
        FakeOpenAI(between_tokens=30) as fake,
        started(tmp_path, engine="vllm", vllm_base_url=fake.base_url, drain_seconds=0.3) as process,
    ):
        await process.read_greeting()
        async with asking(process) as (_, page):
            await page.send(type="chat", content="What?", id="running")
            await page.next("delta", id="running")
            process.signal()
            response = await page.next("response", id="running")
            assert (response["text"], response["finish_reason"]) == ("I ", "cancelled")
            assert (await page.closed())[0] == 1013
            assert (await process.end())[0] == 0
            assert fake.last.closed_early


async def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """Whatever still runs."""
    async with (
        FakeOpenAI() as fake,
        started(tmp_path, engine="vllm", vllm_base_url=fake.base_url, drain_seconds=60) as process,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await process.read_greeting()
        async with asking(process) as (_, page):
            fake.behaviour = Behaviour.SILENT
            await page.send(type="chat", content="What?")
            await page.next("started")
            process.signal()
            async with at_once():
                while (await client.get(f"{process.base_url}/health/ready")).status_code == 200:
                    pass
            process.signal()
            async with at_once():
                status, _, err = await process.end()
            assert status == 0
            assert "Traceback" not in err


# The built-in engine's libraries load in a thread after the start; under load for seconds.
LOADING = """
import sys, time
from server.features.builtin.reader import TextReader
from server import main
TextReader.warm = lambda self: (print("loads", file=sys.stderr, flush=True), time.sleep(30))
sys.exit(main.main())
"""
# A look-up that gets no answer sits in a thread that nothing can stop.
SILENT_NAMES = """
import asyncio, socket, sys, time
real = socket.getaddrinfo
def silent(host, *more, **options):
    if ".test" in str(host):
        print("asked", file=sys.stderr, flush=True)
        time.sleep(60)
    return real(host, *more, **options)
socket.getaddrinfo = silent
from server import main
sys.exit(main.main())
"""
# A task that swallows its cancellation holds neither the other parts nor the process.
STUBBORN = """
import asyncio, sys
from server import main
from server.app import app
start = app.Program.start
async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
async def started(self):
    await start(self)
    self.kept = asyncio.create_task(stubborn())
    self.tasks.spawn(stubborn(), name="stubborn")
app.Program.start = started
app.CLOSE_SECONDS = 1.0
sys.exit(main.main())
"""


@pytest.mark.parametrize(
    ("program", "model", "said"),
    [
        (LOADING, "", "process exited with a running thread"),
        (SILENT_NAMES, "http://model.test:8001/v1", "asked"),
        (STUBBORN, "", "close timed out"),
    ],
    ids=["loading", "name server", "stubborn task"],
)
async def test_a_stop_waits_for_nobody(tmp_path: Path, program: str, model: str, said: str) -> None:
    settings = {"engine": "vllm", "vllm_base_url": model} if model else {"engine": "builtin"}
    async with started(tmp_path, program=program, **settings) as process:
        await process.read_greeting()
        if program is LOADING:
            await process.read_until("loads")
        process.signal()
        status, out, err = await process.end(timeout=30)
    assert status == 0
    assert said in process.greeting + out + err
    assert "Traceback" not in err


# Nobody listens at port 9.
NOTHING_ANSWERS = load(env_file=None, engine="auto", vllm_base_url="http://127.0.0.1:9/v1")
WITH_REDIS = NOTHING_ANSWERS.model_copy(
    update={"redis_url": SecretStr("redis://127.0.0.1:9/0"), "jwt_secret_key": SecretStr("k" * 40)}
)
CLOSED = ["sessions", "inference", "cameras", "engines"]


def note_closing(program: Program, broken: str = "") -> list[str]:
    """The parts that were closed, in their order; `broken` is the one that raises at its end."""
    closed: list[str] = []

    def noted(name: str, close: Any) -> Any:
        async def run() -> None:
            closed.append(name)
            await close()
            if name == broken:
                raise RuntimeError("secret words")

        return run

    for at, (name, close) in enumerate(program.opened):
        if name in CLOSED:
            program.opened[at] = name, noted(name, close)
    return closed


def left_behind(threads: set[threading.Thread]) -> set[str]:
    """The pools' threads that came since and still run."""
    return {thread.name for thread in set(threading.enumerate()) - threads if "_" in thread.name}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("step", "redis"),
    [
        ("server.models.selector.EngineSelector.start", True),
        ("server.session_manager.SessionManager.start", True),
        ("a feature", True),
        ("server.app.app.watch_lag", True),
        ("server.app.app.watch_lag", False),
    ],
)
async def test_a_start_that_fails_closes_what_it_began(
    monkeypatch: pytest.MonkeyPatch, step: str, redis: bool
) -> None:
    """Whichever step it fails at, no task, engine, thread or file is left."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    # The first use of the event loop's pool opens things that stay: make it before counting.
    await asyncio.to_thread(int)
    tasks, threads, files = asyncio.all_tasks(), set(threading.enumerate()), open_files()
    app = create_app(WITH_REDIS if redis else NOTHING_ANSWERS)
    program = app.state.program
    closed = note_closing(program)
    if step == "a feature":
        program.added.starts.append(fail)
    else:
        monkeypatch.setattr(step, fail)
    with pytest.raises(ZeroDivisionError):
        async with app.router.lifespan_context(app):
            pass
    assert closed == CLOSED
    assert asyncio.all_tasks() == tasks
    assert left_behind(threads) == set()
    assert open_files() == files
    assert not program.unfinished


async def test_two_apps_of_one_process_have_forms_of_errors_of_their_own() -> None:
    """A feature of one app changes no error of another app, where that feature is off."""
    on, off = [create_app(load(None, features=names)) for names in ("grants,openai_api", "")]
    async with client_of(on) as client:
        assert "detail" not in (await client.get("/v1/no-such-address")).json()
    async with client_of(off) as client:
        assert_error(await client.get("/v1/no-such-address"), 404, "not_found", retryable=False)


async def test_refused_hosts_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """All routes share the minute: those of the page, of cameras, and of operators."""
    async with client_of(create_app(load(None, features="cameras,webhooks"))) as client:
        for path in ("/api/token", "/api/whip", "/api/operator/webhooks/dead"):
            answer = await client.post(path, headers={"Host": "foreign.example"})
            assert answer.status_code == 403
    logged = [one for one in caplog.records if "refused for its host" in one.getMessage()]
    assert len(logged) == 1


async def test_a_program_that_cannot_be_built_opens_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its parts open nothing before the start, so there is nothing to close."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    tasks, threads, files = asyncio.all_tasks(), set(threading.enumerate()), open_files()
    monkeypatch.setattr("server.app.app.SocketServer", fail)
    with pytest.raises(ZeroDivisionError):
        create_app(WITH_REDIS)
    assert asyncio.all_tasks() == tasks
    assert left_behind(threads) == set()
    assert open_files() == files


@pytest.mark.parametrize("broken", CLOSED)
async def test_a_part_that_cannot_be_closed_keeps_no_other_oneopened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """It raises when it is closed: all others are closed, and the program says it is unfinished."""
    program = create_app(NOTHING_ANSWERS).state.program
    closed = note_closing(program, broken)
    tasks = asyncio.all_tasks()
    async with program:
        pass
    assert closed == CLOSED
    assert asyncio.all_tasks() == tasks
    assert program.unfinished
    assert program.pools.heavy._shutdown
    assert "secret words" not in caplog.text


async def test_a_stop_has_one_deadline() -> None:
    """Closing gets the time that draining leaves; neither gets more than the deadline."""
    program = create_app(NOTHING_ANSWERS).state.program
    given: list[float] = []

    async def drain(seconds: float) -> None:
        given.append(seconds)

    async def slow() -> None:
        # CLOSE_SECONDS are 12.
        given.append(12.0)
        await asyncio.sleep(60)

    async with program:
        program.inference.drain = drain
        await program.drain(Deadline(0.0))
        program.opened.append(("slow", slow))
    assert given == [0.0, 12.0]
    assert program.unfinished


async def test_a_model_that_goes_last_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An operator's model is stopped after all that hears of engines has ended."""
    async with running(engine="auto", vllm_base_url="http://127.0.0.1:9/v1") as run:
        place: ActiveEngine = run.program.added.provided[Hosting].active
        engines = run.program.engines
        place.activate(FakeEngine("local"), "fake")
        engines.reprobe()
        assert engines.current is place
    place.deactivate(EngineState.UNREACHABLE, "It has gone.")
    engines.mark_lost(place)
    assert engines.current.name == "builtin"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_an_engine_remembers_goes_with_the_session() -> None:
    """The built-in engine keeps a small picture of what it saw last, and its text: no longer than
    the session lasts.
    """
    async with running(engine="builtin") as run:
        engine = run.program.engines.current
        assert isinstance(engine, BuiltinEngine)
        session = await run.program.sessions.admit("somebody")
        cells = np.zeros((48, 27), np.int16)
        for id in (session.id, "another"):
            engine._memory.exchange(id, Impression(cells, ("a secret",), 0.0))
        await run.program.sessions.end(session.id, "over")
        assert len(engine._memory) == 1
        assert engine._memory.exchange("another", Impression(cells, None, 1.0)) is not None

"""Everything that other programs do, at once, beside people who ask: memory, rates, and what people wait for.

    python -m benchmarks.programs_hour --minutes 60

One server on loopback, a stand-in in the model's place, simulated cameras of people who ask every few seconds, and a
standing camera from a true RTSP server. Phases with and without the programs take turns, so that the same run has both. The
programs: an assistant over MCP and a script with OpenAI's client look through one person's camera, a further assistant takes
pictures through another one's, and a script looks through the standing camera, each above its rate; one assistant and the
project's own client stay within it, and so does a home that presses the standing camera's button over MQTT (Mosquitto). An
operator looks through the standing camera, too; a receiver of webhooks verifies signed tests.

Exit status: 0 measured, 1 not, 2 wrong options, 130 interrupted before anything was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression
from typing import Any

import aiomqtt
import httpx
import httpx2
import openai
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from standardwebhooks.webhooks import WebhookVerificationError

from scripts.arguments import command_line, number, whole
from scripts.bench import program
from scripts.bench.camera_peer import CameraPeer, close_all
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.processes import ROOT, ServerProcess, StandInProcess, Usage
from scripts.bench.report import Report, Row, Spread, machine
from server.core import core_dumps
from tests.features.webhooks.receiver import OK, SECRET, Heard, receiving
from tests.peers.processes import RTSP, no_rtsp, peer_process
from tests.support.mosquitto import broker, no_mosquitto

Once = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """The requests of one program."""

    done: int = 0
    refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    # Its looks have a rate, and it asks for more than that.
    limited: bool = False
    # It asks for less than its rate: none of its looks may be refused for it.
    within: bool = False

    def failed(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1


class Limited(Exception):
    """A request was refused for its rate, as the interface says it: with its code and when to ask again."""


class Unclear(OSError):
    """A refusal for the rate without its code, or without the time to ask again."""

    def __init__(self) -> None:
        super().__init__("refused, and not told when to ask again")


def limited(code: Any, expected: str, wait: Any) -> Exception:
    """Return the error of a refusal; `wait` is the time after which to ask again, as it came."""
    try:
        return Limited() if code == expected and float(wait) >= 1 else Unclear()
    except (TypeError, ValueError):
        return Unclear()


@asynccontextmanager
async def _client(url: str, made: Mapping[str, Any]) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url + made["mcp"], http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def assistant(
    url: str, made: Mapping[str, Any], tool: str = "look", **arguments: str
) -> AsyncIterator[Once]:
    """Call a tool of the MCP server."""
    async with _client(url, made) as client:

        async def once() -> None:
            result = await client.call_tool(tool, arguments)
            if not result.is_error:
                return
            error = (result.structured_content or {}).get("error", {})
            if (code := error.get("code")) != "rate_limited":
                raise OSError(code)
            raise limited(code, "rate_limited", error.get("retry_after"))

        yield once


@asynccontextmanager
async def script(url: str, made: Mapping[str, Any]) -> AsyncIterator[Once]:
    """Ask with OpenAI's client, as its users do."""
    async with openai.AsyncOpenAI(
        api_key=made["token"], base_url=url + made["openai"], max_retries=0
    ) as client:

        async def once() -> None:
            picture: Any = {"type": "image_url", "image_url": {"url": "camera://now"}}
            words: Any = {"type": "text", "text": "What is there?"}
            try:
                stream = await client.chat.completions.create(
                    model="camera",
                    messages=[{"role": "user", "content": [words, picture]}],
                    stream=True,
                )
                async for _ in stream:
                    pass
            except openai.RateLimitError as error:
                wait = error.response.headers.get("retry-after")
                raise limited(error.code, "rate_limit_exceeded", wait) from None

        yield once


@asynccontextmanager
async def library(url: str, made: Mapping[str, Any]) -> AsyncIterator[Once]:
    """Ask with this project's client."""
    path = str(ROOT / "clients/python/src")
    if path not in sys.path:
        sys.path.insert(0, path)
    package = importlib.import_module("qwen_camera")
    async with package.Camera(url, made["token"]) as camera:

        async def once() -> None:
            try:
                await camera.ask("What is there?")
            except package.RateLimited as error:
                raise limited("rate_limited", "rate_limited", error.retry_after) from None
            except package.CameraError as error:
                raise OSError(error.code or type(error).__name__) from None

        yield once


@asynccontextmanager
async def home(broker: aiomqtt.Client, look: str, facts: str) -> AsyncIterator[Once]:
    """Press a camera's button for a look over MQTT, and wait for the answer's facts."""
    async with broker as client:
        await client.subscribe(facts)
        messages = aiter(client.messages)

        async def once() -> None:
            await client.publish(look, b"PRESS", qos=1)
            async with asyncio.timeout(60):
                message = await anext(messages)
            if not json.loads(bytes(message.payload)).get("ok"):
                raise OSError("not answered")

        yield once


def posts(http: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None) -> Once:
    async def once() -> None:
        reply = (await http.post(path, json=body)).raise_for_status()
        if reply.status_code == 200 and reply.json().get("type") == "error":
            raise OSError(reply.json().get("code"))

    return once


def gets(http: httpx.AsyncClient, path: str) -> Once:
    async def once() -> None:
        (await http.get(path)).raise_for_status()

    return once


async def repeat(once: Once, every: float, on: asyncio.Event, tally: Tally) -> None:
    """Ask again and again while programs may; an error is counted, and no reason to end."""
    while True:
        await on.wait()
        began = time.monotonic()
        try:
            await once()
            tally.done += 1
        except Limited:
            tally.refused += 1
        except (OSError, httpx.HTTPError, openai.APIError) as error:
            told = type(error) in (OSError, Unclear)
            tally.failed(str(error)[:60] if told else type(error).__name__)
        await asyncio.sleep(max(0.05, every - (time.monotonic() - began)))


OPERATOR = "operator-token-of-this-measurement"
CAMERAS = "/api/operator/cameras/door"
# Looks a minute of one program, and those that it may have at once. While people ask, background work gets about 50 prompts
# a minute at the stand-in: with this rate it is the rate that holds the programs back.
RATE, AT_ONCE = 10, 2
# Seconds between two requests of a program: above its rate, and of one that is within it
EVERY, SELDOM = 1.5, 12.0
# The button for a look at the standing camera, and the answer's facts (server/features/mqtt/README.md)
LOOK, FACTS = "qwen-camera/door/look", "qwen-camera/door/answer/facts"
# A person's question may take so much longer beside programs.
TARGET = 1.2
SAMPLE_SECONDS = 2.0
# Of the run, and seconds where it is long enough, before the memory's slope is measured: the pictures of the recent past
# (RECALL_SECONDS) fill
WARM_SHARE, WARM_SECONDS = 0.25, 300.0


@dataclass(slots=True)
class Run:
    """The figures of a run."""

    # Seconds to the first word of people's questions, without and with the programs
    first: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    people_failed: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    # Seconds since the start, and MiB of the server's process
    memory: list[tuple[float, float]] = field(default_factory=list)
    # The same of its child processes together
    children: list[tuple[float, float]] = field(default_factory=list)
    # Seconds with the programs, and the number of their phases
    beside: float = 0.0
    phases: int = 0


def descendants(pid: int) -> list[int]:
    """Return the child processes of a process, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the growth by least squares, in units an hour of seconds; 0 for fewer than two samples."""
    times, values = zip(*samples, strict=True) if samples else ((), ())
    return 3600 * linear_regression(times, values).slope if len(set(times)) > 1 else 0.0


# People


async def ask(peer: CameraPeer, every: float, delay: float, run: Run, on: asyncio.Event) -> None:
    """Ask as a person does. A question that a change of phase falls into is not counted."""
    await asyncio.sleep(delay)
    while True:
        began, beside = time.monotonic(), on.is_set()
        answer = await peer.ask("What do you see?")
        if on.is_set() == beside:
            if answer.first_delta_at is None:
                run.people_failed += 1
            else:
                run.first[beside].append(answer.first_delta_at - answer.asked)
        await asyncio.sleep(max(0.1, every - (time.monotonic() - began)))


async def sample(pid: int, run: Run) -> None:
    began = time.monotonic()
    while True:
        now = time.monotonic() - began
        run.memory.append((now, Usage.of(pid).rss))
        # One may just have ended.
        with contextlib.suppress(OSError, StopIteration):
            run.children.append((now, sum(Usage.of(one).rss for one in descendants(pid))))
        await asyncio.sleep(SAMPLE_SECONDS)


def written(folder: str, name: str, text: str) -> str:
    path = Path(folder) / name
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)


async def give(http: httpx.AsyncClient, path: str, token: str, name: str) -> dict[str, Any]:
    body = {"name": name, "scopes": ["look"], "seconds": 86_400}
    reply = await http.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
    made: dict[str, Any] = reply.raise_for_status().json()
    return made


async def measure(args: argparse.Namespace) -> Run:
    """Measure everything at once."""
    run, on = Run(), asyncio.Event()
    heard = Tally()

    def verified(message: Heard) -> bytes:
        try:
            _ = message.message
            heard.done += 1
        except WebhookVerificationError:
            heard.failed("not verified")
        return OK

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        model = await enter(StandInProcess(first_token_ms=args.first_token_ms))
        camera = await enter(peer_process(*RTSP, "0", "h264", "0xffff0000", "", "digest", ""))
        receiver = await enter(receiving(verified))
        house_broker = await enter(broker(Path(folder)))
        listed = f'[[camera]]\nname = "door"\nurl = "rtsp://127.0.0.1:{await camera.says("port")}/view"\nmqtt = true\n'
        hook = (
            f'[[webhook]]\nname = "hall"\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n'
            'cameras = ["*"]\nprivate = true\n'
        )
        server = await enter(
            ServerProcess(
                ENGINE="vllm",
                VLLM_BASE_URL=model.base_url,
                OPERATOR_TOKEN=OPERATOR,
                PROGRAM_LOOKS_PER_MINUTE=str(RATE),
                STANDING_CAMERAS=written(folder, "cameras.toml", listed),
                WEBHOOKS=written(folder, "webhooks.toml", hook),
                MQTT_URL=house_broker.url,
            )
        )
        await server.wait_for_engine()
        http = await enter(httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60))
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        operator = await enter(
            httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60, headers=headers)
        )
        encoder = LiveEncoder(Scene(), rate=2.0)
        stack.push_async_callback(encoder.close)
        peers: list[CameraPeer] = []
        stack.push_async_callback(close_all, peers)
        for _ in range(args.people):
            peers.append(CameraPeer(server.url, encoder, wake=True))
            await peers[-1].connect()
            await peers[-1].open_socket()
        own = peers[0].token
        made = [await give(http, "/api/grants", own, name) for name in ("assistant", "script")]
        other = peers[-1].token
        more = [
            await give(http, "/api/grants", other, name)
            for name in ("pictures", "seldom", "library")
        ]
        house = await give(http, f"{CAMERAS}/grants", OPERATOR, "house")
        asks = {"question": "What is there?"}
        looks = (
            ("assistant over MCP", assistant(server.url, made[0], **asks), EVERY),
            ("script with OpenAI's client", script(server.url, made[1]), EVERY),
            ("script at the standing camera", script(server.url, house), EVERY),
            (
                "assistant that takes pictures",
                assistant(server.url, more[0], "snapshot"),
                EVERY / 2,
            ),
            ("assistant within its rate", assistant(server.url, more[1], **asks), SELDOM),
            ("this project's client", library(server.url, more[2]), SELDOM),
            ("home over MQTT", home(house_broker.client(), LOOK, FACTS), SELDOM),
        )
        programs = {
            name: (await enter(made_), every, Tally(limited=every <= EVERY, within=every > EVERY))
            for name, made_, every in looks
        }
        ask_it = posts(operator, f"{CAMERAS}/ask", {"content": "What is there?"})
        test = posts(operator, "/api/operator/webhooks/hall/test")
        programs |= {
            "operator asks the standing camera": (ask_it, 10.0, Tally()),
            "operator looks at its picture": (gets(operator, f"{CAMERAS}/picture"), 3.0, Tally()),
            "webhooks": (test, 5.0, Tally()),
        }
        run.tallies = {name: tally for name, (*_, tally) in programs.items()}
        run.tallies["webhooks that arrived and verified"] = heard
        # The first questions pay for what is made once.
        await asyncio.gather(*(peer.ask("What do you see?") for peer in peers))
        phase = args.phase_seconds
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sample(server.pid, run))]
            for number_, peer in enumerate(peers):
                delay = args.every * number_ / len(peers)
                tasks.append(group.create_task(ask(peer, args.every, delay, run, on)))
            for once, every, tally in programs.values():
                tasks.append(group.create_task(repeat(once, every, on, tally)))
            end = time.monotonic() + 60 * args.minutes
            while time.monotonic() < end:
                await asyncio.sleep(phase)
                on.set()
                began = time.monotonic()
                await asyncio.sleep(phase)
                on.clear()
                run.beside += time.monotonic() - began
                run.phases += 1
            for task in tasks:
                task.cancel()
    return run


def report(run: Run, args: argparse.Namespace) -> Report:
    found = Report(
        "Everything that programs do, beside people who ask",
        {"minutes": args.minutes, "people": args.people, "every": args.every, **machine()},
    )
    spreads = [Spread.of(1000 * one for one in times) for times in run.first]
    for what, spread in zip(("without", "with"), spreads, strict=True):
        found.add(Row(f"a person's first word, {what} programs", "ms", spread=spread))
    if all(spread.n for spread in spreads):
        for name in ("p50", "p95"):
            ratio = getattr(spreads[1], name) / getattr(spreads[0], name)
            target = TARGET if name == "p50" else None
            found.add(Row(f"{name} with / without", "", value=ratio, target=target))
    found.add(Row("people's questions without a word", "", value=run.people_failed, target=0))
    allowed = RATE * run.beside / 60 + AT_ONCE * run.phases
    for name, tally in run.tallies.items():
        said = ", ".join(f"{count} × {error}" for error, count in tally.errors.items())
        limit = allowed if tally.limited else None
        note = f"{tally.refused} refused for their rate; errors: {said or 'none'}"
        found.add(Row(name, "answers", value=tally.done, target=limit, note=note))
        if tally.limited:
            share = tally.done / allowed if allowed else 0.0
            row = Row("of what its rate allows", "", value=share)
            # All but the one of each phase that its end cut off
            row.target, row.at_least = (int(allowed) - run.phases) / max(allowed, 1), True
            found.add(row)
            if not tally.refused:
                found.add(Row("never above its rate", "", value=1, target=0))
        if tally.within:
            found.add(Row("of them refused for their rate", "", value=tally.refused, target=0))
    _add_memory(found, run)
    found.more = {
        "memory": run.memory,
        "children": run.children,
        "errors": {name: tally.errors for name, tally in run.tallies.items()},
        "refused": {name: tally.refused for name, tally in run.tallies.items()},
    }
    return found


def _add_memory(found: Report, run: Run) -> None:
    end = run.memory[-1][0]
    for when, share in (("start", 0.0), ("quarter", 0.25), ("half", 0.5), ("end", 1.0)):
        value = min(run.memory, key=lambda one: abs(one[0] - share * end))[1]
        found.add(Row(f"memory of the server, {when}", "MiB", value=value))
    found.add(Row("the same, most", "MiB", value=max(m for _, m in run.memory)))
    since = max(WARM_SHARE * end, min(WARM_SECONDS, end / 2))
    warm = [one for one in run.memory if one[0] >= since]
    found.add(Row(f"its growth from second {since:.0f} on", "MiB/h", value=slope(warm)))
    if run.children:
        value = run.children[-1][1]
        found.add(Row("memory of its child processes, end", "MiB", value=value))
        warm = [one for one in run.children if one[0] >= since]
        found.add(Row("the same, growth", "MiB/h", value=slope(warm)))


def main() -> int:
    parser = command_line(__doc__, prog="python -m benchmarks.programs_hour")
    add = parser.add_argument
    add("--minutes", type=number(0.1, 1440), default=60.0, help="of all phases together (60)")
    add("--phase-seconds", type=number(5, 3600), default=60.0, help="of one phase (60)")
    add("--people", type=whole(2, 100), default=3, help="people who ask, 2 at least (3)")
    add("--every", type=number(0.5, 600), default=4.0, help="seconds between two questions (4)")
    add("--first-token-ms", type=number(0.001, 1e6), default=50, help="of the stand-in model (50)")
    program.add_output(parser)
    args = parser.parse_args()
    if reason := no_rtsp() or no_mosquitto():
        print(reason, file=sys.stderr)
        return 1

    def measured() -> int:
        return program.publish(report(asyncio.run(measure(args)), args), "programs-hour", args)

    return program.run(measured, args.output)


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

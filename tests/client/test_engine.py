"""The page's operator modules in headless Chromium, with a server made of routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route

from benchmarks.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CLIENT = Path(__file__).resolve().parents[2] / "client"
# Nothing listens there: every request is answered by a route. localhost counts as secure.
ORIGIN = "http://localhost:9"

SETUP = """
const later = ms => new Promise(resolve => setTimeout(resolve, ms));
const {EngineDesk} = await import("/client/core/operator/engine.js");
const sent = [], shown = [];
const asked = () => fetch("/asked").then(reply => reply.json());
const desk = new EngineDesk({send: m => { sent.push(m); return true; }, onChange: f => shown.push(f)});
"""


class Server:
    """The engine's routes: their answers, and the requests that they got."""

    def __init__(self) -> None:
        self.token = "right"
        self.asked: list[list[Any]] = []
        # Looks that find the machine not known wholly yet
        self.pending = 0
        # False: it runs no models for operators
        self.hosts = True

    async def serve(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path.startswith("/client/"):
            file = CLIENT / path.removeprefix("/client/")
            await route.fulfill(body=file.read_bytes(), content_type="text/javascript")
        elif path == "/asked":
            await route.fulfill(json=self.asked)
        elif path.startswith("/api/engine") and not self.hosts:
            error = {"code": "not_found", "message": "Nothing is here.", "retryable": False}
            await route.fulfill(status=404, json={"error": error})
        elif path.startswith("/api/"):
            await self._api(route, path)
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    async def _api(self, route: Route, path: str) -> None:
        self.asked.append([path, route.request.post_data_json])
        if route.request.headers.get("authorization") != f"Bearer {self.token}":
            error = {"code": "unauthorized", "message": "Not right.", "retryable": False}
            await route.fulfill(status=401, json={"error": error})
        elif path.endswith("/preview"):
            body = route.request.post_data_json or {}
            await route.fulfill(
                json={"command": f"run {body['model']}", "elsewhere": "", "warnings": []}
            )
        elif path.partition("?")[0] == "/api/engine":
            engine = {"type": "engine", "state": "idle", "answers": False}
            facts = {"engine": engine, "models": [], "machine": "A machine."}
            self.pending -= 1
            await route.fulfill(json={**facts, "pending": self.pending >= 0})
        else:
            engine = {"type": "engine", "state": "loading", "answers": False}
            await route.fulfill(json={"engine": engine})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[tuple[Page, Server]]:
    server = Server()
    async with chromium() as browser:
        page = await browser.new_page()
        await page.route("**/*", server.serve)
        await page.goto(ORIGIN)
        yield page, server


async def run(
    place: tuple[Page, Server], body: str, *, token: str = "right", pending: int = 0
) -> Any:
    """Run the body of an async function on the page; what it returns."""
    page, server = place
    server.token, server.asked, server.pending = token, [], pending
    return await page.evaluate("async () => {" + SETUP + body + "}")


async def test_a_wrong_token_is_forgotten_and_asked_for_again(place: tuple[Page, Server]) -> None:
    """The server's words for it are shown; nothing goes to the socket."""
    found = await run(
        place,
        """
        desk.connected(true);
        await desk.enter("wrong");
        await desk.refresh();
        return {facts: desk.facts, sent, secrets: desk.secrets, asked: await asked()};
        """,
    )
    assert not found["facts"]["known"]
    assert found["facts"]["refused"] == "Not right."
    assert (found["sent"], found["secrets"]) == ([], [])
    assert len(found["asked"]) == 1


@pytest.mark.parametrize("token", ["right", "wrong"])
async def test_a_server_without_models_for_operators(
    place: tuple[Page, Server], token: str
) -> None:
    """Another route says whether the token is right, and the socket gets it."""
    _, server = place
    server.hosts = False
    try:
        found = await run(
            place,
            f"""
            desk.connected(true);
            await desk.enter("{token}");
            return {{facts: desk.facts, sent, asked: await asked()}};
            """,
        )
    finally:
        server.hosts = True
    facts, right = found["facts"], token == "right"
    assert (facts["known"], facts["busy"], len(found["sent"])) == (right, False, int(right))
    assert (facts["hosts"], facts["refused"]) == ((False, "") if right else (True, "Not right."))
    assert [path for path, _ in found["asked"]] == ["/api/operator/sessions"]


async def test_what_the_server_does_not_know_yet_is_looked_for_again(
    place: tuple[Page, Server],
) -> None:
    """Until it knows, and nobody is kept waiting meanwhile."""
    found = await run(
        place,
        """
        await desk.enter("right");
        const known = desk.facts.known;
        await later(6000);
        return {known, busy: shown.slice(-1)[0].busy, asked: await asked()};
        """,
        pending=2,
    )
    assert (found["known"], found["busy"]) == (True, False)
    assert [path for path, _ in found["asked"]] == ["/api/engine"] * 3


async def test_every_socket_is_told_once(place: tuple[Page, Server]) -> None:
    """The token goes with each new connection, and the lines of the one before are not shown twice."""
    found = await run(
        place,
        """
        desk.connected(true);
        await desk.enter(" right ");
        desk.receive({type: "log", lines: ["a"], dropped: 0});
        desk.connected(true);
        desk.connected(false);
        desk.connected(true);
        const between = desk.facts.lines;
        desk.receive({type: "log", lines: ["a", "b"], dropped: 3});
        return {sent, between, facts: desk.facts, secrets: desk.secrets};
        """,
    )
    assert found["sent"] == [{"type": "operator", "token": "right"}] * 2
    assert (found["between"], found["facts"]["lines"]) == ([], ["a", "b"])
    assert found["facts"]["dropped"] == 3
    assert found["facts"]["machine"] == "A machine."
    # No report that leaves the page holds it.
    assert found["secrets"] == ["right"]


async def test_a_token_that_is_changed_on_the_server_is_asked_for_again(
    place: tuple[Page, Server],
) -> None:
    """Whatever was to be done says so, too."""
    found = await run(
        place,
        """
        await desk.enter("right");
        await fetch("/asked");
        const before = desk.facts.known;
        await desk.enter("old");
        await desk.start({model: "m", mode: "remote"});
        return {before, facts: desk.facts};
        """,
    )
    assert found["before"]
    assert not found["facts"]["known"]
    assert found["facts"]["problem"] == "Not right."
    assert not found["facts"]["busy"]


async def test_what_no_token_has_is_said_at_once(place: tuple[Page, Server]) -> None:
    """A token that was copied with a space or a dash of a word processor would be in no header."""
    found = await run(
        place,
        """
        const refused = [];
        for (const token of ["", "  ", "two words", "a\u2013b", "a\u0000b"]) {
          await desk.enter(token);
          refused.push(desk.facts.refused);
        }
        return {refused, asked: await asked(), secrets: desk.secrets};
        """,
    )
    assert all(found["refused"])
    assert "copy it once more" in found["refused"][-2]
    assert (found["asked"], found["secrets"]) == ([], [])


async def test_what_the_socket_told_meanwhile_is_newer_than_an_answer(
    place: tuple[Page, Server],
) -> None:
    """A quick engine is ready before the answer to its start has come: it does not load for ever."""
    found = await run(
        place,
        """
        desk.connected(true);
        await desk.enter("right");
        const starting = desk.start({model: "m", mode: "remote"});
        desk.receive({type: "engine", state: "ready", model: "m", answers: true});
        await starting;
        const now = desk.facts.report.state;
        // Without a word from the socket the answer is what is known.
        await desk.start({model: "m", mode: "remote"});
        return [now, desk.facts.report.state];
        """,
    )
    assert found == ["ready", "loading"]


async def test_what_is_loaded_changes_what_else_there_is_room_for(
    place: tuple[Page, Server],
) -> None:
    """It is looked at anew when something was loaded or stopped, and not with every step."""
    found = await run(
        place,
        """
        await desk.enter("right");
        const looks = async () => (await asked()).length;
        const before = await looks(), counts = [];
        for (const state of ["loading", "loading", "ready", "ready", "stopping", "idle"]) {
          desk.receive({type: "engine", state, answers: false});
          await later(50);
          counts.push(await looks() - before);
        }
        return [counts, shown.some(facts => facts.busy && facts.report?.state === "ready")];
        """,
    )
    assert found == [[0, 0, 1, 1, 1, 2], False]


async def test_it_says_when_nothing_is_told(place: tuple[Page, Server]) -> None:
    """The connection is gone, until the next one tells; one that is held up for a moment is tried
    again.
    """
    found = await run(
        place,
        """
        desk.connected(true);
        await desk.enter("right");
        const told = () => desk.receive({type: "engine", state: "idle", answers: false});
        const stale = [desk.facts.stale];
        told();
        desk.connected(false);
        stale.push(desk.facts.stale);
        desk.connected(true);
        told();
        stale.push(desk.facts.stale);
        desk.receive({type: "error", id: "operator", code: "rate_limited", message: "Wait.", retryable: true, retry_after: 0.05});
        await later(200);
        return [stale, sent.length];
        """,
    )
    assert found == [[False, True, False], 3]


async def test_only_the_last_choice_is_previewed(place: tuple[Page, Server]) -> None:
    """One request for many changes, and no answer to an older one is shown."""
    found = await run(
        place,
        """
        await desk.enter("right");
        for (const model of ["a", "b", "c"]) desk.choose({model, mode: "remote"});
        const none = desk.facts.preview;
        await later(700);
        const preview = desk.facts.preview;
        desk.choose(null);
        await later(500);
        return {none, preview, cleared: desk.facts.preview, asked: await asked()};
        """,
    )
    assert (found["none"], found["cleared"]) == (None, None)
    assert found["preview"]["command"] == "run c"
    previews = [body for path, body in found["asked"] if path.endswith("preview")]
    assert previews == [{"model": "c", "mode": "remote"}]


async def test_the_process_of_the_pages_own_session_is_asked(place: tuple[Page, Server]) -> None:
    """A balancer over several finds it by ?session=, as it found it for the socket."""
    found = await run(
        place,
        """
        const own = new EngineDesk({send: () => true, session: () => "a b", onChange: () => {}});
        await own.enter("right");
        await own.stop();
        return (await asked()).map(([path]) => path);
        """,
    )
    assert found == ["/api/engine?session=a%20b", "/api/engine/stop?session=a%20b"]


async def test_lines_are_bounded(place: tuple[Page, Server]) -> None:
    """The oldest go, and are counted with those that never came."""
    found = await run(
        place,
        """
        for (let n = 0; n < 10; n++)
          desk.receive({type: "log", lines: Array.from({length: 100}, (_, at) => `${n} ${at}`), dropped: 1});
        const {lines, dropped} = desk.facts;
        return [lines.length, lines[0], lines.at(-1), dropped];
        """,
    )
    assert found == [400, "6 0", "9 99", 610]


async def test_what_is_for_others_is_left_to_them(place: tuple[Page, Server]) -> None:
    """Errors of questions are not the operator's."""
    found = await run(
        place,
        """
        return [
          desk.receive({type: "error", id: "q1", code: "busy", message: "", retryable: true}),
          desk.receive({type: "error", id: "operator", code: "unauthorized", message: "No.", retryable: false}),
          desk.receive({type: "still", withheld: true}),
          desk.facts.problem,
        ];
        """,
    )
    assert found == [False, True, False, "No."]


async def test_how_the_engine_stands_in_words(place: tuple[Page, Server]) -> None:
    """Phase, percent and bytes while it loads; memory and who answers once it runs; no bar where
    nothing goes on.
    """
    found = await run(
        place,
        """
        const {standing, bytes, givenBack, meanwhile, startWords} = await import("/client/core/operator/enginewords.js");
        const models = [{id: "a/b", name: "The Model"}];
        const of = (report) => {
          const {tone, title, detail, percent, stoppable} = standing({report, models});
          return [tone, title, detail.replaceAll("\\u00a0", " "), Number.isNaN(percent) ? "none" : percent, stoppable];
        };
        const on = {model: "a/b", mode: "in_process"};
        const vllm = {engine: "vllm", model: "Qwen2.5-VL-32B", server: "vLLM", where: "cam:8001"};
        return {
          words: [
            of(null),
            of({state: "idle"}),
            of({...on, state: "loading", progress: {phase: "weights", percent: 41.7, done_bytes: 2.5e9, total_bytes: 6e9}}),
            of({...on, state: "loading", progress: {phase: "starting"}}),
            of({...on, state: "ready", answers: true, memory_bytes: 3.14e9}),
            of({...on, state: "ready", answers: false, memory_bytes: 1e9, gpu_bytes: 16e9}),
            of({...on, state: "stopping"}),
            of({...on, state: "failed", error: "Why."}),
            ...[{answering: vllm}, {answering: {engine: "builtin"}, why: "Nothing is there."}, {why: "Nothing is there."},
              {answering: {engine: "local", model: "m"}},
              {answering: vllm, roles: {watches: {engine: "watches", model: "s", where: "b:1"}, reads: {engine: "builtin"}}}].map(more => of({state: "idle", ...more})),
            ...["loading", "ready", "failed"].map(state => of({model: "http://x/v1", mode: "remote", state, answers: true})),
          ],
          first: [{state: "idle"}, {state: "ready", answers: true}, {state: "ready", answers: false}, {state: "failed"}]
            .map(one => meanwhile({report: {...one, answering: vllm}}))
            .concat(meanwhile({report: {state: "failed", why: "Nothing is there."}})),
          bytes: [999, 1000, 9949, 9950, 1.5e6, 16.58e9, 2e12].map(bytes).map(text => text.replace("\\u00a0", " ")),
          start: [[{report: null, busy: true}, "x"], [{report: {state: "idle"}}, "x"], [{report: on}, "x"],
            [{report: on}, "a/b"], [{report: on}, "a/b", "subprocess"]].map(given =>
              startWords({...given[0], report: given[0].report && {state: "ready", ...given[0].report}}, given[1], given[2] ?? "in_process")),
          memory: [{released: {memory_bytes: 1.2e9, left_bytes: 0, gpu_bytes: 15.9e9}}, {released: {gpu_bytes: 2e9}},
            {released: {memory_bytes: 1e9, left_bytes: 3e7}}, {released: {memory_bytes: 0, left_bytes: 0}}, {}, null]
            .map(report => givenBack(report).replaceAll("\\u00a0", " ")),
        };
        """,
    )
    assert found["words"] == [
        ["off", "Not known yet", "", "none", False],
        [
            "off",
            "No model is loaded",
            "The server chooses among the engines it has.",
            "none",
            False,
        ],
        [
            "busy",
            "Loading The Model in this program",
            "weights · 42 % · 2.5 GB of 6.0 GB",
            41.7,
            True,
        ],
        ["busy", "Loading The Model in this program", "starting", None, True],
        [
            "ok",
            "The Model runs in this program",
            "It answers visitors. It uses 3.1 GB of memory.",
            "none",
            True,
        ],
        [
            "warn",
            "The Model runs in this program",
            "Another engine answers visitors. It uses 1.0 GB of memory and 16 GB of GPU memory.",
            "none",
            True,
        ],
        ["busy", "Stopping The Model", "Its memory is being freed.", None, False],
        ["bad", "The Model does not run", "", "none", False],
        *(
            [tone, title, f"{detail}Nothing else is loaded from here.", "none", False]
            for tone, title, detail in (
                ("ok", "Qwen2.5-VL-32B on vLLM answers", "It is at cam:8001. "),
                ("warn", "The built-in engine answers", "Nothing is there. "),
                ("bad", "Nothing answers", "Nothing is there. "),
                ("ok", "m answers", ""),
                (
                    "ok",
                    "Qwen2.5-VL-32B on vLLM answers",
                    "It is at cam:8001. s at b:1 watches. The built-in engine reads texts. ",
                ),
            )
        ),
        ["busy", "Connecting to http://x/v1", "starting", None, True],
        ["ok", "Connected to http://x/v1", "It answers visitors.", "none", True],
        ["bad", "http://x/v1 is not used", "", "none", False],
    ]
    first = "Qwen2.5-VL-32B on vLLM answers (cam:8001)."
    assert found["first"] == ["", "", first, first, "Nothing answers. Nothing is there."]
    assert found["bytes"] == ["999 B", "1.0 kB", "9.9 kB", "10 kB", "1.5 MB", "17 GB", "2.0 TB"]
    switch = "Switch to this"
    assert found["start"] == ["A moment…", "Start", switch, "Start again", switch]
    assert found["memory"] == [
        "The previous model freed 1.2 GB of memory and 16 GB of GPU memory.",
        "The previous model freed 2.0 GB of GPU memory.",
        "The previous model freed 1.0 GB of memory. 30 MB are not free yet.",
        *("", "", ""),
    ]


async def test_where_pictures_go_is_asked_once_for_each_machine(place: tuple[Page, Server]) -> None:
    """Not for where the page began; a new session hears what was agreed to in the one before."""
    found = await run(
        place,
        """
        const {Disclosure} = await import("/client/core/live/facts.js");
        const began = new Disclosure(), changed = new Disclosure();
        const look = (one, elsewhere, confirmed = true) => Object.values(one.look({elsewhere, confirmed}));
        const seen = [look(began, "a"), look(began, ""), look(began, "b", false), look(began, "b", true)];
        began.agree("b");
        seen.push(look(began, "b", false), look(began, "b", true), look(began, "a", false));
        // It changed between the offer and the socket.
        seen.push(look(changed, "c", false));
        return seen;
        """,
    )
    assert found == [
        ["", ""],
        ["", ""],
        ["b", ""],
        ["b", ""],
        ["", "b"],
        ["", ""],
        ["", "a"],
        ["c", ""],
    ]

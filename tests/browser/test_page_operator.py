"""The operator at the page: lets themselves in, loads a model, sees it work, stops it; visitors see
none of it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Request, expect

from server.core.redact import hash_session_id
from server.features.hosting.hosting import Hosting
from server.features.hosting.server_runtime import ServerRuntime
from server.features.hosting.status import ManagerStatus
from server.features.local_models.engine import LocalEngine
from server.features.voice_in.service import ListeningService
from server.web.request_guard import AuthMethod
from tests.browser.test_page_local import LOADS, looking_at, picture_of
from tests.browser.visitor import REFUSED_TOKEN, TOKEN, Visit, Visitor, bounds, operator, started
from tests.real_model.server import ASK_COLOR, PYTHON
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running
from tests.support.vllm_stand_in import install_for_cpu
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Running]:
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        yield one


async def open_panel(page: Visitor) -> None:
    """As who types the operator's address, be it there already or not."""
    await page.evaluate("location.hash = ''; location.hash = 'operator'")


async def let_in(page: Visitor) -> None:
    """Open the panel and bring the token; the details of the state are open behind it."""
    await page.state.click()
    await open_panel(page)
    await page.operate()
    await expect(page.find("#operator-panel")).to_be_visible()


async def test_visitors_see_no_more_and_a_wrong_token_opens_nothing(
    visit: Visit, run: Running
) -> None:
    """The server has an operator; nothing on the page or on its socket tells so. A wrong token is
    refused in the server's words, and the right one then lets in.
    """
    page = await started(visit, f"{run.base_url}/#operators")
    await page.state.click()
    await expect(page.find("#fact-engine")).to_contain_text(say("page.builtin"))
    await expect(page.find("#operator-open")).to_be_hidden()
    await expect(page.find("#operator-dialog")).to_be_hidden()
    assert "operator" not in json.dumps(await page.log())

    page.expect(REFUSED_TOKEN)
    await open_panel(page)
    token = page.page.get_by_label("Operator token")
    await token.fill("wrong")
    await token.press("Enter")
    await expect(page.find("#operator-refused")).to_contain_text("token is wrong")
    await expect(page.find("#operator-panel")).to_be_hidden()
    await token.fill(TOKEN)
    await token.press("Enter")
    await expect(page.find("#operator-panel")).to_be_visible()
    await expect(token).to_have_value("")
    # Escape closes it, and the page behind works on.
    await page.page.keyboard.press("Escape")
    await expect(page.find("#operator-dialog")).to_be_hidden()


async def test_where_there_is_no_operator_the_panel_says_so(visit: Visit, builtin: Running) -> None:
    """Without an operator token in the settings the panel says where to read on, and names no
    setting.
    """
    page = await visit(f"{builtin.base_url}/#operator")
    page.expect(r"status of 404")
    token = page.page.get_by_label("Operator token")
    await expect(token).to_be_focused()
    await token.fill(TOKEN)
    await token.press("Enter")
    await expect(page.find("#operator-refused")).to_contain_text("Its log says how")


async def test_the_operator_needs_no_camera(visit: Visit, run: Running, model: FakeOpenAI) -> None:
    """By the operator's address the panel is there at once, and tells what goes on; closed, nobody
    is there any more.
    """
    page = await operator(visit, run.base_url)
    panel = page.find("#operator-panel")
    await panel.get_by_text("Any OpenAI-compatible server", exact=True).click()
    await page.find("#engine-url").fill(model.base_url)
    await page.find("#engine-start").click()
    state = page.find("#engine-state")
    await expect(state).to_have_text("Connected to fake-vl")
    # The page shows the socket's reports, whoever caused them.
    await run.program.added.provided[Hosting].manager.stop()
    await expect(state).to_have_text("The built-in engine answers")
    await expect(page.find("#engine-stale")).to_be_hidden()
    await page.page.keyboard.press("Escape")
    await soon(lambda: run.program.sessions.sockets == 0)
    await expect(page.card).to_contain_text(say("page.welcome"))
    # The way back stays, and it is not asked for the token again.
    await page.state.click()
    await page.press(say("page.engine"))
    await expect(panel).to_be_visible()
    await page.got('m.type === "engine" && m.state === "idle"')


async def test_the_operator_starts_watches_and_stops(
    visit: Visit, run: Running, model: FakeOpenAI
) -> None:
    """A server is chosen by its address: the exact command, loading, an answer by it, and the
    built-in engine after it.
    """
    page = await visit(run.base_url, viewport=(390, 844))
    other = await visit(run.base_url)
    await page.start()
    await let_in(page)
    panel = page.find("#operator-panel")
    await expect(panel.get_by_text("The built-in engine answers")).to_be_visible()
    # Ways that cannot work say why.
    disabled = panel.locator("#engine-modes .choice:has(:disabled)").first
    await expect(disabled).to_be_visible()
    assert len(await disabled.locator("small").inner_text()) > 20
    await expect(panel.get_by_text("recommended for this machine")).to_have_count(1)
    await panel.get_by_text("Any OpenAI-compatible server", exact=True).click()
    await expect(panel.get_by_text("Give the address of the server.")).to_be_visible()
    start = page.find("#engine-start")
    await expect(start).to_be_disabled()
    await page.find("#engine-url").fill(model.base_url)
    command = page.find("#engine-command")
    await expect(command).to_contain_text(f"{model.base_url}/chat/completions")
    # On a phone nothing stands out at the side, and what is to be pressed is large enough.
    narrow = "panel => panel.scrollWidth <= panel.clientWidth"
    await page.comes(narrow, True, await panel.element_handle())
    box = await bounds(start)
    assert box["height"] >= 44
    await start.click()
    state = page.find("#engine-state")
    await expect(state).to_have_text("Connected to fake-vl")
    await expect(page.find("#engine-detail")).to_contain_text("It answers visitors")
    await page.button("Close").click()
    assert (await page.ask("What is this?"))["engine"] == "local"
    await page.state.click()
    await expect(page.find("#fact-engine")).to_contain_text(say("page.local_model"))
    # Another visitor is answered by it, too, and hears nothing of how it is run.
    await other.start()
    await expect(other.find("#operator-open")).to_be_hidden()
    assert (await other.ask("What is this?"))["text"] == "I see a cup."
    await page.press(say("page.engine"))
    await page.button("Stop engine").click()
    await expect(state).to_have_text("The built-in engine answers")
    await other.got('m.type === "ready" && m.engine === "builtin"')
    assert not [e for e in await other.log() if e["message"]["type"] in ("engine", "log")]


async def test_a_key_is_given_and_forgotten_and_what_fails_says_what_to_do(
    visit: Visit, run: Running
) -> None:
    """The key goes with the start alone; the field is empty afterwards, and no message holds it. A
    failure is on the page, with the way to try something else beside it.
    """
    key = "canary-key-of-the-page"
    async with FakeOpenAI(api_key=key) as server:
        page = await operator(visit, run.base_url)
        await page.page.get_by_text("Any OpenAI-compatible server", exact=True).click()
        # No model server is there.
        await page.find("#engine-url").fill(f"{run.base_url}/client")
        await page.find("#engine-start").click()
        error = page.find("#engine-error")
        await expect(error).to_contain_text("is not OpenAI-compatible. Check the address")
        await expect(page.find("#engine-start")).to_be_enabled()
        await expect(page.find("#engine-stop")).to_be_hidden()

        await page.find("#engine-url").fill(server.base_url)
        holding: list[str] = []

        def sent(request: Request) -> None:
            if key in request.url + (request.post_data or ""):
                holding.append(request.url.removeprefix(run.base_url).partition("?")[0])

        page.page.on("request", sent)
        field = page.page.get_by_label("Its key")
        await field.fill(key)
        await expect(page.find("#engine-command")).to_contain_text(server.base_url)
        await page.find("#engine-start").click()
        await expect(page.find("#engine-state")).to_have_text("Connected to fake-vl")
        await expect(field).to_have_value("")
        assert holding == ["/api/engine/start"]
        assert key not in json.dumps(await page.log())
        assert key not in await page.page.content()
        await page.button("Stop engine").click()
        await expect(page.find("#engine-state")).to_have_text("The built-in engine answers")


async def test_what_answers_stands_first(visit: Visit, model: FakeOpenAI) -> None:
    """vLLM of the settings answers and nothing was loaded from here: its model and its host, on a
    phone and on a screen. Then come the models.
    """
    model.models = ["/srv/models/Qwen2.5-VL-32B"]
    settings = {"engine": "auto", "vllm_base_url": model.base_url}
    async with running(operator_token=TOKEN, **settings) as run:
        page = await operator(visit, run.base_url)
        for size in ((390, 844), (1280, 800)):
            await page.resize(*size)
            now = page.find("#engine-now")
            first = now.locator("#engine-state")
            await expect(first).to_have_text("Qwen2.5-VL-32B on a model server answers")
            await expect(now).to_contain_text(f"It is at 127.0.0.1:{model.port}.")
            assert "/srv" not in await now.inner_text()
            assert "No model is loaded" not in await now.inner_text()
            models = page.page.get_by_role("radiogroup", name="Models")
            await expect(models.get_by_role("radio").first).to_be_in_viewport()
            panel = page.find("#operator-panel")
            narrow = "panel => panel.scrollWidth <= panel.clientWidth"
            await page.comes(narrow, True, await panel.element_handle())
        # While another one is tried and refused, it stands above.
        await panel.get_by_text("Any OpenAI-compatible server", exact=True).click()
        await page.find("#engine-url").fill("http://127.0.0.1:9/v1")
        await page.find("#engine-start").click()
        await expect(page.find("#engine-error")).to_contain_text("Nothing answers at")
        answers = page.find("#engine-answers")
        await expect(answers).to_have_text(
            f"Qwen2.5-VL-32B on a model server answers (127.0.0.1:{model.port})."
        )
        await page.leave()


async def test_a_model_that_takes_its_time_is_watched_and_stopped(
    visit: Visit, tiny_model: Path, tmp_path: Path
) -> None:
    """A stand-in for vLLM that stays at half of its weights: phase and percent, the bar, its line
    without the key.
    """
    program = install_for_cpu(tmp_path / "environment", behaviour="slow")
    shutil.copytree(tiny_model, tmp_path / "tiny")
    settings = {
        "model_path": tmp_path / "tiny",
        "engine_python": program.with_name("python"),
        "trust_remote_code": True,
    }
    async with running(operator_token=TOKEN, **settings) as run:
        page = await operator(visit, run.base_url)
        panel = page.find("#operator-panel")
        await choose(page, "tiny", "subprocess")
        await command_of(page, str(tmp_path / "tiny"))
        await panel.get_by_role("button", name="Start", exact=True).click()
        await expect(panel.locator("#engine-state")).to_have_text("Loading tiny in its own process")
        await expect(panel.locator("#engine-detail")).to_contain_text(
            re.compile(r"^loading weights · 50\s%")
        )
        bar = panel.get_by_role("progressbar", name="Loading")
        await expect(bar).to_be_visible()
        await expect(bar).to_have_js_property("value", 50)
        await expect(panel.locator("#engine-lines")).to_contain_text("50% Completed; key ********")
        await panel.get_by_role("button", name="Stop engine").click()
        await expect(panel.locator("#engine-state")).to_have_text("The built-in engine answers")
        await expect(bar).to_be_hidden()
        await page.leave()


@pytest.mark.night
async def test_the_operator_switches_between_true_engines(
    visit: Visit, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen on the page, its command seen, watched loading, and the camera is answered with it:
    first a model in this program, then another one in a server that the program starts; then
    stopped. All that each held comes back.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(tiny_model, tmp_path / "tiny")
    shutil.copytree(tiny_model, tmp_path / "other")
    settings = {"model_path": tmp_path / "tiny", "engine_python": PYTHON, "trust_remote_code": True}
    async with running(operator_token=TOKEN, **settings) as run:
        weights: list[tuple[str, float | None]] = []

        def seen(status: ManagerStatus) -> None:
            if status.progress is not None and status.progress.phase == "loading weights":
                weights.append((status.model, status.progress.percent))

        run.program.added.provided[Hosting].manager.on_change(seen)
        page = await looking_at(visit, run, "red")
        await let_in(page)
        panel = page.find("#operator-panel")
        state, detail = panel.locator("#engine-state"), panel.locator("#engine-detail")

        await choose(page, "tiny", "in_process")
        shown = await command_of(
            page, "server.features.local_models.worker", str(tmp_path / "tiny")
        )
        since = await page.now()
        await panel.get_by_role("button", name="Start", exact=True).click()
        await seen_loading(page, since)
        await expect(state).to_have_text("tiny runs in this program", timeout=LOADS * 1000)
        await expect(detail).to_contain_text(re.compile(r"It answers visitors.*MB of memory"))
        loaded = run.program.added.provided[Hosting].manager.ready_runtime
        assert isinstance(loaded, LocalEngine)
        assert weights[-1] == ("tiny", 100.0)
        # The shown command runs, word for word.
        assert shown.endswith(shlex.join(loaded._worker._argv))
        assert await answer(page) == ("It is red.", "local", "tiny")

        await page.show(mode=picture_of("green"))
        await page.press(say("page.engine"))
        await choose(page, "other", "subprocess")
        shown = await command_of(page, "transformers", "serve", str(tmp_path / "other"))
        since = await page.now()
        await panel.get_by_role("button", name="Switch to this").click()
        await page.got('m.type === "engine" && m.state === "stopping"', since=since)
        await seen_loading(page, since)
        # Its log is seen without a click.
        await expect(panel.locator("#engine-lines")).to_contain_text(
            "Uvicorn", timeout=LOADS * 1000
        )
        await expect(state).to_have_text("other runs in its own process", timeout=LOADS * 1000)
        server = run.program.added.provided[Hosting].manager.ready_runtime
        assert isinstance(server, ServerRuntime)
        assert weights[-1] == ("other", 100.0)
        assert shown.endswith(shlex.join(server._launch.argv))
        assert await answer(page) == ("It is green.", "local", "other")

        await page.press(say("page.engine"))
        await page.button("Stop engine").click()
        await expect(state).to_have_text("The built-in engine answers")
        await page.got('m.type === "ready" && m.engine === "builtin"', since=since)
        await page.leave()


async def choose(page: Visitor, model: str, mode: str) -> None:
    panel = page.find("#operator-panel")
    await panel.locator("#engine-models").get_by_text(model, exact=True).click()
    await expect(panel.locator("#engine-name")).to_have_text(model)
    await panel.locator(f"#engine-modes input[value={mode}]").check()


async def command_of(page: Visitor, *words: str) -> str:
    """The command as it is shown, once it has these words."""
    command = page.find("#engine-command")
    for word in words:
        await expect(command).to_contain_text(word)
    return await command.inner_text()


async def seen_loading(page: Visitor, since: float) -> None:
    """Some phase after the first was reported.

    A tiny model has its weights sooner than a message may have gone.
    """
    told = await page.got(
        'm.type === "engine" && m.state === "loading"'
        ' && ![undefined, "starting"].includes(m.progress?.phase)',
        since=since,
        timeout=LOADS,
    )
    assert told["model"]


async def answer(page: Visitor) -> tuple[str, str, str]:
    """With the panel closed, as any visitor asks."""
    await page.button("Close").click()
    await page.settle(10)
    response = await page.ask(ASK_COLOR, timeout=LOADS)
    return response["text"], response["engine"], response["model"]


async def test_the_operator_sees_who_is_in_and_ends_it(visit: Visit, run: Running) -> None:
    """A visitor's session stands in the panel with a button; pressed, the visitor's page says who
    ended it.
    """
    visitor = await started(visit, run.base_url)
    # Sessions of tests before may be there still.
    name = hash_session_id((await visitor.got('m.type === "ready"'))["session_id"])
    page = await operator(visit, run.base_url)
    people = page.find("#people")
    await expect(people).to_be_visible()
    # A server that is alone has nowhere to send them.
    await expect(page.find("#gateways")).to_be_hidden()
    row = people.locator("li").filter(has_text=name)
    await expect(row).to_contain_text("live")
    await row.get_by_role("button").click()
    await expect(visitor.card).to_contain_text(say("page.operator_ended"))
    await expect(row).to_have_count(0)
    await people.get_by_role("button", name="End all").click()
    await expect(people).to_contain_text("Nobody.", timeout=10_000)
    run.program.added.provided[AuthMethod].devices.pair("Mozilla/5.0 (iPhone)", time.time())
    device = people.locator("#people-devices li")
    await expect(device).to_contain_text("iPhone", timeout=10_000)
    await device.get_by_role("button").click()
    await expect(device).to_have_count(0)
    assert not run.program.added.provided[AuthMethod].devices.list_seen()


async def test_the_operator_drains_a_gateway(visit: Visit) -> None:
    """One that knows no other: it takes nobody new, who is there stays, and the panel says so; taken
    back, all is as before.
    """
    async with running(operator_token=TOKEN, gateway_name="h1", rate_limit_per_minute=0) as one:
        page = await operator(visit, one.base_url)
        gateways = page.find("#gateways")
        await expect(gateways.locator("li")).to_contain_text("h1 (this one)")
        await expect(gateways.locator("li")).to_contain_text("places taken")
        await gateways.get_by_role("button", name="Drain this one").click()
        state = page.find("#gateways-state")
        await expect(state).to_contain_text("Nothing has happened yet.")
        await expect(state).to_have_text(
            "Still here: 1. Gone on: 0. No other gateway has room: people stay until they leave.",
            timeout=20_000,
        )
        await expect(gateways.locator("li")).to_contain_text("draining")
        assert one.program.sessions.capacity.operator_draining
        again = gateways.get_by_role("button", name="Take people again")
        await again.click()
        await expect(again).to_be_hidden()
        await expect(gateways.get_by_role("button", name="Drain this one")).to_be_focused()
        await expect(state).to_contain_text("Drain a gateway before you stop it")
        assert not one.program.sessions.capacity.operator_draining
        await page.leave()


async def test_the_operator_chooses_a_recogniser(visit: Visit, tmp_path: Path) -> None:
    """By its folder on the server: a wrong one is refused in words, one that fails says why, and goes again."""
    folder = tmp_path / "whisper"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    async with running(operator_token=TOKEN, engine_python="/nowhere") as server:
        page = await operator(visit, server.base_url)
        speech = page.find("#speech")
        await expect(speech.locator("#speech-ear")).to_have_text("not set")
        await expect(speech.locator("#speech-voice")).to_have_text("not set")
        field = page.page.get_by_label("Folder of a speech model on the server")
        page.expect("400")
        await field.fill("/nowhere/whisper")
        await field.press("Enter")
        await expect(speech.get_by_role("alert")).to_contain_text("no config.json")
        await field.fill(str(folder))
        await page.button("Load the speech model").click()
        await expect(speech.locator("#speech-ear")).to_have_text("whisper · does not work")
        await expect(speech.get_by_role("alert")).to_be_hidden()
        await expect(speech).to_contain_text("ENGINE_PYTHON")
        # Blanks are no folder, and no wish for the one of the settings.
        await field.fill("  ")
        await page.button("Load the speech model").click()
        await expect(field).to_have_value("")
        await expect(field).to_be_focused()
        await expect(speech.locator("#speech-ear")).to_have_text("whisper · does not work")
        await page.button("Stop the speech model").click()
        await expect(speech.locator("#speech-ear")).to_have_text("not set")
        await expect(page.button("Stop the speech model")).to_be_hidden()
        assert server.program.added.provided[ListeningService].asr.chosen is None
        await page.leave()

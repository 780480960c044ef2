"""Features are left out, or deleted, and the page still gets its answers."""

from __future__ import annotations

import compileall
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from server.app.features import FEATURES
from tests.browser.visitor import Visit, Visitor
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import ROOT, ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Where a feature has a folder of its name
FOLDERS = ("server/features", "client/features")


def model(fake: FakeOpenAI) -> dict[str, str]:
    """The settings with which a stand-in of a model server answers."""
    return {"ENGINE": "vllm", "VLLM_BASE_URL": fake.base_url}


async def answers(visit: Visit, server: ServerProcess) -> Visitor:
    page = await visit(server.url)
    await page.start()
    await page.ask("Is there anything red?")
    turn = page.turns.last
    await expect(turn).to_have_attribute("data-state", "done", timeout=30_000)
    await expect(turn.locator(".said")).not_to_be_empty()
    return page


async def asked_of(page: Visitor) -> set[str]:
    """The names of the features whose files the page has asked for."""
    names: list[str] = await page.page.evaluate(
        """() => performance.getEntriesByType("resource")
          .map(({ name }) => /\\/client\\/features\\/(\\w+)\\//.exec(name)?.[1] ?? "")"""
    )
    return {*names} - {""}


async def test_without_any_feature(visit: Visit) -> None:
    async with FakeOpenAI() as fake, ServerProcess({"FEATURES": "", **model(fake)}) as server:
        page = await answers(visit, server)
        assert await asked_of(page) == set()
        await page.leave()


async def test_the_page_fetches_features_that_are_on_alone(visit: Visit) -> None:
    """Each with its own files; the others' buttons are not there, and their ways are not offered."""
    features = {"FEATURES": "recall,watches"}
    async with FakeOpenAI() as fake, ServerProcess({**features, **model(fake)}) as server:
        page = await answers(visit, server)
        assert await asked_of(page) == {"recall", "watches"}
        await page.page.locator("#more-open").click()
        await expect(page.page.locator("#watch")).to_be_visible()
        await expect(page.page.locator("#describe")).to_be_hidden()
        await expect(page.page.locator("#guide")).to_be_hidden()
        await page.leave()


@pytest.mark.parametrize("feature", ["voice_in", "voice_out"])
async def test_one_direction_of_speech_alone(visit: Visit, feature: str) -> None:
    """Questions are spoken without spoken answers, and the other way round."""
    async with FakeOpenAI() as fake, ServerProcess({"FEATURES": feature, **model(fake)}) as server:
        page = await answers(visit, server)
        assert await asked_of(page) == {feature}
        await page.page.locator("#more-open").click()
        there = expect(page.page.locator("#speak"))
        await (there.to_be_visible() if feature == "voice_out" else there.to_be_hidden())
        await page.leave()


async def test_the_operators_panel_asks_features_that_are_on_alone(visit: Visit) -> None:
    async with ServerProcess(
        {"FEATURES": "builtin,webhooks", "OPERATOR_TOKEN": "t" * 32}
    ) as server:
        page = await visit(f"{server.url}/#operator")
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(request.url))
        page.expect("status of 404")
        await page.page.get_by_label("Operator token").fill("t" * 32)
        await page.button("Continue").click()
        await expect(page.page.locator("#people")).to_be_visible()
        await expect(page.page.locator("#speech")).to_be_hidden()
        await soon(lambda: any("/api/operator/webhooks?" in url for url in asked))
        away = re.compile("/(cameras|mqtt|speech|programs|drain|devices|fetch|video)\\b")
        assert [url for url in asked if away.search(url)] == []
        assert await asked_of(page) == {"webhooks"}
        await page.leave()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, compiled: each start would do that anew."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("server", "client"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "config.py", copy)
    assert compileall.compile_dir(copy, quiet=1)
    return copy


@contextmanager
def deleted(tree: Path, feature: str) -> Iterator[None]:
    """The folders of a feature are away, and back afterwards."""
    with ExitStack() as stack:
        for folder in FOLDERS:
            if (there := tree / folder / feature).exists():
                away = tree.with_name("away") / folder
                away.mkdir(parents=True, exist_ok=True)
                stack.callback(there.rename(away / feature).rename, there)
        yield


@pytest.mark.parametrize("feature", FEATURES)
async def test_without_the_folder_of_a_feature(visit: Visit, tree: Path, feature: str) -> None:
    """As if it had never been written: the others do not miss it."""
    with deleted(tree, feature):
        async with (
            FakeOpenAI() as fake,
            ServerProcess(model(fake) if feature == "builtin" else {}, tree=tree) as server,
        ):
            page = await answers(visit, server)
            # Before its server ends
            await page.leave()


async def test_operators_without_models(visit: Visit) -> None:
    """Their panel lets them in, and shows the rest of it."""
    token = "operator-without-models"
    async with ServerProcess({"FEATURES": "builtin", "OPERATOR_TOKEN": token}) as server:
        page = await visit(f"{server.url}/#operator")
        page.expect("status of 40[14]")
        await page.page.get_by_label("Operator token").fill("another-token")
        await page.button("Continue").click()
        await expect(page.page.locator("#engine-refused")).to_contain_text("wrong")
        await page.page.get_by_label("Operator token").fill(token)
        await page.button("Continue").click()
        await expect(page.page.locator("#people")).to_be_visible()
        await expect(page.page.locator("#engine-choose")).to_be_hidden()
        await page.leave()

"""Features are left out, or deleted, and the page still gets its answers."""

from __future__ import annotations

import compileall
import importlib
import itertools
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from server.app.features import FEATURES
from tests.browser.visitor import Visit, Visitor, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import ROOT, ServerProcess
from tests.support.parts import at_night

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Where a feature has a folder of its name
FOLDERS = ("server/features", "client/features", "tests/features", "tests/client/features")


def model(fake: FakeOpenAI) -> dict[str, str]:
    """The settings with which a stand-in of a model server answers."""
    return {"ENGINE": "vllm", "VLLM_BASE_URL": fake.base_url}


async def answers(visit: Visit, server: ServerProcess) -> Visitor:
    page = await started(visit, server.url)
    await page.ask("Is there anything red?")
    turn = page.turns.last
    await expect(turn).to_have_attribute("data-state", "done", timeout=30_000)
    await expect(turn.locator(".said")).not_to_be_empty()
    return page


async def asked_of(page: Visitor) -> set[str]:
    """The names of the features whose files the page has asked for."""
    names: list[str] = await page.evaluate(
        """() => performance.getEntriesByType("resource")
          .map(({ name }) => /\\/client\\/features\\/(\\w+)\\//.exec(name)?.[1] ?? "")"""
    )
    return {*names} - {""}


async def test_without_any_feature(visit: Visit) -> None:
    async with FakeOpenAI() as fake, ServerProcess({"FEATURES": "", **model(fake)}) as server:
        page = await answers(visit, server)
        assert await asked_of(page) == set()
        await page.leave()


@pytest.mark.parametrize("features", ["recall,watches,voice_out", "voice_in"])
async def test_the_page_fetches_features_that_are_on_alone(visit: Visit, features: str) -> None:
    """Each with its own files; the others' buttons are not there, and their ways are not offered.
    Of speech it is one direction without the other.
    """
    on = {*features.split(",")}
    buttons = {
        "watch": "watches",
        "describe": "describe",
        "guide": "guidance",
        "speak": "voice_out",
    }
    settings = {"FEATURES": features}
    async with FakeOpenAI() as fake, ServerProcess({**settings, **model(fake)}) as server:
        page = await answers(visit, server)
        assert await asked_of(page) == on
        await expect(page.find("#hold")).to_be_visible()
        await page.find("#more-open").click()
        for button, feature in buttons.items():
            await expect(page.find(f"#{button}")).to_be_visible(visible=feature in on)
        await page.leave()


async def test_the_operators_panel_asks_features_that_are_on_alone(visit: Visit) -> None:
    """It lets in, and without models shows the rest of itself."""
    token = "operator-without-models"
    async with ServerProcess({"FEATURES": "builtin,webhooks", "OPERATOR_TOKEN": token}) as server:
        page = await visit(f"{server.url}/#operator")
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(request.url))
        page.expect("status of 40[14]")
        await page.operate("another-token")
        await expect(page.find("#operator-refused")).to_contain_text("wrong")
        await page.operate(token)
        await expect(page.find("#people")).to_be_visible()
        await expect(page.find("#engine-choose")).to_be_hidden()
        await expect(page.find("#speech")).to_be_hidden()
        await soon(lambda: any("/api/operator/webhooks?" in url for url in asked))
        away = re.compile("/(cameras|mqtt|speech|programs|drain|devices|fetch|video)\\b")
        assert [url for url in asked if away.search(url)] == []
        assert await asked_of(page) == {"builtin", "webhooks"}
        await page.leave()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, compiled: each start would do that anew."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("server", "client", "tests"):
        ignored = shutil.ignore_patterns("node_modules")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "config.py", copy)
    assert compileall.compile_dir(copy / "server", quiet=1)
    return copy


@contextmanager
def deleted(tree: Path, features: Iterable[str]) -> Iterator[None]:
    """The folders of features are away, and back afterwards."""
    with ExitStack() as stack:
        for folder, feature in itertools.product(FOLDERS, features):
            if (there := tree / folder / feature).exists():
                away = tree.with_name("away") / folder
                away.mkdir(parents=True, exist_ok=True)
                stack.callback(there.rename(away / feature).rename, there)
        yield


def needs(feature: str) -> set[str]:
    """A feature, and those without which it is off."""
    module = importlib.import_module(f"server.features.{feature}")
    return {feature, *getattr(module, "NEEDS", ())}


def rounds() -> list[tuple[str, ...]]:
    """Features to delete together: in one of these rounds each does without each other one.

    And is on there, by all that it needs; where that is what is gone, it is off.
    """
    left = {
        (on, gone, frozenset(needs(on) - {gone}))
        for on, gone in itertools.permutations(FEATURES, 2)
    }
    found = []
    while left:
        away: set[str] = set()
        tried: set[tuple[str, str, frozenset[str]]] = set()
        for feature in FEATURES:
            more = away | {feature}
            now = {one for one in left if one[1] in more and not more & one[2]}
            if len(now) > len(tried):
                away, tried = more, now
        found.append(tuple(one for one in FEATURES if one in away))
        left -= tried
    return found


_ROUNDS = rounds()


@pytest.mark.parametrize(
    "features", [_ROUNDS[0], *at_night(*_ROUNDS[1:], *((one,) for one in FEATURES))], ids="-".join
)
async def test_without_the_folders_of_features(
    visit: Visit, tree: Path, features: Iterable[str]
) -> None:
    """As if they had never been written: the others do not miss them."""
    with deleted(tree, features):
        async with (
            FakeOpenAI() as fake,
            ServerProcess(model(fake) if "builtin" in features else {}, tree=tree) as server,
        ):
            page = await answers(visit, server)
            # Before its server ends
            await page.leave()

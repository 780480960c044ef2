"""A model fetched from the operator's panel: begun, paused, gone on with, and where it is not allowed
the command.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.hosting.hosting import Hosting
from tests.browser.visitor import TOKEN, Visit, operator
from tests.features.hosting.catalogue.test_entry import TINY
from tests.support.hub_stand_in import Model as OnHub
from tests.support.hub_stand_in import running_hub
from tests.support.running import Running, running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

NAME = "someone/tiny-vl"
WEIGHTS = bytes(range(256)) * 12_000
# The room on this machine's disk
ROOM = re.compile(r"^[\d.,]+\s[GT]B free on the server's disk$")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Running]:
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        yield one


async def test_an_operator_fetches_a_model(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first card shows what comes, in sight; paused it stays; when it is here the list says so."""
    catalogue = tmp_path / "models.toml"
    catalogue.write_bytes(TINY)
    with running_hub() as hub:
        files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
        hub.models[NAME] = OnHub({"c" * 40: files}, names={"main": "c" * 40})
        hub.models[NAME].stalls["model.safetensors"] = 2_000_000
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        async with running(
            operator_token=TOKEN,
            rate_limit_per_minute=0,
            allow_model_downloads=True,
            catalogue=str(catalogue),
        ) as run:
            run.program.added.provided[Hosting].fetch._kept = tmp_path / "models"
            page = await operator(visit, run.base_url)
            now = page.find("#fetch-now")
            text = page.find("#fetch-text")
            await expect(now).to_be_hidden()
            await page.find("#engine-models").get_by_text("tiny-vl").click()
            await expect(page.find("#fetch-command")).to_be_hidden()
            await expect(page.find("#fetch-space")).to_have_text(ROOM)
            await page.find("#fetch-start").click()
            await expect(text).to_contain_text(f"Fetching {NAME}: ", timeout=30_000)
            await expect(page.find("#engine-now")).to_be_focused()
            await expect(page.find("#fetch-bar")).to_be_in_viewport()
            await expect(page.find("#fetch-room")).to_have_text(ROOM)
            await expect(page.find("#fetch-offer")).to_be_hidden()
            await page.find("#fetch-pause").click()
            await expect(text).to_contain_text("The part that came is kept.", timeout=30_000)
            await expect(page.find("#fetch-bar")).to_be_hidden()
            hub.models[NAME].stalls.clear()
            hub.released.set()
            await page.find("#fetch-resume").click()
            await expect(text).to_have_text(f"{NAME} is here. Choose it below.", timeout=60_000)
            await page.leave()
    assert (tmp_path / "models/tiny-vl/model.safetensors").read_bytes() == WEIGHTS


async def test_the_command_where_the_settings_forbid_it(visit: Visit, run: Running) -> None:
    """By default: no button, the reason, and what to type."""
    page = await operator(visit, run.base_url)
    row = page.find("#engine-models label", has_text="not fetched").first
    await row.click()
    command = page.find("#fetch-command")
    await expect(command).to_contain_text("bash scripts/download_model.sh ")
    await expect(page.find("#fetch-why")).to_contain_text("ALLOW_MODEL_DOWNLOADS")
    await expect(page.find("#fetch-start")).to_be_hidden()

"""A vLLM of this machine, whose environment REAL_VLLM_PYTHON names (see
tests/whole/test_real_vllm.py), through the whole product.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.test_page_local import looking_at, picture_of
from tests.browser.test_page_operator import answer, choose, command_of, let_in
from tests.browser.visitor import TOKEN, Visit
from tests.support.real_vllm import LOADS, PYTHON, REASON, prepared
from tests.support.running import running
from tests.support.words import say

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not PYTHON, reason=REASON),
    pytest.mark.timeout(3 * LOADS),
]


async def test_the_operator_starts_vllm_and_the_camera_is_answered_with_it(
    visit: Visit, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command, its words and its phases are seen; it names colours; then the same model runs in
    this program, then none.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    colors = prepared(tiny_model, tmp_path / "colors")
    settings = {"model_path": colors, "engine_python": PYTHON, "trust_remote_code": True}
    async with running(operator_token=TOKEN, **settings) as run:
        page = await looking_at(visit, run, "red")
        await let_in(page)
        panel = page.find("#operator-panel")
        state = panel.locator("#engine-state")

        # It says what it takes, which takes it its time; the panel is there meanwhile.
        subprocess = panel.locator("#engine-modes input[value=subprocess]")
        await expect(subprocess).to_be_enabled(timeout=LOADS * 1000)
        await choose(page, "colors", "subprocess")
        await command_of(page, "VLLM_API_KEY=********", "vllm", str(colors))
        since = await page.now()
        await panel.get_by_role("button", name="Start", exact=True).click()
        await page.got(
            'm.type === "engine" && m.progress?.phase === "loading weights"',
            since=since,
            timeout=LOADS,
        )
        await expect(panel.locator("#engine-lines")).to_contain_text("EngineCore")
        await expect(state).to_have_text("colors runs in its own process", timeout=LOADS * 1000)
        assert await answer(page) == ("It is red.", "local", "colors")

        await page.show(mode=picture_of("blue"))
        await page.press(say("page.engine"))
        await choose(page, "colors", "in_process")
        await panel.get_by_role("button", name="Switch to this").click()
        await expect(state).to_have_text("colors runs in this program", timeout=LOADS * 1000)
        assert await answer(page) == ("It is blue.", "local", "colors")

        await page.press(say("page.engine"))
        await page.button("Stop engine").click()
        await expect(state).to_have_text("The built-in engine answers")
        await page.leave()

"""Addresses of the app's shortcuts start the camera and do what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import expect

from server.web.routes import CLIENT_FILES
from tests.browser.visitor import Visit
from tests.support.running import Running
from tests.support.words import say

pytestmark = pytest.mark.browser

ALLOWED: dict[str, Any] = {"permissions": ["camera"]}


@pytest.mark.asyncio(loop_scope="session")
async def test_an_address_reads_at_once(visit: Visit, builtin: Running) -> None:
    """Where the browser allows the camera; a reload does not ask again."""
    page = await visit(f"{builtin.base_url}/#read", context_options=ALLOWED)
    await expect(page.turns).to_have_count(1)
    await expect(page.turns.first.locator(".asked")).to_have_text(say("stage.read_this"))
    assert await page.evaluate("location.hash") == ""


@pytest.mark.asyncio(loop_scope="session")
async def test_an_address_waits_for_a_tap_without_permission(
    visit: Visit, builtin: Running
) -> None:
    """Guidance to a thing, and a watch, begin with the camera."""
    page = await visit(f"{builtin.base_url}/#guide=the%20cup", context_options={"permissions": []})
    await expect(page.start_button).to_be_visible()
    await page.start()
    goal = await page.sent("goal")
    assert goal["thing"] == "the cup"
    await page.evaluate("location.hash = '#watch=you see red'")
    sent = await page.sent("watch")
    assert sent["condition"] == "you see red"


def test_the_manifests_shortcuts_are_addresses_of_the_page() -> None:
    manifest = json.loads((CLIENT_FILES / "app.webmanifest").read_text())
    urls = [shortcut["url"] for shortcut in manifest["shortcuts"]]
    assert urls == ["/#ask", "/#read", "/#guide", "/#watch"]

"""A model that no feature runs is refused with a sentence, and a preview says where pictures go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config import load
from server.app.program import Program
from server.core.errors import BadRequest
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.command import command
from server.features.hosting.catalogue.entry import Ability, Model, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.modes import Host
from server.features.hosting.hosting import Hosting
from server.features.hosting.runtime import Plan
from tests.support.engine_plans import model

pytestmark = pytest.mark.asyncio


@pytest.fixture
def hosting() -> Iterator[Hosting]:
    """With no other feature on."""
    program = Program(load(None, features="hosting", engine="local", operator_token="t" * 20))
    try:
        yield program.feature("hosting")
    finally:
        program.pools.close()


@pytest.mark.parametrize(
    ("chosen", "feature"),
    [
        (model("answers"), "local_models"),
        (model("video", ModelType.VIDEO, Ability.TEXT_TO_VIDEO), "generation"),
    ],
)
async def test_what_another_feature_runs(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch, chosen: Model, feature: str
) -> None:
    choice = Choice(model=chosen.id, mode=RunMode.IN_PROCESS)
    plan = Plan(choice, Launch(RunMode.IN_PROCESS, ("python",), {}, "python"), chosen)
    monkeypatch.setattr(hosting.planner, "plan", lambda *_: plan)
    with pytest.raises(BadRequest) as caught:
        await hosting.manager.preview(choice)
    assert f"the feature {feature} is off" in caught.value.message
    assert f"add {feature} to FEATURES" in caught.value.message


async def test_a_preview_says_where_pictures_go(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exact command and its warnings."""
    choice = Choice(mode=RunMode.REMOTE, url="https://192.0.2.7/v1")
    near = Launch(
        RunMode.SUBPROCESS, ("x",), {}, "x", base_url="http://127.0.0.1:1/v1", warnings=("Mind.",)
    )
    launches = iter((command(choice, None, Host()), near))
    monkeypatch.setattr(hosting.planner, "plan", lambda *_: Plan(choice, next(launches)))
    told = await hosting.preview(choice)
    assert told["elsewhere"] == "192.0.2.7"
    assert "192.0.2.7" in told["command"]
    told = await hosting.preview(choice)
    assert told == {"command": "x", "elsewhere": "", "warnings": ["Mind."]}

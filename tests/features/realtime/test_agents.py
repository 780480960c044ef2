"""OpenAI's agents from npm, unmodified: a question, a function, and the answer to its result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.live_encoder import LiveEncoder
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_realtime import Desk
from tests.support.clients import visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.guides import out_of

PEERS = Path(__file__).parents[2] / "peers"
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("node") is None
        or not (PEERS / "node_modules/@openai/agents-realtime").is_dir(),
        reason="@openai/agents-realtime is not installed (scripts/test.sh installs it)",
    ),
]


def lamp_once(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Call the lamp, once."""
    if any(message["role"] == "tool" for message in body["messages"]):
        return None
    function = {"name": "lamp", "arguments": '{"on": true}'}
    return [{"tool_calls": [{"index": 0, "id": "c1", "function": function}]}]


async def test_agents_call_functions(encoder: LiveEncoder) -> None:
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        serving_programs(fake) as run,
        visitor(run, encoder) as person,
    ):
        fake.deltas_for = lamp_once
        desk = Desk(run, fake, person)
        await desk.renew("look")
        url = f"{run.ws_url}/v1/realtime?model=camera"
        printed = await out_of(
            "node", str(PEERS / "agents_realtime.mjs"), url, desk.token, cwd=PEERS
        )
        assert json.loads(printed) == {
            "calls": [{"on": True}],
            "texts": [["user", "Switch the lamp on."], ["assistant", "I see a cup."]],
        }
        assert fake.last.body["messages"][-1]["content"] == "The lamp is on."

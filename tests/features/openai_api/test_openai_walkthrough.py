"""server/features/openai_api/README.md, word for word: its commands and programs run against a server with a live camera."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from tests.features.openai_api.test_routes import Desk, desk_with

TEXT = (Path(__file__).parents[3] / "server/features/openai_api/README.md").read_text(
    encoding="utf-8"
)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


async def out_of(desk: Desk, *command: str) -> str:
    env = dict(os.environ) | {
        "OPENAI_BASE_URL": f"{desk.run.base_url}/v1",
        "OPENAI_API_KEY": desk.token,
        "NO_PROXY": "*",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


@pytest.mark.slow
async def test_its_commands_and_programs_work() -> None:
    """Only the two variables are ours: they name a server that nobody has."""
    commands = [text for kind, text in BLOCKS if kind == "bash"]
    programs = [text for kind, text in BLOCKS if kind == "python"]
    variables, listing, question = commands
    assert re.findall(r"export (\w+)=", variables) == ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
    streamed, formed = programs
    encoder = LiveEncoder(Scene(640, 360), rate=15)
    try:
        async with desk_with(encoder) as desk:
            listed = json.loads(await out_of(desk, "bash", "-c", listing))
            assert [one["id"] for one in listed["data"]] == ["camera", "fake-vl"]
            answer = json.loads(await out_of(desk, "bash", "-c", question))
            assert answer["choices"][0]["message"]["content"] == "I see a cup."
            assert await out_of(desk, sys.executable, "-c", streamed) == "I see a cup.\n"
            assert desk.fake.last.texts[0][1].endswith("Answer in one word.")
            desk.fake.answer_for = lambda _body, _jpeg: ['{"cups": 2, ', '"anybody": false}']
            parsed = await out_of(desk, sys.executable, "-c", formed)
            assert parsed == "cups=2 anybody=False\n"
            form = desk.fake.last.body["response_format"]["json_schema"]
            assert form["schema"]["required"] == ["cups", "anybody"]
    finally:
        await encoder.close()

"""server/features/openai_api/README.md, word for word: its commands and programs run against a server with a live camera."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.features.openai_api.test_routes import desk_with
from tests.support.fakes_rtc import live_encoder
from tests.support.guides import blocks, out_of, text_of

BLOCKS = blocks(text_of("server/features/openai_api/README.md"))


@pytest.mark.slow
async def test_its_commands_and_programs_work() -> None:
    """Only the two variables are ours: they name a server that nobody has."""
    commands = [text for kind, text in BLOCKS if kind == "bash"]
    programs = [text for kind, text in BLOCKS if kind == "python"]
    variables, listing, question = commands
    assert re.findall(r"export (\w+)=", variables) == ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
    streamed, formed = programs
    async with live_encoder() as encoder, desk_with(encoder) as desk:
        own = {"OPENAI_BASE_URL": f"{desk.run.base_url}/v1", "OPENAI_API_KEY": desk.token}
        listed = json.loads(await out_of("bash", "-c", listing, **own))
        assert [one["id"] for one in listed["data"]] == ["camera", "fake-vl"]
        answer = json.loads(await out_of("bash", "-c", question, **own))
        assert answer["choices"][0]["message"]["content"] == "I see a cup."
        assert await out_of(sys.executable, "-c", streamed, **own) == "I see a cup.\n"
        assert desk.fake.last.texts[0][1].endswith("Answer in one word.")
        desk.fake.answer_for = lambda _body, _jpeg: ['{"cups": 2, ', '"anybody": false}']
        parsed = await out_of(sys.executable, "-c", formed, **own)
        assert parsed == "cups=2 anybody=False\n"
        form = desk.fake.last.body["response_format"]["json_schema"]
        assert form["schema"]["required"] == ["cups", "anybody"]

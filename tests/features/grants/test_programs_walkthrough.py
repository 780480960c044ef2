"""server/features/grants/README.md, word for word: its commands run against a server, and its configurations can be read."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.clients import page_of, take_token
from tests.support.guides import ROOT, out_of, text_of
from tests.support.running import running

TEXT = text_of("server/features/grants/README.md")
BLOCKS = re.findall(r"^(?: {4}.*\n)+", TEXT, re.MULTILINE)
CONFIGURATIONS: list[Any] = [json.loads(block) for block in BLOCKS if '"mcpServers"' in block]
COMMANDS = [block for block in BLOCKS if block.lstrip().startswith("curl ")]


def test_its_configurations() -> None:
    """One for an address and one for the bridge, which is there."""
    remote, bridge = (one["mcpServers"]["camera"] for one in CONFIGURATIONS)
    assert remote.keys() == {"type", "url", "headers"}
    script = bridge["args"][0].removeprefix("<this folder>/")
    assert (ROOT / script).is_file()
    assert bridge["env"].keys() == {"QWEN_CAMERA_TOKEN"}


async def test_its_commands_work() -> None:
    """Only the address and the tokens are ours."""
    give, own = COMMANDS
    async with running() as run:
        session = await take_token(run)
        async with page_of(run, session["token"], session["session_id"]):

            async def answer(command: str, **variables: str) -> Any:
                command = command.replace("https://camera.example.org", run.base_url)
                return json.loads(await out_of("bash", "-euc", command, **variables))

            made = await answer(give, SESSION_TOKEN=session["token"])
            assert (made["name"], made["scopes"]) == ("Kitchen script", ["look"])
            seen = await answer(own, PROGRAM_TOKEN=made["token"])
        assert seen["id"] == made["id"]
        assert "token" not in seen

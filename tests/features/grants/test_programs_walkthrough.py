"""server/features/grants/README.md, word for word: its commands run against a server, and its configurations can be read."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import page_of, take_token
from tests.support.running import running

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "server/features/grants/README.md").read_text(encoding="utf-8")
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


@pytest.mark.asyncio
async def test_its_commands_work() -> None:
    """Only the address and the tokens are ours."""
    give, own = COMMANDS
    async with running() as run:
        session = await take_token(run)
        async with page_of(run, session["token"], session["session_id"]):
            made = await answer(give, run.base_url, SESSION_TOKEN=session["token"])
            assert (made["name"], made["scopes"]) == ("Kitchen script", ["look"])
            seen = await answer(own, run.base_url, PROGRAM_TOKEN=made["token"])
        assert seen["id"] == made["id"]
        assert "token" not in seen


async def answer(command: str, address: str, **variables: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command.replace("https://camera.example.org", address)),
        env=dict(os.environ) | {"NO_PROXY": "*"} | variables,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)

"""server/features/rtsp/README.md, word for word: its list is read, and its commands run against two fixed cameras."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.features.rtsp.settings import MOST_CAMERAS, read_list
from tests.features.rtsp.scripted import CAMERAS, OPERATOR, jpeg_camera, listed, red_jpeg
from tests.features.rtsp.test_standing import RED, rtsp, until
from tests.peers.processes import no_rtsp
from tests.support.clients import bearer, http
from tests.support.guides import blocks, out_of, text_of
from tests.support.running import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

TEXT = text_of("server/features/rtsp/README.md")
BLOCKS = [block for _, block in blocks(TEXT)]
BASH = ("bash", "-euo", "pipefail", "-c")
(LIST,) = (block for block in BLOCKS if "[[camera]]" in block)
(SETTINGS,) = (block for block in BLOCKS if "STANDING_CAMERAS" in block)
(TOKEN,) = re.findall("^export OPERATOR_TOKEN=.*$", TEXT, re.MULTILINE)
COMMANDS = [
    command
    for block in BLOCKS
    for command in re.findall(r"^curl .*$", block.replace("\\\n", " "), re.MULTILINE)
]


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[Running]:
    """The document's list: only the two addresses are those of cameras that are there."""
    async with (
        rtsp("h264", RED, "viewer:what-the-camera-expects") as (_, door),
        jpeg_camera(red_jpeg) as yard,
    ):
        text = LIST.replace("192.168.1.20:554/stream1", f"127.0.0.1:{door}/view")
        text = text.replace("192.168.1.21", f"127.0.0.1:{yard}")
        path = str(listed(folder, text))
        async with running(standing_cameras=path, operator_token=OPERATOR) as run:
            yield run


async def test_its_list_is_one(tmp_path: Path) -> None:
    door, yard = read_list(listed(tmp_path, LIST))
    assert (door.name, door.user, door.watches) == (
        "front-door",
        "viewer",
        ("a parcel lies at the door",),
    )
    assert (yard.name, yard.user) == ("yard", "")
    assert f"At most {MOST_CAMERAS} cameras" in TEXT


async def test_its_settings_are_written(tmp_path: Path) -> None:
    """The commands before the start, in a folder whose name has a space."""
    folder = tmp_path / "my house"
    folder.mkdir()
    (folder / "cameras.toml").write_text("")
    lines = SETTINGS.strip().splitlines()
    assert lines.pop().strip() == "bash scripts/run.sh"
    await out_of(*BASH, "\n".join(lines), cwd=folder)
    assert (folder / "cameras.toml").stat().st_mode & 0o777 == 0o600
    cameras, token = (folder / ".env").read_text().splitlines()
    assert cameras == f"STANDING_CAMERAS={folder}/cameras.toml"
    assert re.fullmatch("OPERATOR_TOKEN=[0-9a-f]{48}", token)


@pytest.mark.skipif(bool(no_rtsp()), reason=no_rtsp())
async def test_its_commands_work(tmp_path: Path) -> None:
    cameras, picture, question, give, end = COMMANDS
    async with house(tmp_path) as run, http(run, OPERATOR) as client:
        (tmp_path / ".env").write_text(f"PORT=8000\nOPERATOR_TOKEN={OPERATOR}\n")

        async def does(command: str) -> str:
            command = command.replace("http://localhost:8000", run.base_url)
            return await out_of(*BASH, f"{TOKEN}\n{command}", cwd=tmp_path)

        for name in ("front-door", "yard"):
            await until(client, name=name, state="live")
        seen = json.loads(await does(cameras))["cameras"]
        assert [(one["name"], one["state"]) for one in seen] == [
            ("front-door", "live"),
            ("yard", "live"),
        ]
        await does(picture)
        assert (tmp_path / "yard.jpg").read_bytes().startswith(b"\xff\xd8\xff")
        answer = json.loads(await does(question))
        assert answer["type"] == "response"
        assert "red" in answer["text"].lower()
        made = json.loads(await does(give))
        assert (made["name"], set(made["scopes"])) == ("Kitchen script", {"look", "events"})
        own = bearer(made["token"])
        reply = await client.get(f"{made['openai']}/models", headers=own)
        assert reply.status_code == 200
        (program,) = (one["programs"] for one in json.loads(await does(cameras))["cameras"][1:])
        assert program[0]["last_used"] is not None
        assert json.loads(await does(end.replace("/ID", f"/{made['id']}"))) == {"ended": 1}
        assert (await client.get(f"{made['openai']}/models", headers=own)).status_code == 401
        opened = (await client.post(f"{CAMERAS}/yard/token")).json()
        assert opened.keys() >= {"token", "session_id"}

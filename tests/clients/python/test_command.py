"""The command qwen-camera as a process, against the true server: output, exit status, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from unittest.mock import patch

import pytest
import pytest_asyncio
from qwen_camera.command import parser

from tests.clients.python.desk import Desk
from tests.support.clients import soon
from tests.support.options import refusal

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SOURCE = Path(__file__).parents[3] / "clients" / "python" / "src"


class Shell:
    """Runs the command with one access."""

    def __init__(self, desk: Desk, token: str) -> None:
        self.token = token
        self._env = os.environ | {
            "PYTHONPATH": str(SOURCE),
            "QWEN_CAMERA_URL": desk.run.base_url,
            "QWEN_CAMERA_TOKEN": token,
            "TZ": "UTC",
        }

    async def start(self, *words: str, **env: str) -> Process:
        command = (sys.executable, "-m", "qwen_camera", *words)
        return await asyncio.create_subprocess_exec(
            *command,
            env=self._env | env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *words: str, **env: str) -> tuple[int | None, str, str]:
        process = await self.start(*words, **env)
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        assert self.token not in (out + errors).decode("utf-8", "replace")
        assert b"Traceback" not in errors, errors.decode()
        return process.returncode, out.decode("utf-8", "replace"), errors.decode()


@pytest_asyncio.fixture(loop_scope="module")
async def shell(desk: Desk) -> Shell:
    return Shell(desk, await desk.token())


async def test_answers(shell: Shell, desk: Desk) -> None:
    """In words, and as JSON."""
    assert await shell.run("ask", "What is it?", "--detail", "low") == (0, "I see a cup.\n", "")
    status, out, _ = await shell.run("ask", "What is it?", "--json")
    answer = json.loads(out)
    assert (status, answer["text"], answer["complete"]) == (0, "I see a cup.", True)
    assert answer["captured_at"].endswith("+00:00")
    status, out, _ = await shell.run("find", "the cup")
    words, place = out.splitlines()
    assert (status, words, place.split()[-1]) == (0, "I see a cup.", "cup")
    assert len(place.split()) == 5
    status, out, _ = await shell.run("find", "the cup", "--json")
    assert json.loads(out)["boxes"][0]["label"] == "cup"
    before, desk.fake.answer_for = desk.fake.answer_for, lambda _body, _jpeg: ["None.\n[]"]
    assert await shell.run("find", "the dog") == (1, "None.\n", "")
    desk.fake.answer_for = lambda _body, _jpeg: ["A \x1b[31msign\x07\x9b2J."]
    assert await shell.run("ask", "What is it?") == (0, "A [31msign2J.\n", "")
    desk.fake.answer_for = before
    status, _, errors = await shell.run("recall", "What happened?")
    assert (status, "page's settings" in errors) == (4, True)
    status, out, _ = await shell.run("access")
    assert out.startswith("Helper: events, look, watch, until 20")


async def test_a_snapshot(shell: Shell, tmp_path: Path) -> None:
    """Into a file, and into the output."""
    file = tmp_path / "now.jpg"
    status, out, _ = await shell.run("snapshot", str(file), "--json")
    assert (status, json.loads(out)["width"]) == (0, 640)
    assert file.read_bytes().startswith(b"\xff\xd8")
    process = await shell.start("snapshot", "-")
    out_bytes, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out_bytes.startswith(b"\xff\xd8")
    status, _, errors = await shell.run("snapshot", str(tmp_path / "none" / "now.jpg"))
    assert (status, "cannot be written" in errors) == (2, True)
    assert (await shell.run("snapshot", "-", "--json"))[0] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "COMMAND"),
        (("dance",), "invalid choice"),
        (("ask",), "question"),
        (("ask", "What?", "--detail", "huge"), "huge"),
        (("watch", "it boils", "--seconds", "nan"), "no number of seconds"),
        (("events", "--after", "-1"), "whole number"),
    ],
)
async def test_what_is_no_command_has_status_2(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refusal(parser().parse_args, list(words), capsys)


async def test_bad_input(shell: Shell) -> None:
    """Each says what is wrong, and has the status for it."""
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("ask", "What?", "--url", "camera"), {}, 2, "https://"),
        (("ask", "What?", "--ca", "/none.pem"), {}, 2, "PEM"),
        (("ask", "What?"), {"QWEN_CAMERA_TOKEN": ""}, 2, "QWEN_CAMERA_TOKEN"),
        (("ask", "What?"), {"QWEN_CAMERA_URL": ""}, 2, "QWEN_CAMERA_URL"),
        (("unwatch", "none"), {}, 2, "Watch not found"),
        (("ask", "What?", "--url", "http://127.0.0.1:1"), {}, 6, "cannot be reached"),
        (("access",), {"QWEN_CAMERA_TOKEN": f"qcam_x.{'y' * 43}"}, 3, "Ask the person"),
    ]
    ran = await asyncio.gather(*(shell.run(*words, **env) for words, env, _, _ in cases))
    for (words, _, status, told), (found, out, errors) in zip(cases, ran, strict=True):
        assert (found, out) == (status, ""), (words, errors)
        assert told in errors, (words, errors)


async def test_help(shell: Shell) -> None:
    """It has all commands and every exit status."""
    status, out, _ = await shell.run("--help")
    assert status == 0
    for word in ("ask", "snapshot", "find", "recall", "watch", "watches", "unwatch", "events"):
        assert f"\n    {word} " in out, word
    for number in (0, 1, 2, 3, 4, 5, 6, 130):
        assert f"\n  {number} " in out, number
    status, out, _ = await shell.run("watch", "--help")
    assert "--once" in out


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_a_watch(shell: Shell, desk: Desk, by: signal.Signals) -> None:
    """It alerts each time until then; afterwards the person's session watches nothing more."""
    process = await shell.start("watch", "it boils", "--json")
    try:
        await desk.wait_for_listener()
        (watch,) = desk.watches()
        desk.alert(watch, "Steam.", desk.later())
        desk.alert("another", "Not this one.", desk.later())
        desk.alert(watch, "More \x1b steam.", desk.later())
        assert process.stdout is not None
        reasons = [json.loads(await process.stdout.readline())["reason"] for _ in range(2)]
        assert reasons == ["Steam.", "More \x1b steam."]
    finally:
        process.send_signal(by)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, errors) == (0, b"")
    assert desk.watches() == []


async def test_a_watch_ends_by_itself(shell: Shell, desk: Desk) -> None:
    """After its seconds, when nobody reads on, and with the access; nothing is left behind."""
    status, out, errors = await shell.run("watch", "it boils", "--once", "--seconds", "0.2")
    assert (status, out, "Ctrl-C" in errors) == (1, "", True)
    assert (await shell.run("watch", "it boils", "--seconds", "0.2"))[0] == 0
    assert desk.watches() == []
    process = await shell.start("watch", "it boils")
    await desk.wait_for_listener()
    process.stdout._transport.close()  # type: ignore[union-attr]
    (watch,) = desk.watches()
    desk.alert(watch, "Steam.", desk.later())
    assert await asyncio.wait_for(process.wait(), 30) == 1
    assert desk.watches() == []
    process = await shell.start("watch", "it boils")
    await desk.wait_for_listener()
    await desk.take_back()
    _, errors_bytes = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 3
    assert b"Ask the person" in errors_bytes


async def test_events_are_printed(shell: Shell, desk: Desk) -> None:
    first = desk.alert("w", "Steam.", desk.later())
    desk.alert("w", "", desk.later())
    process = await shell.start("events", "--after", str(first))
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.decode().endswith("  the kettle boils\n")
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def test_ctrl_c_stops_an_answer(shell: Shell, desk: Desk) -> None:
    """The model, too."""
    count = desk.fake.count
    with patch.object(desk.fake, "first_token", 30.0):
        process = await shell.start("ask", "What is it?")
        seen = await desk.fake.wait_for(count + 1, timeout=30)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 130
        await asyncio.wait_for(seen.done.wait(), 10)
        assert seen.closed_early
        await soon(lambda: desk.run.program.inference.running == 0)

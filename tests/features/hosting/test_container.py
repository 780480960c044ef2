"""Models in true containers, with docker and podman where they run; and the names of containers."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.core.errors import EngineFailed
from server.features.hosting.catalogue import vllm
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.command import build_command
from server.features.hosting.catalogue.launch import format_shell_line
from server.features.hosting.runtime import Plan
from server.features.hosting.status import ManagerState
from server.models.base import Chunk
from tests.features.hosting.catalogue.test_command import HOST, QWEN
from tests.real_model.server import free_port
from tests.support import containers
from tests.support.engine_plans import Managed, managed
from tests.support.fakes import until as soon
from tests.whole.test_real_model import request

ROOT = Path(__file__).parents[3]
KEY = "keyOfTheTestThatNobodyMaySee"
# The GPU's words, which no machine without one can follow
GPU = {"docker": ("--gpus", "all"), "podman": ("--device", "nvidia.com/gpu=all")}
SECONDS = 40.0
NAME = f"qwen-camera-engine-tests-{os.getpid()}"
# Ours has no container's number in its control group; any part of its name stands in for one.


@pytest.fixture(scope="module", autouse=True)
def _images() -> Iterator[None]:
    yield
    containers.forget()


@pytest.fixture(params=["docker", "podman"])
def program(request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of one that runs containers; none of the test's is left afterwards."""
    path = containers.require(request.param)
    before = containers.names(path)
    yield path
    assert containers.names(path) == before


def plan(program: str, folder: Path, chosen: Choice) -> Plan:
    """The program's own command, but for the GPU. `folder` holds the stand-in's orders."""
    name = Path(program).name
    programs: dict[str, Any] = {"docker": None, "podman": None, name: program}
    host = dataclasses.replace(HOST, **programs)
    chosen = chosen.model_copy(update={"image": chosen.image or containers.IMAGE})
    launch = build_command(chosen, QWEN.with_folder(folder), host, api_key=KEY, container=NAME)
    words, gpu = list(launch.argv), GPU[name]
    at = words.index(gpu[1]) - 1
    assert tuple(words[at : at + 2]) == gpu
    del words[at : at + 2]
    return Plan(chosen, dataclasses.replace(launch, argv=tuple(words)), QWEN.with_folder(folder))


def model(folder: Path, behaviour: str) -> Path:
    folder.mkdir()
    folder.joinpath("behaviour").write_text(behaviour)
    return folder


def choice(**fields: object) -> Choice:
    return Choice.model_validate({"model": "some/model", "mode": "container", **fields})


def managing(program: str, folder: Path) -> AbstractAsyncContextManager[Managed]:
    return managed(planner=functools.partial(plan, program, folder))


async def load(one: Managed, **fields: object) -> int:
    """Its port."""
    async with asyncio.timeout(SECONDS):
        await one.ready(choice(**{"port": free_port(), **fields}))
    found = one.plan().launch.port
    assert found is not None
    return found


async def failure(one: Managed, **fields: object) -> str:
    async with asyncio.timeout(SECONDS):
        return await one.fails(choice(**{"port": free_port(), **fields}))


async def first_words(one: Managed) -> AsyncGenerator[Chunk, None]:
    """An answer that has begun."""
    answer = one.manager.active.answer(request("What is it?"))
    for _ in range(3):
        await anext(answer)
    return answer


def listening(at: int) -> set[str]:
    """The addresses that this machine listens on at a port, also what containers publish."""
    said = containers.run("ss", "-Hltn", f"sport = :{at}").stdout.decode()
    return {line.split()[3].rpartition(":")[0] for line in said.splitlines()}


@pytest.mark.slow
async def test_a_model_in_a_container(program: str, tmp_path: Path) -> None:
    """Its whole life; in it there are no rights, and outside of it is only its port."""
    async with managing(program, model(tmp_path / "model", "serve")) as one:
        at = await load(one)
        assert "loading weights" in {seen.progress.phase for seen in one.seen if seen.progress}
        assert any("checkpoint shards: 100%" in line for line in one.lines)
        assert NAME in containers.names(program)
        await (await first_words(one)).aclose()
        assert listening(at) <= {"127.0.0.1"}
        async with httpx.AsyncClient(trust_env=False) as client:
            base = f"http://127.0.0.1:{at}"
            assert (await client.get(f"{base}/v1/models")).status_code == 401
            report = (await client.get(f"{base}/report")).json()
        assert {int(found, 16) for found in report["capabilities"]} == {0}
        assert report["no_new_privileges"] == "1"
        assert report["core"] == [0, 0]
        assert not report["writable"]
        assert report["arguments"][:2] == ["serve", "/model"]
        given = {vllm.KEY, *vllm.ENVIRONMENT, "PATH", "HOME", "HOSTNAME", "TERM", "container"}
        assert set(report["environment"]) <= given
        began = time.monotonic()
        await one.manager.stop()
        assert time.monotonic() - began < 8
        assert not listening(at)
        assert NAME not in containers.names(program)
    assert KEY not in "\n".join(one.lines)


async def test_another_takes_its_place(program: str, tmp_path: Path) -> None:
    async with managing(program, model(tmp_path / "model", "serve")) as one:
        await load(one)
        await load(one)
        (tmp_path / "model" / "behaviour").write_text("stubborn")
        await one.manager.start(choice(port=free_port()))
        await soon(lambda: any("100%" in line for line in one.lines[-1:]), SECONDS)
        (tmp_path / "model" / "behaviour").write_text("serve")
        await load(one)


async def test_one_that_is_killed_from_outside(program: str, tmp_path: Path) -> None:
    async with managing(program, model(tmp_path / "model", "serve")) as one:
        await load(one)
        answer = await first_words(one)
        began = time.monotonic()
        await asyncio.to_thread(containers.run, program, "kill", NAME)
        with pytest.raises(
            EngineFailed, match=r"ended unexpectedly in mid-answer|before it was complete"
        ):
            async for _ in answer:
                pass
        assert time.monotonic() - began < 5
        await soon(lambda: any("was ended by SIGKILL" in seen.error for seen in one.seen), 5.0)
        await soon(lambda: one.manager.get_status().state is ManagerState.READY, SECONDS)
        await (await first_words(one)).aclose()


def start_program(program: str, folder: Path) -> subprocess.Popen[str]:
    """A program of its own that loads the model; it is ready when it says so."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.features.hosting.test_container import NAME, load, managing\n"
        "async def main():\n"
        "    async with managing(sys.argv[1], Path(sys.argv[2])) as one:\n"
        "        await load(one, image=sys.argv[3])\n"
        "        print(NAME, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", code, program, str(folder), containers.IMAGE]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_no_container_outlives_the_program(program: str, tmp_path: Path) -> None:
    """kill -9 of the program: gone in seconds, though it does not listen to SIGTERM."""
    with start_program(program, model(tmp_path / "model", "deaf")) as first:
        assert first.stdout is not None
        name = (await asyncio.to_thread(first.stdout.readline)).strip()
        first.kill()
    await soon(lambda: name not in containers.names(program), 10.0)


async def test_a_port_that_is_taken_only_now_is_avoided(program: str, tmp_path: Path) -> None:
    """Between the look and the start somebody else may have it."""
    taken: list[int] = []
    folder = model(tmp_path / "model", "serve")

    def late(chosen: Choice) -> Plan:
        if not taken:
            taken.append(chosen.port)
            stack.enter_context(socket.create_server(("127.0.0.1", chosen.port)))
        return plan(program, folder, chosen)

    with ExitStack() as stack:
        async with managed(planner=late) as one:
            assert await load(one) not in taken


async def test_what_can_not_be_is_a_sentence(program: str, tmp_path: Path) -> None:
    nowhere = f"localhost:{free_port()}/none:1"
    async with managing(program, model(tmp_path / "model", "serve")) as one:
        error = await failure(one, image=nowhere)
        assert "The image could not be fetched." in error, one.lines
        (tmp_path / "model" / "behaviour").write_text("unreadable")
        error = await failure(one)
        assert "Permission denied: '/model" in error, one.lines


async def test_the_command_as_it_is_shown(program: str, tmp_path: Path) -> None:
    """Typed into a shell, with the key in place of what hides it, it serves."""
    launch = plan(program, model(tmp_path / "model", "serve"), choice(port=free_port())).launch
    shown = format_shell_line(launch.argv, launch.env).replace("********", KEY)
    assert KEY in shown
    with subprocess.Popen(["sh", "-c", f"exec env {shown}"], stdout=subprocess.DEVNULL):
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            async with asyncio.timeout(SECONDS), httpx.AsyncClient(trust_env=False) as client:
                while True:
                    with suppress(httpx.TransportError):
                        url = f"{launch.base_url}/models"
                        listed = (await client.get(url, headers=headers)).json()
                        break
                    await asyncio.sleep(0.1)
            assert listed["data"][0]["id"] == launch.served_name
        finally:
            containers.run(program, "rm", "--force", "--volumes", launch.container)

"""The reason why an engine does not answer: in the log, /health and scripts/doctor.py."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.app.features import FEATURES, parse_features
from server.core.frames import Role
from server.core.logs import JSONFormatter
from server.models.base import Finished
from tests.support.clients import http, soon
from tests.support.fakes import make_request, until
from tests.support.fakes_openai import FakeOpenAI
from tests.support.programs import ran
from tests.support.running import Running, running

# Nothing listens there.
NOBODY = "http://127.0.0.1:9/v1"


@asynccontextmanager
async def logged(caplog: pytest.LogCaptureFixture, **settings: Any) -> AsyncIterator[Running]:
    caplog.set_level(logging.INFO, "server")
    async with running(**{"vllm_base_url": NOBODY, **settings}) as run:
        yield run


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """As they are written."""
    formatter = JSONFormatter()
    return [formatter.format(one) for one in caplog.records if one.levelno >= level]


async def told(run: Running, name: str) -> dict[str, Any]:
    """Return the engine's entry in all of /health."""
    async with http(run) as client:
        body = (await client.get("/health")).json()
    assert body["engine"]["name"] == "builtin"
    return next(one for one in body["engines"] if one["name"] == name)


async def test_a_model_server_that_is_there_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong key with ENGINE=auto: one warning, and a line of /health beside that of who answers."""
    reason, remedy = "did not accept our key", "Set VLLM_API_KEY"
    async with FakeOpenAI(api_key="right") as fake:
        settings = {"engine": "auto", "vllm_base_url": fake.base_url, "vllm_api_key": "wrong"}
        async with logged(caplog, **settings) as run:
            found = await told(run, "vllm")
            assert found["state"] == "misconfigured"
            assert reason in found["detail"]
            assert remedy in found["detail"]
            run.program.engines.reprobe()
            await asyncio.sleep(0.5)
            said = [one for one in lines(caplog) if reason in one]
            assert len(said) == 1
            assert remedy in json.loads(said[0])["reason"]


async def test_the_server_of_a_role_names_its_own_settings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeOpenAI(api_key="right") as fake:
        settings = {"watches_base_url": fake.base_url, "watches_api_key": "wrong"}
        async with logged(caplog, engine="auto", **settings) as run:
            found = await told(run, "watches")
            assert found["state"] == "misconfigured"
            assert "Set WATCHES_API_KEY" in found["detail"]
            assert "VLLM_" not in found["detail"]
            assert run.program.engines.of(Role.WATCHES).name == "builtin"


async def test_an_engine_of_a_role_that_no_feature_brings_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"engine": "vllm", "reads_base_url": "builtin", "features": "watches,reading"}
    async with logged(caplog, **settings) as run:
        assert run.program.engines.of(Role.READS).name == "vllm"
        (said,) = [one for one in lines(caplog) if "engine of a role not found" in one]
        assert json.loads(said)["field"] == "reads_base_url"


async def test_of_several_model_servers_only_the_first_is_asked() -> None:
    async with FakeOpenAI() as one, FakeOpenAI() as two:
        urls = f"{one.base_url},{two.base_url}"
        async with running(engine="vllm", vllm_base_url=urls, reads_base_url=urls) as run:
            engines = run.program.engines
            await until(lambda: engines.of(Role.READS).name == "reads")
            await until(lambda: engines.current.status.ready)
            for role in Role:
                for number in range(8):
                    request = make_request(session_id=f"s{number}")
                    chunks = [chunk async for chunk in engines.of(role).answer(request)]
                    assert isinstance(chunks[-1], Finished)
    assert (one.count, two.count) == (8 * len(Role), 0)


async def test_an_engine_that_no_feature_brings() -> None:
    """The server starts, and says what is missing."""
    async with running(features="", engine="builtin") as run, http(run) as client:
        engine = (await client.get("/health")).json()["engine"]
        ready = (await client.get("/health/ready")).status_code
    assert (engine["name"], engine["state"], ready) == ("builtin", "misconfigured", 503)
    assert engine["detail"].startswith("ENGINE is builtin, but no enabled feature provides")


# The memory of a session that has ended goes back to the system.


async def test_an_ended_session_is_collected() -> None:
    """Also one without a camera, whose connection would ask for it."""
    async with running(engine="vllm", vllm_base_url="http://127.0.0.1:9/v1") as run:
        run.program.webrtc._trim_seconds = 0.05
        gc.disable()
        try:
            session = weakref.ref(await run.program.sessions.admit("somebody"))
            await run.program.sessions.end("somebody", "over")
            await soon(lambda: session() is None, 20)
        finally:
            gc.enable()


# A start loads no library that only some need; the tests of what needs it have what it does.


# Each takes a tenth of a second or more. Loaded for the first program, with the first connection to a broker, once a
# model server is there, once a GPU or a picture is looked at, a second after the start.
LATE = {
    "mcp",
    "aiomqtt",
    "paho",
    "openai",
    "rapidocr",
    "onnxruntime",
    "zxingcpp",
    "redis",
}


@pytest.mark.slow
def test_a_start_does_not_load_them() -> None:
    code = (
        "import sys, server.main; from config import load; from server.app.app import create_app\n"
        "create_app(load(None))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = ran([sys.executable, "-c", code], timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "fastapi" in loaded
    assert not loaded & LATE


# The setting FEATURES: which features are on.


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [
        ("", ()),
        ("all", tuple(FEATURES)),
        (" Watches,, recall ", ("watches", "recall")),
        ("sample", ("sample",)),
        ("All, sample", (*FEATURES, "sample")),
        ("recall,all", tuple(FEATURES)),
    ],
)
def test_names_and_all_are_chosen_in_the_order_of_their_start(
    setting: str, chosen: tuple[str, ...]
) -> None:
    assert parse_features(setting) == chosen


def test_an_unknown_name_is_told_with_those_that_are_allowed() -> None:
    with pytest.raises(ValueError, match=r"^FEATURES has watch\. Allowed: all, or .*, watches, "):
        parse_features("all,watch")

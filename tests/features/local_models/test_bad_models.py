"""A LOCAL_MODEL that cannot be loaded says why: in the log, /health and scripts/doctor.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.checks import local
from scripts.checks.finding import State
from tests.app.test_engine_parts import NOBODY, lines, logged, told
from tests.features.hosting.catalogue.test_folder import QWEN, beside, configured, shards, write
from tests.support.clients import soon
from tests.support.running import running


def python(folder: Path, *libraries: str) -> Path:
    """A program that says of itself what a Python with these libraries says; it loads nothing."""
    found = dict.fromkeys(("torch", "torchvision", "transformers", *libraries), "99.0")
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{json.dumps([found, ''])}'\n")
    program.chmod(0o755)
    return program


def whole(tmp_path: Path) -> Path:
    """A model of two shards."""
    folder = tmp_path / "my-model"
    write(folder / "config.json", QWEN)
    beside(folder)
    shards(folder)
    return folder


def own_code(folder: Path) -> None:
    configured(model_type="own_vl", auto_map={"AutoModelForImageTextToText": "own.Own"})(folder)
    (folder / "own.py").write_text("")


# Faults of a folder: the function that makes it, words of the reason, words of the remedy. Further
# ones: test_folder.py.
BAD: list[tuple[Callable[[Path], object], str, str]] = [
    (shutil.rmtree, "There is no folder", "download_model.sh"),
    (lambda f: (f / "model.safetensors.index.json").unlink(), "nor an index of its parts", "again"),
    (own_code, "Python code", "TRUST_REMOTE_CODE=true"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "reason", "remedy"), BAD, ids=[reason for _, reason, _ in BAD]
)
async def test_a_bad_local_model_says_why(
    break_it: Callable[[Path], object],
    reason: str,
    remedy: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = whole(tmp_path)
    break_it(folder)
    settings = {"engine": "auto", "local_model": folder, "engine_python": python(tmp_path)}
    async with logged(caplog, **settings) as run:
        await soon(lambda: any("LOCAL_MODEL" in line for line in lines(caplog)))
        found = await told(run, "local")
        assert found["state"] == "misconfigured"
        assert reason in found["detail"]
        assert remedy in found["detail"]
        line = next(json.loads(one) for one in lines(caplog) if "LOCAL_MODEL" in one)
        assert reason in line["reason"]
        assert remedy in line["reason"]
        # And once only.
        assert len([one for one in lines(caplog) if reason in one]) == 1
        checked = await local.check_local_model(run.program.settings, None)
    assert checked is not None
    assert checked.state is State.FAILED
    assert reason in checked.cause
    assert remedy in checked.cause


async def test_a_model_that_ends_while_it_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that the server found by trying stands in the same three places."""
    folder = whole(tmp_path)
    settings = {"engine": "auto", "local_model": folder, "engine_python": python(tmp_path)}
    reason = "process ended while it loaded"
    async with logged(caplog, **settings) as run:
        await soon(lambda: any(reason in line for line in lines(caplog)))
        found = await told(run, "local")
        assert found["state"] == "unreachable"
        assert reason in found["detail"]
        assert "choose a smaller model" in found["detail"]
        health = {"engines": [found]}
        checked = await local.check_local_model(run.program.settings, health)
        assert checked is not None
        assert (checked.state, checked.cause) == (State.FAILED, found["detail"])
        # Nobody has tried: it looks well.
        checked = await local.check_local_model(run.program.settings, None)
        assert checked is not None
        assert checked.ok


@pytest.mark.slow
async def test_what_is_not_set_is_not_looked_at(tmp_path: Path) -> None:
    async with running() as run:
        assert await local.check_local_model(run.program.settings, None) is None
    async with running(engine="builtin", local_model=tmp_path) as run:
        checked = await local.check_local_model(run.program.settings, None)
        assert checked is not None
        assert checked.state is State.SKIPPED


async def test_one_that_is_there_is_well(tmp_path: Path) -> None:
    """Its memory is taken, and no look is needed."""
    folder = tmp_path / "my-model"
    async with running(engine="auto", local_model=folder, vllm_base_url=NOBODY) as run:
        health = {"engines": [{"name": "local", "state": "ready", "detail": ""}]}
        checked = await local.check_local_model(run.program.settings, health)
    assert checked is not None
    assert checked.ok

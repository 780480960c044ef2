"""scripts/download_model.sh against a tiny hub on loopback, through the real huggingface_hub."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from scripts.models import download, record
from scripts.models.disk import ModelError, say
from scripts.models.download import LEAST_BYTES
from tests.support.documents import ROOT
from tests.support.hub_stand_in import Hub, Model, pointed_at, running_hub
from tests.support.programs import ran

PROGRAM = ROOT / "scripts" / "models" / "download.py"
NAME = "someone/tiny-vl"
OLD, NEW = "1" * 40, "2" * 40
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
# So much at a time is written to a file.
PIECE = constants.DOWNLOAD_CHUNK_SIZE
Result = subprocess.CompletedProcess[str]


def files(seed: int) -> dict[str, bytes]:
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    return {
        "config.json": b'{"model_type": "qwen2_5_vl"}',
        "model.safetensors.index.json": json.dumps(index).encode(),
        "tokenizer/vocab.json": b"{}",
        SHARDS[0]: random.Random(seed).randbytes(300_000),
        SHARDS[1]: random.Random(seed + 1).randbytes(200_000),
        "pytorch_model.bin": b"runs code when it is loaded",
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as one:
        one.models[NAME] = Model({OLD: files(1), NEW: files(3)}, {"main": NEW, "v1": OLD})
        yield one


def environment(folder: Path, url: str, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_ENDPOINT": url,
        "MODEL_PATH": str(folder / "model"),
        **more,
    }


def command(*args: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "--env-file", "/dev/null", *args]


def fetch(folder: Path, url: str, *args: str, **more: str) -> Result:
    return ran(command(*args), env=environment(folder, url, **more), cwd=folder, timeout=60)


def here(hub: Hub, folder: Path, name: str = NAME, revision: str | None = None) -> Result:
    """Run the program in this process, which is a second faster."""
    said, status = io.StringIO(), 0
    with pointed_at(hub.url), contextlib.redirect_stderr(said):
        try:
            download.download(name, revision, folder / "model")
        except ModelError as error:
            status = 1
            say(error.message)
        # As a program it would end; here other files may still be fetched.
        for thread in threading.enumerate():
            if thread.name.startswith("fetch"):
                thread.join(20)
    return Result([], status, "", said.getvalue())


def gets(hub: Hub) -> list[tuple[str, int]]:
    return sorted((name, first) for method, name, first in hub.asked if method == "GET")


@pytest.mark.slow
def test_a_model_is_fetched_checked_and_recorded(hub: Hub, tmp_path: Path) -> None:
    """All files but pickles, in MODEL_PATH, with a record; a second run fetches nothing."""
    script = ["bash", str(ROOT / "scripts" / "download_model.sh"), NAME]
    for _ in range(2):
        done = ran(
            [*script, "--env-file", "/dev/null"],
            env=environment(tmp_path, hub.url),
            cwd="/",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "is complete" in done.stderr
    folder = tmp_path / "model"
    wanted = {name: content for name, content in files(3).items() if name != "pytorch_model.bin"}
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there == {*wanted, "model-files.json"}
    assert all((folder / name).read_bytes() == content for name, content in wanted.items())
    assert gets(hub) == [(name, 0) for name in sorted(wanted)]
    known = json.loads((folder / "model-files.json").read_text())
    assert known["source"] == {"repository": NAME, "commit": NEW}
    assert known["files"][SHARDS[0]]["sha256"] == hashlib.sha256(wanted[SHARDS[0]]).hexdigest()


def test_a_revision_is_pinned_and_changed(hub: Hub, tmp_path: Path) -> None:
    """A tag gives its commit's files; another revision in the same folder replaces what differs."""
    assert here(hub, tmp_path, revision="v1").returncode == 0
    assert (tmp_path / "model" / SHARDS[0]).read_bytes() == files(1)[SHARDS[0]]
    done = here(hub, tmp_path, revision=NEW)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / SHARDS[0]).read_bytes() == files(3)[SHARDS[0]]
    assert (
        json.loads((tmp_path / "model" / "model-files.json").read_text())["source"]["commit"] == NEW
    )


def test_a_broken_connection_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    """Bytes written before the break are not requested again."""
    model = hub.models[NAME]
    large = random.Random(5).randbytes(PIECE + 100_000)
    model.revisions[NEW][SHARDS[0]] = large
    model.breaks[SHARDS[0]] = (PIECE + 50_000, 1)
    done = here(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [first for name, first in gets(hub) if name == SHARDS[0]] == [0, PIECE]
    # On a slow link all that come at a time are seen to come before they count as stalled.
    assert download.AT_A_TIME * PIECE <= LEAST_BYTES
    assert (tmp_path / "model" / SHARDS[0]).read_bytes() == large


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_goes_on_where_it_was(hub: Hub, tmp_path: Path, number: int) -> None:
    """A sentence, the usual status, no half file under its name; the next run asks for the rest."""
    model = hub.models[NAME]
    large = random.Random(5).randbytes(PIECE + 100_000)
    model.revisions[NEW][SHARDS[0]] = large
    model.stalls[SHARDS[0]] = PIECE + 50_000
    part = tmp_path / "model" / f"{SHARDS[0]}.part"
    with subprocess.Popen(
        command(NAME), env=environment(tmp_path, hub.url), stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            deadline = time.monotonic() + 30
            while not part.exists() or part.stat().st_size < PIECE:
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            running.send_signal(number)
            _, said = running.communicate(timeout=10)
        finally:
            running.kill()
    assert running.returncode == 128 + number
    assert "the same command resumes" in said
    assert not (tmp_path / "model" / SHARDS[0]).exists()
    assert not (tmp_path / "model" / "model-files.json").exists()
    model.stalls.clear()
    hub.asked.clear()
    done = here(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (SHARDS[0], PIECE) in gets(hub)
    assert (tmp_path / "model" / SHARDS[0]).read_bytes() == large
    assert not part.exists()


def test_wrong_content_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    """The right number of wrong bytes is noticed by their checksum, small files by git's."""
    hub.models[NAME].spoiled.update({SHARDS[1]: 1, "config.json": 1})
    done = here(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"The checksum of config.json, {SHARDS[1]} differs from the hub's" in done.stderr
    assert (tmp_path / "model" / SHARDS[1]).read_bytes() == files(3)[SHARDS[1]]


def test_content_that_stays_wrong_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    """It says so and leaves no file that looks right."""
    hub.models[NAME].spoiled[SHARDS[1]] = 99
    done = here(hub, tmp_path)
    assert done.returncode == 1
    assert f"{SHARDS[1]} differed from the hub's 3 times" in done.stderr
    assert not (tmp_path / "model" / SHARDS[1]).exists()
    assert not (tmp_path / "model" / "model-files.json").exists()


@pytest.mark.slow
def test_gated_models_need_a_token(hub: Hub, tmp_path: Path) -> None:
    """Without one it says how to get one; with one it works, and the token is shown nowhere."""
    hub.models[NAME].token = "hf_secretTokenOfTheTest"
    refused = fetch(tmp_path, hub.url, NAME)
    assert refused.returncode == 1
    assert "is gated" in refused.stderr
    assert "HF_TOKEN" in refused.stderr
    assert not (tmp_path / "model").exists()
    done = fetch(tmp_path, hub.url, NAME, HF_TOKEN="hf_secretTokenOfTheTest")
    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert "hf_secret" not in done.stderr + done.stdout
    assert not any(b"hf_secret" in content for content in written)


@pytest.mark.slow
def test_a_full_disk_is_said(hub: Hub, tmp_path: Path) -> None:
    """Before the download from the sizes, and in the middle of it from the disk itself."""
    hub.models[NAME].told_sizes[SHARDS[0]] = 10**15
    before = fetch(tmp_path, hub.url, NAME)
    assert before.returncode == 1
    assert "There is not enough space at" in before.stderr
    assert "909.5 TiB" in before.stderr
    assert not (tmp_path / "model").exists()
    hub.models[NAME].told_sizes.clear()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / f"{SHARDS[0]}.part").symlink_to("/dev/full")
    amid = fetch(tmp_path, hub.url, NAME)
    assert amid.returncode == 1
    assert "is full" in amid.stderr
    assert not (tmp_path / "model" / "model-files.json").exists()


def test_what_can_not_be_fetched_is_said(hub: Hub, tmp_path: Path) -> None:
    """One sentence each; the program adds nothing to it, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "other.safetensors").touch()
    (tmp_path / "file").touch()
    model = tmp_path / "model"
    for url, name, revision, folder, says in (
        (hub.url, "someone/unknown", None, model, "There is no someone/unknown"),
        (hub.url, NAME, "v9", model, "has no revision 'v9'"),
        (hub.url, "not/an/id", None, model, "is not a repository id"),
        (closed, NAME, None, model, "cannot be reached"),
        (hub.url, NAME, None, Path("/dev/null/model"), "/dev/null/model cannot be written"),
        (hub.url, NAME, None, tmp_path / "file", "is a file"),
        (hub.url, NAME, None, foreign, "has weights of another model"),
    ):
        with pointed_at(url), pytest.raises(ModelError, match=says):
            download.download(name, revision, folder)
    hub.status = 503
    done = fetch(tmp_path, hub.url, NAME)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"Looking for {NAME} at {hub.url}.",
        f"{hub.url} failed (status 503). Run this again later: received data is kept.",
    ]


def test_a_new_revision_does_not_go_on_with_the_old_ones_parts(hub: Hub, tmp_path: Path) -> None:
    """Nor does anything stay of a run that was killed, or of files that the new one has no more."""
    model, folder = hub.models[NAME], tmp_path / "model"
    model.revisions[OLD] = {**files(1), "old.json": b"{}", "sub/old.safetensors": b"x" * 100}
    assert here(hub, tmp_path, revision="v1").returncode == 0
    assert (folder / "sub" / "old.safetensors").exists()
    record.begin(folder, {"repository": NAME, "commit": OLD})
    for left in (f"{SHARDS[0]}.part", "sub/old.safetensors.part", "model-files.json.77.tmp"):
        (folder / left).write_bytes(b"x" * 1000)
    done = here(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = {name for name in files(3) if name != "pytorch_model.bin"}
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there == {*wanted, record.NAME}
    assert (SHARDS[0], 0) in gets(hub)
    assert "from the hub's" not in done.stderr


def test_two_models_do_not_mix_in_one_folder(hub: Hub, tmp_path: Path) -> None:
    """One that was begun and not finished counts; one that goes on with another revision does not."""
    hub.models["someone/other"] = Model({OLD: files(5)}, {"main": OLD})
    model, folder = hub.models[NAME], tmp_path / "model"
    model.revisions[NEW] = {**files(3), "third.safetensors": b"x"}
    model.spoiled[SHARDS[1]] = 99
    assert here(hub, tmp_path).returncode == 1
    refused = here(hub, tmp_path, "someone/other")
    assert refused.returncode == 1
    assert f"{folder} contains {NAME}" in refused.stderr
    model.spoiled.clear()
    done = here(hub, tmp_path, revision="v1")
    assert done.returncode == 0, done.stderr
    assert not (folder / "third.safetensors").exists()


@pytest.mark.slow
def test_a_change_of_revision_is_not_by_halves(hub: Hub, tmp_path: Path) -> None:
    """--dry-run touches nothing; once it begins the record is gone until all is there, and room is for whole files."""
    model, folder = hub.models[NAME], tmp_path / "model"
    old = {**files(1), "old.safetensors": b"x" * 100}
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": "old.safetensors"}}
    old["model.safetensors.index.json"] = json.dumps(index).encode()
    model.revisions[OLD] = old
    model.revisions[NEW][SHARDS[0]] = b"y" * 300_001
    assert here(hub, tmp_path, revision="v1").returncode == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dry = fetch(tmp_path, hub.url, NAME, "--dry-run")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    # The old shard makes way only when the new one is complete.
    assert "293.1 KiB to fetch" in dry.stderr
    model.spoiled[SHARDS[1]] = 99
    assert here(hub, tmp_path).returncode == 1
    assert not (folder / "model-files.json").exists()
    model.spoiled.clear()
    assert here(hub, tmp_path).returncode == 0
    assert not (folder / "old.safetensors").exists()
    assert (folder / SHARDS[0]).read_bytes() == b"y" * 300_001

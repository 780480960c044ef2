"""scripts/run.sh --model without a name: a model is proposed for the machine, and asked for on a terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.models import choose, disk
from scripts.models.choose import Choice, _look_at_hub
from scripts.models.disk import ModelError
from server.features.hosting import host
from server.features.hosting.catalogue.entry import Catalogue, Model
from server.features.hosting.catalogue.machine import GB, Host, HostGpu, Vendor, summarise_machine
from server.features.hosting.host import HostProbe
from tests.scripts.test_choose_model import CATALOGUE, COMMIT, FILES, BufferPool
from tests.support.hub_stand_in import Hub, pointed_at, running_hub
from tests.support.hub_stand_in import Model as Published

HUGE = Host(
    gpus=(HostGpu(Vendor.AMD, "MI300X", 206 * GB, 206 * GB),),
    ram_total_bytes=512 * GB,
    ram_free_bytes=512 * GB,
)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as one:
        one.models["someone/tiny-vl"] = Published({COMMIT: dict(FILES)}, {"main": COMMIT})
        yield one


@pytest.fixture(scope="module")
def installed(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> BufferPool:
    return BufferPool(tmp_path_factory.mktemp("propose"), hub)


def typed(pool: BufferPool, answer: bytes, *args: str) -> tuple[int, str, str]:
    """Run run.sh on a terminal, and type. Returns its status, output and what the terminal showed."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(
        pool.command(*args),
        env=pool.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        # EIO: the last one that had the terminal is gone.
        with contextlib.suppress(OSError):
            while b"[y/N]" not in shown:
                shown += os.read(ours, 4096)
            os.write(ours, answer)
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
        out = running.communicate(timeout=120)[0].decode()
    return running.returncode, out.strip(), shown.decode()


@pytest.mark.slow
def test_on_a_terminal_yes_fetches_and_starts(installed: BufferPool) -> None:
    """Nothing but yes does: no, an empty line and the end of the input fetch nothing."""
    for answer in (b"n\n", b"\n", b"nay\n", b"\x04"):
        status, out, shown = typed(installed, answer, "--model")
        assert (status, out) == (1, ""), shown
        assert "Proposed: Tiny." in shown
        assert "1 min at 50 Mbit/s (assumed, not measured)" in shown
        assert "The command for it: bash scripts/run.sh --model tiny" in shown
        assert "Nothing was fetched." in shown
    assert not installed.folder.exists()
    assert installed.hub.asked == []
    status, out, shown = typed(installed, b"y\n", "--model", "--port", "0")
    assert (status, out) == (0, f"started with {installed.folder}"), shown
    # Now it is there: asked again, since another may fit by now.
    status, out, shown = typed(installed, b"y\n", "--model")
    assert f"It is already downloaded: {installed.folder}" in shown
    assert "to fetch" not in shown
    assert (status, out) == (0, f"started with {installed.folder}"), shown


@pytest.mark.slow
def test_without_a_terminal_the_command_is_printed(installed: BufferPool) -> None:
    """Nothing is fetched or started, also where no model has the memory or the room."""
    asked = len(installed.hub.asked)
    done = installed.run("--model", "auto")
    assert done.returncode == 1
    assert "The command for it: bash scripts/run.sh --model tiny" in done.stderr
    assert "there is no terminal to ask on" in done.stderr
    heavy, huge = (
        "[[model]]" + CATALOGUE.format(revision="").split("[[model]]")[number] for number in (3, 2)
    )
    for text, says in (
        (heavy, "No model of the catalogue fits into this machine's memory."),
        (huge, "of disk space"),
    ):
        (installed.home / "models.toml").write_text(text)
        done = installed.run("--model")
        assert done.returncode == 1
        assert says in done.stderr
        assert "Without a model the built-in engine answers" in done.stderr
        assert "The command for it" not in done.stderr
        assert done.stdout == ""
    installed.write_catalogue()
    assert len(installed.hub.asked) == asked


@pytest.mark.parametrize(
    ("system", "processor", "share"),
    [("darwin", "arm64", 2 / 3), ("darwin", "x86_64", 0), ("linux", "arm64", 0)],
)
def test_apples_gpu_has_two_thirds_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, system: str, processor: str, share: float
) -> None:
    """On Macs with Apple's chip alone; a person reads so, and how much is free."""
    # Imported before this becomes another system
    assert psutil.version_info
    # No /proc/meminfo
    monkeypatch.setattr(host, "get_main_memory", lambda: (0, 0))
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: processor)
    found = HostProbe(llama_server="/nowhere").probe(vllm=False)
    assert found.unified_bytes == int(found.ram_total_bytes * share)
    assert found.ram_total_bytes > found.ram_free_bytes > 0
    assert ("Apple's GPU" in summarise_machine(found)) is bool(share)


def ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bool | None) -> list[Model]:
    """An MI300X with a person who answers. Returns what is fetched."""
    fetched: list[Model] = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_PATH", str(tmp_path / "model"))
    monkeypatch.setattr(choose, "inspect_machine", lambda settings: HUGE)
    # For this process it would be for all later tests.
    monkeypatch.setattr(logging, "disable", lambda level: None)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 10**12)
    monkeypatch.setattr(choose, "ask_yes_no", lambda question: answer)
    monkeypatch.setattr(choose, "fetch", lambda model, folder: fetched.append(model))
    return fetched


@pytest.mark.parametrize("answer", [True, False, None])
def test_what_vllm_serves_is_fetched_and_not_started(
    answer: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The mission's model comes first on an MI300X; both commands are named."""
    fetched = ready(monkeypatch, tmp_path, answer)
    assert choose.main([]) == (0 if answer else 1)
    out, said = capsys.readouterr()
    assert out == ""
    assert "bash scripts/download_model.sh Qwen/Qwen2.5-VL-32B-Instruct" in said
    assert "bash scripts/start_vllm_server.sh" in said
    assert [model.id for model in fetched] == ["Qwen/Qwen2.5-VL-32B-Instruct"] * bool(answer)


# Before anything is installed or fetched


def test_what_is_there_needs_no_room(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that is gone on with, whole shards and the parts of others; a folder that may not
    be written to is reported.
    """
    model = Catalogue.read(CATALOGUE.format(revision=""), "").require("tiny")
    large = model.model_copy(update={"weights_bytes": 10**12})
    for name in ("old.safetensors", "model.safetensors.part"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(5 * 10**11)
    (tmp_path / "model-files.json.begun").write_text('{"repository": "someone/tiny-vl"}')
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 10**8)
    with pointed_at(hub.url):
        _look_at_hub(Choice(large, tmp_path, Catalogue.load()))
        (tmp_path / "old.safetensors").unlink()
        with pytest.raises(ModelError, match="There is not enough space at"):
            _look_at_hub(Choice(large, tmp_path, Catalogue.load()))
        with pytest.raises(ModelError, match="/dev/null/tiny-vl cannot be written"):
            _look_at_hub(Choice(model, Path("/dev/null/tiny-vl"), Catalogue.load()))


def test_a_smaller_one_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of them; where none does, the built-in engine."""
    ours = Catalogue.load()
    choice = Choice(ours.require("small"), Path("/nowhere"), ours)
    for there, says in (
        (2_500_000_000, r"Choose a smaller one \(qwen3\.5-0\.8b\)"),
        (1_000_000_000, "Without --model the built-in engine answers"),
    ):
        monkeypatch.setattr(choose, "get_system_memory", lambda there=there: (there, there))
        with pytest.raises(ModelError, match=says):
            choose._require_memory(choice)
    monkeypatch.setattr(choose, "get_system_memory", lambda: (4_000_000_000, 0))
    choose._require_memory(choice)

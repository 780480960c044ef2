"""The messages and sentences that the operator's panel shows."""

from __future__ import annotations

from pathlib import Path

from server.features.hosting.catalogue.entry import Catalogue, ModelType, RunMode
from server.features.hosting.catalogue.machine import described
from server.features.hosting.catalogue.modes import Host, HostGpu, Vendor
from server.features.hosting.hosting import report
from server.features.hosting.log_progress import LoadProgress
from server.features.hosting.messages import Answering
from server.features.hosting.routes import listed, troubles
from server.features.hosting.status import ManagerState, ManagerStatus, Released

GPU = HostGpu(Vendor.NVIDIA, "Some GPU", 24_000_000_000, 20_500_000_000)


def test_an_idle_manager_is_told_in_two_words() -> None:
    """Unknown values are left out, not guessed."""
    told = report(ManagerStatus(), False).model_dump(exclude_none=True)
    assert told == {"type": "engine", "state": "idle", "answers": False}


def test_loading_is_told_with_phase_percent_and_bytes() -> None:
    """As they are; the percent with one digit behind the point."""
    progress = LoadProgress("loading weights", 41.6667, 5, 12)
    status = ManagerStatus(
        ManagerState.LOADING,
        "a/b",
        ModelType.VISION,
        RunMode.CONTAINER,
        progress,
        memory_bytes=7,
        shown="run",
        error="why",
    )
    told = report(status, True).model_dump(exclude_none=True)
    assert told["progress"] == {
        "phase": "loading weights",
        "percent": 41.7,
        "done_bytes": 5,
        "total_bytes": 12,
    }
    assert (told["model"], told["model_type"], told["mode"]) == ("a/b", "vision", "container")
    assert (told["memory_bytes"], told["command"], told["error"]) == (7, "run", "why")
    assert told["answers"]


def test_memory_taken_and_given_back_is_told() -> None:
    """Main memory and the GPUs'; of what is not known nothing, and never less than nothing."""
    back = Released(held=100, left=10, gpu_before=1000, gpu_after=5000)
    told = report(ManagerStatus(gpu_bytes=9, released=back), False).model_dump(exclude_none=True)
    assert told["gpu_bytes"] == 9
    assert told["released"] == {"memory_bytes": 90, "left_bytes": 10, "gpu_bytes": 4000}
    for back, told_of in (
        (Released(), None),
        (Released(held=5, left=0), {"memory_bytes": 5, "left_bytes": 0}),
        (Released(gpu_before=5, gpu_after=3), {"gpu_bytes": 0}),
    ):
        told = report(ManagerStatus(released=back), False).model_dump(exclude_none=True)
        assert told.get("released") == told_of


def test_every_model_has_every_way_with_a_reason_for_each_no() -> None:
    """On a machine that has nothing, too; the folder's path stays on the server."""
    models = [model.at(Path("/srv/secret")) for model in Catalogue.load()]
    for host in (Host(), Host(gpus=(GPU,), sandboxed=True)):
        rows = listed(models, host)
        assert [row["id"] for row in rows] == [model.id for model in models]
        for row in rows:
            assert [way["mode"] for way in row["modes"]] == [
                "in_process",
                "subprocess",
                "container",
                "remote",
            ]
            assert all(
                way["ok"] or way["reason"].endswith((".", "?")) or way["reason"]
                for way in row["modes"]
            )
        assert "/srv/secret" not in str(rows)
    rows = listed(models, Host(), best=models[1])
    assert [row["id"] for row in rows if row["recommended"]] == [models[1].id]


def test_troubles_are_few() -> None:
    """A folder may hold many models for other things."""
    catalogue = Catalogue.load()
    assert troubles(catalogue) == []
    assert troubles(catalogue.with_troubles("One.")) == ["One."]
    many = troubles(catalogue.with_troubles(*(f"{n}." for n in range(50))))
    assert many[:6] == ["0.", "1.", "2.", "3.", "4.", "5."]
    assert many[6:] == ["And 44 more folders that hold no model for this."]


def test_the_machine_in_a_sentence() -> None:
    """It names the GPU, the free memory and the sandbox, on which models depend."""
    assert described(Host()) == "This machine: No GPU."
    host = Host(gpus=(GPU,), ram_total_bytes=64 * 10**9, ram_free_bytes=41 * 10**9, sandboxed=True)
    assert described(host) == (
        "This machine: Some GPU (20 GB free); 41 GB of 64 GB of memory free; in systemd's sandbox."
    )


def test_what_answers_is_told() -> None:
    """Beside what was loaded, and nothing is reported where nothing answers."""
    vllm = Answering(engine="vllm", model="Qwen", server="vLLM", where="192.0.2.7:8001")
    told = report(ManagerStatus(), False, vllm, "why").model_dump(exclude_none=True)
    assert told["answering"] == vllm.model_dump()
    assert told["why"] == "why"
    assert "answering" not in report(ManagerStatus(), False).model_dump(exclude_none=True)

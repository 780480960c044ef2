"""Reading GPUs by their makers' tools, in the forms of their releases, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.features.hosting import gpu
from server.features.hosting.gpu import MIB, GpuError, GpuReader


def amount(value: object, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit}


# The shape of `amd-smi metric --json` for an MI300X that is divided in two, cut to what is read
DIVIDED: list[dict[str, Any]] = [
    {
        "gpu": 0,
        "usage": {"gfx_activity": amount(42, "%"), "mm_activity": "N/A"},
        "power": {"socket_power": amount(611, "W"), "gfx_voltage": "N/A"},
        "temperature": {"edge": "N/A", "hotspot": amount(58, "C")},
        "mem_usage": {"total_vram": amount(196592, "MB"), "used_vram": amount(98296, "MB")},
    },
    {
        "gpu": 1,
        "usage": {"gfx_activity": "N/A"},
        "power": {"socket_power": amount("nan", "W")},
        "temperature": "N/A",
        "mem_usage": {"total_vram": "N/A", "used_vram": "N/A"},
    },
]
NAMES = {"gpu_data": [{"gpu": 0, "asic": {"market_name": "AMD Instinct MI300X"}}]}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tools but those of the test, also on a machine with GPUs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "ROCM_TOOLS", str(tmp_path))


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def amd_smi(folder: Path, metric: object, names: object = NAMES) -> None:
    tool(
        folder,
        "amd-smi",
        f"[ $1 = static ] && echo '{json.dumps(names)}'\n"
        f"[ $1 = metric ] && echo 'WARNING: no group' && echo '{json.dumps(metric, indent=1)}'\nexit 0",
    )


@pytest.mark.parametrize("newer", [False, True])
def test_amd(tmp_path: Path, newer: bool) -> None:
    """A list up to ROCm 6, and within an object later; what a divided one's second part does not
    report is unknown.
    """
    amd_smi(tmp_path, {"gpu_data": DIVIDED} if newer else DIVIDED)
    reader = GpuReader()
    assert reader.source == "amd-smi"
    one, two = reader.read()
    assert (one.name, one.use, one.watts, one.celsius) == ("AMD Instinct MI300X", 0.42, 611, 58)
    assert (one.memory_used, one.memory_total) == (98296 * MIB, 196592 * MIB)
    assert (two.index, two.name) == (1, "AMD GPU")
    assert (two.use, two.memory_used, two.watts, two.celsius) == (None,) * 4


@pytest.mark.parametrize("told", [[{"gpu": "N/A"}, {"gpu": None}, {"gpu": -1}, 3], "N/A", None])
def test_what_is_no_gpu_is_none(tmp_path: Path, told: object) -> None:
    amd_smi(tmp_path, told)
    assert "amd-smi: it lists no GPU" in GpuReader().why_none


def test_nvidia(tmp_path: Path) -> None:
    """What a part of a divided one does not report is unknown; one that is lost later is an error."""
    said = (
        "NVIDIA H100, 80GB, 88, 1024, 81559, 512.35, 61\n"
        "MIG 1g.10gb, [N/A], [N/A], [N/A], [Insufficient Permissions], [N/A]"
    )
    tool(tmp_path, "nvidia-smi", f"echo '{said}'")
    reader = GpuReader()
    assert reader.source == "NVIDIA"
    one, two = reader.read()
    assert (one.name, one.use, one.watts, one.celsius) == ("NVIDIA H100, 80GB", 0.88, 512.35, 61)
    assert (one.memory_used, one.memory_total) == (1024 * MIB, 81559 * MIB)
    assert (two.name, two.memory_total, two.use, two.watts) == ("MIG 1g.10gb", None, None, None)
    tool(tmp_path, "nvidia-smi", "echo GPU is lost; exit 15")
    with pytest.raises(GpuError, match="exited with status 15: GPU is lost"):
        reader.read()


def test_no_gpu_is_said_with_every_reason(tmp_path: Path) -> None:
    tool(tmp_path, "amd-smi", "echo no driver >&2; exit 255")
    reader = GpuReader()
    assert (reader.source, reader.read()) == ("", [])
    assert "NVIDIA: it is not installed" in reader.why_none
    assert "amd-smi: amd-smi exited with status 255: no driver" in reader.why_none


def test_a_tool_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "nvidia-smi", "exec /bin/sleep 30")
    monkeypatch.setattr(gpu, "TOOL_SECONDS", 0.2)
    assert "did not respond within 0.2 s" in GpuReader().why_none

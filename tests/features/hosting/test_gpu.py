"""Reading GPUs: by AMD's tools and NVIDIA's library, in the forms of their releases, or none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.features.hosting import gpu
from server.features.hosting.gpu import (
    MIB,
    Gpu,
    GpuError,
    GpuReader,
    amd_smi_gpus,
    amd_smi_names,
    rocm_smi_gpus,
)


def amount(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit}


# The shape of `amd-smi metric --json` of ROCm 7 for an MI300X that is divided in two, cut to what
# is read.
DIVIDED: dict[str, Any] = {
    "gpu_data": [
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
            "power": {"socket_power": "N/A"},
            "temperature": "N/A",
            "mem_usage": {"total_vram": "N/A", "used_vram": "N/A"},
        },
    ]
}
NAMES = {"gpu_data": [{"gpu": 0, "asic": {"market_name": "AMD Instinct MI300X"}}]}
ROCM_SMI = {
    "card0": {
        "GPU use (%)": "17",
        "VRAM Total Memory (B)": "21458059264",
        "VRAM Total Used Memory (B)": "27856896",
        "Average Graphics Package Power (W)": "35.0",
        "Temperature (Sensor edge) (C)": "41.0",
        "Card Series": "Radeon RX 7900 XT",
    },
    "card1": {"GPU use (%)": "N/A", "Current Socket Graphics Package Power (W)": "N/A"},
    "system": {"Driver version": "6.7.0"},
}


def tools(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Commands of these names, and no others of ROCm's."""
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.setattr(gpu, "ROCM_TOOLS", str(folder))


def printing(told: Any, *, first: str = "") -> str:
    return f"cat <<'TEXT'\n{first}{json.dumps(told, indent=1)}\nTEXT"


def test_amd_smi_of_a_divided_gpu() -> None:
    """Values with their units; the second part gives no value, and nothing is invented."""
    one, two = amd_smi_gpus(DIVIDED, {0: "AMD Instinct MI300X"})
    assert (one.name, one.use, one.watts, one.celsius) == ("AMD Instinct MI300X", 0.42, 611, 58)
    assert (one.memory_used, one.memory_total) == (98296 * MIB, 196592 * MIB)
    assert (two.index, two.use, two.memory_used, two.watts, two.celsius) == (1, *[None] * 4)


def test_amd_smi_before_rocm_7() -> None:
    """The same entries as a bare list."""
    assert amd_smi_gpus(DIVIDED["gpu_data"], {}) == amd_smi_gpus(DIVIDED, {})


def test_rocm_smi() -> None:
    """Numbers come as text; power and temperature go by several names; what is no card is left out."""
    one, two = rocm_smi_gpus(ROCM_SMI)
    assert (one.index, one.name, one.use) == (0, "Radeon RX 7900 XT", 0.17)
    assert (one.memory_used, one.memory_total) == (27856896, 21458059264)
    assert (one.watts, one.celsius) == (35.0, 41.0)
    assert (two.use, two.watts) == (None, None)


@pytest.mark.parametrize(
    "told",
    [
        [{"gpu": "N/A"}, {"gpu": None}, {"gpu": -1}, 3],
        {"gpu_data": "N/A"},
        {"card": {}, "cardX": {}, "system": {"Driver version": "6"}, "card0": "N/A"},
        [],
        None,
    ],
)
def test_what_is_no_gpu_is_none(told: object) -> None:
    assert amd_smi_gpus(told, {}) == []
    assert amd_smi_names(told) == {}
    assert rocm_smi_gpus(told) == []


def test_figures_that_are_none() -> None:
    entry = {"gpu": 2, "asic": "N/A", "usage": "N/A", "power": {"socket_power": {"value": "nan"}}}
    assert amd_smi_names([entry]) == {2: "AMD GPU"}
    assert amd_smi_gpus([entry], {}) == [Gpu(2, "AMD GPU", None, None, None, None, None)]
    card = {"card0": {"GPU use (%)": "nan", "VRAM Total Memory (B)": "inf"}}
    assert rocm_smi_gpus(card) == [Gpu(0, "AMD GPU", None, None, None, None, None)]


def test_amd_smi_is_preferred_and_warnings_before_its_json_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is run for real; it names the GPU by another command than it measures it."""
    metric, static = printing(DIVIDED, first="WARNING: User is missing a group\n"), printing(NAMES)
    script = f'case "$1" in\nstatic)\n{static}\n;;\n*)\n{metric}\n;;\nesac'
    tools(tmp_path, monkeypatch, amd_smi=script, rocm_smi=printing(ROCM_SMI))
    reader = GpuReader()
    assert reader.source == "amd-smi"
    assert [found.name for found in reader.read()] == ["AMD Instinct MI300X", "AMD GPU"]


def test_rocm_smi_where_amd_smi_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(tmp_path, monkeypatch, amd_smi="echo broken >&2; exit 3", rocm_smi=printing(ROCM_SMI))
    reader = GpuReader()
    assert reader.source == "rocm-smi"
    assert len(reader.read()) == 2


def test_nvidia_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi says name and memory; a dry run of scripts has no packages."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    said = "NVIDIA H100, 80GB, 1024, 81559\nMIG 1g.10gb, [N/A], [N/A]"
    tools(tmp_path, monkeypatch, **{"nvidia-smi": f"echo '{said}'"})
    reader = GpuReader()
    assert reader.source == "NVIDIA"
    first, second = reader.read()
    assert (first.name, first.memory_used, first.memory_total) == (
        "NVIDIA H100, 80GB",
        1024 * MIB,
        81559 * MIB,
    )
    assert (second.name, second.memory_total, second.use) == ("MIG 1g.10gb", None, None)


def test_nvidia_smi_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    tools(tmp_path, monkeypatch, **{"nvidia-smi": "exit 9"})
    assert "NVIDIA: nvidia-smi gave no answer" in GpuReader().why_none


def test_no_gpu_is_said_with_every_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(tmp_path, monkeypatch, amd_smi="echo no driver >&2; exit 255", rocm_smi=printing({}))
    reader = GpuReader()
    if reader.source == "NVIDIA":
        pytest.skip("this machine has an NVIDIA GPU")
    assert reader.source == ""
    assert reader.read() == []
    assert "amd-smi ended with 255: no driver" in reader.why_none
    assert "rocm-smi: it lists no GPU" in reader.why_none
    assert "NVIDIA: " in reader.why_none


def test_a_tool_that_hangs_or_stops_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a time; a reading that fails later is an error, not an empty list."""
    flag = tmp_path / "broken"
    script = f'if [ -e "{flag}" ]; then exec sleep 30; fi\n{printing(ROCM_SMI)}'
    tools(tmp_path, monkeypatch, rocm_smi=script)
    reader = GpuReader()
    assert reader.source == "rocm-smi"
    flag.touch()
    monkeypatch.setattr(gpu, "TOOL_SECONDS", 0.2)
    with pytest.raises(GpuError, match="no answer within"):
        reader.read()


class FakeNvml:
    """NVIDIA's library with two GPUs, the second a part of one: no use, no power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    class NVMLError_NoPermission(NVMLError):
        pass

    lost = False

    def nvmlInit(self) -> None:
        return

    def nvmlDeviceGetCount(self) -> int:
        if self.lost:
            raise self.NVMLError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H200"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle:
            raise self.NVMLError_NotSupported
        return SimpleNamespace(gpu=88, memory=40)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=70 * 2**30, total=141 * 2**30)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle:
            raise self.NVMLError_NoPermission
        return 512_345

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 61


def test_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown values of a GPU are None; a GPU that is lost later is an error."""
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    reader = GpuReader()
    assert reader.source == "NVIDIA"
    one, two = reader.read()
    assert (one.name, one.use, one.memory_used) == ("NVIDIA H200", 0.88, 70 * 2**30)
    assert (one.watts, one.celsius) == (512.345, 61.0)
    assert (two.use, two.watts, two.memory_total) == (None, None, 141 * 2**30)
    library.lost = True
    with pytest.raises(GpuError, match="GPU is lost"):
        reader.read()

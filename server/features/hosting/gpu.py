"""Read the load of this machine's GPUs with nvidia-smi or amd-smi.

Functions block for up to TOOL_SECONDS, usually below a second: call them in a thread. Standard library only, because
scripts use this module without packages.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Folder of ROCm's tools, which is not always on the PATH.
ROCM_TOOLS = "/opt/rocm/bin"
TOOL_SECONDS = 10.0
MIB = 1024 * 1024
_NVIDIA_COLUMNS = "name,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"
_AMD_GROUPS = ("--usage", "--power", "--temperature", "--mem-usage")


class GpuError(Exception):
    """The GPUs cannot be read; the text is for operators. Not a QwenCameraError, because scripts raise it, too."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One reading of a GPU. None: not reported, for example by a partition of a GPU."""

    index: int
    name: str
    # Utilisation over the last sampling period, 0 to 1
    use: float | None
    # Bytes
    memory_used: int | None
    memory_total: int | None
    watts: float | None
    celsius: float | None

    @property
    def memory_free(self) -> int | None:
        total, used = self.memory_total, self.memory_used
        return None if total is None or used is None else max(0, total - used)


class GpuReader:
    """Reads all GPUs. `source`: "NVIDIA", "amd-smi", or "" if there is no GPU; `why_none` then gives the reason."""

    def __init__(self) -> None:
        self.source = ""
        self.why_none = ""
        # Return one reading of each GPU, in order. Blocking. Raises GpuError.
        self.read: Callable[[], list[Gpu]] = list
        reasons = []
        for name, find in (("NVIDIA", _find_nvidia), ("amd-smi", _find_amd)):
            try:
                read = find()
                if not read():
                    raise GpuError("it lists no GPU")
            except GpuError as error:
                reasons.append(f"{name}: {error}")
                continue
            self.source, self.read = name, read
            return
        self.why_none = f"No GPU was found ({'; '.join(reasons)})."


def _find_nvidia() -> Callable[[], list[Gpu]]:
    command = [_find_tool("nvidia-smi"), f"--query-gpu={_NVIDIA_COLUMNS}"]
    return lambda: _parse_nvidia_gpus(_run([*command, "--format=csv,noheader,nounits"]))


def _parse_nvidia_gpus(text: str) -> list[Gpu]:
    gpus = []
    for index, line in enumerate(filter(None, text.splitlines())):
        # Values that are not reported, for example by a partition, are "[N/A]". A name may contain commas.
        name, *values = (part.strip() for part in line.rsplit(",", 5))
        use, used, total, watts, celsius = map(_parse_number, (values + [""] * 5)[:5])
        gpus.append(
            Gpu(
                index,
                name,
                None if use is None else use / 100,
                None if used is None else int(used) * MIB,
                None if total is None else int(total) * MIB,
                watts,
                celsius,
            )
        )
    return gpus


def _find_amd() -> Callable[[], list[Gpu]]:
    tool = _find_tool("amd-smi")
    names = {}
    for entry in _parse_amd_entries(_run([tool, "static", "--asic", "--json"])):
        asic = entry.get("asic")
        name = asic.get("market_name") if isinstance(asic, dict) else None
        names[int(entry["gpu"])] = str(name or "AMD GPU")
    return lambda: _parse_amd_gpus(_run([tool, "metric", *_AMD_GROUPS, "--json"]), names)


def _parse_amd_gpus(text: str, names: dict[int, str]) -> list[Gpu]:
    """Parse the metrics. Only the first partition of a partitioned GPU reports its use."""
    gpus = []
    for entry in _parse_amd_entries(text):
        use = _get_amount(entry, "usage", "gfx_activity")
        used = _get_amount(entry, "mem_usage", "used_vram")
        total = _get_amount(entry, "mem_usage", "total_vram")
        hottest = [_get_amount(entry, "temperature", where) for where in ("hotspot", "edge")]
        gpus.append(
            Gpu(
                int(entry["gpu"]),
                names.get(int(entry["gpu"]), "AMD GPU"),
                None if use is None else use / 100,
                # amd-smi labels the unit MB, but it is MiB: 196,592 for an MI300X.
                None if used is None else int(used * MIB),
                None if total is None else int(total * MIB),
                _get_amount(entry, "power", "socket_power"),
                next((degrees for degrees in hottest if degrees is not None), None),
            )
        )
    return gpus


def _parse_amd_entries(text: str) -> list[dict[str, Any]]:
    """Parse amd-smi's JSON, which may follow warnings: a list up to ROCm 6, an object with a list from ROCm 7 on.

    Raises GpuError.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.lstrip()[:1] in ("{", "[")), None)
    try:
        output = json.loads("\n".join(lines[start:])) if start is not None else None
    except ValueError:
        raise GpuError("amd-smi printed no JSON") from None
    entries = output.get("gpu_data") if isinstance(output, dict) else output
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and str(entry.get("gpu")).isdecimal()
    ]


def _get_amount(entry: dict[str, Any], group: str, name: str) -> float | None:
    values = entry.get(group)
    value = values.get(name) if isinstance(values, dict) else None
    return _parse_number(value.get("value") if isinstance(value, dict) else value)


def _parse_number(value: Any) -> float | None:
    """Return the value if it is a finite number, or None for anything else, such as "N/A"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _find_tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=ROCM_TOOLS)
    if path is None:
        raise GpuError("it is not installed")
    return path


def _run(command: list[str]) -> str:
    """Run a tool and return its output. Raises GpuError."""
    name = command[0].rpartition("/")[2]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS)
    except subprocess.TimeoutExpired:
        raise GpuError(f"{name} did not respond within {TOOL_SECONDS:g} s") from None
    except OSError as error:
        raise GpuError(f"{name} could not be started: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-200:]
        raise GpuError(f"{name} exited with status {done.returncode}: {said or 'no output'}")
    return done.stdout

"""Read the load of this machine's GPUs: NVIDIA through its management library, AMD through amd-smi
or rocm-smi.

All functions block, NVIDIA's for about a millisecond, AMD's tools for up to a second: call them in
a thread.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Folder of ROCm's tools, which is not always on the PATH.
ROCM_TOOLS = "/opt/rocm/bin"
TOOL_SECONDS = 10.0
MIB = 1024 * 1024


class GpuError(Exception):
    """The GPUs cannot be read; the text is for operators.

    Outside the tree of errors: scripts use this module without the server.
    """


@dataclass(frozen=True, slots=True)
class Gpu:
    """One reading of a GPU. None: not reported, for example for a part of a divided GPU."""

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
    """Finds the tool that reads the GPUs, once: `source` names it, or `why_none` says why not."""

    def __init__(self) -> None:
        self.source = ""
        self.why_none = ""
        # Reads every GPU, in order; an empty list without GPUs. Blocks. Raises GpuError.
        self.read: Callable[[], list[Gpu]] = list
        reasons = []
        for name, find in (
            ("NVIDIA", _find_nvidia),
            ("amd-smi", _find_amd_smi),
            ("rocm-smi", _find_rocm_smi),
        ):
            try:
                self.read = find()
                if not self.read():
                    raise GpuError("it lists no GPU")
            except GpuError as error:
                self.read = list
                reasons.append(f"{name}: {error}")
                continue
            self.source = name
            return
        self.why_none = f"No GPU was found ({'; '.join(reasons)})."


# --- NVIDIA


def _find_nvidia() -> Callable[[], list[Gpu]]:
    try:
        import pynvml
    except ModuleNotFoundError:
        # A dry run of scripts has no packages.
        return _find_nvidia_smi()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise GpuError(str(error)) from None
    return lambda: _read_nvidia(pynvml)


def _read_nvidia(pynvml: Any) -> list[Gpu]:
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [_nvidia(pynvml, i, handle) for i, handle in enumerate(handles)]
    except pynvml.NVMLError as error:
        raise GpuError(f"NVIDIA's driver does not answer: {error}") from None


def _nvidia(pynvml: Any, index: int, handle: Any) -> Gpu:
    def value(query: Callable[[], Any]) -> Any:
        """Return the queried value; None when this GPU or this user cannot have it."""
        try:
            return query()
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
            return None

    name = value(lambda: pynvml.nvmlDeviceGetName(handle)) or "GPU"
    use = value(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    memory = value(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    milliwatts = value(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    celsius = value(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    return Gpu(
        index,
        name,
        None if use is None else use.gpu / 100,
        None if memory is None else memory.used,
        None if memory is None else memory.total,
        None if milliwatts is None else milliwatts / 1000,
        None if celsius is None else float(celsius),
    )


def _find_nvidia_smi() -> Callable[[], list[Gpu]]:
    """Names and memory alone, in whole MiB."""
    columns = "--query-gpu=name,memory.used,memory.total"
    command = [_tool("nvidia-smi"), columns, "--format=csv,noheader,nounits"]

    def read() -> list[Gpu]:
        found = []
        try:
            text = subprocess.run(
                command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise GpuError(f"nvidia-smi gave no answer ({type(error).__name__})") from None
        for index, line in enumerate(text.splitlines()):
            name, *numbers = (part.strip() for part in line.rsplit(",", 2))
            # "[N/A]" for a part of a divided GPU
            used, total = (int(n) * MIB if n.isdecimal() else None for n in numbers)
            found.append(Gpu(index, name, None, used, total, None, None))
        return found

    return read


# --- AMD


def _find_amd_smi() -> Callable[[], list[Gpu]]:
    tool = _tool("amd-smi")
    names = amd_smi_names(_run([tool, "static", "--asic", "--json"]))
    command = [tool, "metric", "--usage", "--power", "--temperature", "--mem-usage", "--json"]

    return lambda: amd_smi_gpus(_run(command), names)


def _find_rocm_smi() -> Callable[[], list[Gpu]]:
    shown = ("productname", "use", "power", "temp")
    command = [_tool("rocm-smi"), *(f"--show{what}" for what in shown)]
    command += ["--showmeminfo", "vram", "--json"]
    return lambda: rocm_smi_gpus(_run(command))


def amd_smi_names(output: Any) -> dict[int, str]:
    """Map GPU indices to names, from the output of `amd-smi static --asic --json`."""
    names = {}
    for entry in _amd_smi_entries(output):
        asic = entry.get("asic")
        name = asic.get("market_name") if isinstance(asic, dict) else None
        names[int(entry["gpu"])] = str(name or "AMD GPU")
    return names


def amd_smi_gpus(output: Any, names: dict[int, str]) -> list[Gpu]:
    """Read the GPUs from `amd-smi metric --json`.

    Of a divided GPU only the first part reports its use. The output is a list up to ROCm 6, and
    from 7 on an object with the list as `gpu_data`.
    """
    gpus = []
    for entry in _amd_smi_entries(output):
        use = _amount(entry, "usage", "gfx_activity")
        used = _amount(entry, "mem_usage", "used_vram")
        total = _amount(entry, "mem_usage", "total_vram")
        hottest = [_amount(entry, "temperature", where) for where in ("hotspot", "edge")]
        gpus.append(
            Gpu(
                int(entry["gpu"]),
                names.get(int(entry["gpu"]), "AMD GPU"),
                None if use is None else use / 100,
                # The unit is labelled MB but is MiB: an MI300X has 196,592.
                None if used is None else int(used * MIB),
                None if total is None else int(total * MIB),
                _amount(entry, "power", "socket_power"),
                next((degrees for degrees in hottest if degrees is not None), None),
            )
        )
    return gpus


def rocm_smi_gpus(output: Any) -> list[Gpu]:
    """Read the GPUs from `rocm-smi --json`: all texts, some with names that differ by release."""
    gpus = []
    for card, values in sorted(output.items()) if isinstance(output, dict) else ():
        number_of = card.removeprefix("card")
        if not card.startswith("card") or not number_of.isdecimal() or not isinstance(values, dict):
            continue

        def number(*names: str, values: dict[str, Any] = values) -> float | None:
            return next((n for name in names if (n := _number(values.get(name))) is not None), None)

        use = number("GPU use (%)")
        used, total = number("VRAM Total Used Memory (B)"), number("VRAM Total Memory (B)")
        gpus.append(
            Gpu(
                int(number_of),
                str(values.get("Card Series") or values.get("Card series") or "AMD GPU"),
                None if use is None else use / 100,
                None if used is None else int(used),
                None if total is None else int(total),
                number(
                    "Current Socket Graphics Package Power (W)",
                    "Average Graphics Package Power (W)",
                ),
                number("Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"),
            )
        )
    return sorted(gpus, key=lambda gpu: gpu.index)


def _amd_smi_entries(output: Any) -> list[dict[str, Any]]:
    entries = output.get("gpu_data", []) if isinstance(output, dict) else output
    if not isinstance(entries, list):
        return []
    return [
        entry for entry in entries if isinstance(entry, dict) and str(entry.get("gpu")).isdecimal()
    ]


def _amount(entry: dict[str, Any], group: str, name: str) -> float | None:
    values = entry.get(group)
    value = values.get(name) if isinstance(values, dict) else None
    return _number(value.get("value") if isinstance(value, dict) else value)


def _number(value: Any) -> float | None:
    """Convert to a finite number; None for anything else, such as N/A."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=ROCM_TOOLS)
    if path is None:
        raise GpuError("it is not installed")
    return path


def _run(command: Sequence[str]) -> Any:
    """Run a tool and parse the JSON in its output, which may follow warnings. Raises GpuError."""
    name = command[0].rpartition("/")[2]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise GpuError(f"{name} gave no answer within {TOOL_SECONDS:g} s") from None
    except OSError as error:
        raise GpuError(f"{name} does not start: {error.strerror}") from None
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.lstrip()[:1] in ("{", "[")), None)
    try:
        if start is None:
            raise ValueError
        return json.loads("\n".join(lines[start:]))
    except ValueError:
        said = (done.stderr.strip() or done.stdout.strip())[-200:]
        raise GpuError(f"{name} ended with {done.returncode}: {said or 'no word'}") from None

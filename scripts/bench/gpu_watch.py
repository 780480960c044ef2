"""The GPUs while something else is measured: a reading a second, in a thread."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

from scripts.bench.report import Row, Spread
from server.features.hosting.gpu import Gpu, GpuError, GpuReader

SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class GpuReading:
    # Epoch seconds
    at: float
    gpus: tuple[Gpu, ...]


class GpuWatch:
    """Reads while it is open. `why_none` says why there is nothing; "" when there is something."""

    def __init__(self, reader: GpuReader) -> None:
        self.readings: list[GpuReading] = []
        self.why_none = reader.why_none
        self._reader = reader
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._reader.source:
            self._task = asyncio.create_task(self._watch(), name="gpu-watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            try:
                gpus = await asyncio.to_thread(self._reader.read)
            except GpuError as error:
                self.why_none = str(error)
            else:
                self.readings.append(GpuReading(time.time(), tuple(gpus)))
            await asyncio.sleep(SECONDS)

    def rows(self) -> list[Row]:
        """Use, memory and power of each GPU; or one row that says why there is none."""
        if not self.readings:
            return [Row("GPU", "", note=self.why_none or "no reading came in time")]
        rows = []
        for gpu in self.readings[0].gpus:
            mine = [g for r in self.readings for g in r.gpus if g.index == gpu.index]
            name = f"GPU {gpu.index}"
            use = Spread.of(100 * g.use for g in mine if g.use is not None)
            memory = Spread.of(g.memory_used / 2**30 for g in mine if g.memory_used is not None)
            watts = Spread.of(g.watts for g in mine if g.watts is not None)
            total = "" if gpu.memory_total is None else f" of {gpu.memory_total / 2**30:.0f} GiB"
            rows += [
                Row(f"{name}: in use", "%", use, note=f"{gpu.name}, by {self._reader.source}"),
                Row(f"{name}: memory{total}", "GiB", memory),
                Row(f"{name}: power", "W", watts),
            ]
        return rows

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self._reader.source,
            "why_none": self.why_none,
            "readings": [
                {"at": r.at, "gpus": [gpu.as_json() for gpu in r.gpus]} for r in self.readings
            ],
        }

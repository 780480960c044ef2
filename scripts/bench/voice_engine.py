"""The speech engine alone: a local voice's first sound, its speed, and where its decoder's time goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.processes import ROOT, MeasurementError
from scripts.bench.report import Row, Spread

# Loading and compiling take minutes.
MOST_SECONDS = 1800.0
# Options in place of the configured ones, by the name of the row
WAYS = {
    "plain": "use_compile=off use_cuda_graphs=off",
    "optimised": "use_compile=on use_cuda_graphs=on",
}


@dataclass(frozen=True, slots=True)
class LocalVoice:
    """A Qwen3-TTS as the settings have it: SPEECH_LOCAL_MODEL, SPEECH_PYTHON, SPEECH_LOCAL_OPTIONS,
    SPEECH_VOICE.
    """

    folder: Path
    python: str
    options: str
    voice: str

    async def measure(self, texts: int) -> tuple[list[Row], dict[str, Any]]:
        """Speak so many texts plain and optimised; the rows, and all that was measured.

        Raises MeasurementError.
        """
        rows: list[Row] = []
        found: dict[str, Any] = {}
        for way, options in WAYS.items():
            found[way] = one = await self._run(f"{self.options} {options}", texts)
            rows += engine_rows(way, one)
        return rows, found

    async def _run(self, options: str, texts: int) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(self.python, "-m", "server.features.voice_out.worker"),
            *("--model", str(self.folder), "--voice", self.voice),
            *("--options", options, "--measure", str(texts)),
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), MOST_SECONDS)
        except TimeoutError:
            raise MeasurementError(
                f"the local voice gave nothing in {MOST_SECONDS:.0f} s"
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            words = err.decode(errors="replace").strip().splitlines()[-1:]
            raise MeasurementError(f"the local voice failed: {' '.join(words)[:300]}")
        found: dict[str, Any] = json.loads(out)
        return found


def engine_rows(way: str, found: dict[str, Any]) -> list[Row]:
    """Return the rows of what the worker measured of itself (voice_out/worker/measure.py)."""
    texts = found["texts"]
    notes = "; ".join(found["notes"])
    late = [x * 1000 for text in texts for x in text["lateness"]]
    seconds = sum(text["seconds"] for text in texts)
    sound = sum(text["sound"] for text in texts)
    rows = [
        Row(
            f"local voice, {way}: text → first chunk",
            "ms",
            Spread.of(text["first"] * 1000 for text in texts),
            note=notes,
        ),
        Row(f"local voice, {way}: real-time factor", "", value=seconds / sound if sound else None),
        Row(
            f"local voice, {way}: chunk against the end of the sound before it",
            "ms",
            Spread.of(late),
            note="less than 0: it came before it was needed",
        ),
        Row(
            f"local voice, {way}: underruns in {sound:.0f} s of sound",
            "",
            value=float(sum(text["underruns"] for text in texts)),
        ),
    ]
    stages = found["stages"]
    total = sum(stages.values())
    rows += [
        Row(f"local voice, {way}: {stage}", "% of its time", value=100 * value / total)
        for stage, value in sorted(stages.items(), key=lambda pair: -pair[1])
        if total
    ]
    return rows

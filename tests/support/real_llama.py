"""A true llama.cpp server for tests: that of .venv-models, or the one that REAL_LLAMA_SERVER names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.real_model.gguf_files import PROJECTOR, WEIGHTS
from tests.real_model.server import ModelServer
from tests.support.clients import trusted

PROGRAM = Path(os.environ.get("REAL_LLAMA_SERVER") or Path(__file__).with_name("llama-server"))
# Seconds
LOADS = 60.0


async def slots(base_url: str, key: str) -> list[bool]:
    """Ask the server which of its slots are at work."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(trust_env=False, verify=trusted(), timeout=30) as client:
        answer = await client.get(f"{base_url.removesuffix('/v1')}/slots", headers=headers)
    assert answer.status_code == 200, answer.text
    return [one["is_processing"] for one in answer.json()]


@dataclass
class LlamaServer(ModelServer):
    """llama.cpp's server with the files in `model`, two answers at a time."""

    key: str = ""

    def command(self) -> Sequence[str | Path]:
        files = ("--model", self.model / WEIGHTS, "--mmproj", self.model / PROJECTOR)
        limits = ("--parallel", "2", "--ctx-size", "8192", "--threads", "1")
        return (PROGRAM, *files, "--alias", self.model.name, *limits)

    def environment(self) -> dict[str, str]:
        return super().environment() | ({"LLAMA_API_KEY": self.key} if self.key else {})


class SlowFile:
    """A projector's file that llama.cpp waits for: a pipe, until `arrive` puts the file in its place.

    llama.cpp opens it twice, to estimate its memory and to load it. The first time it may be unreadable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pipe, self._file = path.with_suffix(".pipe"), path.rename(path.with_suffix(".file"))
        os.mkfifo(self._pipe)
        os.link(self._pipe, path)

    def arrive(self) -> None:
        self._file.rename(self.path)
        self._pipe.open("wb").close()

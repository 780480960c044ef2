"""A guide of the project, taken word for word: its text, its blocks, and what its commands print."""

from __future__ import annotations

import asyncio
import os
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]


def text_of(guide: str) -> str:
    return (ROOT / guide).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks, each with its kind."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [(kind, dedent(block)) for kind, block in found]


async def out_of(*command: str, cwd: Path | str | None = None, **variables: str) -> str:
    """Run a command to its good end; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | {"NO_PROXY": "*"} | variables,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, errors.decode()
    return out.decode()

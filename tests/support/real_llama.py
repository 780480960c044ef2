"""Shared parts of the tests with a true llama.cpp server: its path, and models for it.

python -m tools.llama_server      # builds it from sources, once
bash scripts/test.sh tests/whole/test_real_llama.py tests/browser/test_page_llama.py

REAL_LLAMA_SERVER names another one.
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.support.clients import trusted
from tools import llama_server

PROGRAM = Path(os.environ.get("REAL_LLAMA_SERVER") or llama_server.program())
MISSING = not PROGRAM.is_file()
REASON = "opt-in: `python -m tools.llama_server` builds llama.cpp's server, or REAL_LLAMA_SERVER names one"
# Seconds
LOADS = 60.0


async def slots(base_url: str, key: str) -> list[bool]:
    """Ask the server which of its slots are at work."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(trust_env=False, verify=trusted(), timeout=30) as client:
        answer = await client.get(f"{base_url.removesuffix('/v1')}/slots", headers=headers)
    assert answer.status_code == 200, answer.text
    return [one["is_processing"] for one in answer.json()]

"""Shared parts of the tests with a true llama.cpp server: its path, and what its slots do.

export REAL_LLAMA_SERVER=$(python -m tools.llama_server)      # builds it from sources, once
bash scripts/test.sh tests/whole/test_real_llama.py
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.support.clients import trusted

PROGRAM = Path(os.environ.get("REAL_LLAMA_SERVER") or "/nowhere")
MISSING = not PROGRAM.is_file()
REASON = "opt-in: REAL_LLAMA_SERVER=$(python -m tools.llama_server) names a llama.cpp server, built where it is missing"
# Seconds
LOADS = 60.0


async def slots(base_url: str, key: str) -> list[bool]:
    """Ask the server which of its slots are at work."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(trust_env=False, verify=trusted(), timeout=30) as client:
        answer = await client.get(f"{base_url.removesuffix('/v1')}/slots", headers=headers)
    assert answer.status_code == 200, answer.text
    return [one["is_processing"] for one in answer.json()]

"""The MCP server is loaded for the first program; test_mcp.py has what it answers."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_start_does_not_load_it() -> None:
    """Its package takes a quarter of a second to import."""
    code = (
        "import sys, server.app.app; sys.exit(any(name.startswith('mcp') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0

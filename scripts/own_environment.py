"""Restart a script inside the project's virtual environment. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]


def go_on_inside(
    missing: ModuleNotFoundError,
    environment: str = ".venv",
    install: str = "bash scripts/run.sh --install",
) -> NoReturn:
    """Restart the running script in `environment`, once; then exit with the install command."""
    own = ROOT / environment / "bin" / "python"
    if own.exists() and Path(sys.prefix).resolve() != (ROOT / environment).resolve():
        os.execv(own, [str(own), *sys.argv])
    sys.exit(f"{missing.name} is not installed: run `{install}` first.")

"""Scripts that were started outside the project's virtual environment go on inside it. Needs no library."""

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
    """Start the running script again in `environment`, once; ends with what to install where that is no help."""
    own = ROOT / environment / "bin" / "python"
    if own.exists() and Path(sys.prefix).resolve() != (ROOT / environment).resolve():
        os.execv(own, [str(own), *sys.argv])
    sys.exit(f"{missing.name} is not installed: run `{install}` first.")

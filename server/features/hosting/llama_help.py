"""Find the installed llama.cpp server, and read its version and the flags in its help. Blocking."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from server.features.hosting.catalogue.llama_cpp import PROGRAM, LlamaServer, how_to_get, read_help
from server.shared.processes.environment import passed_on

# Some builds load the GPU's libraries first.
SECONDS = 20.0


def find(setting: str = "") -> tuple[str | None, str]:
    """Return the program of LLAMA_SERVER, else of the PATH; or None and what to do."""
    if not setting:
        path = shutil.which(PROGRAM)
        return path, "" if path else how_to_get(sys.platform)
    path = shutil.which(os.path.expanduser(setting))
    if path is not None:
        return path, ""
    return None, (
        f"LLAMA_SERVER is {setting}, and there is no program that can be run. Name llama.cpp's {PROGRAM}, or leave it empty for"
        " that of the PATH."
    )


def ask(path: str) -> tuple[LlamaServer | None, str]:
    """Ask the program what it takes; None and a sentence when it is no llama-server that runs."""
    said, trouble = _run(path, "--help")
    if trouble:
        return None, trouble
    # Its version is only for the panel, and for models that need a newer one.
    version, _ = _run(path, "--version")
    server = read_help(path, said, version)
    if server is None:
        return None, (
            f"{path} --help does not list what llama.cpp's {PROGRAM} takes (--mmproj for pictures): it is another program, or"
            " one of before May 2025. Install a newer one, or name another in LLAMA_SERVER."
        )
    return server, ""


def _run(path: str, option: str) -> tuple[str, str]:
    """Run it; return its output, and a sentence when that fails."""
    try:
        done = subprocess.run(
            [path, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            env=passed_on(os.environ),
        )
    except subprocess.TimeoutExpired:
        return "", f"{path} {option} did not end within {SECONDS:g} s. Install it again."
    except OSError as error:
        return "", f"{path} cannot be run ({error.strerror}). Install it again."
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines()
        said = lines[-1][:200] if lines else f"status {done.returncode}"
        return (
            "",
            f"{path} {option} failed: {said}. Install it again, in the build for this machine.",
        )
    return done.stdout, ""

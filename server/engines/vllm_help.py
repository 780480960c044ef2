"""What the installed vLLM is and takes: its version, and the flags that its own help lists. Blocking, up to minutes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from server.catalogue.vllm import Vllm, VllmError, listed_flags

# Importing it takes half a minute on a cold disk.
SECONDS = 180.0
# Every version has it; where it is not listed, that help was not the whole.
_ALWAYS = "--max-model-len"


def ask(command: str, env: Mapping[str, str] = os.environ) -> Vllm:
    """Raises VllmError when `command` is no vLLM that runs. `env` is what it runs with."""
    version = _run(env, command, "--version").strip().splitlines()
    # Later versions list all flags with --help=all, where 0.9.2 takes "all" for a word to search in their names, and
    # lists all with a plain --help.
    flags = listed_flags(_run(env, command, "serve", "--help=all", may_fail=True))
    if _ALWAYS not in flags:
        flags |= listed_flags(_run(env, command, "serve", "--help"))
    if _ALWAYS not in flags:
        raise VllmError(
            f"`{command} serve --help` lists no {_ALWAYS}: it is no vLLM, or one that is too new for this."
        )
    # Other lines may come before it.
    return Vllm(version[-1].split()[-1] if version else "", flags)


def _run(env: Mapping[str, str], command: str, *arguments: str, may_fail: bool = False) -> str:
    shown = " ".join((command, *arguments))
    try:
        done = subprocess.run(
            [command, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            # Wide enough that no flag is broken; plain text.
            env={**env, "COLUMNS": "200", "NO_COLOR": "1"},
        )
    except FileNotFoundError:
        raise VllmError(
            f"There is no {command} here. Install vLLM for this GPU (AMD: its ROCm build, docs.vllm.ai says how), activate"
            " its environment, or name the program with --vllm /path/to/vllm."
        ) from None
    except OSError as error:
        raise VllmError(f"{command} cannot be run ({error.strerror}).") from None
    except subprocess.TimeoutExpired:
        raise VllmError(f"`{shown}` did not end within {SECONDS:g} s.") from None
    if done.returncode != 0 and not may_fail:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise VllmError(
            f"`{shown}` failed: {said[-1][:200] if said else f'status {done.returncode}'}. Is vLLM installed whole?",
            done.stderr + done.stdout,
        )
    return done.stdout

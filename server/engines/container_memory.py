"""The process that a container runs, as this machine knows it. Blocking, a fraction of a second."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_SECONDS = 5.0


def main_process(program: str, name: str, env: Mapping[str, str]) -> int | None:
    """Its process id; None where there is none yet, or where it runs in a machine of its own (Docker Desktop's).

    `program` is docker or podman.
    """
    command = [program, "inspect", "--format", "{{.Id}} {{.State.Pid}}", name]
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        id, pid = done.stdout.split()
        # Another machine's number would be anybody's here.
        groups = Path(f"/proc/{int(pid)}/cgroup").read_text("ascii", "replace")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(pid) if id in groups else None

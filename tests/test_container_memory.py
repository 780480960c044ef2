"""The process that a container runs; a script stands in for docker and says what docker says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.engines.container_memory import main_process

ENV = {"PATH": os.environ["PATH"]}
# Ours has no container's number in its control group; any part of its name stands in for one.
GROUP = Path("/proc/self/cgroup").read_text().split()[0][-20:]


@pytest.mark.parametrize(
    ("says", "found"),
    [
        (f"echo {GROUP} {os.getpid()}", os.getpid()),
        # Another machine's number
        (f"echo {'0123456789abcdef' * 4} {os.getpid()}", None),
        # Made and not started
        (f"echo {GROUP} 0", None),
        ("echo nonsense", None),
        ("echo 'Error: No such object' >&2; exit 1", None),
    ],
)
def test_its_main_process(says: str, found: int | None, tmp_path: Path) -> None:
    """Only what is in the container's own control group here."""
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$1 $5" = \'inspect \' ] && [ "$4" = box ] || exit 9\n{says}\n'
    )
    docker.chmod(0o755)
    assert main_process(str(docker), "box", ENV) == found
    assert main_process(str(tmp_path / "none"), "box", ENV) is None

"""Stands in for `vllm` in the tests' own image: `vllm serve FOLDER --port N …`, which behaves as
FOLDER/behaviour says.

It never sees a picture: what answers is engine_stand_in, which lies beside it there.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import engine_stand_in


class Handler(engine_stand_in.Handler):
    """Tells what a container's process can do, too."""

    def do_GET(self) -> None:
        if self.path == "/report":
            self._json(report())
        else:
            super().do_GET()


def report() -> dict[str, Any]:
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    try:
        Path("/model/written").touch()
        writable = True
    except OSError:
        writable = False
    return {
        "capabilities": [status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privileges": status["NoNewPrivs"],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "writable": writable,
        "environment": sorted(os.environ),
        "arguments": sys.argv[1:],
    }


def value(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


def main() -> None:
    folder = Path(sys.argv[2])
    behaviour = (folder / "behaviour").read_text().strip()
    engine_stand_in.say("INFO 11-20 12:00:00 [__init__.py:243] Automatically detected platform.")
    if behaviour not in ("deaf", "stubborn"):
        # The first process of a container gets no signal that it does not ask for.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for share in (0, 50, 100):
        engine_stand_in.say(f"Loading safetensors checkpoint shards: {share}% Completed | x")
    if behaviour == "unreadable":
        # As Python says it; root in a container is no other user.
        raise PermissionError(13, "Permission denied", str(folder / "config.json"))
    if behaviour in ("slow", "stubborn"):
        time.sleep(60)
    engine_stand_in.MODEL = value("--served-model-name")
    engine_stand_in.Handler = Handler  # type: ignore[misc]
    # Memory that is reported
    held = bytearray(os.urandom(1)) * (64 * 2**20)
    engine_stand_in.serve(int(value("--port")), host=value("--host"))
    del held


if __name__ == "__main__":
    main()

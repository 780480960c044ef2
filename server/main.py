"""The entry point `python -m server.main`: read the settings, serve, and stop within the deadline.

`server.app.app.create_app(settings)` is for other ASGI servers.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from server.core import core_dumps

if __name__ == "__main__":
    # Early, because the environment contains secrets, and loading a library may crash on this processor
    core_dumps.forbid_core_dumps()
    # Imports leave no garbage to collect.
    gc.disable()

from config import ConfigError, load
from server.core import logs
from server.core.aio import Deadline

if TYPE_CHECKING:
    from server.app.app import Program

log = logging.getLogger(__name__)

# Seconds that a stop waits for running threads: enough for a step of an answer, not for loading
# libraries
PATIENCE = 0.5


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    try:
        settings = load()
    except ConfigError as error:
        sys.stderr.write(f"qwen-camera cannot start with these settings:\n{error.message}\n")
        return 2
    logs.configure(settings.log_level, settings.log_file)
    for warning in settings.warnings:
        log.warning(warning)
    # After the settings, because importing the program takes a second
    from server.web.serving import (
        DrainingServer,
        Notifier,
        find_listening_problem,
        make_uvicorn_config,
    )

    # Before the engines, because building them takes a second
    if problem := find_listening_problem(settings.host, settings.port):
        sys.stderr.write(f"qwen-camera cannot start: {problem}\n")
        return 1
    from server.app.app import create_app
    from server.core.errors import Collision
    from server.media.picture.privacy import FilterUnavailable

    try:
        app = create_app(settings)
    except (FilterUnavailable, ConfigError, Collision) as error:
        sys.stderr.write(f"qwen-camera cannot start: {error}\n")
        return 2
    # Exclude existing objects from garbage collections, which then take 15 ms instead of 50. A collection
    # before that would take 170 ms and free 0.3 MiB.
    gc.freeze()
    gc.enable()
    program: Program = app.state.program
    program.patience = PATIENCE
    tls = settings.ssl_cert_path, settings.ssl_key_path
    server = DrainingServer(
        make_uvicorn_config(
            app,
            host=settings.host,
            port=settings.port,
            tls=tls if settings.https_enabled else None,
            connections=program.connections,
        ),
        drain=lambda deadline: _drain(program, deadline),
        on_started=program.on_started,
        on_closed=lambda: _leave(program, 0),
        notifier=Notifier(),
        drain_seconds=settings.drain_seconds,
    )
    server.run()
    return _leave(program, 0 if server.started else 1)


async def _drain(program: Program, deadline: Deadline) -> None:
    """Drain; exit at the deadline of the stop, even if threads or tasks are still running."""
    late = threading.Timer(deadline.left(), _leave, args=(program, 0))
    late.daemon = True
    late.start()
    await program.drain(deadline)


def _leave(program: Program, status: int) -> NoReturn:
    """Exit the process at once, without waiting for threads and tasks as Python would."""
    if program.unfinished:
        log.info("process exited with a running thread")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())

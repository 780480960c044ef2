"""`python -m server.main`: reads the settings, serves the application, and ends in time.

`server.app` builds the parts; `server.app.app.create_app(settings)` is for another ASGI
server.
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
    # Secrets are here already, and a library that this processor cannot run crashes while it is
    # loaded.
    core_dumps.forbid()
    # Modules leave nothing to collect while they load.
    gc.disable()

from config import ConfigError, load
from server.core import logs
from server.core.aio import Deadline

if TYPE_CHECKING:
    from server.app.app import Program

log = logging.getLogger(__name__)

# A stop waits so long for threads at work: they end an answer's step in that time, and load
# libraries for longer.
PATIENCE = 0.5


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        settings = load()
    except ConfigError as error:
        sys.stderr.write(f"qwen-camera cannot start with these settings:\n{error.message}\n")
        return 2
    logs.configure(settings.log_level, settings.log_file)
    for warning in settings.warnings:
        log.warning(warning)
    # Once the settings are right: the program takes a second to import.
    from server.web.serving import DrainingServer, Notifier, listening_problem, uvicorn_config

    # Before the engines are built, which takes a second.
    if problem := listening_problem(settings.host, settings.port):
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
    # Exclude the objects that exist now from collections, which then take 15 ms instead of 50. A
    # collection first would take 170 ms, and free 0.3 MiB.
    gc.freeze()
    gc.enable()
    program: Program = app.state.program
    program.patience = PATIENCE
    tls = settings.ssl_cert_path, settings.ssl_key_path
    server = DrainingServer(
        uvicorn_config(
            app,
            host=settings.host,
            port=settings.port,
            tls=tls if settings.https_enabled else None,
            connections=program.connections,
        ),
        drain=lambda deadline: _drain(program, deadline),
        on_started=program.started,
        on_closed=lambda: _leave(program, 0),
        notifier=Notifier(),
        drain_seconds=settings.drain_seconds,
    )
    server.run()
    return _leave(program, 0 if server.started else 1)


async def _drain(program: Program, deadline: Deadline) -> None:
    """Drain; when the deadline of the stop comes, leave whatever still holds the process."""
    late = threading.Timer(deadline.left(), _leave, args=(program, 0))
    late.daemon = True
    late.start()
    await program.drain(deadline)


def _leave(program: Program, status: int) -> NoReturn:
    """End the process at once. Python would wait for threads and tasks, though everything is closed."""
    if program.unfinished:
        log.info("left before a thread had ended its work")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())

#!/usr/bin/env python3
"""Watch a running server: health, sessions, queue, latencies, frame ages, the model server and the GPU.

    python3 scripts/monitor.py                      this machine's server, with the settings in .env; Ctrl+C ends it
    python3 scripts/monitor.py --server-url URL     another server
    python3 scripts/monitor.py --once               print one reading and exit, for cron
    python3 scripts/monitor.py --once --json        the same for programs (without --once one line per interval)

Latencies cover the time between two readings; --once takes two, --interval seconds apart (0: one reading, and no rates).

Exit status of --once: 0: the server has no problems; 1: it works but needs attention; 2: options are wrong, settings
cannot be read, or the output cannot be written; 3: the server runs but cannot answer questions; 4: the server cannot be
reached. Without --once it is 130 after Ctrl+C. A model server without metrics is not treated as a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import (
    ENV_FILE,
    add_env_file,
    create_parser,
    make_number_parser,
    parse_address,
    restart_in_environment,
)
from server.core import core_dumps

try:
    from rich.console import Console
    from rich.live import Live

    from config import ConfigError, load
    from scripts.bench.program import run_until_signal
    from scripts.monitoring.reading import LOOPBACK, Reading, Target, get_own_address, take_reading
    from scripts.monitoring.state import State, put_together
    from scripts.monitoring.view import render
    from server.features.hosting.gpu import GpuReader
except ModuleNotFoundError as missing:
    restart_in_environment(missing)

MAX_INTERVAL = 3600.0


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__)
    add = parser.add_argument
    add(
        "--server-url",
        type=parse_address,
        help="the server, for example https://cam.example.org (this machine's)",
    )
    add(
        "--engine-url", type=_parse_engine_address, help="the model server (VLLM_BASE_URL), or none"
    )
    add(
        "--authority",
        type=_parse_certificates,
        help="PEM file of a certificate authority to trust in addition to the system's",
    )
    add_env_file(parser, "this machine's settings")
    add(
        "--interval",
        type=make_number_parser(0, MAX_INTERVAL),
        default=2.0,
        help="seconds between readings (2)",
    )
    add("--once", action="store_true", help="print the state once; the exit status reports it, too")
    add("--json", action="store_true", help="print JSON")
    add("--no-gpu", action="store_true", help="do not read the GPU")
    chosen = parser.parse_args(arguments)
    if not chosen.once and chosen.interval == 0:
        parser.error("--interval 0 requires --once")
    return chosen


def _parse_engine_address(text: str) -> str:
    return "" if text == "none" else parse_address(text)


def _parse_certificates(text: str) -> Path:
    try:
        ssl.create_default_context(cafile=text)
    except OSError as error:
        why = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise argparse.ArgumentTypeError(f"{text} cannot be used: {why}") from None
    return Path(text)


def make_target(chosen: argparse.Namespace) -> Target:
    """Return the server given by the options, else by this machine's settings. Raises ConfigError for invalid ones."""
    gpus = None if chosen.no_gpu else GpuReader()
    trusted = [chosen.authority] if chosen.authority is not None else []
    try:
        settings = load(chosen.env_file)
    except ConfigError:
        if chosen.server_url is None:
            raise
        token = os.environ.get("METRICS_TOKEN", "")
        return Target(chosen.server_url, token, chosen.engine_url or "", tuple(trusted), gpus)
    url = chosen.server_url or get_own_address(settings)
    engine = chosen.engine_url
    if engine is None:
        # The settings' model server belongs to this machine's server only.
        own = urlsplit(url).hostname in LOOPBACK and settings.engine in ("auto", "vllm")
        parts = urlsplit(settings.vllm_base_url if own else "")
        engine = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    if settings.ca_cert_path is not None:
        trusted.append(settings.ca_cert_path)
    # This machine's token goes to another machine only from an explicitly given settings file.
    here = urlsplit(url).hostname in (*LOOPBACK, settings.host)
    operator = ""
    if here or chosen.env_file != ENV_FILE:
        token = settings.metrics_token.get_secret_value()
        operator = settings.operator_token.get_secret_value()
    else:
        token = os.environ.get("METRICS_TOKEN", "")
    return Target(url, token, engine, tuple(trusted), gpus, operator)


def format_json_line(state: State) -> str:
    """Format the state as one line of JSON."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"at": now, **state.body}, allow_nan=False)


async def read_once(target: Target, interval: float) -> State:
    first = await take_reading(target)
    # If the server is down, there is no second reading.
    if not interval or first.health is None:
        return put_together(target.url, None, first)
    await asyncio.sleep(interval)
    return put_together(target.url, first, await take_reading(target))


async def watch(target: Target, interval: float, *, as_json: bool, console: Console) -> None:
    """Read and show the state repeatedly."""
    earlier: Reading | None = None
    with contextlib.ExitStack() as stack:
        shown: Live | None = None
        if console.is_terminal and not as_json:
            shown = stack.enter_context(Live(console=console, auto_refresh=False, screen=True))
        while True:
            reading = await take_reading(target)
            state = put_together(target.url, earlier, reading)
            earlier = reading
            if as_json:
                print(format_json_line(state), flush=True)
            elif shown is not None:
                shown.update(render(state), refresh=True)
            else:
                console.print(render(state), "")
            await asyncio.sleep(interval)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_options(arguments)
    console = Console(highlight=False, markup=False)
    try:
        target = make_target(chosen)
    except ConfigError as error:
        print(f"The settings cannot be read: {error.message}", file=sys.stderr)
        print("Correct them, or name the server with --server-url.", file=sys.stderr)
        return 2
    try:
        if chosen.once:
            state = asyncio.run(read_once(target, chosen.interval))
            if chosen.json:
                print(format_json_line(state), flush=True)
            else:
                console.print(render(state))
            return int(state.level)
        watching = watch(target, chosen.interval, as_json=chosen.json, console=console)
        asyncio.run(run_until_signal(watching))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # Discard the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Otherwise the reader of the pipe, such as `head`, has ended.
        if not isinstance(error, BrokenPipeError):
            print(f"The figures cannot be written: {error.strerror}.", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

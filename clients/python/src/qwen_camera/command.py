"""Ask a person's live camera from the command line, with the access that the person has given."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import unicodedata
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from qwen_camera.answers import Event
from qwen_camera.camera import Camera
from qwen_camera.connection import TOKEN_VARIABLE, URL_VARIABLE
from qwen_camera.errors import (
    BadInput,
    Busy,
    CameraError,
    RateLimited,
    ScopeMissing,
    ServerGone,
    TokenRefused,
)

DONE, NOTHING, USAGE, ACCESS, NOT_NOW, LATER, GONE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
_STATUS: dict[type[CameraError], int] = {
    BadInput: USAGE,
    TokenRefused: ACCESS,
    ScopeMissing: ACCESS,
    Busy: LATER,
    RateLimited: LATER,
    ServerGone: GONE,
}
_ENDING = f"""\
environment:
  {URL_VARIABLE}    the server's address, such as https://camera.example.org
  {TOKEN_VARIABLE}  the access that the person has given. It is no option, because all programs of a machine
                     can read each other's arguments.

exit status:
  0    done; Ctrl-C is the usual end of watch and events
  1    nothing was found, or nothing alerted in time, or nobody reads the output
  2    what was given cannot be used
  3    no access: the token is refused or has ended, or does not allow this
  4    not now: the page is closed, the camera gives no picture, the model cannot do it
  5    later: too many looks, or the person's questions come first
  6    the server cannot be reached, or is no qwen-camera server
  130  Ctrl-C, elsewhere than in watch and events
"""
# Seconds to remove a watch at the end
_GOODBYE = 5.0

Run = Callable[[Camera, argparse.Namespace], Awaitable[int]]


def plain(words: str) -> str:
    """Return a text without terminal control characters: the text is a model's, and the picture may influence it."""
    return "".join(
        one for one in words if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs")
    )


def _line(words: str) -> str:
    return " ".join(plain(words).split())


def _told(value: Any) -> str:
    """Format an answer as one line of JSON, with times in ISO 8601 and without pictures."""
    facts = dataclasses.asdict(value) if dataclasses.is_dataclass(type(value)) else dict(value)
    facts.pop("jpeg", None)
    return json.dumps(facts, default=_iso)


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    raise TypeError


def _say(words: str) -> None:
    print(words, flush=True)


def _note(words: str) -> None:
    print(f"qwen-camera: {_line(words)}", file=sys.stderr, flush=True)


async def _ask(camera: Camera, given: argparse.Namespace) -> int:
    asking = camera.ask(given.question, detail=given.detail, picture=given.picture)
    if given.json:
        _say(_told(await asking))
        return DONE
    async for piece in asking:
        print(plain(piece), end="", flush=True)
    _say("")
    if asking.answer is not None and not asking.answer.complete:
        _note("The answer was cut at its longest.")
    return DONE


def _write(file: str, data: bytes) -> None:
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror or error}.") from None


async def _snapshot(camera: Camera, given: argparse.Namespace) -> int:
    if given.file == "-" and (given.json or sys.stdout.isatty()):
        raise BadInput("A picture cannot go there. Name a file, or lead the output into one.")
    taken = await camera.snapshot()
    if given.file == "-":
        sys.stdout.buffer.write(taken.jpeg)
        sys.stdout.buffer.flush()
        return DONE
    _write(given.file, taken.jpeg)
    if given.json:
        _say(_told({"file": given.file, **dataclasses.asdict(taken)}))
    return DONE


async def _find(camera: Camera, given: argparse.Namespace) -> int:
    found = await camera.find(given.what)
    if given.json:
        _say(_told(found))
    else:
        _say(plain(found.text))
        for one in found.boxes or ():
            place = one.box or one.point or ()
            _say(" ".join([*(f"{edge:g}" for edge in place), _line(one.label)]))
    return DONE if found.boxes is None or found.boxes else NOTHING


async def _recall(camera: Camera, given: argparse.Namespace) -> int:
    answer = await camera.recall(given.question)
    _say(_told(answer) if given.json else plain(answer.text))
    return DONE


async def _access(camera: Camera, given: argparse.Namespace) -> int:
    access = await camera.access()
    if given.json:
        _say(_told(access))
    else:
        until = _local(access.expires_at)
        _say(f"{_line(access.name)}: {_line(', '.join(access.scopes))}, until {until}")
    return DONE


async def _watches(camera: Camera, given: argparse.Namespace) -> int:
    for one in await camera.watches():
        words = f"{one.id}  {one.condition} ({one.state})"
        _say(_told(one) if given.json else _line(words))
    return DONE


async def _unwatch(camera: Camera, given: argparse.Namespace) -> int:
    await camera.unwatch(given.id)
    return DONE


def _local(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at is not None else "?"


def _tell(event: Event, as_json: bool) -> None:
    if as_json:
        _say(_told(event))
    else:
        reason = f": {event.reason}" if event.reason else ""
        _say(f"{_local(event.at)}  {_line(event.condition + reason)}")


def _trouble(error: CameraError) -> None:
    _note(f"{error.message} It is tried again.")


async def _events(camera: Camera, given: argparse.Namespace) -> int:
    async for event in camera.events(after=given.after, on_trouble=_trouble):
        _tell(event, given.json)
    return DONE


async def _watch(camera: Camera, given: argparse.Namespace) -> int:
    watch = await camera.watch(given.condition, repeat=not given.once)
    try:
        if not given.json:
            _note("Watching. Ctrl-C ends it.")

        async def alerts() -> None:
            async for event in camera.events(on_trouble=_trouble):
                if event.watch == watch.id:
                    _tell(event, given.json)
                    if given.once:
                        return

        try:
            await asyncio.wait_for(alerts(), given.seconds)
        except asyncio.TimeoutError:
            return NOTHING if given.once else DONE
        return DONE
    finally:
        # If the person has ended the access or the watch, it is removed already.
        with contextlib.suppress(CameraError, asyncio.TimeoutError):
            await asyncio.wait_for(camera.unwatch(watch), _GOODBYE)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise argparse.ArgumentTypeError(f"{value!r} is no number of seconds above 0")
    return seconds


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number from 0 on")
    return int(value)


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", help=f"the server's address; without it ${URL_VARIABLE}")
    common.add_argument(
        "--ca", metavar="FILE", help="PEM file, for a server with an authority of its own"
    )
    common.add_argument(
        "--plain-http",
        action="store_true",
        help="allow http:// to another machine: everybody on the way can read token and pictures",
    )
    common.add_argument("--json", action="store_true", help="one JSON object for each answer")
    whole = argparse.ArgumentParser(
        prog="qwen-camera",
        description=__doc__,
        epilog=_ENDING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Run, words: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=words, description=words, parents=[common])
        one.set_defaults(run=run, name=name)
        return one

    ask = command(
        "ask", _ask, "Ask about what the camera shows now; the answer comes word by word."
    )
    ask.add_argument("question")
    ask.add_argument("--detail", choices=("auto", "low", "high"), default="auto")
    ask.add_argument(
        "--picture",
        default="camera://now",
        help="camera://now, camera://held, or several: camera://-30s..now?frames=8",
    )
    snapshot = command("snapshot", _snapshot, "Take the camera's picture of now, as a JPEG.")
    snapshot.add_argument("file", metavar="FILE", help="where it goes; - is the output")
    find = command("find", _find, "Find where something is: words, then left, top, right, bottom.")
    find.add_argument("what")
    recall = command("recall", _recall, "Ask about the last minutes.")
    recall.add_argument("question")
    watch = command("watch", _watch, "Watch for something, and print each time that it begins.")
    watch.add_argument("condition", help="as one statement, such as: the kettle boils")
    watch.add_argument("--once", action="store_true", help="end with the first time")
    watch.add_argument("--seconds", type=_seconds, metavar="N", help="end after so many seconds")
    events = command("events", _events, "Print what all watches of the camera have seen, and see.")
    events.add_argument(
        "--after", type=_number, default=0, metavar="N", help="only those with a higher number"
    )
    command("watches", _watches, "List the watches of this access.")
    unwatch = command("unwatch", _unwatch, "End a watch of this access.")
    unwatch.add_argument("id")
    command("access", _access, "Say what this access may do, and until when.")
    return whole


async def _run(given: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        # If the event loop does not support signal handlers, Ctrl-C raises KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(one, task.cancel)
    async with Camera(given.url, ca=given.ca, plain_http=given.plain_http) as camera:
        status: int = await given.run(camera, given)
        return status


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # The terminal's encoding may lack characters.
            stream.reconfigure(errors="replace")
    given = parser().parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except CameraError as error:
        wait = f" (after {error.retry_after:g} s)" if error.retry_after else ""
        _note(error.message + wait)
        return next(
            (status for kind, status in _STATUS.items() if isinstance(error, kind)), NOT_NOW
        )
    except (asyncio.CancelledError, KeyboardInterrupt):
        return DONE if given.name in ("watch", "events") else INTERRUPTED
    except BrokenPipeError:
        # Discard the rest of the buffer, since the pipe is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOTHING

"""Log lines as JSON, or as text on a terminal, without questions, answers, pictures or secrets.

A line has `time`, `level`, `logger`, `message`, then the record's extras that are in ALLOWED_EXTRAS.
Arguments are never formatted into the message: the message of a library appears as its template, and
variable parts are passed as extras. An exception appears as its type and location, never with its
text.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import TextIO

from server.core.redact import hash_session_id, redact

# All other names in `extra` are dropped. Values come from bounded sets, or are numbers or hashes.
ALLOWED_EXTRAS = (
    # Hash of a session's id; any other value is hashed here.
    "session",
    # Random id of a request to an engine
    "request",
    # The failure: an exception's type, a code of server.core.errors, the location in the code
    "error",
    "code",
    "at",
    # The affected part: the name of a task, an engine, a role, a model, a fixed camera or a webhook (from operators'
    # lists), an address of this machine, the host of an allowed push service, a relay's URL (a setting), a privacy
    # filter, a field of a request, a kind of work
    "task",
    "engine",
    "role",
    "model",
    "camera",
    "webhook",
    "address",
    "host",
    "relay",
    "filter",
    "field",
    "kind",
    # The outcome
    "state",
    "reason",
    "status",
    "count",
    "seconds",
    "port",
    "version",
)
# Loggers that use LOG_LEVEL; all others log only warnings and errors.
OWN_LOGGERS = ("server", "config", "__main__")
MAX_TEXT_CHARS = 500
# For terminals: SGR codes of the coloured levels, and texts that need no quotes
_COLOURS = {"warning": "33", "error": "31", "critical": "31"}
_PLAIN = re.compile(r"[\w.:/@+,<>-]+", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{12}", re.ASCII)


class JSONFormatter(logging.Formatter):
    """Formats a record as one line of ASCII JSON."""

    def format(self, record: logging.LogRecord) -> str:
        # ASCII, so that no text can end the line or control a terminal.
        return json.dumps(_get_fields(record), ensure_ascii=True, allow_nan=False)


class TerminalFormatter(logging.Formatter):
    """Formats a record as one line of text: local time, level, message, extras as name=value.

    The text is escaped as in JSON.
    """

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        fields = _get_fields(record)
        level, logger, message = (str(fields.pop(name)) for name in ("level", "logger", "message"))
        del fields["time"]
        if not _is_own(record.name):
            fields["logger"] = logger
        extras = (f"{name}={_quote(value)}" for name, value in fields.items())
        word = f"{level:7}"
        if self._colours and level in _COLOURS:
            word = f"\x1b[{_COLOURS[level]}m{word}\x1b[0m"
        at = datetime.fromtimestamp(record.created).astimezone()
        return " ".join([f"{at:%H:%M:%S}", word, _escape(message), *extras])


def _get_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return a record's fields for a line, with credentials hidden."""
    line: dict[str, object] = {
        "time": format_time(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": str(record.msg),
    }
    if not _is_own(record.name):
        # asyncio, for example, writes the repr of an exception on the following lines.
        line["message"] = str(record.msg).partition("\n")[0]
    for name in ALLOWED_EXTRAS:
        if name in record.__dict__:
            line[name] = _to_loggable(name, record.__dict__[name])
    if record.exc_info and record.exc_info[0] is not None:
        line["error"] = record.exc_info[0].__name__
        line["at"] = get_location(record.exc_info[2])
    # A second line of defence: callers pass no credentials. Done before escaping, which changes
    # quotes.
    return {k: redact(v, MAX_TEXT_CHARS) if isinstance(v, str) else v for k, v in line.items()}


def format_time(seconds: float) -> str:
    """Format a time (seconds since the epoch) as ISO 8601 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def get_location(trace: TracebackType | None) -> str:
    """Return the function and line that raised an exception; "" if it was not raised."""
    last = traceback.extract_tb(trace)[-1:]
    return f"{last[0].name}:{last[0].lineno}" if last else ""


def _escape(text: str) -> str:
    """Escape to ASCII without control characters, as JSON does, except for quotes."""
    escaped = json.dumps(text, ensure_ascii=True)[1:-1]
    return escaped.replace('\\"', '"').replace("\x7f", "\\u007f")


def _quote(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value, allow_nan=False)
    if _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")


def _to_loggable(name: str, value: object) -> object:
    if name == "session":
        text = str(value)
        return text if _HASH.fullmatch(text) else hash_session_id(text)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no NaN and infinity.
        return round(value, 6) if abs(value) < 1e15 else str(value)
    # A repr could contain anything.
    return type(value).__name__


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN_LOGGERS


class _OwnOrWarning(logging.Filter):
    """Filters in the handler, so that the levels libraries set on their loggers do not matter."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _is_own(record.name)


class _Quiet:
    """Counts lines that cannot be written; the default of logging would print the record's arguments."""

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1


class _StreamHandler(_Quiet, logging.StreamHandler[TextIO]):
    pass


class _FileHandler(_Quiet, WatchedFileHandler):
    """Appends to the file, and reopens it after log rotation."""


def configure(level: str, log_file: str | Path | None) -> None:
    """Log to `log_file`, or to standard output if it is None. Replaces the handlers of an earlier call.

    Lines are text if standard output is a terminal, else JSON. NO_COLOR turns colours off
    (no-color.org).

    `level` is one of debug, info, warning, error. Raises OSError if the file cannot be opened.
    """
    handler: logging.Handler
    form: logging.Formatter = JSONFormatter()
    if log_file is None or str(log_file) == "":
        handler = _StreamHandler(sys.stdout)
        # isatty raises on a closed stream.
        if not sys.stdout.closed and sys.stdout.isatty():
            plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
            form = TerminalFormatter(colours=not plain)
    else:
        handler = _FileHandler(log_file, mode="a", encoding="utf-8")
    handler.setFormatter(form)
    handler.addFilter(_OwnOrWarning())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Quiet):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        # uvicorn warns of every malformed request, with which a client could fill the log.
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("aiortc", "aioice", "libav", "httpx2", "httpcore2"):
        # Below this level they log the data that they transport.
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    # It logs requests of programs, and exceptions with their text; our errors are logged where they are raised.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    # The access log contains whole URLs, including ?token=.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True

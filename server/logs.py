"""One JSON object a log line, with nothing in it that a person said, showed or keeps secret.

A line has `time`, `level`, `logger`, `message`, then the extras of ALLOWED_EXTRAS that the record has. A record's
arguments are never put into its message: what varies goes into extras, whose names are a fixed set. So a
library's message shows as the template that it is. Exceptions show their type and where they came from,
never their text.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from server.auth import session_hash
from server.redact import redact

# Everything else in `extra` is dropped. Values are bounded sets, numbers, hashes.
ALLOWED_EXTRAS = (
    # Hash of a session's id; anything else under this name is hashed here.
    "session",
    # What failed: an exception's type, a code of server.errors, the place in the code.
    "error",
    "code",
    "at",
    # Which part: a task's name, an engine, a relay's URL (a setting), a privacy filter, a field of a request, a kind of work.
    "task",
    "engine",
    "relay",
    "filter",
    "field",
    "kind",
    # How it went.
    "state",
    "reason",
    "status",
    "count",
    "seconds",
    "port",
    "version",
)
# Our own loggers follow LOG_LEVEL; of all others only warnings and worse are kept.
OWN_LOGGERS = ("server", "config", "__main__")
MAX_TEXT_CHARS = 500
_HASH = re.compile(r"[0-9a-f]{12}", re.ASCII)


class JSONFormatter(logging.Formatter):
    """A record as one line of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name in ALLOWED_EXTRAS:
            if name in record.__dict__:
                line[name] = _value(name, record.__dict__[name])
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            last = traceback.extract_tb(record.exc_info[2])[-1:]
            line["at"] = f"{last[0].name}:{last[0].lineno}" if last else ""
        # A second fence: credentials should not be in a line at all. Before the escaping, which would part their quotes.
        safe = {k: redact(v, MAX_TEXT_CHARS) if isinstance(v, str) else v for k, v in line.items()}
        # Escaped to ASCII: no text can end the line or steer a terminal.
        return json.dumps(safe, ensure_ascii=True, allow_nan=False)


def _message(record: logging.LogRecord) -> str:
    text = str(record.msg)
    if not _is_own(record.name):
        # asyncio, for one, puts the repr of an exception on the lines that follow.
        text = text.partition("\n")[0]
    return text


def _value(name: str, value: object) -> object:
    if name == "session":
        text = str(value)
        return text if _HASH.fullmatch(text) else session_hash(text)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # NaN and infinity are no JSON.
        return round(value, 6) if abs(value) < 1e15 else str(value)
    if isinstance(value, str):
        return value
    # A repr could hold anything.
    return type(value).__name__


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN_LOGGERS


class _OwnOrWarning(logging.Filter):
    """Stands at the handler, so that it holds whatever level a library gives its loggers."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _is_own(record.name)


class _Quiet:
    """A line that can not be written is counted and lost: the standard answer would print the record's arguments."""

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1


class _StreamHandler(_Quiet, logging.StreamHandler):  # type: ignore[type-arg]
    pass


class _FileHandler(_Quiet, WatchedFileHandler):
    """Appends, and opens the file anew when log rotation has moved it."""


def configure(level: str, log_file: str | Path | None) -> None:
    """Log to `log_file`, or to standard output when there is none; replaces what an earlier call set up.

    `level` is one of debug, info, warning, error. Raises OSError when the file can not be opened.
    """
    handler: logging.Handler
    if log_file is None or str(log_file) == "":
        handler = _StreamHandler(sys.stdout)
    else:
        handler = _FileHandler(log_file, mode="a", encoding="utf-8")
    handler.setFormatter(JSONFormatter())
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
        # It warns of every request that is none: whoever sends those would fill the log.
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("aiortc", "aioice", "libav", "openai", "httpx2"):
        # Below this they build strings of what passes through them; openai's hold whole requests.
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    # It prints whole addresses, ?token= and all.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True

"""Log lines: their form, and what never gets into them."""

from __future__ import annotations

import ast
import functools
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.auth import TokenIssuer
from server.core import logs
from server.core.redact import hash_session_id, redact
from server.media.video import decode

CANARY = "canary-7f3a"
SERVER = Path(__file__).parents[2] / "server"
LEVELS = ("", *logs.OWN_LOGGERS, "aiortc", "aioice", "libav", "uvicorn", "uvicorn.error", "httpx2")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in LEVELS}
    access = logging.getLogger("uvicorn.access")
    before = (access.handlers[:], access.propagate, access.disabled)
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    access.handlers[:], access.propagate, access.disabled = before


def with_text(text: str) -> list[Path]:
    """The files of the server that have it somewhere: the others need no parsing."""
    return [one for one in sorted(SERVER.rglob("*.py")) if text in one.read_text(encoding="utf-8")]


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _parsed_for_this_file_alone() -> Iterator[None]:
    """Half a million objects would slow the garbage collector for every test that follows."""
    yield
    parsed.cache_clear()


def lines(path: Path) -> list[dict[str, Any]]:
    """The file's lines, each of which must be one JSON object."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log file that everything goes to."""
    path = tmp_path / "server.log"
    logs.configure("debug", path)
    return path


def test_a_line_has_its_fields(path: Path) -> None:
    """Time in UTC, level, logger, message, then the extras."""
    logging.getLogger("server.media.camera").info("camera", extra={"state": "live", "count": 3})
    (line,) = lines(path)
    assert list(line) == ["time", "level", "logger", "message", "state", "count"]
    assert line["time"].endswith("Z")
    assert len(line["time"]) == 24
    assert (line["level"], line["logger"], line["message"]) == (
        "info",
        "server.media.camera",
        "camera",
    )


def test_other_extras_are_dropped(path: Path) -> None:
    """An extra that is not of the fixed set does not get into the line, nor does an object's repr."""
    logging.getLogger("server.x").info(
        "x", extra={"question": CANARY, "token": CANARY, "peer": CANARY, "code": {"a": CANARY}}
    )
    (line,) = lines(path)
    assert CANARY not in json.dumps(line)
    assert line["code"] == "dict"
    assert set(line) == {"time", "level", "logger", "message", "code"}


def test_sessions_appear_as_hashes_only(path: Path) -> None:
    """A hash is kept, a session's id under that name is hashed."""
    for value in ("ba7816bf8f01", "abc", "Sx2mVb0T3hQ9yLrW8kPz1g"):
        logging.getLogger("server.x").info("x", extra={"session": value})
    assert [line["session"] for line in lines(path)] == [
        "ba7816bf8f01",
        "ba7816bf8f01",
        hash_session_id("Sx2mVb0T3hQ9yLrW8kPz1g"),
    ]


def test_arguments_are_not_put_into_messages(path: Path) -> None:
    """A message stays the template that it is."""
    logging.getLogger("server.x").warning("about %s", CANARY)
    logging.getLogger("aiortc.x").warning("could not parse %s", CANARY)
    assert [line["message"] for line in lines(path)] == ["about %s", "could not parse %s"]


def test_exceptions_show_type_and_place_only(path: Path) -> None:
    """Neither an exception's text nor its source lines get into the line."""
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("server.x").exception("failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    for line in lines(path):
        assert line["error"] == "ValueError"
        assert line["at"].startswith("test_exceptions_show_type_and_place_only:")
    assert CANARY not in path.read_text()


def test_a_foreign_message_keeps_its_first_line(path: Path) -> None:
    """asyncio writes an exception's repr on the second line."""
    logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: {CANARY}")
    assert lines(path)[0]["message"] == "Task exception was never retrieved"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary-7f3a.x.y",
        "bearer canary-7f3a",
        "Sec-WebSocket-Protocol: qwen-camera, bearer.canary-7f3a",
        "/ws/x?token=canary-7f3a&a=b",
        "?access_token=canary-7f3a",
        "access_code=canary-7f3a",
        TokenIssuer("k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i", 60).issue(CANARY).token,
    ],
)
def test_credentials_are_hidden(path: Path, text: str) -> None:
    """Should a token get as far as a message or an extra, it goes no further."""
    logging.getLogger("server.x").info(text, extra={"state": text})
    (line,) = lines(path)
    assert CANARY not in json.dumps(line)
    assert text.rpartition(".")[2] not in json.dumps(line) or "eyJ" not in text
    assert "(hidden)" in line["message"]
    assert "(hidden)" in line["state"]


def test_one_record_is_one_line(path: Path) -> None:
    """Line ends and control characters are escaped, long texts cut, odd numbers written as text."""
    nasty = 'a\nb\r\x1b[31m\u2028"}{\ud800'
    logging.getLogger("server.x").info(nasty, extra={"state": nasty, "seconds": float("nan")})
    logging.getLogger("server.x").info("x" * 10_000, extra={"state": "y" * 10_000})
    first, second = lines(path)
    assert first["message"] == nasty
    assert first["seconds"] == "nan"
    assert "\x1b" not in path.read_text()
    assert (len(second["message"]), len(second["state"])) == (500, 500)


def test_levels(tmp_path: Path) -> None:
    """Our loggers follow the level; others are heard from warning on, even when told to say more."""
    path = tmp_path / "log"
    logs.configure("info", path)
    talkative = logging.getLogger("httpx2._client")
    talkative.setLevel(logging.DEBUG)
    try:
        for logger in (logging.getLogger("server.x"), talkative, logging.getLogger("aioice.ice")):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING):
                logger.log(level, logging.getLevelName(level))
    finally:
        talkative.setLevel(logging.NOTSET)
    assert [(line["logger"], line["level"]) for line in lines(path)] == [
        ("server.x", "info"),
        ("server.x", "warning"),
        ("httpx2._client", "warning"),
        ("aioice.ice", "warning"),
    ]
    logs.configure("debug", path)
    assert not logging.getLogger("aiortc").isEnabledFor(logging.INFO)
    assert not logging.getLogger("aioice").isEnabledFor(logging.INFO)
    assert logging.getLogger("server").isEnabledFor(logging.DEBUG)


def test_the_access_log_is_off(path: Path) -> None:
    """uvicorn's access log, which prints ?token=, says nothing."""
    access = logging.getLogger("uvicorn.access")
    access.critical("GET /ws/x?token=x")
    assert not access.isEnabledFor(logging.CRITICAL)
    assert path.read_text() == ""


def test_configuring_again_replaces_the_handler(tmp_path: Path) -> None:
    """The second file gets the lines, the first one is closed, each line is written once."""
    first, second = tmp_path / "1", tmp_path / "2"
    logs.configure("info", first)
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, logs._FileHandler)]
    logs.configure("info", second)
    logging.getLogger("server.x").info("x")
    assert handler.stream is None
    assert (first.read_text(), len(lines(second))) == ("", 1)


def test_the_file_is_appended_to_and_followed(tmp_path: Path) -> None:
    """The file's contents stay, and after a rotation lines go to the new file."""
    path = tmp_path / "log"
    path.write_text('{"old":1}\n')
    logs.configure("info", path)
    logging.getLogger("server.x").info("one")
    os.rename(path, tmp_path / "log.1")
    logging.getLogger("server.x").info("two")
    assert [line.get("message") for line in lines(tmp_path / "log.1")] == [None, "one"]
    assert [line["message"] for line in lines(path)] == ["two"]


PROGRAM = """
import logging, sys
from server.core import logs
logs.configure("info", sys.argv[1])
log = logging.getLogger("server.media.camera")
log.info("camera", extra={"state": "live", "count": 3})
log.warning("a\\n\\x1b[2J\\x7fb token=canary-7f3a", extra={"reason": "two words\\x1b", "question": "canary-7f3a"})
logging.getLogger("aiortc.x").warning("about %s", "canary-7f3a")
logging.getLogger("aiortc.x").info("nobody hears it")
try:
    raise ValueError("canary-7f3a")
except ValueError:
    log.exception("failed")
"""
# The same records for people, colours and time aside
FOR_PEOPLE = [
    "info    camera state=live count=3",
    r'warning a\n\u001b[2J\u007fb token=(hidden) reason="two words\u001b"',
    "warning about %s logger=aiortc.x",
    "error   failed error=ValueError at=<module>:11",
]


def said(terminal: bool, log_file: str = "", **environment: str) -> str:
    """Return the output of PROGRAM to a pseudo-terminal, or to a pipe."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, log_file],
            stdout=writing,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SERVER.parent), **environment},
            check=True,
            timeout=60,
        )
        os.set_blocking(reading, False)
        try:
            return os.read(reading, 65536).decode("ascii").replace("\r\n", "\n")
        except BlockingIOError:
            return ""
    finally:
        os.close(writing)
        os.close(reading)


@pytest.mark.parametrize("quiet", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["no_color", "dumb"])
def test_at_a_terminal_lines_are_for_people(quiet: dict[str, str]) -> None:
    """Time, level, message, extras, as safe as the JSON, and without colours where unwanted."""
    text = said(terminal=True, **quiet)
    assert CANARY not in text
    assert not re.search(r"[^\n\x20-\x7e]", text)
    times = [re.match(r"\d\d:\d\d:\d\d (.*)", line) for line in text.splitlines()]
    assert [line and line[1] for line in times] == FOR_PEOPLE


def test_in_a_pipe_and_in_a_file_lines_are_json(tmp_path: Path) -> None:
    """Whoever reads them there is a program, even when the server was started at a terminal."""
    path = tmp_path / "log"
    assert said(terminal=True, log_file=str(path)) == ""
    piped = [json.loads(line) for line in said(terminal=False).splitlines()]
    for found in (piped, lines(path)):
        assert [line["level"] for line in found] == ["info", "warning", "warning", "error"]
        assert CANARY not in json.dumps(found)


def test_a_line_that_cannot_be_written_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record for a closed stream is only counted, and printed nowhere."""
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stdout", gone)
    logs.configure("info", None)
    monkeypatch.undo()
    logging.getLogger("server.x").info(CANARY)
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, logs._StreamHandler)]
    assert handler.lost == 1
    assert capsys.readouterr() == ("", "")


def _log_calls() -> Iterator[tuple[str, ast.Call]]:
    for file in with_text("log."):
        for node in ast.walk(parsed(file)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                yield f"{file.relative_to(SERVER)}:{node.lineno}", node


def _own_texts() -> Iterator[tuple[str, str]]:
    """Each constant of a log call, and all sentences of the server, for some come into its log by
    way of a variable.
    """
    for where, call in _log_calls():
        for node in ast.walk(call):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield where, node.value
    for file in [*sorted(SERVER.rglob("*.py")), SERVER.parent / "config.py"]:
        nodes = list(ast.walk(parsed(file)))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            text = ""
            if id(node) in documentation:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
                text = "".join(str(part) for part in parts)
            if re.fullmatch(r"(?:[A-Z]|it )[^\n]* [^\n]*[.?!]|it [^\n]*", text):
                yield file.name, text


@pytest.mark.slow
def test_what_we_say_ourselves_is_not_damaged() -> None:
    """The fence hides nothing of our own words, which name settings and say where tokens go."""
    texts = list(_own_texts())
    assert len(texts) > 400
    assert [(where, text) for where, text in texts if redact(text, 5000) != text] == []


def test_our_own_calls_follow_the_rule() -> None:
    """Messages are constants without arguments, extras are named in place and of the fixed set."""
    calls = list(_log_calls())
    assert len(calls) > 5
    for where, call in calls:
        # log.log takes the level first.
        given = call.args[1:] if getattr(call.func, "attr", "") == "log" else call.args
        assert len(given) == 1, f"{where}: arguments are never shown, use extra"
        message = ast.unparse(given[0])
        if where.startswith("core/aio.py:") and message == "message":
            # Its callers' messages are looked at below.
            pass
        elif where.startswith("media/video/decode.py:") and message == "_REFUSALS[reason]":
            assert all(isinstance(text, str) for text in decode._REFUSALS.values())
        # The warnings of the settings are sentences without secrets (tests/project/test_config.py).
        elif not where.startswith("main.py:") or isinstance(given[0], ast.JoinedStr):
            assert isinstance(given[0], ast.Constant), f"{where}: the message varies"
        for keyword in call.keywords:
            if keyword.arg == "extra":
                assert isinstance(keyword.value, ast.Dict), f"{where}: extra must be spelled out"
                keys = {k.value for k in keyword.value.keys if isinstance(k, ast.Constant)}
                assert len(keys) == len(keyword.value.keys), where
                assert keys <= set(logs.ALLOWED_EXTRAS), f"{where}: {keys}"
    failures = [
        node
        for file in with_text("log_failure(")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "log_failure"
    ]
    assert len(failures) > 2
    for call in failures:
        messages = [*call.args[2:], *(one.value for one in call.keywords if one.arg == "message")]
        assert all(isinstance(one, ast.Constant) for one in messages), ast.unparse(call)


def _shows_text(value: ast.expr, caught: str) -> bool:
    """Return whether a log call uses more of an exception than is safe.

    Safe are its type, its traceback, its number, and a text of our own.
    """
    ours = ("code", "message", "errno", "__traceback__")
    plain = {
        id(part)
        for node in ast.walk(value)
        for part in (
            *(node.args if isinstance(node, ast.Call) and ast.unparse(node.func) == "type" else ()),
            *((node.value,) if isinstance(node, ast.Attribute) and node.attr in ours else ()),
        )
    }
    return any(
        isinstance(node, ast.Name) and node.id == caught and id(node) not in plain
        for node in ast.walk(value)
    )


def test_no_text_of_an_exception_is_logged() -> None:
    """It may quote a question or a secret: a line has the type, of our own errors the sentence."""
    calls, seen = dict(_log_calls()), 0
    for where, call in calls.items():
        for extra in call.keywords:
            pairs = (
                zip(extra.value.keys, extra.value.values, strict=True)
                if isinstance(extra.value, ast.Dict)
                else ()
            )
            for key, value in pairs:
                if key is not None and ast.unparse(key) == "'error'":
                    said = ast.unparse(value)
                    known = ("self._reason", "errno.errorcode.get(error.errno or 0)")
                    assert re.fullmatch(r"type\(\w+\)\.__name__", said) or said in known, where
    for file in with_text("log."):
        for handler in ast.walk(parsed(file)):
            if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
                continue
            for node in ast.walk(handler):
                logged = calls.get(f"{file.relative_to(SERVER)}:{getattr(node, 'lineno', 0)}")
                if logged is None or not isinstance(node, ast.Call) or len(node.args) != 1:
                    continue
                seen += 1
                for keyword in node.keywords:
                    assert not _shows_text(keyword.value, handler.name), (
                        f"{file.relative_to(SERVER)}:{node.lineno}: log type({handler.name}).__name__"
                    )
    assert seen > 10

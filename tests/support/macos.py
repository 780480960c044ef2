"""Python as on macOS: without what only Linux has, in this process and in the Pythons it starts.

`python -m tests.support.macos` is the server; `python tests/support/macos.py` takes Python's own
arguments. Only the project's own modules see the other system's name and no /proc: libraries have a
build for each system. Standard library only, because it also runs with -S.
"""

from __future__ import annotations

import builtins
import ctypes
import os
import platform
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(str(ROOT / name) for name in ("server/", "scripts/", "config.py"))
# Of the C library
_FUNCTIONS = ("prctl", "malloc_trim", "mallopt", "setns", "unshare", "sched_setaffinity")
_FOLDERS = ("/proc", "/sys")


def _ours(frame: FrameType | None) -> bool:
    """Return True if the first frame outside the standard library is of the project."""
    library = os.path.dirname(os.__file__)
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name:
            return False
        if name.startswith(_OURS):
            return True
        if not name.startswith((library, "<frozen", __file__)):
            return False
        frame = frame.f_back
    return False


def _refuse(path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return
    text = os.fsdecode(path)
    if any(text == one or text.startswith(f"{one}/") for one in _FOLDERS) and _ours(
        sys._getframe(2)
    ):
        raise FileNotFoundError(2, "No such file or directory", text)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir"):
        _refuse(arguments[0])


def _looking(function: Callable[..., Any]) -> Callable[..., Any]:
    def looking(path: Any, *more: Any, **named: Any) -> Any:
        _refuse(path)
        return function(path, *more, **named)

    return looking


class _Told(ModuleType):
    """A module as the project's modules see it: without some names, and with some values."""

    def __init__(self, module: ModuleType, *hidden: str, **values: Any) -> None:
        super().__init__(module.__name__)
        vars(self).update(values, _module=module, _hidden=hidden)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(vars(self)["_hidden"]):
            raise AttributeError(name)
        return getattr(vars(self)["_module"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_module"], name, value)


_MAC = {
    "sys": _Told(sys, platform="darwin"),
    "platform": _Told(platform, system=lambda: "Darwin", machine=lambda: "arm64"),
    "os": _Told(
        *(os, "sched_", "pidfd_", "memfd_", "MFD_", "eventfd", "EFD_", "timerfd_", "posix_fad"),
        *("posix_fallocate", "copy_file_range", "splice", "getrandom", "pipe2", "setns", "unshare"),
        *("fdatasync", "getres", "getxattr", "setxattr", "listxattr", "O_PATH", "O_TMPFILE"),
        *("O_LARGEFILE", "O_NOATIME", "P_PIDFD"),
        # macOS has it from Python 3.13 on.
        *(() if sys.version_info >= (3, 13) else ("waitid",)),
    ),
    "signal": _Told(
        *(
            signal,
            "SIGRT",
            "SIGPWR",
            "SIGSTKFLT",
            "SIGPOLL",
            "sigwaitinfo",
            "sigtimedwait",
            "pidfd_",
        )
    ),
    "socket": _Told(
        *(socket, "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK", "SO_PEERCRED", "SO_MARK"),
        *("SO_BINDTODEVICE", "SO_INCOMING_CPU", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "IP_FREEBIND"),
        *("TCP_USER_TIMEOUT", "TCP_QUICKACK", "TCP_CORK", "TCP_DEFER_ACCEPT", "TCP_LINGER2"),
        *("IP_MTU_DISCOVER", "IP_TRANSPARENT", "MSG_NOSIGNAL", "MSG_MORE", "MSG_ERRQUEUE"),
    ),
    "select": _Told(select, "epoll", "EPOLL"),
    "resource": _Told(
        *(resource, "prlimit", "RUSAGE_THREAD", "RLIMIT_RT", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE")
    ),
}


def _command(words: Any) -> Any:
    """Change a command of this Python to one of Python as on macOS."""
    if isinstance(words, list | tuple) and words[0] == sys.executable:
        return [sys.executable, __file__, *words[1:]]
    return words


def hide() -> None:
    """Hide it from all that is imported from now on."""
    found, imported = ctypes.CDLL.__getattr__, builtins.__import__
    begin, become = subprocess.Popen.__init__, os.execvp

    def function(library: ctypes.CDLL, name: str) -> Any:
        if name in _FUNCTIONS:
            raise AttributeError(name)
        return found(library, name)

    def importing(name: str, *more: Any, **named: Any) -> Any:
        module = imported(name, *more, **named)
        ours = sys._getframe(1).f_code.co_filename.startswith(_OURS)
        return _MAC.get(name, module) if ours else module

    def popen(self: Any, words: Any, *more: Any, **named: Any) -> None:
        begin(self, _command(words), *more, **named)

    for place, name, value in (
        (ctypes.CDLL, "__getattr__", function),
        (builtins, "__import__", importing),
        (subprocess.Popen, "__init__", popen),
        (os, "execvp", lambda program, words: become(program, _command(words))),
        *(
            (os, name, _looking(getattr(os, name)))
            for name in ("stat", "lstat", "access", "readlink")
        ),
    ):
        setattr(place, name, value)
    sys.addaudithook(_audit)


def main(arguments: Sequence[str]) -> None:
    """Run Python with these arguments."""
    words = list(arguments)
    while words[0].startswith("-") and words[0] not in ("-m", "-c"):
        words.pop(0)
    hide()
    sys.path[0] = os.getcwd() if words[0] in ("-m", "-c") else os.path.dirname(words[0])
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:] or ["-m", "server.main"])

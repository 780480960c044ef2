"""Page of the error codes and of the socket's close codes."""

from __future__ import annotations

import importlib
import re

from server.core.errors import QwenCameraError, SocketCloseCode
from tools.references.fields import UndocumentedFieldError
from tools.references.source import (
    ROOT,
    capitalise,
    format_table,
    get_comments,
    get_docstring,
    join,
)

_INTRO = """# Errors and close codes

A client goes by the code; the message is for people and may change. *retry*: the same request may
succeed later. [protocol.md](../protocol.md#errors) shows the forms."""


def make_page() -> str:
    return join((_INTRO, "## Errors", _format_errors(), "## Close codes", _format_closes()))


def list_codes() -> dict[str, type[QwenCameraError]]:
    """Return the most specific error class that defines each code, in the order of the HTTP statuses."""
    found: dict[str, type[QwenCameraError]] = {}
    for path in sorted((ROOT / "server").rglob("*.py")):
        if not re.search(r'^    code = "', path.read_text("utf-8"), re.M):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for kind in vars(importlib.import_module(name)).values():
            ours = isinstance(kind, type) and issubclass(kind, QwenCameraError)
            if ours and kind.__module__ == name and "code" in vars(kind):
                found[kind.code] = kind
    return dict(sorted(found.items(), key=lambda one: one[1].status))


def _format_errors() -> str:
    rows = []
    for code, kind in list_codes().items():
        meaning = get_docstring(kind).partition("\n\n")[0]
        if not meaning:
            raise UndocumentedFieldError(f"{kind.__name__} needs a docstring")
        rows.append((f"`{code}`", str(kind.status), "yes" if kind.retryable else "", meaning))
    return format_table(("code", "status", "retry", "meaning"), rows)


def _format_closes() -> str:
    said = get_comments(SocketCloseCode)
    silent = [close.name for close in SocketCloseCode if not said[close.name]]
    if silent:
        raise UndocumentedFieldError(f"Close.{silent[0]} needs a comment above it")
    about = get_docstring(SocketCloseCode).partition("\n\n")[2]
    rows = [(str(close.value), capitalise(said[close.name])) for close in SocketCloseCode]
    return join((about, format_table(("code", "meaning"), rows)))

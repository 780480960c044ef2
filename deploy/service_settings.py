"""Write a .env file as systemd's EnvironmentFile takes it, with secrets in place of empty ones.

Uses the standard library alone, because it runs before anything is installed. The grammar of the file is that of
python-dotenv 1.2 without ${NAME}; that of the result is systemd.exec(5)'s, which keeps a comment behind a value.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_CODE_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
# The settings without which whoever reaches the server gets in
SECRETS: dict[str, Callable[[], str]] = {
    "JWT_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "ACCESS_CODE": lambda: "".join(secrets.choice(_CODE_LETTERS) for _ in range(12)),
}

_ENTRY = re.compile(
    r"""[^\S\r\n]*(?:export[^\S\r\n]+)?
    (?P<key>[A-Za-z_][A-Za-z0-9_]*)[^\S\r\n]*=(?P<gap>[^\S\r\n]*)
    (?:'(?P<single>(?:\\.|[^'\\])*+)'|"(?P<double>(?:\\.|[^"\\])*+)"|(?P<plain>[^\r\n]*))
    [^\S\r\n]*(?P<comment>\#[^\r\n]*)?(?:\r\n|\n|\r|$)""",
    re.VERBOSE | re.DOTALL,
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|$)")
_BARE = re.compile(r"[A-Za-z0-9_./:,@%+=~^?&!-]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def entries(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield each entry of a .env file: its text, its key (None for a line without one), its value."""
    at = 0
    while at < len(text):
        found = _ENTRY.match(text, at)
        if found is None:
            line = _LINE.match(text, at)
            assert line is not None
            yield line[0].rstrip("\r\n"), None, ""
            at = line.end()
            continue
        yield found[0].rstrip("\r\n"), found["key"], _value(found)
        at = found.end()


def _value(found: re.Match[str]) -> str:
    if found["single"] is not None:
        return re.sub(r"\\([\\'])", r"\1", found["single"])
    if found["double"] is not None:
        return re.sub(
            r"\\([\\'\"abfnrtv])", lambda one: _ESCAPES.get(one[1], one[1]), found["double"]
        )
    if found["gap"] and found["plain"].startswith("#"):
        return ""
    return re.sub(r"\s+#.*", "", found["plain"]).rstrip()


def quoted(value: str) -> str:
    """Quote a value so that systemd and python-dotenv read the same."""
    if _BARE.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def empty_secrets(text: str) -> list[str]:
    """Return the names of SECRETS that a .env file leaves empty."""
    given = {key: value for _, key, value in entries(text) if key is not None}
    return [name for name in SECRETS if not given.get(name)]


def service_settings(text: str) -> str:
    """Return a .env file's settings for a service: clean values, and no empty secret."""
    missing = empty_secrets(text)
    lines = []
    for line, key, value in entries(text):
        if key in missing:
            missing.remove(key)
            value = SECRETS[key]()
        lines.append(line if key is None else f"{key}={quoted(value)}")
    lines += [f"{name}={SECRETS[name]()}" for name in missing]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the settings, or with --empty the names of the secrets that are."""
    text = Path(sys.argv[-1]).read_text(encoding="utf-8")
    if "--empty" in sys.argv:
        print(" ".join(empty_secrets(text)))
    else:
        sys.stdout.write(service_settings(text))


if __name__ == "__main__":
    main()

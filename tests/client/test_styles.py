"""Sizes, spaces, radii, durations and colours of style sheets are tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.web.routes import CLIENT_FILES as CLIENT

SHEETS = sorted(path for path in CLIENT.rglob("*.css") if path.name != "tokens.css")
TOKENS = set(re.findall(r"^\s*(--[\w-]+):", (CLIENT / "tokens.css").read_text(), re.MULTILINE))
# A length of a space or a radius, but for 1 px, which no eye takes for a space
LENGTH = re.compile(r"(?<![\w.-])-?(?![01]px)\d[\d.]*px")
COLOR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch)a?\(")
DURATION = re.compile(r"(?<![\w.-])(?!0s)[\d.]+m?s\b")
FONT = re.compile(r"var\(--[\w-]+\)|inherit|clamp\((?:var\(--\w+\)|[\d.]+cqw|, )+\)|[\d.]+(?:%|em)")
# What waits, and moves nothing
WAITS = "animation: partial 0s 10s forwards"


def declarations(css: str) -> list[tuple[str, str]]:
    plain = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return re.findall(r"(?<![\w-])([a-z-]+|--[\w-]+):\s([^;{}]+);", plain)


def other_values(css: str) -> list[str]:
    """Declarations that name a size, a space, a radius, a duration or a colour themselves."""
    found = []
    for name, value in declarations(css):
        space = re.match(r"padding|margin|gap|row-gap|column-gap", name)
        wrong = (
            (name == "font-size" and not FONT.fullmatch(value))
            or ((space or "radius" in name) and LENGTH.search(value) and "44px" not in value)
            or (name in ("animation", "transition") and DURATION.search(value))
            or COLOR.search(value)
        )
        if wrong and f"{name}: {value}" != WAITS:
            found.append(f"{name}: {value}")
    return found


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)
def test_style_sheets_use_tokens(sheet: Path) -> None:
    assert other_values(sheet.read_text()) == []


def test_tokens_that_are_used_exist() -> None:
    """Others are set by a sheet or a script for one element, or have a fallback."""
    css = "".join(path.read_text() for path in [*SHEETS, CLIENT / "tokens.css"])
    script = "".join(path.read_text() for path in CLIENT.rglob("*.js"))
    used = set(re.findall(r"var\((--[\w-]+)\)", css))
    own = set(re.findall(r"(--[\w-]+):", css)) | set(re.findall(r"\"(--[\w-]+)\"", script))
    assert used - own == set()
    assert all(f"var({token})" in css for token in TOKENS)


@pytest.mark.parametrize(
    "css",
    [
        "p { font-size: 14px; }",
        "p { padding: 0 10px; }",
        "p { border-radius: 7px; }",
        "p { transition: color 200ms; }",
        "p { color: #123456; }",
        "p { border-color: rgb(0 0 0 / 0.2); }",
    ],
)
def test_other_values_are_found(css: str) -> None:
    assert len(other_values(css)) == 1

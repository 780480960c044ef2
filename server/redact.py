"""Text of other programs, and of our own log, as it may be shown: without credentials and control characters. Pure."""

from __future__ import annotations

import re

# What is taken out ends before quotes and backslashes, so that JSON stays JSON.
_CREDENTIALS = (
    (
        re.compile(
            r"(?i)\b(bearer[\s.:]+|authorization:\s*(?:(?:basic|bearer|digest)\s+)?)[^\s\"\\,]+"
        ),
        r"\1(hidden)",
    ),
    (
        re.compile(
            r"(?i)\b((?:[\w-]*[_-])?(?:token|secret|key|password)\s*[=:]\s*|(?:access_)?code=)[^&\s\"\\,;]+"
        ),
        r"\1(hidden)",
    ),
    # Anything that looks like a JWT: the beginning is base64url of {"
    (re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]+){0,2}"), "(hidden)"),
    # Tokens of model hubs and of hosted models
    (re.compile(r"\b(?:hf_[\w-]{8,}|sk-[\w-]{16,})"), "(hidden)"),
    # user:password@ of a URL
    (re.compile(r"(\w://)[^/\s\"\\@]+@"), r"\1(hidden)@"),
)
# Colours, cursor movements, titles of windows
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control characters, and those that turn a line round or hide in it
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def redact(text: str) -> str:
    """Hide what looks like a credential."""
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def plain(text: str) -> str:
    """One line without escape sequences and control characters; a tab becomes a space."""
    return _CONTROL.sub("", _ESCAPES.sub("", text)).replace("\t", " ")

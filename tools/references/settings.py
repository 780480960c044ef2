"""The page of the settings: descriptions from env.example, allowed values from config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

import config
from server.app.features import get_settings_classes, list_installed_features
from tools.references.source import ROOT, format_table, join

_GROUP = re.compile(r"# -+ (.+?) -+")
_INTRO = """# Settings

In the order of [env.example](../../env.example), whose comments are the words here: copy it
(`install -m 600 env.example .env`) and change what you need. The environment overrides `.env`. Commas separate the items of a list."""


@dataclass
class _Setting:
    key: str
    default: str
    meaning: str


def make_page() -> str:
    allowed, brought = _get_allowed(), _map_features()
    groups = dict(_parse_groups())
    return join(
        (
            _INTRO,
            *(
                join((f"## {name}", _make_table(settings, allowed, brought)))
                for name, settings in groups.items()
            ),
        )
    )


def _make_table(settings: list[_Setting], allowed: dict[str, str], brought: dict[str, str]) -> str:
    return format_table(
        ("setting", "default", "allowed", "meaning", "feature"),
        [
            (
                f"`{one.key}`",
                f"`{one.default}`" if one.default else "",
                "" if allowed[one.key].startswith("text of") else allowed[one.key],
                one.meaning,
                f"`{brought[one.key]}`" if one.key in brought else "",
            )
            for one in settings
        ],
    )


def _parse_groups() -> Iterator[tuple[str, list[_Setting]]]:
    """Parse env.example; settings without a comment between them share the comment above."""
    found: list[_Setting] = []
    said: list[str] = []
    name = ""
    for line in (ROOT / "env.example").read_text("utf-8").splitlines():
        if group := _GROUP.fullmatch(line):
            if name:
                yield name, found
            name, found, said = group[1], [], []
        elif line.startswith("#"):
            said.append(line.removeprefix("#").strip())
        elif "=" in line:
            key, _, default = line.partition("=")
            found.append(_Setting(key, default, " ".join(said) or f"See `{found[-1].key}`."))
            said = []
    yield name, found


def _get_allowed() -> dict[str, str]:
    kinds: list[type[BaseModel]] = [
        config.Settings,
        *get_settings_classes(list_installed_features()),
    ]
    return {
        name.upper(): field.description or ""
        for kind in kinds
        for name, field in kind.model_fields.items()
    }


def _map_features() -> dict[str, str]:
    return {
        name.upper(): feature
        for feature in list_installed_features()
        for kind in get_settings_classes([feature])
        for name in kind.model_fields
    }

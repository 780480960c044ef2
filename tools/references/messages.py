"""The page of the WebSocket messages, from their models."""

from __future__ import annotations

import importlib
from enum import Enum
from importlib.util import find_spec
from types import ModuleType
from typing import get_args

from pydantic import BaseModel

from server.app.features import FEATURES, list_installed_features
from server.core import messages as core
from server.core.messages import MAX_MESSAGE_BYTES, PROTOCOL, ClientMessage, ServerMessage
from tools.references import fields
from tools.references.source import add_links, get_docstring, get_line, join

_CORE = ("from_client", "to_client")
_INTRO = f"""# WebSocket messages

Protocol {PROTOCOL}. Each is a JSON object with a `type`; one from a client has {MAX_MESSAGE_BYTES // 1024} KiB at most.
A field with `?` may be missing: the server sends no `null`. For a client's optional field, the value
behind the semicolon is the default. Points in time are milliseconds since the epoch. An id holds at
most 64 characters of `A-Z`, `a-z`, `0-9`, `_`, `.`, `:` and `-`. *Newest only*: while one waits for its
client, a newer one takes its place. [protocol.md](../protocol.md) says how the messages work together."""
_NEWEST = "*Newest only.*"


def make_page() -> str:
    sections = []
    for name, parts in find_modules().items():
        told = _make_section(parts, feature=bool(name))
        sections.append(f"## Feature {name}: {FEATURES[name]}\n\n{told}" if name else told)
    return join((_INTRO, *sections))


def find_modules() -> dict[str, list[ModuleType]]:
    """Return the modules that define messages, by feature; "" is the core."""
    names = {"": [f"{core.__name__}.{name}" for name in _CORE]}
    for name in list_installed_features():
        module = f"server.features.{name}.messages"
        if find_spec(module):
            names[name] = [module]
    return {name: list(map(importlib.import_module, some)) for name, some in names.items()}


def find_messages(modules: list[ModuleType], base: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the messages of one direction that these modules define, in source order."""
    found: list[type[BaseModel]] = []
    for module in modules:
        kinds = [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type)
            and issubclass(kind, base)
            and kind is not base
            and kind.__module__ == module.__name__
        ]
        found += sorted(kinds, key=get_line)
    return found


def _make_section(modules: list[ModuleType], *, feature: bool = False) -> str:
    from_client, from_server = (
        find_messages(modules, ClientMessage),
        find_messages(modules, ServerMessage),
    )
    objects: dict[type[BaseModel], None] = {}
    values: dict[type[Enum], None] = {}
    for kind in (*from_client, *from_server):
        inner, more = fields.find_used(kind)
        objects |= dict.fromkeys(inner)
        values |= dict.fromkeys(more)
    names = {kind.__name__ for kind in (*objects, *values)}
    deep = "###" if feature else "##"

    def make_part(title: str, sections: list[str]) -> str:
        return join((f"{deep} {title}", *sections)) if sections else ""

    if feature:
        # In a feature's section the direction is given in each message's line.
        told = [_make_message(kind, names, "from the client") for kind in from_client]
        told += [_make_message(kind, names, "from the server") for kind in from_server]
        told += [fields.make_object_section(kind, names, sent_by_client=False) for kind in objects]
        return join((*told, *(fields.make_value_section(kind, names) for kind in values)))
    return join(
        (
            make_part("From the client", [_make_message(kind, names) for kind in from_client]),
            make_part("From the server", [_make_message(kind, names) for kind in from_server]),
            make_part(
                "Objects",
                [fields.make_object_section(kind, names, sent_by_client=False) for kind in objects],
            ),
            make_part("Values", [fields.make_value_section(kind, names) for kind in values]),
        )
    )


def get_type(kind: type[BaseModel]) -> str:
    """Return the value of a message's `type`."""
    (name,) = get_args(kind.model_fields["type"].annotation)
    return str(name)


def _make_message(kind: type[BaseModel], names: set[str], direction: str = "") -> str:
    client = issubclass(kind, ClientMessage)
    said = add_links(get_docstring(kind), names)
    if not said:
        raise fields.UndocumentedFieldError(f"{kind.__module__}.{kind.__name__} needs a docstring")
    newest = getattr(kind, "newest_only", False)
    return join(
        (
            f"### {get_type(kind)}" + (f" ({direction})" if direction else ""),
            f"{said} {_NEWEST}" if newest else said,
            fields.make_field_table(kind, names, sent_by_client=client),
        )
    )

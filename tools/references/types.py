"""TypeScript declarations of the WebSocket messages, for the type comments in the page's code."""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings
from tools.references import fields, messages
from tools.references.source import get_docstring

_PLAIN = {str: "string", int: "number", float: "number", bool: "boolean"}


def make_page() -> str:
    """Return declarations of all messages and the objects in them. A feature's settings are merged into the core's."""
    modules = [module for some in messages.find_modules().values() for module in some]
    sent = (
        messages.find_messages(modules, ClientMessage),
        messages.find_messages(modules, ServerMessage),
    )
    kinds = dict.fromkeys((*sent[0], *sent[1]))
    inner = {one: None for kind in kinds for one in fields.find_used(kind)[0]}
    declared = [_make_interface(kind) for kind in (*kinds, *inner)]
    for base, found in zip((ClientMessage, ServerMessage), sent, strict=True):
        names = dict.fromkeys(_name(kind) for kind in found)
        declared.append(f"export type {base.__name__} = {' | '.join(names)};")
    return "\n\n".join(declared)


def _name(kind: type[BaseModel]) -> str:
    return Settings.__name__ if issubclass(kind, Settings) else kind.__name__


def _make_interface(kind: type[BaseModel]) -> str:
    message = issubclass(kind, ClientMessage | ServerMessage)
    lines = [f'  type: "{messages.get_type(kind)}";'] if message else []
    for row in fields.make_rows(kind, sent_by_client=issubclass(kind, ClientMessage)):
        value = _get_type(kind.model_fields[row.name].annotation)
        lines += [f"  /** {row.meaning} */", f"  {row.name}{'?' if row.optional else ''}: {value};"]
    said = get_docstring(kind).replace("\n\n", " ")
    return "\n".join((f"/** {said} */", f"export interface {_name(kind)} {{", *lines, "}"))


def _get_type(annotation: Any) -> str:
    """Return the TypeScript type of the JSON value; None is omitted, as in the JSON."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _get_type(inner[0])
    if origin in (Union, types.UnionType):
        return " | ".join(_get_type(one) for one in inner if one is not type(None))
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in inner)
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"[{', '.join(map(_get_type, inner))}]"
    if origin in (list, tuple):
        return f"Array<{_get_type(inner[0])}>"
    if origin is dict:
        return f"Record<string, {_get_type(inner[1])}>"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation is Any:
        return "any"
    if issubclass(annotation, Enum):
        return " | ".join(json.dumps(member.value) for member in annotation)
    return str(annotation.__name__)

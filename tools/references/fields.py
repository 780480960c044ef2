"""Fields of pydantic models and dataclasses, as rows of a table."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from server.core.messages import ID_PATTERN, MAX_MESSAGE_BYTES, ClientMessage, ServerMessage
from server.core.messages.from_client import Settings
from tools.references.source import (
    add_links,
    capitalise,
    format_code,
    format_table,
    get_comments,
    get_docstring,
    join,
)

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", SecretStr: "string"}
# A comment that states the allowed values: the model's own bound is wider than another check's.
_BOUND = re.compile(r"\d to \d|\d characters|KiB at most")
# Values that mean "left out" when a client sends them
_ABSENT: tuple[object, ...] = (None, "", (), SecretStr(""))


class UndocumentedFieldError(Exception):
    """Raised if a field has no comment above it."""


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    # True if the field may be missing
    optional: bool
    value: str
    meaning: str


def make_rows(kind: type, *, sent_by_client: bool) -> list[Row]:
    """Return rows for all fields except `type`. Raises Undocumented."""
    said = get_comments(kind)
    found = []
    for name, annotation, field in _iterate_fields(kind):
        if not said.get(name):
            raise UndocumentedFieldError(
                f"{kind.__module__}.{kind.__name__}.{name} needs a comment above it"
            )
        if sent_by_client:
            optional = field is not None and not field.is_required()
        else:
            optional = type(None) in get_args(annotation)
        # The values of a dataclass were checked already: the comment says what is allowed.
        value = describe_shape(annotation, field.metadata) if field is not None else ""
        if _BOUND.search(said[name]):
            value = value.partition(", ")[0]
        if optional and sent_by_client and field is not None:
            value += _format_default(field.default)
        found.append(Row(name, optional, value, capitalise(said[name])))
    return found


def _iterate_fields(kind: type) -> Iterator[tuple[str, Any, FieldInfo | None]]:
    if issubclass(kind, BaseModel):
        message = issubclass(kind, ClientMessage | ServerMessage)
        # A feature's fields of a core message
        core = {} if Settings not in kind.__bases__ else Settings.model_fields
        for name, field in kind.model_fields.items():
            if not (field.exclude or name in core or (message and name == "type")):
                yield name, field.annotation, field
        return
    hints = get_type_hints(kind)
    assert dataclasses.is_dataclass(kind)
    for one in dataclasses.fields(kind):
        yield one.name, hints[one.name], None


def _format_default(value: object) -> str:
    if any(value is one or value == one for one in _ABSENT):
        return ""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"; `{shown.lower() if isinstance(value, bool) else shown}`"


def describe_shape(annotation: Any, metadata: Any = ()) -> str:
    """Describe the values of a type in JSON."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if any(getattr(one, "pattern", None) == ID_PATTERN for one in metadata):
        return "id"
    if origin is Annotated:
        more = [m for one in inner[1:] for m in getattr(one, "metadata", [one])]
        return describe_shape(inner[0], [*more, *metadata])
    if origin in (Union, types.UnionType):
        return describe_shape(next(one for one in inner if one is not type(None)), metadata)
    if origin is Literal:
        return format_code(inner)
    if origin in (list, tuple):
        return _list(origin, inner, metadata)
    if origin is dict or annotation in (Any, object, dict):
        return "object"
    if annotation in _PLAIN:
        return _PLAIN[annotation] + describe_bounds(metadata)
    if issubclass(annotation, Enum):
        return (
            format_code(annotation) if not is_explained(annotation) else f"`{annotation.__name__}`"
        )
    return f"`{annotation.__name__}`"


def _list(origin: Any, inner: tuple[Any, ...], metadata: Any) -> str:
    item = describe_shape(inner[0])
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"list of {len(inner)}: {item}"
    return f"list of {item}{describe_bounds(metadata, 'items')}"


def describe_bounds(metadata: Any, what: str = "characters") -> str:
    """Describe the allowed values by the constraints of a field."""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    short = long = 0
    for one in metadata:
        match one:
            case Ge(ge=float() | int() as value):
                least = value
            case Gt(gt=float() | int() as value):
                above = value
            case Le(le=float() | int() as value) | Lt(lt=float() | int() as value):
                most = value
            case MinLen(min_length=value):
                short = value
            case MaxLen(max_length=value):
                long = value
    if long:
        # Ignore a limit that applies to the whole message.
        if long == MAX_MESSAGE_BYTES:
            return ""
        return f", {short} to {long} {what}" if short else f", {long} {what} at most"
    if above is not None:
        return f", above {format_number(above)}" + (
            f", {format_number(most)} at most" if most is not None else ""
        )
    if most is None:
        return f", from {format_number(least)} on" if least is not None else ""
    return (
        f", {format_number(least)} to {format_number(most)}"
        if least is not None
        else f", {format_number(most)} at most"
    )


def format_number(value: float) -> str:
    """Format a number in full, with commas if it is long."""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10_000 else f"{value:g}"


def is_explained(kind: type[Enum]) -> bool:
    """Return True if at least one value of an enum has a comment."""
    return any(get_comments(kind).get(member.name) for member in kind)


def find_enums(annotation: Any) -> Iterator[type[Enum]]:
    """Yield the explained enums within a type."""
    if isinstance(annotation, type) and issubclass(annotation, Enum) and is_explained(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from find_enums(inner)


def find_objects(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models within a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from find_objects(inner)


def find_used(kind: type) -> tuple[list[type[BaseModel]], list[type[Enum]]]:
    """Return the objects in a model's fields, recursively, and the explained enums, in the order of use."""
    found: dict[type[BaseModel], None] = {}
    values: dict[type[Enum], None] = {}
    for _, annotation, _ in _iterate_fields(kind):
        values |= dict.fromkeys(find_enums(annotation))
        for one in find_objects(annotation):
            inner, more = find_used(one)
            found |= dict.fromkeys([one, *inner])
            values |= dict.fromkeys(more)
    return list(found), list(values)


def make_field_table(kind: type, names: set[str], *, sent_by_client: bool) -> str:
    return format_table(
        ("field", "value", "meaning"),
        [
            (
                f"`{row.name}{'?' if row.optional else ''}`",
                add_links(row.value, names),
                add_links(row.meaning, names),
            )
            for row in make_rows(kind, sent_by_client=sent_by_client)
        ],
    )


def make_object_section(kind: type, names: set[str], *, sent_by_client: bool) -> str:
    return join(
        (
            f"### {kind.__name__}",
            add_links(get_docstring(kind), names),
            make_field_table(kind, names, sent_by_client=sent_by_client),
        )
    )


def make_value_section(kind: type[Enum], names: set[str]) -> str:
    said = get_comments(kind)
    return join(
        (
            f"### {kind.__name__}",
            add_links(get_docstring(kind), names),
            format_table(
                ("value", "meaning"),
                [
                    (f"`{member.value}`", add_links(capitalise(said[member.name]), names))
                    for member in kind
                ],
            ),
        )
    )

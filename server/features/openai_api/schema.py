"""The bounds of a program's schemas. Pure.

A model server makes a grammar of a schema before it answers, for everybody's questions in one
process. This module refuses schemas whose grammar would be endless or would have the server fetch
something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Nested objects and lists
MAX_DEPTH = 16
# Objects, lists and values in all
MAX_NODES = 5_000
MAX_PATTERN_CHARS = 256
# A number of repetitions, and the product of nested ones
MAX_COUNT, MAX_PRODUCT = 10_000, 100_000
_LARGEST = 2**63
# Keywords whose value maps names to schemas, and those whose value is data
_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_DATA = frozenset(("enum", "const", "default", "examples", "required", "type"))
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords whose schemas describe the same value, so that a loop through them alone never ends
_SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_COUNTS = (
    *("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
_REPEAT = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}", re.ASCII)
Schema = Mapping[str, Any]


def json_fault(value: object) -> str:
    """Say what is wrong with a JSON value of a request in a few words; "" for nothing."""
    left = MAX_NODES
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        left -= 1
        if left < 0:
            return f"has more than {MAX_NODES} values"
        if isinstance(one, bool):
            continue
        # A comparison also refuses what is no number, and takes integers of any size.
        if isinstance(one, int | float) and not -_LARGEST < one < _LARGEST:
            return "has a number that is too large, or none"
        inner = _inner(one)
        if inner and depth >= MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} deep"
        waiting += [(each, depth + 1) for each in inner]
    return ""


def schema_fault(root: Schema, *, constrains: bool) -> str:
    """Say what is wrong with a schema that `json_fault` has passed; "" for nothing.

    `constrains`: the model is held to it, and does not only read it.
    """
    for schema in _schemas(root):
        for name in _REFERENCES:
            target = schema.get(name)
            if target is not None and _resolve(root, target) is None:
                return f'has a "{name}" that leads to nothing in it'
    if _loops(root):
        return "has a reference that leads back to itself with nothing between"
    if not constrains:
        return ""
    for schema in _schemas(root):
        patterns = [*_map(schema.get("patternProperties")), schema.get("pattern")]
        for pattern in patterns:
            if isinstance(pattern, str) and not _is_bounded(pattern):
                return (
                    f"has a pattern that cannot be used: at most {MAX_PATTERN_CHARS} characters are, none of them a control character, and"
                    f" {MAX_COUNT} repetitions"
                )
    if not _has_few_repetitions(root):
        return f"asks for too many repetitions: {MAX_COUNT} are allowed, and {MAX_PRODUCT} of nested ones"
    return ""


def _inner(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _map(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _parts(schema: Schema) -> Iterator[Schema]:
    """Yield the schemas directly within a schema."""
    for name, value in schema.items():
        if name in _DATA:
            continue
        if name in _MAPS:
            inner: list[Any] = list(_map(value).values())
        else:
            inner = value if isinstance(value, list) else [value]
        yield from (one for one in inner if isinstance(one, Mapping))


def _schemas(root: Schema) -> Iterator[Schema]:
    """Yield a schema and all within it."""
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        yield schema
        waiting += _parts(schema)


def _resolve(root: Schema, target: object) -> Schema | None:
    """Return the schema that a reference within the same one leads to; None for none, or another place."""
    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
        return None
    found: object = root
    for step in target[2:].split("/") if target != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and re.fullmatch(r"[0-9]{1,4}", name, re.ASCII):
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return None
    return found if isinstance(found, Mapping) else None


def _loops(root: Schema) -> bool:
    """Find a schema that is defined by itself."""
    # Each schema once: 1 while those that it stands for are looked at, 2 afterwards
    seen: dict[int, int] = {}
    for start in _schemas(root):
        waiting = [(start, False)]
        while waiting:
            schema, left = waiting.pop()
            if left:
                seen[id(schema)] = 2
                continue
            state = seen.get(id(schema), 0)
            if state == 1:
                return True
            if state == 2:
                continue
            seen[id(schema)] = 1
            waiting.append((schema, True))
            waiting += [(one, False) for one in _same(root, schema)]
    return False


def _same(root: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the schemas that describe the same value as this one."""
    yield from _references(root, schema)
    for name in _SAME:
        value = schema.get(name)
        inner = value if isinstance(value, list) else [value]
        yield from (one for one in inner if isinstance(one, Mapping))


def _references(root: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the schemas that this one refers to."""
    for name in _REFERENCES:
        if name in schema and (found := _resolve(root, schema[name])) is not None:
            yield found


def _is_bounded(pattern: str) -> bool:
    """Return whether a pattern may go to the model server, which judges the rest.

    It is not compiled here: a short one can take seconds.
    """
    if len(pattern) > MAX_PATTERN_CHARS or min(pattern, default=" ") < " ":
        return False
    product = 1
    for least, most in _REPEAT.findall(pattern):
        product *= max(1, int(least), int(most or 0))
    return product <= MAX_COUNT


def _has_few_repetitions(root: Schema) -> bool:
    """Return True if all repetitions are few, nested ones together, also through references.

    A schema within itself counts once: a grammar refers to it.
    """
    # The largest product of each schema and what is within it; 1 until all of that is known
    products: dict[int, float] = {}
    waiting = [(root, False)]
    while waiting:
        schema, left = waiting.pop()
        inner = [*_parts(schema), *_references(root, schema)]
        if left:
            counts = [schema[name] for name in _COUNTS if isinstance(schema.get(name), int | float)]
            count = max([1, *counts])
            product = count * max([1, *(products[id(one)] for one in inner)])
            if count > MAX_COUNT or product > MAX_PRODUCT:
                return False
            products[id(schema)] = product
        elif id(schema) not in products:
            products[id(schema)] = 1
            waiting.append((schema, True))
            waiting += [(one, False) for one in inner]
    return True

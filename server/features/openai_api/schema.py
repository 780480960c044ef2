"""The bounds of JSON schemas sent by programs. Pure.

A model server compiles a schema to a grammar before it answers, in the process that serves all
questions. This module refuses schemas whose grammar would be infinite, and schemas that refer to other documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Most levels of nested objects and lists
MAX_DEPTH = 16
# Most objects, lists and values in all
MAX_NODES = 5_000
MAX_PATTERN_CHARS = 256
# Largest repetition count, and largest product of nested counts
MAX_COUNT, MAX_PRODUCT = 10_000, 100_000
_LARGEST = 2**63
# Keywords whose value maps names to schemas; then keywords whose value is data
_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_DATA = frozenset(("enum", "const", "default", "examples", "required", "type"))
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords whose schemas describe the same value: a cycle of only these never ends
_SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_COUNTS = (
    *("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)
_REPEAT = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}", re.ASCII)
Schema = Mapping[str, Any]


def find_json_fault(value: object) -> str:
    """Return what is wrong with a JSON value from a request, as the rest of a sentence ("has …"); "" if it is valid."""
    left = MAX_NODES
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        left -= 1
        if left < 0:
            return f"has more than {MAX_NODES} values"
        if isinstance(one, bool):
            continue
        # This comparison also refuses NaN, and works for integers of any size.
        if isinstance(one, int | float) and not -_LARGEST < one < _LARGEST:
            return "has a number that is too large or not a number"
        inner = _list_inner_values(one)
        if inner and depth >= MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} deep"
        waiting += [(each, depth + 1) for each in inner]
    return ""


def find_schema_fault(root: Schema, *, constrains: bool) -> str:
    """Return what is wrong with a schema that passed `find_json_fault`, as the rest of a sentence; "" if it is valid.

    `constrains`: the answer has to follow the schema, so it is compiled to a grammar.
    """
    for schema in _iterate_schemas(root):
        for name in _REFERENCES:
            target = schema.get(name)
            if target is not None and _resolve(root, target) is None:
                return f'has a "{name}" whose target is not in the schema'
    if _has_loop(root):
        return "has a reference that refers to itself"
    if not constrains:
        return ""
    for schema in _iterate_schemas(root):
        patterns = [*_map(schema.get("patternProperties")), schema.get("pattern")]
        for pattern in patterns:
            if isinstance(pattern, str) and not _is_bounded(pattern):
                return (
                    f"has an invalid pattern: allowed are {MAX_PATTERN_CHARS} characters without control characters, and"
                    f" {MAX_COUNT} repetitions"
                )
    if not _has_few_repetitions(root):
        return f"has too many repetitions: {MAX_COUNT} are allowed, and {MAX_PRODUCT} for the product of nested ones"
    return ""


def _list_inner_values(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _map(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _iterate_parts(schema: Schema) -> Iterator[Schema]:
    """Yield the immediate subschemas of a schema."""
    for name, value in schema.items():
        if name in _DATA:
            continue
        if name in _MAPS:
            inner: list[Any] = list(_map(value).values())
        else:
            inner = value if isinstance(value, list) else [value]
        yield from (one for one in inner if isinstance(one, Mapping))


def _iterate_schemas(root: Schema) -> Iterator[Schema]:
    """Yield a schema and all its subschemas."""
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        yield schema
        waiting += _iterate_parts(schema)


def _resolve(root: Schema, target: object) -> Schema | None:
    """Return the target of a reference within the schema; None if it does not exist or is in another document."""
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


def _has_loop(root: Schema) -> bool:
    """Return True if a schema refers to itself through references alone."""
    # Depth-first search, each schema once: 1 while its targets are visited, 2 afterwards
    seen: dict[int, int] = {}
    for start in _iterate_schemas(root):
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
            waiting += [(one, False) for one in _iterate_same_value(root, schema)]
    return False


def _iterate_same_value(root: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the schemas that describe the same value as this one."""
    yield from _iterate_references(root, schema)
    for name in _SAME:
        value = schema.get(name)
        inner = value if isinstance(value, list) else [value]
        yield from (one for one in inner if isinstance(one, Mapping))


def _iterate_references(root: Schema, schema: Schema) -> Iterator[Schema]:
    """Yield the targets of this schema's references."""
    for name in _REFERENCES:
        if name in schema and (found := _resolve(root, schema[name])) is not None:
            yield found


def _is_bounded(pattern: str) -> bool:
    """Return True if a pattern is within the bounds; the model server checks the rest.

    Do not compile it here, since even a short one can take seconds.
    """
    if len(pattern) > MAX_PATTERN_CHARS or min(pattern, default=" ") < " ":
        return False
    product = 1
    for least, most in _REPEAT.findall(pattern):
        product *= max(1, int(least), int(most or 0))
    return product <= MAX_COUNT


def _has_few_repetitions(root: Schema) -> bool:
    """Return True if all repetition counts and products of nested counts are within the bounds, references included.

    A recursive schema counts once, since its grammar rule refers to itself.
    """
    # The largest product of each schema and those within it; 1 until these are known
    products: dict[int, float] = {}
    waiting = [(root, False)]
    while waiting:
        schema, left = waiting.pop()
        inner = [*_iterate_parts(schema), *_iterate_references(root, schema)]
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

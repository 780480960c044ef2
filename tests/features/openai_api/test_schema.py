"""Schemas of programs: those that people write pass, and those that would keep a model server busy do not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, Field

from server.features.openai_api.schema import find_json_fault, find_schema_fault


class Cup(BaseModel):
    colour: str = Field(pattern=r"^[a-z]{1,20}$", max_length=20)
    holds: list[Cup] = Field(default=[], max_length=50)
    # A name that is a keyword, too
    pattern: str | None = None


@pytest.mark.parametrize(
    "schema",
    [
        {},
        Cup.model_json_schema(),
        {"properties": {"$ref": {"type": "string"}, "pattern": {"enum": ["("]}}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$defs": {"a/b": {"type": "null"}}, "anyOf": [{"$ref": "#/$defs/a~1b"}] * 3},
        {"enum": ["x"] * 1000, "maximum": 2**53, "default": {"$ref": "http://x"}},
        {"items": {"type": "string", "maxLength": 1000}, "maxItems": 100},
    ],
)
def test_schemas_that_people_write(schema: dict[str, Any]) -> None:
    assert not find_json_fault(schema)
    assert not find_schema_fault(schema, constrains=True)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"minimum": NaN}', "number"),
        ('{"maximum": 1e999}', "number"),
        ('{"maximum": -1' + "0" * 40 + "}", "number"),
        ('{"minItems": 1' + "0" * 400 + "}", "number"),
        ('{"enum": [' + "[]," * 6000 + "0]}", "values"),
        ('{"items":' * 40 + "{}" + "}" * 40, "deep"),
    ],
)
def test_values_that_no_model_server_should_get(raw: str, said: str) -> None:
    assert said in find_json_fault(json.loads(raw))


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/x", "file:///etc/passwd", "other.json#/a", "#/$defs/b", "", 3],
)
def test_references_stay_inside(keyword: str, target: object) -> None:
    """A model server must fetch nothing for a program, read along or not."""
    schema = {"$defs": {"a": {"items": {keyword: target}}}, "type": "object"}
    assert keyword in find_schema_fault(schema, constrains=False)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"type": "object"}, {"$ref": "#"}]},
        {
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
            "properties": {"x": {"$ref": "#/$defs/a"}},
        },
    ],
)
def test_endless_references(schema: dict[str, Any]) -> None:
    assert "itself" in find_schema_fault(schema, constrains=False)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"pattern": "x" * 300}, "pattern"),
        ({"items": {"pattern": "((a{1,900}){1,900})"}}, "pattern"),
        ({"pattern": "a\x00b"}, "pattern"),
        ({"patternProperties": {"a{999999999}": {}}}, "pattern"),
        ({"minItems": 10**9}, "repetitions"),
        ({"minItems": 1e9}, "repetitions"),
        ({"maxItems": 999, "items": {"maxItems": 999, "items": {"maxLength": 999}}}, "repetitions"),
        (
            {
                "$defs": {
                    f"{n}": {"maxItems": 100, "items": {"$ref": f"#/$defs/{n + 1}"}}
                    for n in range(8)
                }
                | {"8": {"anyOf": [{"$ref": "#/$defs/0"}, {"type": "null"}]}},
                "$ref": "#/$defs/0",
            },
            "repetitions",
        ),
    ],
)
def test_grammars_without_end(schema: dict[str, Any], said: str) -> None:
    """Only where the model is held to it: else it is a text like any other."""
    assert said in find_schema_fault(schema, constrains=True)
    assert not find_schema_fault(schema, constrains=False)


def test_no_pattern_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one can take a tenth of a second: the model server judges it."""
    patterns = [f"(?i)[!-\\uffff]{number}" for number in range(50)]
    schema = {"properties": {name: {"type": "string", "pattern": name} for name in patterns}}
    compiled: list[object] = []
    monkeypatch.setattr(re, "compile", lambda *given: compiled.append(given))
    assert not find_schema_fault(schema, constrains=True)
    assert not compiled

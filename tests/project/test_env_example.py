"""env.example and config.py say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import config

EXAMPLE = Path(__file__).parents[2] / "env.example"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in config.get_known_keys():
        monkeypatch.delenv(key, raising=False)


def _lines() -> list[str]:
    return EXAMPLE.read_text(encoding="utf-8").splitlines()


def _given() -> dict[str, str]:
    pairs = [line.partition("=") for line in _lines() if line and not line.startswith("#")]
    return {key: value for key, _, value in pairs}


def test_every_key_is_listed_once_and_no_other() -> None:
    """The example has exactly the keys of Settings, in the same order."""
    keys = [line.partition("=")[0] for line in _lines() if line and not line.startswith("#")]
    assert keys == list(config.get_known_keys())


def test_the_values_are_the_defaults() -> None:
    """Reading the example gives what reading nothing gives."""
    example, nothing = config.load(EXAMPLE), config.load(None)
    random_each_run = {"jwt_secret_key"}
    assert example.model_dump(exclude=random_each_run) == nothing.model_dump(
        exclude=random_each_run
    )
    assert example.warnings == nothing.warnings == ()


def test_a_default_that_is_not_empty_is_spelled_out() -> None:
    """An empty value would read as the default too, and tell nobody what it is."""
    for name, field in config.Settings.model_fields.items():
        empty = field.default in (None, ()) or str(field.default) == ""
        assert (_given()[name.upper()] == "") is empty, name


def test_values_carry_no_comment() -> None:
    """Not everything that reads such files takes a comment behind a value."""
    assert not any("#" in value for value in _given().values())

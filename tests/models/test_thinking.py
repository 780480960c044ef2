"""Models that think: switched off, or given tokens for it."""

from __future__ import annotations

from typing import Any

import pytest

from server.models import families
from server.models.thinking import OFF_FIELDS, Mode, ThinkingLimits, ThinkingPolicy

QWEN_OFF = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}


def of(name: str, *, wanted: bool = False, thinks: bool = False) -> ThinkingPolicy:
    one = ThinkingPolicy(ThinkingLimits(wanted=wanted, max_tokens=2000))
    one.use_family(families.find_family(None, name), thinks=thinks)
    return one


@pytest.mark.parametrize(
    ("name", "thinks", "mode", "wanted", "fields"),
    [
        ("qwen2.5vl:7b", False, Mode.PLAIN, Mode.PLAIN, {}),
        ("qwen3.5:4b", False, Mode.OFF, Mode.BUDGET, QWEN_OFF),
        ("Qwen/Qwen3-VL-8B-Instruct", False, Mode.PLAIN, Mode.PLAIN, {}),
        ("Qwen/Qwen3-VL-8B-Thinking", False, Mode.BUDGET, Mode.BUDGET, {}),
        # Ollama's name of one that thinks
        ("qwen3-vl:8b", True, Mode.BUDGET, Mode.BUDGET, {}),
        ("qwen2.5vl:7b", True, Mode.OFF, Mode.BUDGET, OFF_FIELDS),
        ("novel", True, Mode.OFF, Mode.BUDGET, OFF_FIELDS),
        ("novel", False, Mode.BUDGET, Mode.BUDGET, {}),
    ],
)
def test_a_model_is_known_by_its_family_and_its_server(
    name: str, thinks: bool, mode: Mode, wanted: Mode, fields: dict[str, Any]
) -> None:
    """The setting decides where there is a switch; of a model that nobody knows nothing is sent."""
    one, other = of(name, thinks=thinks), of(name, thinks=thinks, wanted=True)
    assert (one.mode, one.fields()) == (mode, fields)
    assert (other.mode, other.fields()) == (wanted, {})


def test_a_prompt_opens_the_thoughts_of_one_that_thinks() -> None:
    """Switched off, it begins with its answer."""
    assert of("qwen3.5:4b", wanted=True).opened
    assert not of("qwen3.5:4b").opened
    assert not of("novel").opened


def test_another_model_begins_anew() -> None:
    """Nothing of the one before stays."""
    one = of("qwen3.5:4b")
    one.use_family(families.find_family(None, "qwen2.5vl:7b"), thinks=False)
    assert (one.mode, one.fields(), one.budget(None)) == (Mode.PLAIN, {}, 0)


def test_thoughts_get_tokens() -> None:
    """A quarter of the context at most, and none without thoughts."""
    assert (of("novel").budget(None), of("novel").budget(4096)) == (2000, 1024)
    assert of("qwen3.5:4b").budget(4096) == of("qwen2.5vl:7b").budget(4096) == 0

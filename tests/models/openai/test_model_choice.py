"""Find the model of a list that accepts pictures, by its data and by its name."""

from __future__ import annotations

from typing import Any

import pytest

from server.models.openai.discovery import Listed, choose, listed, to_ask, words


def sees(name: str, **card: Any) -> bool | None:
    return listed({}, [{"id": name, **card}])[0].sees


@pytest.mark.parametrize(
    "name",
    [
        *("qwen2.5vl:7b", "Qwen/Qwen3-VL-8B-Instruct", "llava:13b", "llama3.2-vision:11b"),
        *("gemma3:4b", "google/gemma-3-27b-it", "pixtral-12b", "OpenGVLab/InternVL3-8B"),
        *("moondream2", "minicpm-v:8b", "gpt-4o-mini", "HuggingFaceTB/SmolVLM2-2.2B-Instruct"),
        *("mistral-small3.2:24b", "zai-org/GLM-4.1V-9B-Thinking", "Qwen2.5-Omni-7B", "fake-vl"),
    ],
)
def test_names_of_families_that_see(name: str) -> None:
    """However servers write them."""
    assert sees(name) is True


@pytest.mark.parametrize(
    "name",
    ["nomic-embed-text", "bge-m3", "whisper-large-v3", "Qwen3-VL-Embedding-2B", "llama-guard-3"],
)
def test_names_that_answer_no_questions(name: str) -> None:
    """Embeddings, speech and guards, also those of families that see."""
    assert sees(name) is False


@pytest.mark.parametrize(
    "name", ["llama3.1:8b", "gemma3:1b", "mistral", "novel-writer", "/models/x"]
)
def test_other_names_say_nothing(name: str) -> None:
    """They may see or not."""
    assert sees(name) is None


def test_what_is_told_goes_before_the_name() -> None:
    """A card, or llama.cpp's second list, knows better."""
    assert sees("some-vl", capabilities=["completion"]) is False
    assert sees("mistral", modalities={"input": ["text", "image"]}) is True
    data = {"models": [{"name": "x.gguf", "capabilities": ["completion", "multimodal"]}]}
    assert listed(data, [{"id": "x.gguf"}])[0].sees is True


def test_order_of_choice() -> None:
    """Sees before unknown, loaded before not, the one asked now, then the server's order."""
    a, b = Listed("a"), Listed("b")
    c, d = Listed("c", True), Listed("d", True, loaded=True)
    blind = Listed("e", False, loaded=True)
    assert choose([blind, a, c, d], "") == d
    assert choose([blind, a, c], "a") == c
    assert choose([a, b], "b") == b
    assert choose([a, b], "gone") == a
    assert choose([blind], "e") is None
    assert choose([], "") is None


def test_who_is_shown_a_picture() -> None:
    """Those of whom nobody knows, loaded ones first; nobody where one is known to see."""
    models = [Listed("a"), Listed("b", loaded=True), Listed("c", False)]
    assert to_ask(models) == ["b", "a"]
    assert to_ask([*models, Listed("d", True)]) == []


def test_words_for_operators() -> None:
    one = Listed("a", True, "by its name", True)
    assert words(one, 3) == "one of 3 listed; takes pictures (by its name), is loaded"
    assert words(Listed("a"), 1) == "the only one listed; may take pictures"

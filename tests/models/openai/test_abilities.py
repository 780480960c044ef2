"""A model's abilities, as found by its server's card, by its type and names, and by its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.core.frames import BoxUnit
from server.models.openai.engine import OpenAIEngine
from tests.models.asking import Build
from tests.support.fakes_openai import FakeOpenAI


@pytest.mark.parametrize(
    ("ability", "card", "able"),
    [
        # What is not known does not hear.
        ("audio_in", {"id": "Qwen/Qwen2.5-Omni-7B"}, True),
        ("audio_in", {"id": "Qwen/Qwen3-Omni-30B-A3B-Instruct"}, True),
        ("audio_in", {"id": "Qwen/Qwen2.5-VL-7B-Instruct"}, False),
        ("audio_in", {"id": "some-model"}, False),
        ("audio_in", {"id": "some-model", "model_type": "qwen2_5_omni"}, True),
        # Files say more than names.
        ("audio_in", {"id": "other/Qwen2.5-Omni-7B", "model_type": "qwen2_5_vl"}, False),
        ("audio_in", {"architecture": {"input_modalities": ["text", "image", "audio"]}}, True),
        ("audio_in", {"architecture": {"output_modalities": ["audio"]}}, False),
        ("audio_in", {"input_modalities": ["image", "Audio"]}, True),
        ("audio_in", {"capabilities": ["vision", "audio"]}, True),
        ("audio_in", {"capabilities": {"vision": True, "audio": True}}, True),
        ("audio_in", {"capabilities": {"vision": True, "audio": "maybe"}}, False),
        ("audio_in", {"capabilities": {"vision": True, "audio": None}}, False),
        ("audio_in", {"modalities": {"input": ["audio", 5]}}, True),
        # By its type, else by its names
        ("boxes", {}, None),
        ("boxes", {"model_type": "qwen3_vl"}, BoxUnit.THOUSANDTHS),
        ("boxes", {"root": "Qwen/Qwen2.5-VL-7B-Instruct"}, BoxUnit.PIXELS),
        ("boxes", {"root": "Qwen/Qwen3-VL-30B-A3B-Instruct-FP8"}, BoxUnit.THOUSANDTHS),
        ("boxes", {"id": "qwen2.5vl:7b"}, BoxUnit.PIXELS),
        ("boxes", {"id": "qwen2-vl-2b-instruct"}, BoxUnit.THOUSANDTHS),
        ("boxes", {"id": "gemma4:e4b"}, BoxUnit.THOUSANDTHS_Y_FIRST),
        ("boxes", {"id": "google/gemma-3-4b-it"}, None),
        ("boxes", {"id": "Qwen2.5-Omni-7B"}, None),
        ("boxes", {"id": "Qwen3-VL-8B", "model_type": "smolvlm"}, None),
        # Qwen on vLLM takes videos; of other servers and models it is not known.
        ("video", {"owned_by": "vllm", "root": "Qwen/Qwen2.5-VL-7B-Instruct"}, True),
        ("video", {"owned_by": "vllm", "model_type": "qwen3_vl"}, True),
        ("video", {"owned_by": "vllm", "model_type": "idefics3", "id": "qwen2-vl"}, False),
        ("video", {"owned_by": "vllm"}, False),
        ("video", {"root": "Qwen/Qwen2.5-VL-7B-Instruct"}, False),
        ("calls_tools", {"id": "Qwen3.5-4B"}, True),
        ("calls_tools", {"id": "gemma-4-E4B-it"}, True),
        ("calls_tools", {"id": "Mistral-Small-3.2-24B-Instruct-2506"}, True),
        ("calls_tools", {"id": "Qwen2.5-VL-7B-Instruct"}, False),
        ("calls_tools", {"id": "fake-vl"}, False),
    ],
)
async def test_what_a_model_can(
    fake: FakeOpenAI, engine: OpenAIEngine, ability: str, card: dict[str, Any], able: object
) -> None:
    """By what the server says and by the family; the engine finds places if its boxes have a unit."""
    fake.card = card
    capabilities = (await engine.probe()).capabilities
    assert getattr(capabilities, ability) is able
    assert capabilities.grounding is (capabilities.boxes is not None)


async def test_boxes_have_the_unit_of_the_models_folder(
    fake: FakeOpenAI, engine: OpenAIEngine, tmp_path: Path
) -> None:
    """Its files beat its name."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl"}')
    fake.card = {"root": str(tmp_path), "id": "qwen2.5-vl"}
    assert (await engine.probe()).capabilities.boxes is BoxUnit.THOUSANDTHS


@pytest.mark.parametrize(
    ("card", "factor", "expected"),
    [
        ({}, None, 28),
        ({"id": "Qwen3-VL-8B"}, None, 32),
        ({"id": "Qwen3-VL-8B", "model_type": "qwen2_5_vl"}, None, 28),
        ({"model_type": "qwen3_vl"}, None, 32),
        ({"model_type": "qwen2_5_vl"}, None, 28),
        ({"root": "/nowhere/at/all"}, None, 28),
        ({"model_type": "qwen2_5_vl"}, 32, 32),
    ],
)
async def test_geometry_is_chosen_by_type_else_name_or_by_setting(
    fake: FakeOpenAI, card: dict[str, Any], factor: int | None, expected: int, build: Build
) -> None:
    """Its type beats its name; an override beats everything."""
    fake.card = card
    engine = build(factor=factor)
    assert (await engine.probe()).capabilities.geometry.factor == expected

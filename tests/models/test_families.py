"""Families of models: each name that hubs and servers write, each config.json's type, and the files themselves."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import BoxUnit, Geometry
from server.models import families
from server.models.families import FAMILIES, Ability, Family, ModelType

HERE = Path(families.__file__).parent
FILES = sorted(HERE.glob("[a-z]*.toml"))
# As Ollama, LM Studio, llama.cpp (files), vLLM and hubs write them, and the architecture in a GGUF file
NAMES = {
    "Qwen2-VL": "qwen2-vl-7b-instruct qwen2vl Qwen/Qwen2-VL-2B-Instruct-AWQ Qwen2-VL-7B-Instruct-Q4_K_M.gguf",
    "Qwen2.5-VL": "qwen2.5vl:7b qwen2.5vl qwen25vl qwen/qwen2.5-vl-7b Qwen/Qwen2.5-VL-32B-Instruct"
    " Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf qwen2_5_vl hf.co/unsloth/Qwen2.5-VL-7B-Instruct-GGUF:Q4_K_M",
    "Qwen2.5-Omni": "Qwen/Qwen2.5-Omni-7B qwen2.5-omni-3b Qwen2.5-Omni-7B-Q4_K_M.gguf",
    "Qwen3-VL": "qwen3-vl:8b qwen3-vl:30b-a3b-instruct qwen/qwen3-vl-4b Qwen3-VL-8B-Instruct-Q4_K_M.gguf"
    " Qwen3VL-8B-Instruct-Q8_0.gguf Qwen/Qwen3-VL-30B-A3B-Instruct-FP8 qwen3vl qwen3vlmoe /models/Qwen3-VL-4B/",
    "Qwen3-Omni": "Qwen/Qwen3-Omni-30B-A3B-Instruct Qwen3-Omni-30B-A3B-Instruct-Q4_K_M.gguf",
    "Qwen3.5 to 3.8": "qwen3.5:4b qwen3.5 qwen/qwen3.5-9b Qwen/Qwen3.5-35B-A3B Qwen3.5-0.8B-Q8_0.gguf qwen35 qwen35moe"
    " qwen3.6:27b Qwen/Qwen3.6-35B-A3B Qwen3.6-35B-A3B-UD-Q4_K_XL.gguf qwen3.8:27b Qwen/Qwen3.8-27B-FP8 qwen/qwen3.8-27b",
    "Qwen3.8-Flash-Next": "Qwen/Qwen3.8-Flash-Next qwen3.8-flash-next Qwen3.8-Flash-Next-FP8 qwen4exp"
    " Qwen3.8-Flash-Next-Q4_K_M.gguf",
    "Gemma 3": "gemma3 gemma3:4b google/gemma-3-12b google/gemma-3-27b-it gemma-3-4b-it-Q4_K_M.gguf",
    "Gemma 3n": "gemma3n:e4b google/gemma-3n-e4b google/gemma-3n-E2B-it gemma-3n-E4B-it-Q8_0.gguf gemma3n",
    "Gemma 4": "gemma4:e2b gemma4 google/gemma-4-e4b google/gemma-4-31B-it gemma-4-26B-A4B-it-Q4_K_M.gguf google/gemma-4-12B-it",
    "MiniCPM-V": "minicpm-v:8b openbmb/minicpm-v4.5 openbmb/MiniCPM-V-4_5 openbmb/MiniCPM-V-2_6 MiniCPM-V-4_5-Q4_K_M.gguf",
    "MiniCPM-V 4.6 and 4.7": "openbmb/minicpm-v4.6 openbmb/MiniCPM-V-4.6 MiniCPM-V-4_6-Q5_K_M.gguf openbmb/MiniCPM-V-4.7-1B"
    " minicpm-v-4.6",
    "MiniCPM-o": "openbmb/MiniCPM-o-2_6 openbmb/minicpm-o2.6 MiniCPM-o-4_5-Q4_K_M.gguf",
    "InternVL": "OpenGVLab/InternVL3_5-8B internvl3.5 OpenGVLab/InternVL3-8B InternVL3_5-4B-Q4_K_M.gguf internvl3_5-8b",
    "LFM2-VL and LFM2.5-VL": "liquid/lfm2.5-vl-1.6b LiquidAI/LFM2.5-VL-450M LFM2-VL-1.6B-Q8_0.gguf lfm2-vl:1.6b",
    "SmolVLM and SmolVLM2": "HuggingFaceTB/SmolVLM2-500M-Video-Instruct SmolVLM-Instruct smolvlm2-2.2b-instruct"
    " SmolVLM2-256M-Video-Instruct-Q8_0.gguf",
    "Idefics3": "HuggingFaceM4/Idefics3-8B-Llama3 idefics3:8b",
    "GLM-4.1V to 4.6V": "zai-org/GLM-4.5V-FP8 zai-org/GLM-4.6V-Flash GLM-4.1V-9B-Thinking-Q4_K_M.gguf z-ai/glm-4.6v",
    "Kimi K2.5 and K2.6": "moonshotai/Kimi-K2.5 kimi-k2.6 Kimi-K2.5-Q4_K_M.gguf",
    "Kimi-VL": "moonshotai/Kimi-VL-A3B-Instruct Kimi-VL-A3B-Thinking-2506-Q4_K_M.gguf kimi-vl",
    "Moondream 2": "moondream moondream:1.8b vikhyatk/moondream2 moondream2-20250414",
    "Moondream 3": "moondream/moondream3-preview moondream3.1 moondream-3",
    "Pixtral": "pixtral-12b mistralai/Pixtral-12B-2409 pixtral-12b-Q4_K_M.gguf mistral-community/pixtral-12b",
    "Mistral Small 3.1 and 3.2": "mistral-small3.2:24b mistral-small3.1 mistralai/mistral-small-3.2"
    " mistralai/Mistral-Small-3.1-24B-Instruct-2503 Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf",
    "Llama 4": "llama4:scout llama4 meta/llama-4-scout-17b-16e-instruct meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"
    " Llama-4-Scout-17B-16E-Instruct-Q4_K_M.gguf",
}
TYPES = {
    "Qwen2-VL": "qwen2_vl",
    "Qwen2.5-VL": "qwen2_5_vl",
    "Qwen2.5-Omni": "qwen2_5_omni qwen2_5_omni_thinker",
    "Qwen3-VL": "qwen3_vl qwen3_vl_moe",
    "Qwen3-Omni": "qwen3_omni_moe qwen3_omni_moe_thinker",
    "Qwen3.5 to 3.8": "qwen3_5 qwen3_5_moe",
    "Qwen3.8-Flash-Next": "qwen4_exp",
    "Gemma 3": "gemma3",
    "Gemma 3n": "gemma3n",
    "Gemma 4": "gemma4 gemma4_unified",
    "MiniCPM-V": "minicpmv",
    "MiniCPM-V 4.6 and 4.7": "minicpmv4_6 minicpmv4_7",
    "MiniCPM-o": "minicpmo",
    "InternVL": "internvl internvl_chat",
    "LFM2-VL and LFM2.5-VL": "lfm2_vl",
    "SmolVLM and SmolVLM2": "smolvlm",
    "Idefics3": "idefics3",
    "GLM-4.1V to 4.6V": "glm4v glm4v_moe glm46v",
    "Kimi K2.5 and K2.6": "kimi_k25",
    "Kimi-VL": "kimi_vl",
    "Moondream 2": "moondream1",
    "Moondream 3": "moondream3",
    "Mistral Small 3.1 and 3.2": "mistral3",
    "Llama 4": "llama4",
    "Text to speech": "vits bark csm pocket_tts vibevoice",
    "MusicGen": "musicgen",
}
GOOD = """
title = "Some"
names = ["some 1"]
abilities = ["images"]
geometry = { patch = 14, merge = 2, min_pixels = 784, max_pixels = 784 }
licence = "MIT"
sources = ["here"]
[types]
some = {}
"""


def known(model_type: str | None, *names: str) -> Family:
    found = families.find_family(model_type, *names)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "title"), [(name, title) for title, names in NAMES.items() for name in names.split()]
)
def test_a_family_is_found_by_each_of_its_names(name: str, title: str) -> None:
    """As each hub and server writes it, in any case; it takes pictures."""
    for one in (name, name.lower(), name.upper()):
        assert known(None, one).title == title
    assert families.accepts_pictures(name) is True


@pytest.mark.parametrize(
    ("names", "takes"),
    [
        # Of families that see, however servers write them
        ("qwen2.5vl:7b Qwen/Qwen3-VL-8B-Instruct llava:13b llama3.2-vision:11b", True),
        ("gemma3:4b google/gemma-3-27b-it pixtral-12b OpenGVLab/InternVL3-8B", True),
        ("moondream2 minicpm-v:8b gpt-4o-mini HuggingFaceTB/SmolVLM2-2.2B-Instruct", True),
        ("mistral-small3.2:24b zai-org/GLM-4.1V-9B-Thinking Qwen2.5-Omni-7B fake-vl", True),
        # Embeddings, speech and guards, also those of families that see
        ("nomic-embed-text bge-m3 whisper-large-v3 Qwen3-VL-Embedding-2B llama-guard-3", False),
        # They may see or not.
        ("llama3.1:8b gemma3:1b mistral novel-writer /models/x", None),
    ],
)
def test_what_names_say(names: str, takes: bool | None) -> None:
    assert {name: families.accepts_pictures(name) for name in names.split()} == dict.fromkeys(
        names.split(), takes
    )


def test_each_type_has_its_family() -> None:
    """Every type of every file; a type beats a name, known or not."""
    found = {kind: title for title, kinds in TYPES.items() for kind in kinds.split()}
    assert {kind for kind in found if not kind.endswith("_thinker")} == FAMILIES.keys()
    for kind, title in found.items():
        assert known(kind, "qwen2.5vl:7b").title == title
    assert families.find_family("unheard_of", "qwen2.5vl:7b") is None


@pytest.mark.parametrize(
    "name",
    [
        *("qwen3:8b", "Qwen3-8B", "Qwen3-30B-A3B", "qwen2.5:7b", "qwen2.5-coder", "Qwen-VL-Chat"),
        *("gemma2:9b", "gemma3:1b", "gemma-3-270m-it", "llama3.2-vision:11b", "Llama-3.3-70B"),
        *("minicpm4", "mistral-small:22b", "mistral-small3", "lfm2:1.2b", "novel-internvlx"),
        *("smol", "", "/", "/models/x"),
    ],
)
def test_others_are_of_no_family(name: str) -> None:
    """Text models of the same makers, and versions that nobody has looked at."""
    assert families.find_family(None, name) is None


def test_files_have_what_each_needs() -> None:
    """Sources, names of its own, and no type twice; without a licence it is not read."""
    titles, types = set(), []
    for path in FILES:
        data = tomllib.loads(path.read_text("utf-8"))
        titles.add(data["title"])
        assert all(len(one) > 10 for one in data["sources"]), path.name
        types += data["types"]
        for name in data.get("names", ()):
            assert known(None, name).title == data["title"]
    assert titles == NAMES.keys() | TYPES.keys()
    assert len(types) == len(set(types)) == len(FAMILIES)


def test_what_families_can() -> None:
    """Boxes in thousandths from Qwen3-VL on, Gemma's with y first, thinking off where there is a switch, frames in pairs."""
    found = {title: known(None, names.split()[0]) for title, names in NAMES.items()}
    units = {title: one.boxes for title, one in found.items() if one.boxes}
    assert units.pop("Qwen2.5-VL") is BoxUnit.PIXELS
    assert units.pop("Gemma 4") is BoxUnit.THOUSANDTHS_Y_FIRST
    assert set(units) == {"Qwen2-VL", "Qwen3-VL", "Qwen3.5 to 3.8", "Qwen3.8-Flash-Next"}
    assert set(units.values()) == {BoxUnit.THOUSANDTHS}
    hybrid = {title for title, one in found.items() if one.thinking_off}
    assert hybrid == {
        *("Qwen3.5 to 3.8", "Qwen3.8-Flash-Next", "Gemma 4", "MiniCPM-V", "MiniCPM-V 4.6 and 4.7"),
        *("GLM-4.1V to 4.6V", "Kimi K2.5 and K2.6"),
    }
    paired = {title for title, one in found.items() if one.paired_frames}
    assert paired == {title for title in NAMES if title.startswith("Qwen")}
    assert families.get_family("qwen3_5").paired_frames
    assert not families.get_family("gemma3").paired_frames


def test_names_say_who_always_thinks() -> None:
    """Of a family whose models that think are models of their own."""
    for name, thinks in (
        ("Qwen/Qwen3-VL-8B-Thinking", True),
        ("Qwen/Qwen3-VL-8B-Instruct", False),
        ("Qwen/Qwen3-Omni-30B-A3B-Thinking", True),
        ("zai-org/GLM-4.1V-9B-Thinking", True),
        ("zai-org/GLM-4.6V", False),
        ("moonshotai/Kimi-VL-A3B-Thinking-2506", True),
        ("openbmb/MiniCPM-V-4.6-Thinking", True),
        ("Qwen/Qwen3.5-9B", False),
    ):
        assert known(None, name).always_thinks is thinks, name
    assert known("qwen3_vl", "/models/Qwen3-VL-8B-Thinking").always_thinks


def test_ones_that_only_think_do_not_speak() -> None:
    """They hear all the same."""
    for kind, name, speaks in (
        ("qwen3_omni_moe", "Qwen3-Omni-30B-A3B-Instruct", True),
        ("qwen3_omni_moe", "Qwen3-Omni-30B-A3B-Thinking", False),
        (None, "Qwen/Qwen3-Omni-30B-A3B-Captioner", False),
        ("qwen2_5_omni_thinker", "", False),
    ):
        family = known(kind, name)
        assert (Ability.SPEECH_OUT in family.abilities) is speaks
        assert Ability.AUDIO_IN in family.abilities
        assert family.model_type is ModelType.OMNI


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('licence = "MIT"', 'licence = ""'),
        ('sources = ["here"]', "sources = []"),
        ('licence = "MIT"', ""),
        ('["images"]', '["wings"]'),
        ('["images"]', "[]"),
        ('title = "Some"', 'colour = "red"'),
        ("min_pixels = 784", "min_pixels = 783"),
        ("patch = 14, ", ""),
        ("[types]", "[kinds]"),
        ("[types]", "[types"),
    ],
)
def test_a_wrong_file_is_an_error(before: str, after: str) -> None:
    """At the import of all, so that no test passes with it."""
    assert families.read(GOOD)["some"].title == "Some"
    with pytest.raises((ValueError, TypeError, KeyError)):
        families.read(GOOD.replace(before, after))


@pytest.mark.parametrize(
    ("processor", "config", "expected"),
    [
        (
            {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12845056},
            {},
            families.QWEN2_VL,
        ),
        ({}, {"model_type": "qwen3_vl"}, families.QWEN3_VL),
        ({}, {"vision_config": {"patch_size": 16, "spatial_merge_size": 2}}, families.QWEN3_VL),
        (
            {"max_pixels": 9408},
            {
                "model_type": "qwen2_5_vl",
                "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
            },
            Geometry(28, 3136, 9408),
        ),
        (
            {
                "patch_size": 14,
                "merge_size": 2,
                "size": {"shortest_edge": 3136, "longest_edge": 9408},
            },
            {},
            Geometry(28, 3136, 9408),
        ),
        # Pixtral's longest_edge is a side.
        (
            {"patch_size": 14, "merge_size": 2, "size": {"longest_edge": 1540}},
            {},
            families.QWEN2_VL,
        ),
        # A smallest picture below one patch is one patch.
        ({"patch_size": 14, "merge_size": 2, "min_pixels": 1}, {}, Geometry(28, 784, 12845056)),
        # Nonsense is left alone.
        (
            {"patch_size": 14, "merge_size": 2, "min_pixels": 9000, "max_pixels": 800},
            {},
            families.QWEN2_VL,
        ),
        ({"patch_size": "14", "merge_size": True}, {"vision_config": [1]}, None),
        ({}, {"model_type": "llava"}, None),
    ],
)
def test_a_folder_tells_its_geometry(
    tmp_path: Path, processor: dict[str, Any], config: dict[str, Any], expected: Geometry | None
) -> None:
    """Older and newer names of the limits, with the model's type as what is not said."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert families.read_folder_geometry(tmp_path) == expected


@pytest.mark.parametrize("content", ["", "[1]", "{", "nul", "[" * 100_000])
def test_broken_files_tell_nothing(tmp_path: Path, content: str) -> None:
    """Nothing in the folder stops the server."""
    (tmp_path / "config.json").write_text(content)
    assert families.read_folder_geometry(tmp_path) is None
    assert families.read_folder_geometry(tmp_path / "missing") is None


def test_a_factor_gives_known_limits_where_they_are_known() -> None:
    """28 and 32 are Qwen's; another one gets its own smallest picture."""
    assert families.make_factor_geometry(28) == families.QWEN2_VL
    assert families.make_factor_geometry(32) == families.QWEN3_VL
    assert families.make_factor_geometry(16).min_pixels == 256


def test_the_newer_processor_file_counts_when_the_older_is_not_there(tmp_path: Path) -> None:
    """transformers 5 saves the image processor inside `processor_config.json`."""
    newer = tmp_path / "processor_config.json"
    size = {"shortest_edge": 784, "longest_edge": 50176}
    part = {"patch_size": 14, "merge_size": 2, "size": size}
    newer.write_text(json.dumps({"image_processor": part}))
    assert families.read_folder_geometry(tmp_path) == Geometry(28, 784, 50176)
    newer.write_text(json.dumps({"image_processor": [part]}))
    assert families.read_folder_geometry(tmp_path) is None
    newer.write_text(json.dumps({"image_processor": part}))
    (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 16, "merge_size": 2}')
    assert families.read_folder_geometry(tmp_path) == families.QWEN3_VL

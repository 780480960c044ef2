"""Memory of models, compared with transformers' own figures and published sizes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Geometry
from server.features.hosting.catalogue.entry import Catalogue
from server.features.hosting.catalogue.machine import GB
from server.features.hosting.catalogue.sizes import (
    CONTEXT,
    OVERHEAD_BYTES,
    compute_memory,
)
from server.media.picture.prepare import count_visual_tokens, get_budget_pixels, smart_resize
from server.models import families
from tests.features.hosting.catalogue.test_folder import write
from tests.features.hosting.catalogue.test_modes import MAKER, MODEL
from tests.real_model.server import environment, missing, run_module
from tests.support.documents import ROOT

# As their hub has them: what the folders' configurations say, without what is their class's own.
# The catalogue's ids.
_QWEN25_VL_32B: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "text_config": {
        "hidden_size": 5120,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "intermediate_size": 27_648,
        "vocab_size": 152_064,
        "max_position_embeddings": 128_000,
    },
    "vision_config": {
        "model_type": "qwen2_5_vl_vision",
        "depth": 32,
        "hidden_size": 1280,
        "num_heads": 16,
        "out_hidden_size": 5120,
        "intermediate_size": 3456,
    },
}


def _qwen3(hidden: int, layers: int, heads: int, wide: int, eyes: int, **more: Any) -> Any:
    large = eyes == 1152
    vision = {
        "depth": 27 if large else 24,
        "hidden_size": eyes,
        "intermediate_size": 4304 if large else 4096,
        "num_heads": 16,
        "out_hidden_size": hidden,
        "deepstack_visual_indexes": [8, 16, 24] if large else [5, 11, 17],
        "num_position_embeddings": 2304,
    }
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": more.pop("pairs", 8),
        "head_dim": 128,
        "intermediate_size": wide,
        "vocab_size": 151_936,
        "max_position_embeddings": 262_144,
        **more.pop("text", {}),
    }
    kind = more.pop("kind", "qwen3_vl")
    return {"model_type": kind, "text_config": text, "vision_config": vision, **more}


def _smol(hidden: int, layers: int, heads: int, pairs: int, wide: int) -> Any:
    vision = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    }
    text = {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": pairs,
        "head_dim": 64,
        "intermediate_size": wide,
        "vocab_size": 49_280,
        "max_position_embeddings": 8192,
    }
    return {
        "model_type": "smolvlm",
        "text_config": text,
        "vision_config": vision,
        "scale_factor": 4,
        "tie_word_embeddings": False,
    }


_EXPERTS = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
PUBLISHED: dict[str, Any] = {
    "Qwen/Qwen2.5-VL-32B-Instruct": _QWEN25_VL_32B,
    "Qwen/Qwen3-VL-2B-Instruct": _qwen3(2048, 28, 16, 6144, 1024, tie_word_embeddings=True),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen3(2560, 36, 32, 9728, 1024, tie_word_embeddings=True),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3(4096, 36, 32, 12_288, 1152),
    "Qwen/Qwen3-VL-32B-Instruct": _qwen3(5120, 64, 64, 25_600, 1152),
    "Qwen/Qwen3-VL-30B-A3B-Instruct": _qwen3(
        2048, 48, 32, 6144, 1152, pairs=4, kind="qwen3_vl_moe", text=_EXPERTS
    ),
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": _smol(576, 30, 9, 3, 1536),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": _smol(960, 32, 15, 5, 2560),
}
CAMERAS = ((1280, 720), (720, 1280), (640, 480), (1920, 1080), (480, 480), (641, 37))
BUDGETS = (64, 1280)
SIZED = ("qwen2_5_vl", "qwen3_vl", "glm4v")
TILED = ("smolvlm", "idefics3")


def _geometry(folder: Path, name: str, processor: object, *, filled: bool = False) -> Geometry:
    """Of a folder that has that processor's file."""
    place = folder / name
    config = {"scale_factor": 2, "vision_config": {"image_size": 364, "patch_size": 14}}
    write(place / "config.json", {"model_type": name, **(config if name == "idefics3" else {})})
    write(place / "preprocessor_config.json", processor)
    if name == "smolvlm":
        write(place / "processor_config.json", {"image_seq_len": 64})
    found = families.read_folder_geometry(place, filled=filled)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Transformers' own figures, for the questions of all tests."""
    if trouble := missing():
        pytest.skip(trouble)
    folder = tmp_path_factory.mktemp("figures")
    pictures: list[list[Any]] = []
    for name in SIZED:
        known = families.get_family(name).geometry or Geometry(28, 12_544, 11_760_000)
        for width, height in CAMERAS:
            for tokens in BUDGETS:
                high, wide = smart_resize(height, width, known, get_budget_pixels(tokens, known))
                pictures.append([name, wide, high])
    pictures += [[name, *camera] for name in TILED for camera in CAMERAS]
    pictures += [["smolvlm", *camera, -(-max(camera) // 512) * 512] for camera in CAMERAS]
    given = json.dumps({"pictures": pictures, "models": PUBLISHED})
    answered = run_module("tests.real_model.figures", env=environment(folder), given=given)
    told: dict[str, Any] = json.loads(answered)
    told["pictures"] = list(zip(pictures, told["tokens"], strict=True))
    return told


@pytest.mark.slow
def test_pictures_of_our_sizes_are_taken_as_they_are(true: dict[str, Any], tmp_path: Path) -> None:
    """The true processors leave them, and make as many tokens as told: boxes are in our pixels."""
    geometries = {name: _geometry(tmp_path, name, true["processors"][name]) for name in SIZED}
    for name in ("qwen2_5_vl", "qwen3_vl"):
        assert geometries[name] == families.get_family(name).geometry
    seen = [(asked, found) for asked, found in true["pictures"] if asked[0] in SIZED]
    assert len(seen) == len(SIZED) * len(CAMERAS) * len(BUDGETS)
    for (name, wide, high), found in seen:
        assert found == [count_visual_tokens(high, wide, geometries[name]), wide, high], (
            name,
            wide,
            high,
        )


@pytest.mark.slow
def test_pictures_cut_into_tiles_cost_what_is_told(true: dict[str, Any], tmp_path: Path) -> None:
    """As the processor cuts them by itself, and as the worker has it cut them."""
    seen = [(asked, found) for asked, found in true["pictures"] if asked[0] in TILED]
    assert len(seen) == 3 * len(CAMERAS)
    for (name, width, height, *longest), found in seen:
        made = _geometry(tmp_path, name, true["processors"][name], filled=bool(longest))
        assert made.tiles is not None
        assert count_visual_tokens(height, width, made) == found[0], (name, width, height, longest)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_catalogues_figures_are_those_of_the_published_sizes(
    true: dict[str, Any], name: str
) -> None:
    """WeightFiles to the number, memory rounded."""
    known = Catalogue.load().require(name)
    found = true["models"][name]
    assert known.parameters == found["parameters"]
    each = 4 if known.dtype == "float32" else 2
    assert known.weights_bytes == pytest.approx(each * found["parameters"], rel=0.01)
    text = found["config"]["text_config"]
    # The true layers' keys and values have so many rows.
    rows = sum(
        shape[0]
        for weight, shape in found["shapes"].items()
        if ".language_model." in weight or ".text_model." in weight
        if weight.endswith((".k_proj.weight", ".v_proj.weight"))
    )
    context = 2 * rows * min(text["max_position_embeddings"], CONTEXT)
    assert known.memory_bytes == pytest.approx(
        known.weights_bytes + context + OVERHEAD_BYTES, rel=0.02
    )
    assert known.context_length == text["max_position_embeddings"]


@pytest.mark.parametrize(
    ("stored", "dtype", "gpu", "gigabytes"),
    [
        # 16 GB of weights, 0.8 of overhead, 2.2 of context in two bytes
        ("bfloat16", "auto", False, 19.0),
        ("bfloat16", "auto", True, 19.0),
        ("bfloat16", "float32", True, 37.2),
        ("float32", "auto", False, 19.0),
        ("float32", "auto", True, 9.9),
        ("float32", "float16", False, 9.9),
        ("float32", "float32", True, 19.0),
        ("float8", "auto", True, 19.0),
    ],
)
def test_memory_goes_with_the_format(stored: str, dtype: str, gpu: bool, gigabytes: float) -> None:
    """On a GPU never more than 16 bits unless somebody says so."""
    model = MODEL.model_copy(update={"dtype": stored})
    assert compute_memory(model, dtype, gpu=gpu) == pytest.approx(gigabytes * GB, rel=1e-6)


def test_what_has_no_other_format_is_as_it_is() -> None:
    """Quantised weights, and what makes something; unknown stays so."""
    quantised = MODEL.model_copy(update={"quantization": "fp8"})
    assert compute_memory(quantised, "float32", gpu=False) == 19 * GB
    assert compute_memory(MAKER, "float32", gpu=False) == MAKER.memory_bytes
    assert compute_memory(MODEL.model_copy(update={"memory_bytes": 0}), gpu=False) == 0


# The concurrent answers of a GPU, their speed, and DEPLOY's sizes, which are computed from them


LARGE = Catalogue.load().require("large")
# An MI300X: bytes, and bytes a second
MEMORY, BANDWIDTH = 192 * GB, 5.3e12
# 64 layers, 8 pairs of heads of 128 numbers, two bytes each
TOKEN_BYTES = 64 * 8 * 128 * 2 * 2
ANSWER_TOKENS = 128


# Share of the upper bound of answers per second to plan with: prompts and pictures take time, and
# requests come in bursts.
PLANNED = 0.5
# Answers at a time that this is a share of
TOGETHER = 8


def test_deploys_table_of_sizes_follows_from_batching() -> None:
    """Questions, GPUs and processes of each row, and the figures that the text derives them from."""
    text = " ".join((ROOT / "DEPLOY.md").read_text(encoding="utf-8").split())
    weights = LARGE.weights_bytes
    free_bytes = int(MEMORY * 0.9) - weights - OVERHEAD_BYTES
    held = free_bytes // (TOKEN_BYTES * 8192)
    # One step reads all weights and makes one token of every answer.
    step = weights / BANDWIDTH

    assert f"{weights / GB:.0f} GB at 5.3 TB/s, {step * 1000:.1f} ms" in text
    assert held >= TOGETHER
    assert TOGETHER == 8
    assert "plan for half the throughput measured with eight concurrent answers" in text
    planned = TOGETHER / step / ANSWER_TOKENS * PLANNED
    assert f"GPUs ({planned:.1f} answers/s each)" in text
    rows = re.findall(r"\| ([\d,]+) \| ([\d.]+) \| (\d+) \| (\d+) \| [\d.]+ GiB \|", text)
    assert len(rows) == 5
    for people, *given in rows:
        questions = int(people.replace(",", "")) / 30
        gpus, processes = math.ceil(questions / planned), math.ceil(questions / 2)
        said = f"{questions:.1f}" if questions < 10 else f"{questions:.0f}"
        assert given == [said, str(gpus), str(processes)], people

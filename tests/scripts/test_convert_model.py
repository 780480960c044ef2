"""scripts/convert_model.py with a tiny Qwen2.5-VL that was taught colours, by the true library,
torch and transformers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from server.models import prompts
from tests.real_model.server import ASK_COLOR, COLORS, environment, missing, run_module
from tests.support.documents import ROOT
from tests.support.programs import ran

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "convert_model.py"
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Results of tests.real_model.conversions, created once in one process."""
    folder = tmp_path_factory.mktemp("conversions")
    shutil.copytree(tiny_model, folder / tiny_model.name)
    lesson = {"system": prompts.make_system_text(), "question": ASK_COLOR, "colors": COLORS}
    given, env = json.dumps(lesson), environment(folder)
    content: Found = json.loads(
        run_module("tests.real_model.conversions", folder, env=env, given=given)
    )
    return content


# The result


@pytest.mark.parametrize("form", ["fp8", "w8a8", "w4a16"])
def test_a_model_is_converted(found: Found, form: str) -> None:
    """Beside the original, its name with the form; it says how far it is and what to do with it."""
    done = found["made"][form]
    assert done["status"] == 0, done["err"]
    assert "11 of 11: model-00011-of-00011.safetensors" in done["err"]
    assert f"source-{form}" in done["err"].splitlines()[-1]


@pytest.mark.parametrize(("form", "least"), [("fp8", 0.99), ("w8a8", 0.995), ("w4a16", 0.9)])
def test_it_says_what_the_original_says(found: Found, form: str, least: float) -> None:
    """Loaded by transformers, its scores are near the original's; each colour is still named."""
    right = [f"It is {color}." for color in COLORS]
    assert found["outputs"]["original"]["answers"] == right
    assert found["outputs"][form]["likeness"] > least
    if form != "w4a16":
        # Four bits are coarse for layers of 64 columns.
        assert found["outputs"][form]["answers"] == right


@pytest.mark.parametrize("form", ["fp8", "w8a8", "w4a16"])
def test_only_the_text_layers_change(found: Found, form: str) -> None:
    """The seven linear layers of each of two layers; vision tower, embeddings, norms and the last
    layer keep every bit.
    """
    one = found["outputs"][form]
    assert len(one["changed"]) == 14
    assert all(".layers." in name and "_proj.weight" in name for name in one["changed"])
    assert any(name.startswith("visual.") for name in one["same"])
    assert "lm_head.weight" in one["same"]
    assert "model.embed_tokens.weight" in one["same"] or any(
        "embed_tokens" in n for n in one["same"]
    )
    assert one["bytes"] < found["outputs"]["original"]["bytes"]


def test_the_form_is_one_that_vllm_loads(found: Found) -> None:
    """compressed-tensors' own names of the formats; patterns name what is left out, and that hold
    for old and new names.
    """
    formats = {form: found["outputs"][form]["format"] for form in ("fp8", "w8a8", "w4a16")}
    assert formats == {"fp8": "float-quantized", "w8a8": "int-quantized", "w4a16": "pack-quantized"}
    assert found["outputs"]["fp8"]["ignore"] == ["re:.*visual.*", "re:.*lm_head"]


# --verify-only


@pytest.mark.parametrize("case", ["original", "whole", "4 bits"])
def test_whole_models_are_found_whole(found: Found, case: str) -> None:
    """A line for each shard."""
    done = found["checks"][case]
    assert done["status"] == 0, done["out"]
    assert done["out"].count(" ok\n") == 11
    assert "All shards are valid" in done["out"]
    assert ("No checksums were compared" in done["out"]) is (case == "original")


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("flipped bit", "does not match its checksum"),
        ("cut", "is damaged"),
        ("shard missing", "is missing, though model.safetensors.index.json names it"),
        ("nan", "has NaN in 64 of 64 values"),
        ("nan in 8 bits", "o_proj.weight has NaN in 4096 of 4096 values"),
        ("shape", "is [56, 64] F8_E4M3, by config.json it is [64, 64]"),
        ("dtype", "is BF16, config.json says it is quantised to F8_E4M3"),
        ("tensor missing", "lacks model."),
        ("scale", "has scales that are not above zero"),
        ("scale of nothing", "o_proj.weight is [64, 0] BF16, which does not fit"),
        ("scale of all", "o_proj.weight is [] BF16, which does not fit"),
        ("layers", "belongs to an unexpected layer; config.json says 1 layers"),
        ("no layers", 'does not contain the sizes of the text model (num_hidden_layers is "two")'),
        ("no heads", "(num_attention_heads is 0)"),
        ("text", "(hidden_size is null)"),
        ("other form, damaged", "has NaN"),
        ("stray shard", "stray.safetensors is in the folder and not in"),
    ],
)
def test_damage_is_found(found: Found, case: str, says: str) -> None:
    """Status 1, the shard and what is wrong with it, and what to do."""
    done = found["checks"][case]
    assert done["status"] == 1
    assert says in done["out"], done["out"]
    assert "Incomplete or damaged" in done["out"]
    bad = done["out"].count(" BAD\n")
    assert bad == 0 if "Besides: " in done["out"] else bad > 0


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("config", "config.json is damaged: it is not JSON"),
        ("record", "model-files.json is damaged"),
        ("folder missing", "There is no folder"),
    ],
)
def test_what_can_not_be_checked_is_said(found: Found, case: str, says: str) -> None:
    """One sentence, status 1."""
    assert found["checks"][case]["status"] == 1
    assert says in found["checks"][case]["err"]


# Trouble


@pytest.mark.parametrize(("case", "status", "shards"), [("SIGTERM", 143, 3), ("SIGINT", 130, 5)])
def test_stopped_it_keeps_what_is_done(found: Found, case: str, status: int, shards: int) -> None:
    """No model under the new name, the finished shards beside it, and a sentence that says so."""
    done = found["trouble"][case]
    assert done["status"] == status
    assert done["left"] == [False, shards]
    assert "Finished shards are kept in" in done["err"]


def test_the_second_run_goes_on_and_makes_the_same(found: Found) -> None:
    """Byte for byte what an uninterrupted run makes, and nothing is left beside it."""
    done = found["trouble"]["gone on with"]
    assert done["status"] == 0, done["err"]
    assert "Resuming: " in done["err"]
    assert "\n1 of 11" not in done["err"]
    assert done["left"] == [True, False]
    assert done["same"]


@pytest.mark.parametrize(
    ("case", "says", "left"),
    [
        ("two at a time", "Another run is using", None),
        ("two forms at a time", "Another run is using", [5]),
        ("inside", "is inside the model's folder", [False]),
        ("write fails", "could not be written", [False, True]),
        ("there already", "already exists", None),
        ("no room", "There is not enough space at", [False, False]),
        ("not writable", "cannot be written (Not a directory)", None),
        ("not ours", "exists, but was not created by this program", [False, True]),
        ("quantised already", "is already quantised", None),
        ("no folder", "There is no folder", None),
        ("shard missing", "lacks model-000", [False]),
        ("damaged", "is damaged", [False]),
        ("nan", "contains NaN or infinity: the original is damaged", [False]),
        ("another kind", "has the unknown model_type 'llava'", [False]),
    ],
)
def test_trouble_is_said(found: Found, case: str, says: str, left: list[bool] | None) -> None:
    """One sentence, status 1, nothing half done."""
    done = found["trouble"][case]
    assert done["status"] == 1
    assert says in done["err"], done["err"]
    assert "Traceback" not in done["err"]
    assert done.get("left") == left


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    """A checkout whose models' environment was never made."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "server" / "core").mkdir(parents=True)
    for name in ("__init__.py", "core/__init__.py", "core/core_dumps.py"):
        shutil.copy(ROOT / "server" / name, tmp_path / "server" / name)
    script = tmp_path / "scripts" / "convert_model.py"
    done = ran([sys.executable, str(script), "--model-path", "m", "--verify-only"])
    assert done.returncode == 1
    assert done.stderr == "torch is not installed: run `bash scripts/models.sh` first.\n"


def test_any_python_finds_the_environment_that_has_torch(tmp_path: Path) -> None:
    """Started by the one that runs the tests, which has none."""
    if lacking := missing():
        assert "REAL_MODEL_REQUIRED" not in os.environ, lacking
        pytest.skip(lacking)
    done = ran(
        [sys.executable, str(SCRIPT), "--model-path", str(tmp_path / "m"), "--verify-only"],
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no folder" in done.stderr

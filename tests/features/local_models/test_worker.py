"""A worker's parts without torch: text from tokens, a folder's files, formats and memory."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from server.features.local_models.worker.detokenize import Detokenizer
from server.features.local_models.worker.weights import (
    ModelWeights,
    choose_dtype,
    compute_memory,
    read,
)
from server.models.files import ModelFolderError
from tests.features.hosting.catalogue.test_folder import safetensors

ROOT = Path(__file__).parents[3]


# Text out of tokens


def utf8(ids: Sequence[int]) -> str:
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode("utf-8", "replace")


def words(ids: Sequence[int]) -> str:
    """One that puts spaces between its tokens, and so none before the first."""
    return " ".join(("It", "is", "red", "")[n] for n in ids).rstrip()


def test_characters_come_whole() -> None:
    """None is sent before all its tokens are there; together the pieces are the text."""
    text = "Grün 🎈 日本!"
    one = Detokenizer(utf8)
    pieces = [one.push(byte) for byte in text.encode()]
    assert "".join([*pieces, one.end()]) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert "🎈" in pieces


def test_spaces_between_tokens_are_told() -> None:
    """A space that a tokenizer puts only between tokens is not lost where the pieces meet."""
    one = Detokenizer(words)
    assert [one.push(n) for n in (0, 1, 2)] == ["It", " is", " red"]
    assert one.end() == ""


def test_tokens_that_end_within_characters() -> None:
    """However they are cut, each character is sent as soon as it is whole, and never half of one."""
    raw = ("日本語のテキスト" * 4 + "🎈🧑‍🚀").encode()
    for size in (1, 2, 4, 5, 7):
        cut = Detokenizer(
            lambda ids, size=size: b"".join(raw[n * size : (n + 1) * size] for n in ids).decode(
                "utf-8", "replace"
            )  # type: ignore[misc]
        )
        told = ""
        for number in range(-(-len(raw) // size)):
            told += cut.push(number)
            whole = raw[: (number + 1) * size].decode("utf-8", "ignore")
            assert told == whole
        assert told + cut.end() == raw.decode()


def all_or_nothing(ids: Sequence[int]) -> str:
    """One whose bytes in a row are all broken while the last character of them is."""
    try:
        return bytes(ids).decode()
    except UnicodeDecodeError:
        return "\ufffd" * len(ids)


def test_bytes_that_are_all_or_nothing() -> None:
    """Sent text stays while the next character is incomplete."""
    one = Detokenizer(all_or_nothing)
    pieces = [one.push(byte) for byte in "日本🎈é!".encode()]
    assert [piece for piece in pieces if piece] == ["日", "本", "🎈", "é", "!"]
    assert one.end() == ""


def test_rubbish_is_not_held_back_for_ever() -> None:
    """Bytes that never become a character are sent after a few tokens, and what follows them, too."""
    one = Detokenizer(utf8)
    assert any(one.push(0x80) for _ in range(20))
    assert "ok" in "".join(one.push(byte) for byte in b"ok")


def test_a_character_that_is_never_whole_is_not_told() -> None:
    """An answer that is cut within one ends before it."""
    one = Detokenizer(utf8)
    assert [one.push(byte) for byte in b"a\xf0\x9f"] == ["a", "", ""]
    assert one.end() == ""


def test_marks_without_a_text_cost_little() -> None:
    """A model that says nothing but marks, which are left out, has few of them decoded together."""
    longest = 0

    def marks(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return "".join("x" for n in ids if n)

    one = Detokenizer(marks)
    assert "".join(one.push(n % 500 == 499) for n in range(2000)) == "xxxx"
    assert longest < 200


# A folder's files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in two shards; nothing but their sizes is true of them."""
    config = {"model_type": "some_vl", "text_config": {"max_position_embeddings": 4096}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    placed = {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    safetensors(tmp_path / "one.safetensors", (8,))
    safetensors(tmp_path / "two.safetensors", (100,))
    return tmp_path


def test_a_whole_folder_tells_its_size(folder: Path) -> None:
    assert read(folder) == ModelWeights(216, "bfloat16", 2, "some_vl", 4096)
    safetensors(folder / "two.safetensors", (1000,), "F8_E4M3")
    assert read(folder) == ModelWeights(1016, "", 1, "some_vl", 4096)
    # Packed: how many numbers are in one nobody can tell, and what they take is what they take.
    safetensors(folder / "two.safetensors", (1000,), "I32")
    assert read(folder) == ModelWeights(4016, "", 2, "some_vl", 4096)


def test_a_single_file_does(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    safetensors(folder / "model.safetensors", (3,), "F32")
    (folder / "config.json").write_text('{"model_type": "some_vl"}')
    assert read(folder) == ModelWeights(12, "float32", 4, "some_vl", None)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "is not a readable folder"),
        (lambda one: (one / "config.json").unlink(), "no config.json"),
        (lambda one: (one / "config.json").write_text("{}"), "has no model_type"),
        (lambda one: (one / "two.safetensors").write_bytes(b""), "two.safetensors is damaged"),
    ],
)
def test_damage_is_a_sentence_with_what_to_do(
    folder: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=said) as raised:
        read(folder)
    assert raised.value.message.count(".") >= 2


# Formats and memory


@pytest.mark.parametrize(
    ("asked", "stored", "gpu", "bfloat16", "roomy", "chosen"),
    [
        ("auto", "bfloat16", True, True, True, "bfloat16"),
        ("auto", "bfloat16", True, False, True, "float16"),
        ("auto", "float16", True, True, True, "float16"),
        ("auto", "float32", True, True, True, "bfloat16"),
        ("float32", "bfloat16", True, True, False, "float32"),
        ("float16", "bfloat16", True, True, True, "float16"),
        ("auto", "bfloat16", False, True, True, "bfloat16"),
        ("auto", "bfloat16", False, False, True, "float32"),
        ("auto", "bfloat16", False, False, False, "bfloat16"),
        ("auto", "float32", False, True, False, "float32"),
        ("float16", "bfloat16", False, True, True, "bfloat16"),
        ("float16", "bfloat16", False, False, True, "float32"),
        ("bfloat16", "float32", False, False, True, "bfloat16"),
    ],
)
def test_the_number_format(
    asked: str, stored: str, gpu: bool, bfloat16: bool, roomy: bool, chosen: str
) -> None:
    """A format holds, but for float16 on a CPU; "auto" is quick there, and fits."""
    assert choose_dtype(asked, stored, gpu=gpu, bfloat16=bfloat16, roomy=roomy) == chosen


def test_what_a_model_needs_follows_its_format() -> None:
    """7.5 billion numbers stored in 16 bits take twice as much in 32; more than the weights is asked for, of large ones no more
    than of others.
    """
    half, whole = (compute_memory(15 * 10**9, 2, one) for one in ("bfloat16", "float32"))
    assert 16 * 10**9 < half < 18 * 10**9
    assert whole - half == 15 * 10**9
    assert compute_memory(10**9, 2, "bfloat16") < 1.4 * 10**9


def test_free_memory_knows_the_process_limit() -> None:
    """With a limit on its address space a process has no more free than is left of that."""
    script = "from server.features.local_models.worker.weights import free_ram; print(free_ram())"
    limit = 3 * 10**9

    def free(limited: bool) -> int:
        ask = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, -1));" * limited
        done = subprocess.run(
            [sys.executable, "-c", ask + script], cwd=ROOT, capture_output=True, check=True
        )
        return int(done.stdout)

    assert resource.RLIM_INFINITY == -1
    assert 10**9 < free(limited=True) < limit
    assert free(limited=False) > 0

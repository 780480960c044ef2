"""The headers of GGUF files: as llama.cpp's package writes them, cut off, and damaged."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import gguf as package
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.hosting.catalogue import gguf
from server.models.files import ModelFolderError
from tests.support.gguf_writer import write_projector, write_weights


def test_a_header_is_read(tmp_path: Path) -> None:
    """Kind and sizes; lists and the long template are left out."""
    write_weights(tmp_path / "a.gguf")
    found = gguf.read(tmp_path / "a.gguf")
    assert found.architecture == "qwen3vl"
    assert found.size == (tmp_path / "a.gguf").stat().st_size
    assert found.get_integer("qwen3vl.context_length") == 4096
    assert not found.reads_pictures
    assert not [name for name in found.fields if name.startswith("tokenizer.")]


def test_what_reads_pictures_is_told_apart(tmp_path: Path) -> None:
    write_projector(tmp_path / "any.gguf")
    found = gguf.read(tmp_path / "any.gguf")
    assert found.reads_pictures
    assert found.projector == "qwen3vl_merger"


def test_a_file_that_is_cut_off_is_named_wherever_that_is(tmp_path: Path) -> None:
    """In a sentence that says what to do, and never as a shorter model."""
    path = tmp_path / "a.gguf"
    write_weights(path)
    whole = path.read_bytes()
    for length in (*range(4, 400, 7), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ModelFolderError,
            match=r"is truncated.*Remove it, and fetch the model again: bash scripts/run\.sh --model NAME",
        ) as caught:
            gguf.read(path)
        assert str(path) in caught.value.message


def test_the_bytes_of_every_format_are_known(tmp_path: Path) -> None:
    for number, (block, size) in package.GGML_QUANT_SIZES.items():
        # Q8_1 is no format of files.
        if number is not package.GGMLQuantizationType.Q8_1:
            path = tmp_path / f"{number}.gguf"
            path.write_bytes(header(tensor=(block * 3, number, 0)) + bytes(size * 3))
            gguf.read(path)
            path.write_bytes(header(tensor=(block * 3, number, 0)) + bytes(size * 3 - 1))
            with pytest.raises(ModelFolderError, match="is truncated: it has"):
                gguf.read(path)


def text(words: bytes) -> bytes:
    return struct.pack("<Q", len(words)) + words


def header(
    *,
    version: int = 3,
    counts: tuple[int, int] = (1, 0),
    fields: bytes = b"",
    tensor: tuple[int, int, int] | None = (1, 0, 0),
) -> bytes:
    """A file's beginning. `counts`: tensors, fields; `tensor`: its numbers, type and offset."""
    found = b"GGUF" + struct.pack("<IQQ", version, *counts) + fields
    if tensor is not None:
        found += text(b"w") + struct.pack("<IQIQ", 1, *tensor)
        found += bytes(-len(found) % 32)
    return found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04" + bytes(100), "is not a GGUF file, although its name says so"),
        (header(version=1) + bytes(4), "is truncated or damaged"),
        (header(counts=(2**60, 0)), "is truncated or damaged"),
        (
            header(counts=(1, 1), fields=text(b"a") + struct.pack("<I", 77)),
            "is truncated or damaged",
        ),
        (header(counts=(1, 1), fields=struct.pack("<Q", 2**63)), "is truncated or damaged"),
        (header(tensor=(2**62, 0, 0)), "is truncated: it has"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_header_that_makes_no_sense_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFolderError) as caught:
        gguf.read(path)
    assert says in caught.value.message


@given(st.binary(max_size=200))
def test_no_bytes_make_a_header_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + content)
    with suppress(ModelFolderError):
        gguf.read(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write_weights(path, "qwen3vl")
    assert gguf.read(path).architecture == "qwen3vl"
    write_weights(path, "qwen35")
    assert gguf.read(path).architecture == "qwen35"
    path.unlink()
    with pytest.raises(ModelFolderError, match="cannot be read"):
        gguf.read(path)

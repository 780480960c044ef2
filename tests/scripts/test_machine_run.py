"""The measurement of this machine with llama.cpp's true server and a tiny model of Qwen3.5's shape."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from scripts import benchmark
from tests.support.real_llama import PROGRAM

TINY = ("--machine", "--model", "tiny", "--wait", "passive")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("LLAMA_SERVER", str(PROGRAM))
    return tmp_path


def test_it_prints_a_row_for_each_size_and_number_of_threads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes, threads = ("16", "64"), ("1", "2")
    chosen = ("--tokens", *sizes, "--threads", *threads, "--format", "Q4_K_M", "Q8_0")
    assert benchmark.main([*TINY, *chosen]) == 0
    machine, head, _, *lines = capsys.readouterr().out.splitlines()
    assert "cores" in machine
    assert "llama.cpp b" in machine
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    expected = [
        [f"tiny {form}", number, "passive", size]
        for form in ("Q4_K_M", "Q8_0")
        for number in threads
        for size in sizes
    ]
    assert [row[:4] for row in rows] == expected
    names = [cell.strip() for cell in head.strip("|").split("|")]
    for row in rows:
        figures = dict(zip(names[4:], map(float, row[4:]), strict=True))
        assert figures.pop("picture") >= 0
        assert all(number > 0 for number in figures.values())
        # The whole model is in memory: half a megabyte of it are its pictures' part.
        assert 20 < figures["MB"] < 1000
    # The models and logs are gone.
    assert not list(folder.iterdir())

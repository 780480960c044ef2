"""Decoders' true memory under hostile streams, in a process of its own for each: never more than is counted."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.decoder_memory import SCENARIOS

# What libav may hold besides what is counted, of a decoder that has seen no frame yet.
SLACK_MIB = 6.0


@functools.cache
def measured(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.decoder_memory", name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    print(name, result)
    return result


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_more_is_held_than_is_counted(name: str) -> None:
    """Resident memory at its peak, the pictures that cameras hold included."""
    found = measured(name)
    assert found["peak"] - found["before"] < found["counted"] + SLACK_MIB


def test_other_formats_never_reach_a_decoder() -> None:
    """Four cameras of 4:4:4 with 14 bits, 26 KB each, held 2,660 MiB once: all are refused, and nothing is taken."""
    found = measured("deep")
    assert found["refused"] == 4
    assert "shown" not in found
    assert found["peak"] - found["before"] < SLACK_MIB


@pytest.mark.parametrize(("name", "most"), [("reorder", 150), ("silent", 220), ("second", 150)])
def test_nothing_is_held_to_be_put_in_order(name: str, most: int) -> None:
    """What a set says of it, or nothing does, or a second set in mid-stream: four cameras held 830 MiB once."""
    found = measured(name)
    assert found["peak"] - found["before"] < most
    assert found["shown"] >= 64


def test_half_a_million_units_are_refused() -> None:
    """A frame of 2 MB held 2,030 MiB until its decoder was closed."""
    found = measured("tiny")
    assert found["error"] == 1
    assert found["peak"] - found["before"] < 15

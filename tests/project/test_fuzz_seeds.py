"""Everything that fuzzing began with or ever found, again; and some bytes that hypothesis makes up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds"


@pytest.mark.parametrize("name", TARGETS)
async def test_every_seed_is_taken_or_refused(name: str) -> None:
    """Each file of the target's folder, in one go; there are some."""
    seeds = sorted((SEEDS / name).iterdir())
    assert len(seeds) >= 2
    for seed in seeds:
        TARGETS[name](seed.read_bytes())


def test_no_seed_is_forgotten() -> None:
    """Every folder of seeds belongs to a target."""
    assert {folder.name for folder in SEEDS.iterdir()} == TARGETS.keys()


def spliced(name: str) -> st.SearchStrategy[bytes]:
    """Seeds with pieces cut out, doubled, or replaced by other bytes."""
    pieces = st.sampled_from(sorted(path.read_bytes() for path in (SEEDS / name).iterdir()))
    cut = st.tuples(pieces, st.integers(0, 200), st.integers(0, 200)).map(
        lambda chosen: chosen[0][chosen[1] : chosen[1] + chosen[2]]
    )
    return st.lists(pieces | cut | st.binary(max_size=20), min_size=1, max_size=4).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    """The same for bytes near the seeds, without atheris: tests/fuzz/run.py goes on for longer."""

    @settings(max_examples=60)
    @given(spliced(name))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()

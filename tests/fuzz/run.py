"""Coverage-guided fuzzing of one target with atheris: see scripts/fuzz.sh.

Arguments of libFuzzer follow the target.

python -m tests.fuzz.run rtp -max_total_time=60
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

SEEDS = Path(__file__).parent / "seeds"


def main() -> None:
    name = sys.argv[1]
    with atheris.instrument_imports(
        include=["server", "aiortc.rtp", "aiortc.sdp", "aioice.stun", "jose"]
    ):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    seeds = SEEDS / name
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        # New inputs go into the first folder; a crash becomes a seed.
        options = [
            f"-artifact_prefix={seeds}/",
            "-max_len=4096",
            "-timeout=5",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup([sys.argv[0], *options, *sys.argv[2:], corpus, str(seeds)], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

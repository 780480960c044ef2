"""Ask the built-in engine about drawn labels, each looked at twice: `python -m benchmarks.second_looks`.

40 pictures of 1280x720 pixels: ten labels of medicines, food and appliances in four heights of
letters, turned, softened and noisy by a seed. Each is asked about in a session of its own: the first
look at the whole, the second one at the part that the server chooses. All follows from the seeds;
only the seconds are this machine's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict

from scripts.arguments import command_line
from server.core import core_dumps


async def measure() -> None:
    """Ask about all labels, and print a row for each height of letters."""
    from tests.features.pointing.labels import asked, built, labels

    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    seconds = []
    with built() as (engine, finder):
        for label in labels():
            begun = time.perf_counter()
            response = await asked(engine, finder, label)
            seconds.append(time.perf_counter() - begun)
            told = response["text"].partition("\n\n")[0].replace(" ", "")
            right = "right" if label.value.replace(" ", "") in told else "not right"
            counts[label.height][f"{right}, {response['second_look']['result']}"] += 1
    for height, found in counts.items():
        print(f"letters of {height} px: {dict(sorted(found.items()))}")
    print(f"all: {dict(sorted(sum(counts.values(), Counter()).items()))}")
    print(f"seconds a question, median: {sorted(seconds)[len(seconds) // 2]:.1f}")


def main() -> int:
    """Run the measurement."""
    command_line(__doc__, prog="python -m benchmarks.second_looks").parse_args()
    asyncio.run(measure())
    return 0


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

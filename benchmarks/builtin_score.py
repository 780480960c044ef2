"""The built-in engine's score: photographs and drawn scenes, questions, and what it answers.

    python3 scripts/benchmark.py --builtin --rules             both halves
    python3 scripts/benchmark.py --builtin --rules --half tuning --tell   one, and each answer that is not right
    python3 scripts/benchmark.py --builtin --labels            small print: 40 pictures of labels in four heights of letters,
                                                               turned, softened and noisy by a seed, whose second look is
                                                               at the part that the server chooses

tests/features/builtin/photos/ has the photographs, their sources, and the questions with their accepted answers. Rules
and thresholds are fitted to the half for tuning alone. It takes about four minutes.

Exit status: 0 measured, 2 wrong options.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median, quantiles

from scripts.arguments import command_line
from tests.features.builtin import score
from tests.features.pointing.labels import asked as looked_at
from tests.features.pointing.labels import built, labels

HALVES = {"tuning": True, "held-out": False}


async def second_looks() -> None:
    """Ask about drawn labels, each looked at twice, and print a row for each height of letters."""
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    seconds = []
    with built() as (engine, finder):
        for label in labels():
            begun = time.perf_counter()
            response = await looked_at(engine, finder, label)
            seconds.append(time.perf_counter() - begun)
            told = response["text"].partition("\n\n")[0].replace(" ", "")
            right = "right" if label.value.replace(" ", "") in told else "not right"
            counts[label.height][f"{right}, {response['second_look']['result']}"] += 1
    for height, found in counts.items():
        print(f"letters of {height} px: {dict(sorted(found.items()))}")
    print(f"all: {dict(sorted(sum(counts.values(), Counter()).items()))}")
    print(f"seconds a question, median: {sorted(seconds)[len(seconds) // 2]:.1f}")


def main(arguments: Sequence[str]) -> int:
    parser = command_line(__doc__, prog="benchmark.py --builtin --rules")
    parser.add_argument("--half", choices=HALVES, help="this half alone")
    parser.add_argument("--tell", action="store_true", help="print the answers that are not right")
    parser.add_argument("--labels", action="store_true", help="drawn labels, each looked at twice")
    args = parser.parse_args(arguments)
    if args.labels:
        asyncio.run(second_looks())
        return 0
    took, mib = score.cost()
    took = [1000 * one for one in took]
    print(
        f"A picture: {median(took):.0f} / {quantiles(took, n=20)[-1]:.0f} ms of one core (p50 / p95); {mib:.0f} MiB\n"
    )
    for half in [args.half] if args.half else HALVES:
        asked = [one for one in score.cases() if score.tuned(one.picture) is HALVES[half]]
        judged = asyncio.run(score.answers(asked))
        pictures = len({one.picture for one in asked})
        print(f"The {half} half: {len(asked)} questions about {pictures} pictures")
        for one in judged if args.tell else ():
            if one.verdict is not score.Verdict.RIGHT:
                print(f"  {one.verdict}: {one.case.picture}: {one.case.question} -> {one.answer!r}")
        print(f"{score.table(judged)}\n", flush=True)
    return 0

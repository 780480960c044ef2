"""The built-in engine's score: photographs and drawn scenes, questions, and what it answers.

    python3 scripts/benchmark.py --builtin                     both halves
    python3 scripts/benchmark.py --builtin --half tuning --tell   one, and each answer that is not right

tests/features/builtin/photos/ has the photographs, their sources, and the questions with their accepted answers. Rules
and thresholds are fitted to the half for tuning alone. It takes about four minutes.

Exit status: 0 measured, 2 wrong options.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from statistics import median, quantiles

# go_on_inside and scripts/benchmark.py start this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import command_line
from scripts.own_environment import go_on_inside
from server.core import core_dumps

try:
    from tests.features.builtin import score
except ModuleNotFoundError as missing:
    go_on_inside(missing)

HALVES = {"tuning": True, "held-out": False}


def main() -> int:
    parser = command_line(__doc__, prog="benchmark.py --builtin")
    parser.add_argument("--half", choices=HALVES, help="this half alone")
    parser.add_argument("--tell", action="store_true", help="print the answers that are not right")
    args = parser.parse_args()
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


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

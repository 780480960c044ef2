"""Break each promise in a copy of the tree, and see that its test fails."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.breaks.promises import (
    Break,
    Outcome,
    breaks,
    copied_tree,
    page,
    promises,
    try_break,
    try_unbroken,
)

_WORDS = {promise.id: " ".join(promise.promise.split()) for promise in promises()}


def main() -> int:
    given = arguments()
    if given.page:
        print(page(), end="")
        return 0
    fast = given.quick or given.sample
    chosen = [one for one in breaks() if wanted(one, given.name) and not (fast and one.slow)]
    if not chosen:
        print("No break has these words. --list shows all.", file=sys.stderr)
        return 2
    if given.sample:
        seed = random.randrange(1_000_000) if given.seed is None else given.seed
        number = min(given.sample, len(chosen))
        print(f"{number} of {len(chosen)} breaks; again: --sample {number} --seed {seed}\n")
        chosen = random.Random(seed).sample(chosen, number)
    first, step = given.share
    chosen = chosen[first - 1 :: step]
    if given.list:
        show(chosen)
        return 0
    with copied_tree() as copy:
        if given.control and not control(chosen, copy):
            return 1
        return run(chosen, copy)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.breaks", description=__doc__)
    parser.add_argument("name", nargs="*", help="words of a promise, a break, a file or a test")
    parser.add_argument("--list", action="store_true", help="show the breaks and run nothing")
    parser.add_argument("--quick", action="store_true", help="leave out slow tests")
    parser.add_argument("--control", action="store_true", help="run each test unbroken first")
    parser.add_argument("--sample", type=int, metavar="N", help="choose N by chance, no slow ones")
    parser.add_argument("--seed", type=int, help="make the choice of --sample again")
    parser.add_argument(
        "--share",
        type=lambda text: tuple(map(int, text.split("/"))),
        default=(1, 1),
        metavar="K/N",
        help="run the Kth of N parts: each has a copy of the tree",
    )
    parser.add_argument("--page", action="store_true", help="print the promises as Markdown")
    return parser.parse_args()


def wanted(one: Break, names: list[str]) -> bool:
    texts = (_WORDS[one.promise], one.name, one.at, one.test)
    return not names or any(name.lower() in text.lower() for name in names for text in texts)


def show(chosen: list[Break]) -> None:
    for one in chosen:
        print(f"{one.promise} | {one.what} | {one.test}{' (slow)' if one.slow else ''}")


def control(chosen: list[Break], copy: Path) -> bool:
    """Run each test once on the whole copy; tell whether all pass."""
    tests = {one.test: one.slow for one in chosen}
    print("| unbroken test | result | seconds |\n|---|---|---|")
    good = True
    for test, slow in tests.items():
        outcome = try_unbroken(test, copy, slow)
        print(f"| {test} | {outcome.result.value} | {outcome.seconds:.0f} |", flush=True)
        good = explained(outcome) and good
    print()
    return good


def run(chosen: list[Break], copy: Path) -> int:
    print("| promise | break | test | result | seconds |\n|---|---|---|---|---|")
    good = True
    for one in chosen:
        outcome = try_break(one, copy)
        cells = (one.promise, one.what, one.test, outcome.result.value, f"{outcome.seconds:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)
        good = explained(outcome) and good
    return 0 if good else 1


def explained(outcome: Outcome) -> bool:
    """Tell whether the result is a good one; show the end of what pytest said where it is not."""
    if not outcome.result.good:
        print("\n".join(outcome.output.splitlines()[-30:]), file=sys.stderr, flush=True)
    return outcome.result.good


sys.exit(main())

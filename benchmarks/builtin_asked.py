"""Ask the built-in engine 400 questions that people ask a camera, and record two readers' verdicts on the answers.

    python3 scripts/benchmark.py --builtin --name after        ask the present engine; its answers go to answers-after.jsonl
    python3 scripts/benchmark.py --builtin --only 5            the first five only, printed, nothing is written
    python3 scripts/benchmark.py --builtin --sheet anna --part 1
                                                               the first 100 answers that the reader anna has to judge
    python3 scripts/benchmark.py --builtin --verdicts anna < judged.txt
                                                               keep a reader's verdicts, lines like "1a2b3c4d right"
    python3 scripts/benchmark.py --builtin --table             figures by kind from all verdicts, with 95 % intervals, the
                                                               readers' agreement, and engines compared in pairs

tests/features/builtin/asked/ has the questions, pictures, answers and verdicts; VERDICTS there defines the six words. A
sheet is shuffled, names no engine, and shows an answer that several engines gave only once. Asking takes about six
minutes.

Exit status: 0 done, 1 verdicts are missing or unknown, 2 wrong options.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path

from scripts.arguments import create_parser, make_integer_parser
from tests.features.builtin.asked.asking import ASKED, Question, ask, questions

KINDS = ("identification", "description", "reading", "other")
VERDICTS = ("right", "text", "no", "weak", "misleading", "useless")
PART = 100


Answers = Mapping[str, str]
Verdicts = Mapping[str, str]


def read_answers(folder: Path = ASKED) -> dict[str, Answers]:
    """Return each engine's answers by question id; the first engine is the one with which others are compared."""
    found = {
        path.stem.removeprefix("answers-"): {row["id"]: row["answer"] for row in _read_rows(path)}
        for path in folder.glob("answers-*.jsonl")
    }
    return dict(sorted(found.items(), key=lambda one: (one[0] != "before", one[0])))


def read_verdicts(folder: Path = ASKED) -> dict[str, Verdicts]:
    """Return each reader's verdicts by the id of the answer."""
    return {
        path.stem.removeprefix("verdicts-"): {
            row["mark"]: row["verdict"] for row in _read_rows(path)
        }
        for path in sorted(folder.glob("verdicts-*.jsonl"))
    }


def _read_rows(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_text("utf-8").splitlines():
        yield json.loads(line)


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, "utf-8")


def mark(question: str, answer: str) -> str:
    """Return the id of an answer to a question, independent of the engine."""
    return hashlib.sha256(f"{question}\n{answer}".encode()).hexdigest()[:8]


def to_judge(reader: str, folder: Path = ASKED) -> dict[str, tuple[Question, str]]:
    """Return the answers that a reader has not judged, by their ids, shuffled."""
    done = read_verdicts(folder).get(reader, {})
    found = {
        mark(one.id, given[one.id]): (one, given[one.id])
        for given in read_answers(folder).values()
        for one in questions()
        if one.id in given
    }
    return {key: found[key] for key in sorted(found) if key not in done}


def make_sheet(reader: str, part: int, folder: Path = ASKED) -> str:
    """Return a part of the answers that a reader has to judge, after the definitions of the verdicts."""
    waiting = list(to_judge(reader, folder).items())
    shown = waiting[PART * (part - 1) : PART * part]
    parts = [(folder / "VERDICTS").read_text("utf-8").rstrip()]
    for key, (one, answer) in shown:
        told = "\n".join(f"        {line}" for line in answer.split("\n")).strip()
        parts.append(
            f"{key}\npicture {one.file}\nasked   {one.question} ({one.language})\n"
            f"true    {one.truth}\nanswer  {told}"
        )
    parts.append(f"{len(shown)} of {len(waiting)} answers without a verdict of {reader}")
    return "\n\n".join(parts)


def keep(reader: str, text: str, folder: Path = ASKED) -> list[str]:
    """Add verdicts to a reader's, except verdicts on answers that are no longer stored.

    Return the lines that are not verdicts.
    """
    known = {
        mark(question, answer)
        for given in read_answers(folder).values()
        for question, answer in given.items()
    }
    found = {
        key: word for key, word in read_verdicts(folder).get(reader, {}).items() if key in known
    }
    wrong = []
    for line in filter(str.strip, text.splitlines()):
        key, _, word = line.strip().partition(" ")
        if key in known and word in VERDICTS:
            found[key] = word
        else:
            wrong.append(line)
    rows = ({"mark": key, "verdict": found[key]} for key in sorted(found))
    _write(folder / f"verdicts-{reader}.jsonl", rows)
    return wrong


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a fraction."""
    if not of:
        return 0.0, 1.0
    z, share = 1.96, count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return middle - half, middle + half


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Return Cohen's kappa of two readers' verdicts on the same answers."""
    agreed = sum(one == other for one, other in pairs) / len(pairs)
    firsts, seconds = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(firsts[word] * seconds[word] for word in firsts) / len(pairs) ** 2
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def compare_paired(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """Return the increase of the fraction over the same questions, and its 95 % confidence interval."""
    size = len(before)
    won = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    rise = (won - lost) / size
    half = 1.96 * sqrt(max(won + lost - (won - lost) ** 2 / size, 0)) / size
    return rise, rise - half, rise + half


def format_table(folder: Path = ASKED) -> str:
    """Return a table of each engine's figures by reader, the readers' agreement, and pairwise comparisons of engines."""
    every, judged, parts = read_answers(folder), read_verdicts(folder), []
    words: dict[tuple[str, str], dict[str, str]] = {
        (engine, reader): {
            question: given[key]
            for question, answer in answers_.items()
            if (key := mark(question, answer)) in given
        }
        for engine, answers_ in every.items()
        for reader, given in judged.items()
    }
    for (engine, reader), given in words.items():
        parts.append(f"{engine}, read by {reader}\n{_format_by_kind(given)}")
    for one, other in combinations(judged, 2):
        both = sorted(judged[one].keys() & judged[other].keys())
        if both:
            pairs = [(judged[one][key], judged[other][key]) for key in both]
            parts.append(f"kappa of {one} and {other}: {kappa(pairs):.2f} ({len(both)} answers)")
    for reader in judged:
        for old, new in combinations(every, 2):
            parts += _format_comparisons(
                reader, (old, words[old, reader]), (new, words[new, reader])
            )
    return (
        "\n\n".join(parts)
        or "There are no verdicts yet: --sheet READER prints the answers to judge."
    )


def _format_by_kind(given: Mapping[str, str]) -> str:
    heads = (*VERDICTS[:2], "right or text", *VERDICTS[2:], "of")
    rows = [
        f"{'':16}{heads[0]:>6}{heads[1]:>6}  {heads[2]:<22}"
        + "".join(f"{one:>12}" for one in heads[3:])
    ]
    for kind in (*KINDS, "all"):
        of = [given[one.id] for one in questions() if one.id in given and kind in (one.kind, "all")]
        counts = Counter(of)
        good = counts["right"] + counts["text"]
        rows.append(
            f"{kind:16}{counts['right']:6}{counts['text']:6}  {_share(good, len(of)):22}"
            + "".join(f"{counts[word]:12}" for word in VERDICTS[2:])
            + f"{len(of):12}"
        )
        if kind == "all":
            rows.append(f"misleading: {_share(counts['misleading'], len(of))}")
    return "\n".join(rows)


def _share(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count / max(of, 1):.1%} ({low:.1%} to {high:.1%})"


def _format_comparisons(reader: str, *engines: tuple[str, Mapping[str, str]]) -> Iterator[str]:
    (old, before), (new, after) = engines
    both = sorted(before.keys() & after.keys())
    for title, good in (("right or text", ("right", "text")), ("misleading", ("misleading",))):
        if both:
            sides = ([given[one] in good for one in both] for given in (before, after))
            rise, low, high = (100 * one for one in compare_paired(*sides))
            yield (
                f"{title}, {old} to {new}, read by {reader}: {rise:+.1f} points "
                f"({low:+.1f} to {high:+.1f}), {len(both)} questions"
            )


def main(arguments: Sequence[str]) -> int:
    parser = create_parser(__doc__, prog="benchmark.py --builtin")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--name", default="now", help="of the present engine (now)")
    does.add_argument(
        "--only",
        type=make_integer_parser(1, 400),
        metavar="N",
        help="ask only the first N, print the answers, and write nothing",
    )
    does.add_argument(
        "--sheet", metavar="READER", help="print the answers that a reader has to judge"
    )
    does.add_argument(
        "--verdicts", metavar="READER", help="read a reader's verdicts from standard input"
    )
    does.add_argument("--table", action="store_true", help="print the figures")
    parser.add_argument(
        "--part",
        type=make_integer_parser(1, 99),
        default=1,
        help=f"of the sheet, {PART} answers each (1)",
    )
    args = parser.parse_args(arguments)
    for name in (args.name, args.sheet, args.verdicts):
        if name is not None and not re.fullmatch(r"[a-z0-9-]{1,30}", name):
            parser.error(f"{name!r} is not a name of lower-case letters, digits and -")
    if args.sheet:
        print(make_sheet(args.sheet, args.part))
    elif args.verdicts:
        wrong = keep(args.verdicts, sys.stdin.read())
        for line in wrong:
            print(f"Not a verdict, or for an unknown answer: {line}", file=sys.stderr)
        left = len(to_judge(args.verdicts))
        print(f"{left} answers without a verdict of {args.verdicts}")
        return 1 if wrong or left else 0
    elif args.table:
        print(format_table())
    elif args.only:
        asyncio.run(ask(questions()[: args.only], _print))
    else:
        given: list[dict[str, str]] = []
        asyncio.run(
            ask(questions(), lambda one, said: given.append({"id": one.id, "answer": said}))
        )
        _write(ASKED / f"answers-{args.name}.jsonl", given)
        print(format_table())
    return 0


def _print(one: Question, answer: str) -> None:
    print(f"{one.id}: {one.question}\n    {answer}", flush=True)

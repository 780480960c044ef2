"""Ask an engine about objects that are not in the picture, and count the answers that it invents.

    python3 scripts/benchmark.py --truth                                          the built-in engine
    python3 scripts/benchmark.py --truth --engine-url http://127.0.0.1:8001/v1    a model server, with this program's own prompt
    python3 scripts/benchmark.py --truth --engine-url URL --wording former check  the same with other wordings, in turn
    python3 scripts/benchmark.py --truth --server-url https://cam.example.org     a running server, through a simulated camera

benchmarks/truth.toml has the 60 questions about absent objects, the 20 controls about visible objects, and the
wordings. Answers are graded by their words, without a model: an answer is right if it says that the object is absent,
an honest no if it says that it cannot tell, and otherwise invented. A model that always says no is detected by the
controls, as denied. --json writes all answers.

Exit status: 0 measured, 1 not (no engine, or it failed to answer), 2 wrong options, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from scripts.arguments import add_access_code, create_parser, parse_address
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import HttpError
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.processes import MeasurementError
from server.core.errors import EngineError
from server.core.frames import Detail, Frame, JobKind, Picture
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import BuiltinEngine
from server.media.picture.prepare import PicturePreparer
from server.models import prompts
from server.models.base import Delta, Engine, EngineRequest, ShownPicture
from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import OpenAIEngine
from server.models.prompts import make_question_messages, make_system_text
from server.models.routing import get_route
from tests.features.builtin import drawn
from tests.features.builtin.asked.asking import Once, now, pictured
from tests.features.builtin.scenes import draw, photo

Bgr = NDArray[np.uint8]
QUESTIONS = Path(__file__).with_name("truth.toml")
WORDS = Path(__file__).with_name("truth_words.toml")
GROUPS = ("exists", "property", "where", "count", "text")
# Groups of questions that a bare no answers
_BARE = ("exists", "count")
_GAP = "…"
_WORDS = re.compile(r"\d++(?:[.,:]\d++)*+|\w+|[.!?;\n。！？；,，、]")
# Anything but ends of parts and commas
_SAYS = re.compile(r"[^., ]")
_ENDS = ".!?;\n。！？；"
_COMMAS = ",，、"

# Most tokens of an answer, as in RESPONSE_MAX_TOKENS
ANSWER_TOKENS = 128
# Seconds for an answer, and until a server's rate limit allows the next request
ANSWER_SECONDS, LIMIT_SECONDS = 120.0, 15.0
# Frames of a still picture until its encoder has caught up
SETTLED_FRAMES = 12


class Verdict(StrEnum):
    RIGHT = "right"
    HONEST = "honest no"
    INVENTED = "invented"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture. `words`: for the absent object; in a control, for a right answer."""

    picture: str
    group: str
    language: str
    text: str
    words: tuple[str, ...]
    control: bool


# Asks a question; also receives its number.
Asker = Callable[[int, Question], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    question: Question
    answer: str
    verdict: Verdict


def load_picture(name: str) -> Bgr:
    """Return a photograph or a drawn scene whose sides are even numbers of pixels."""
    bgr = photo(name[:-4]) if name.endswith(".jpg") else draw(drawn.SCENES[name])
    height, width = (side // 2 * 2 for side in bgr.shape[:2])
    return np.ascontiguousarray(bgr[:height, :width])


def make_engine_asker(engine: Engine, picture_of: Callable[[str], Picture]) -> Asker:
    """Return a function that asks an engine in this process, with pictures prepared as for a session."""

    async def ask(number: int, question: Question) -> str:
        route = get_route(question.text)
        request = EngineRequest(
            f"session {number}",
            JobKind.CHAT,
            question.text,
            (ShownPicture(picture_of(question.picture)),),
            make_question_messages(question.text, make_system_text()),
            max_tokens=ANSWER_TOKENS,
            extras=(route,),
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS), aclosing(engine.answer(request)) as said:
                return "".join([piece.text async for piece in said if isinstance(piece, Delta)])
        except (EngineError, TimeoutError):
            return ""

    return ask


class StillPicture(Scene):
    """A still camera picture: a photograph in the middle of a grey background."""

    def __init__(self, bgr: Bgr) -> None:
        super().__init__()
        height, width = bgr.shape[:2]
        share = min(self.width / width, self.height / height)
        wide, high = (round(side * share) // 2 * 2 for side in (width, height))
        canvas = np.full((self.height, self.width, 3), 128, np.uint8)
        left, top = (self.width - wide) // 2, (self.height - high) // 2
        canvas[top : top + high, left : left + wide] = cv2.resize(bgr, (wide, high))
        self._planes = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGR2YUV_I420), np.uint8)

    def draw(self, epoch: float) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self._planes, format="yuv420p")


def make_server_asker(url: str, access_code: str | None) -> Asker:
    """Return a function that asks a running server, with a new session for each question."""

    async def ask_once(question: Question) -> str:
        scene = StillPicture(load_picture(question.picture))
        try:
            async with (
                LiveEncoder(scene, rate=15, bits_per_frame=200_000) as encoder,
                CameraPeer(url, encoder, access_code=access_code) as peer,
            ):
                while encoder.frames < SETTLED_FRAMES:
                    await asyncio.sleep(0.05)
                return (await peer.ask(question.text, timeout=ANSWER_SECONDS)).text
        except ConnectionClosed:
            return ""

    async def ask(number: int, question: Question) -> str:
        while True:
            try:
                return await ask_once(question)
            except HttpError as error:
                if error.reply.status != 429:
                    raise
                await asyncio.sleep(LIMIT_SECONDS)

    return ask


def _make_seen(name: str) -> Picture:
    """Return a photograph or a drawn scene, as a frame of the camera."""
    return pictured(photo(name[:-4]) if name.endswith(".jpg") else draw(drawn.SCENES[name]))


async def make_asker(args: argparse.Namespace, stack: AsyncExitStack) -> Asker:
    """Return a function that asks the chosen engine or server.

    Raises MeasurementError if the model server does not answer.
    """
    if args.server_url:
        return make_server_asker(args.server_url, args.access_code)
    if args.engine_url:
        return await _make_model_server_asker(args, stack)
    heavy = stack.enter_context(ThreadPoolExecutor(1, "truth"))
    engine = BuiltinEngine(heavy=heavy, now=now, reader=Once(), finder=ThingFinder())
    return make_engine_asker(engine, _make_seen)


async def _make_model_server_asker(args: argparse.Namespace, stack: AsyncExitStack) -> Asker:
    endpoint = Endpoint(args.engine_url, os.environ.get("VLLM_API_KEY", ""), args.model)
    # Use long time limits: nobody waits for these answers, and the first token takes long on a laptop.
    limits = TimeLimits(first_token=ANSWER_SECONDS, between_tokens=30.0, probe=30.0)
    engine = OpenAIEngine("truth", endpoint, limits=limits)
    stack.push_async_callback(engine.close)
    status = await engine.probe()
    if not status.ready:
        raise MeasurementError(status.detail)
    if not status.capabilities.images:
        raise MeasurementError(f"{status.model} does not accept pictures.")
    preparer = PicturePreparer((), low_tokens=512)

    def picture_of(name: str) -> Picture:
        bgr = load_picture(name)
        image = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
        frame = Frame("f", image, image.width, image.height, 1.0, None, 1.0, 0)
        return preparer.make(frame, engine.status.capabilities, Detail.HIGH)

    return make_engine_asker(engine, picture_of)


async def measure(
    args: argparse.Namespace, only: Sequence[Question] | None = None
) -> list[GradedAnswer]:
    """Ask the questions in `only`, or all. Raises MeasurementError and the errors of a camera's connection."""
    asked = only or read_questions()
    found = []
    async with AsyncExitStack() as stack:
        asker = await make_asker(args, stack)
        for number, question in enumerate(asked):
            if sys.stderr.isatty():
                print(f"\r{number}/{len(asked)} ", end="", file=sys.stderr, flush=True)
            answer = await asker(number, question)
            found.append(GradedAnswer(question, answer, judge_answer(question, answer)))
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return found


# Grading, pure. An answer is cut into parts at sentence ends and at words such as "but". In each
# part the patterns of a no (`truth_words.toml`) cover the words that they match, commas end a
# pattern's gap, and a part that says that something cannot be told is covered whole. The rest
# decides, strictly: whatever is neither a no nor an "I cannot tell" counts as invented.
#
# About a thing that is not there, in this order:
#     invented     it begins with yes, a word of the thing is not covered, a part guesses, or goes on about it ("but it is red")
#     right        a no was found, or it begins with one where the question wants yes, no or a number
#     honest no    it says that it cannot tell
#     invented     anything else
# About a thing that is there:
#     right        an accepted word is not covered, and it does not begin with no
#     denied       a no, or that it cannot tell
#     invented     anything else
# An empty answer has failed.


def read_questions() -> list[Question]:
    """Return all questions, those about absent objects first. Raises ValueError for an invalid one."""
    data = tomllib.loads(QUESTIONS.read_text("utf-8"))
    return [
        _parse_question(row, kind == "controls")
        for kind in ("absent", "controls")
        for row in data[kind]
    ]


def _parse_question(row: Sequence[str], control: bool) -> Question:
    if len(row) != 5 or row[1] not in GROUPS or row[2] not in _read_words() or not all(row):
        raise ValueError(f"truth.toml has {row}")
    picture, group, language, text, words = row
    return Question(picture, group, language, text, tuple(words.split()), control)


def read_wordings() -> dict[str, str]:
    """Return the available wordings by name."""
    return dict(tomllib.loads(QUESTIONS.read_text("utf-8"))["wordings"])


@cache
def _read_words() -> dict[str, dict[str, Any]]:
    return tomllib.loads(WORDS.read_text("utf-8"))


def judge_answer(question: Question, answer: str) -> Verdict:
    said = split_words(answer)
    if not _SAYS.search(said):
        return Verdict.FAILED
    read = _PatternMatches(question, said)
    return _judge_control(question, read) if question.control else _judge_absent(question, read)


def _judge_absent(question: Question, read: _PatternMatches) -> Verdict:
    invents = read.yes or read.has_uncovered_word(question.words) or read.guesses or read.goes_on
    if invents:
        return Verdict.INVENTED
    if read.denied or (read.no and question.group in _BARE):
        return Verdict.RIGHT
    return Verdict.HONEST if read.unsure else Verdict.INVENTED


def _judge_control(question: Question, read: _PatternMatches) -> Verdict:
    words = [word for word in question.words if word != "{yes}"]
    accepted = ("{yes}" in question.words and read.yes) or read.has_uncovered_word(words)
    if accepted and not read.no:
        return Verdict.RIGHT
    denied = read.no or read.denied or read.unsure
    return Verdict.DENIED if denied else Verdict.INVENTED


class _PatternMatches:
    """The marks that the words of the question's language, and the English ones, find in an answer."""

    def __init__(self, question: Question, said: str) -> None:
        codes = list(dict.fromkeys((question.language, "en")))
        tables = [_read_words()[code] for code in codes]
        for table in tables:
            said = _compile_words(table["sure"]).sub("", said)
        parts = list(_split_parts(said, tables))
        # {thing} is replaced by the subject of the question; a control has no subject.
        things = tuple(word for word in question.words if word != "{yes}")
        first = parts[0][0] if parts else ""
        self.yes = any(_is_beginning(first, table["yes"]) for table in tables)
        self.no = any(_is_beginning(first, table["no"]) for table in tables)
        self.denied = self.unsure = self.guesses = self.goes_on = False
        # Words that no pattern covers
        self._left = ""
        for part, behind_but in parts:
            noes = [
                match
                for code in codes
                for pattern in _make_patterns(code, "absent", things)
                for match in pattern.finditer(part)
            ]
            unsure = any(
                pattern.search(part)
                for code in codes
                for pattern in _make_patterns(code, "unsure", things)
            )
            self.denied |= bool(noes)
            self.unsure |= unsure
            if unsure:
                continue
            if not noes:
                framed = any(_has(part, table["frame"]) for table in tables)
                self.guesses |= not framed and any(_has(part, table["guess"]) for table in tables)
                it = any(_is_beginning(part, table["it"]) for table in tables)
                self.goes_on |= behind_but and it and not framed
            self._left += _blank_matches(part, noes)

    def has_uncovered_word(self, words: Iterable[str]) -> bool:
        """Return True if one of the words is not covered."""
        return _has(self._left, words)


def split_words(text: str) -> str:
    """Return words, numbers, commas and ends of parts in lower case, each followed by a space.

    Each Chinese character is a word.
    """
    text = text.casefold().replace("’", "'").replace("cannot", "can not")
    text = text.replace("won't", "will not").replace("can't", "can not").replace("n't", " not")
    found: list[str] = []
    for word in _WORDS.findall(text):
        if word in _ENDS:
            found.append(".")
        elif word in _COMMAS:
            found.append(",")
        elif word[0].isdigit():
            found.append(word.replace(",", "."))
        elif any("一" <= letter <= "鿿" for letter in word):
            found.extend(word)
        else:
            found.append(word)
    return "".join(f"{word} " for word in found)


def _split_parts(said: str, tables: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of an answer, each with True if a word such as "but" begins it."""
    buts = _compile_words(word for table in tables for word in table["but"])
    pieces = re.split(rf"(?<!\S)(\. |{buts.pattern})", said)
    for part, before in zip(pieces[::2], [". ", *pieces[1::2]], strict=True):
        if _SAYS.search(part):
            yield part, before != ". "


# Patterns of `truth_words.toml` as regular expressions on the words of an answer


def _make_word_pattern(choice: str) -> str:
    """Return the regular expression for a word; a word that ends in a star is a prefix."""
    star = r"\S*" if choice.endswith("*") else ""
    return re.escape(split_words(choice.removesuffix("*"))[:-1]) + star + " "


def _make_choice_pattern(choices: Iterable[str]) -> str:
    """Return the regular expression for any of these words; if there are none, it matches nothing."""
    return f"(?:{'|'.join(map(_make_word_pattern, choices)) or '(?!)'})"


def _compile_words(choices: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S){_make_choice_pattern(choices)}")


def _has(part: str, choices: Iterable[str]) -> bool:
    return _compile_words(choices).search(part) is not None


def _is_beginning(part: str, choices: Iterable[str]) -> bool:
    return re.match(rf"(?:, )*+{_make_choice_pattern(choices)}", part) is not None


@cache
def _make_patterns(code: str, kind: str, things: tuple[str, ...]) -> list[re.Pattern[str]]:
    """Return the patterns of a kind in a language.

    Each matches where a phrase begins, with the phrase as its first group.
    """
    table = _read_words()[code]
    gap = rf"(?:(?!, |{_make_choice_pattern(table['whether'])})\S+ ){{0,{table['gap']}}}"
    places = {
        _GAP: gap,
        "{thing}": _make_choice_pattern(things),
        "{frame}": _make_choice_pattern(table["frame"]),
    }
    found = []
    for pattern in table[kind]:
        pieces = re.findall(r"\([^()]*\)|\S+", pattern)
        whole = "".join(
            places.get(piece) or _make_choice_pattern(piece.strip("()").split("|"))
            for piece in pieces
        )
        found.append(re.compile(rf"(?<!\S)(?=({whole}))"))
    return found


def _blank_matches(part: str, matches: Sequence[re.Match[str]]) -> str:
    """Return the part with each word that a match covers replaced by an end of a part."""

    def kept(word: re.Match[str]) -> str:
        taken = any(one.start(1) <= word.start() < one.end(1) for one in matches)
        return ". " if taken else word[0]

    return re.sub(r"\S+ ", kept, part)


# Results


def format_table(graded: Sequence[GradedAnswer]) -> str:
    """Return the score by group and by language, followed by that of the controls."""
    absent = [one for one in graded if not one.question.control]
    controls = [one for one in graded if one.question.control]
    counted = (Verdict.RIGHT, Verdict.HONEST, Verdict.INVENTED, Verdict.FAILED)
    rows = [_format_head("not there", counted)]
    rows += [_format_row(name, absent, counted, lambda q: q.group) for name in GROUPS]
    languages = list(dict.fromkeys(one.question.language for one in graded))
    rows += [_format_row(code, absent, counted, lambda q: q.language) for code in sorted(languages)]
    rows.append(_format_row("all", absent, counted))
    of_controls = (Verdict.RIGHT, Verdict.DENIED, Verdict.INVENTED, Verdict.FAILED)
    rows += [_format_head("there", of_controls), _format_row("all", controls, of_controls)]
    return "\n".join(rows)


def _format_head(title: str, counted: Sequence[Verdict]) -> str:
    return f"{title:12}" + "".join(f"{verdict:>11}" for verdict in counted) + f"{'asked':>11}"


def _format_row(
    name: str,
    graded: Sequence[GradedAnswer],
    counted: Sequence[Verdict],
    of: Callable[[Question], str] | None = None,
) -> str:
    kept = [one for one in graded if of is None or of(one.question) == name]
    counts = Counter(one.verdict for one in kept)
    return f"{name:12}" + "".join(f"{counts[v]:11}" for v in counted) + f"{len(kept):11}"


def report(graded: Sequence[GradedAnswer]) -> dict[str, Any]:
    """Return all answers with their verdicts, and the counts."""
    counts = Counter(
        ("there " if one.question.control else "not there ") + one.verdict for one in graded
    )
    answers = [
        {**asdict(one.question), "answer": one.answer, "verdict": one.verdict} for one in graded
    ]
    return {"counts": dict(counts), "answers": answers}


def format_wrong(graded: Sequence[GradedAnswer]) -> str:
    """Return one line for each answer that is not right."""
    return "\n".join(
        f"  {one.verdict}: {one.question.picture}: {one.question.text} -> {one.answer!r}"
        for one in graded
        if one.verdict is not Verdict.RIGHT
    )


def _parse_engine_url(text: str) -> str:
    """Parse an address with a path. Raises argparse.ArgumentTypeError."""
    parse_address(text)
    return text.rstrip("/")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="benchmark.py --truth")
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--engine-url", type=_parse_engine_url, help="an OpenAI-compatible model server"
    )
    where.add_argument("--server-url", type=parse_address, help="a running server of this program")
    add("--model", default="", help="the model server's model (its first; VLLM_API_KEY: its key)")
    add_access_code(parser, os.environ.get("ACCESS_CODE") or None)
    names = read_wordings()
    add(
        "--wording",
        nargs="+",
        choices=names,
        default=[],
        help="with --engine-url: these wordings instead of the program's own",
    )
    add("--tell", action="store_true", help="print the answers that are not right")
    add("--json", type=Path, metavar="FILE", help="write all answers and verdicts")
    args = parser.parse_args(arguments)
    if args.wording and not args.engine_url:
        parser.error(
            "--wording requires --engine-url: other engines do not get the prompt of this program"
        )
    return args


def replace_wording(system: str, name: str) -> str:
    """Return the system prompt with another wording about absent objects.

    Only for this process: the server's is unchanged.
    """
    return " ".join(system.replace(prompts.GROUNDED, read_wordings()[name]).split())


def main(arguments: Sequence[str]) -> int:
    args = parse_options(arguments)
    own, results = prompts.SYSTEM, {}
    for name in args.wording or [""]:
        if name:
            prompts.SYSTEM = replace_wording(own, name)
            print(f"Wording {name}: {read_wordings()[name] or '(nothing)'}")
        try:
            graded = asyncio.run(measure(args))
        except (MeasurementError, HttpError, OSError) as error:
            # A TimeoutError has no text.
            print(f"Nothing was measured: {error or 'no answer in time'}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("Interrupted: nothing was written.", file=sys.stderr)
            return 130
        results[name or "own"] = report(graded)
        lines = [*([format_wrong(graded)] if args.tell else []), format_table(graded)]
        print("\n".join(lines), flush=True)
    if args.json:
        try:
            args.json.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", "utf-8")
        except OSError as error:
            print(f"{args.json} cannot be written: {error.strerror}.", file=sys.stderr)
            return 1
    failed = any(
        answer["verdict"] is Verdict.FAILED for one in results.values() for answer in one["answers"]
    )
    return 1 if failed else 0

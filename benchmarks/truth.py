"""Asks an engine about things that are not in the picture, and counts what it invents.

    python3 scripts/benchmark.py --truth                                          the built-in engine
    python3 scripts/benchmark.py --truth --engine-url http://127.0.0.1:8001/v1    a model server, with this program's own prompt
    python3 scripts/benchmark.py --truth --engine-url URL --wording former check  the same with other wordings, one after the other
    python3 scripts/benchmark.py --truth --server-url https://cam.example.org     a running server, through a simulated camera

benchmarks/truth.toml has the 60 questions about absent things, the 20 controls about things that are there, and the wordings.
Answers are graded by words (benchmarks/truth_grade.py): right says that it is not there, an honest no that it cannot tell, and
everything else is invented. A model that always says no shows in the controls, as denied. --json writes all answers.

Exit status: 0 measured, 1 not (no engine, or it failed to answer), 2 wrong options, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

# go_on_inside and scripts/benchmark.py start this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import address, command_line
from scripts.own_environment import go_on_inside
from server.core import core_dumps

try:
    import av
    import cv2
    import numpy as np
    from numpy.typing import NDArray
    from websockets.exceptions import ConnectionClosed

    from benchmarks import truth_grade
    from benchmarks.truth_grade import GROUPS, Question, Verdict
    from scripts.bench.camera_peer import CameraPeer
    from scripts.bench.http_json import HttpError
    from scripts.bench.live_encoder import LiveEncoder, Scene
    from server.core.errors import EngineError
    from server.core.frames import Detail, Frame, Kind, Picture, Route
    from server.features.builtin.detector import ThingFinder
    from server.features.builtin.engine import BuiltinEngine
    from server.media.picture.prepare import PicturePreparer
    from server.models import prompts
    from server.models.base import Delta, Engine, EngineRequest
    from server.models.openai.chat_client import Endpoint, TimeLimits
    from server.models.openai.engine import OpenAIEngine
    from server.models.routing import route_of
    from tests.features.builtin import drawn, score
    from tests.features.builtin.scenes import draw, photo
except ModuleNotFoundError as missing:
    go_on_inside(missing)

Bgr = NDArray[np.uint8]
# Tokens of an answer, as RESPONSE_MAX_TOKENS has them
ANSWER_TOKENS = 128
# Seconds for an answer, and until a server's limit of requests lets the next one in
ANSWER_SECONDS, LIMIT_SECONDS = 120.0, 15.0
# Frames of a still picture until its encoder has caught up
SETTLED_FRAMES = 12


class NotMeasured(Exception):
    """Why nothing could be measured, for people. Outside the tree of errors."""


class Asker(Protocol):
    """Whoever is asked."""

    async def ask(self, number: int, question: Question) -> str: ...


@dataclass(frozen=True, slots=True)
class Graded:
    question: Question
    answer: str
    verdict: Verdict


def shown(name: str) -> Bgr:
    """A photograph, or a drawn scene, with even sides."""
    bgr = photo(name[:-4]) if name.endswith(".jpg") else draw(drawn.SCENES[name])
    height, width = (side // 2 * 2 for side in bgr.shape[:2])
    return np.ascontiguousarray(bgr[:height, :width])


class OwnEngine:
    """An engine in this process, with pictures prepared as a session's are."""

    def __init__(self, engine: Engine, picture_of: Callable[[str], Picture]) -> None:
        self._engine = engine
        self._picture_of = picture_of

    async def ask(self, number: int, question: Question) -> str:
        request = EngineRequest(
            f"session {number}",
            Kind.CHAT,
            question.text,
            self._picture_of(question.picture),
            max_tokens=ANSWER_TOKENS,
            where=route_of(question.text) is Route.WHERE,
        )
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                aclosing(self._engine.answer(request)) as said,
            ):
                return "".join([piece.text async for piece in said if isinstance(piece, Delta)])
        except (EngineError, TimeoutError):
            return ""


class Still(Scene):
    """A camera's picture that stands still: a photograph in the middle of a grey ground."""

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


class RunningServer:
    """A running server. Each question has a session of its own, so that none remembers another."""

    def __init__(self, url: str, access_code: str | None) -> None:
        self._url, self._code = url, access_code

    async def ask(self, number: int, question: Question) -> str:
        while True:
            try:
                return await self._ask(question)
            except HttpError as error:
                if error.reply.status != 429:
                    raise
                await asyncio.sleep(LIMIT_SECONDS)

    async def _ask(self, question: Question) -> str:
        encoder = LiveEncoder(Still(shown(question.picture)), rate=15, bits_per_frame=200_000)
        try:
            async with CameraPeer(self._url, encoder, access_code=self._code) as peer:
                while encoder.frames < SETTLED_FRAMES:
                    await asyncio.sleep(0.05)
                return (await peer.ask(question.text, timeout=ANSWER_SECONDS)).text
        except ConnectionClosed:
            return ""
        finally:
            await encoder.close()


class Opened(AsyncExitStack):
    """Opens what is asked, and closes it."""

    async def asker(self, args: argparse.Namespace) -> Asker:
        """Raises NotMeasured when the model server does not answer."""
        if args.server_url:
            return RunningServer(args.server_url, args.access_code)
        if args.engine_url:
            return await self._model_server(args)
        heavy = self.enter_context(ThreadPoolExecutor(1, "truth"))
        engine = BuiltinEngine(
            heavy=heavy, today=lambda: score.TODAY, reader=score.Once(), finder=ThingFinder()
        )
        return OwnEngine(engine, score.seen)

    async def _model_server(self, args: argparse.Namespace) -> Asker:
        endpoint = Endpoint(args.engine_url, os.environ.get("VLLM_API_KEY", ""), args.model)
        # Patient: nobody waits for these answers, and a laptop's first token takes its time.
        limits = TimeLimits(first_token=ANSWER_SECONDS, between_tokens=30.0, probe=30.0)
        engine = OpenAIEngine("truth", endpoint, limits=limits)
        self.push_async_callback(engine.close)
        status = await engine.probe()
        if not status.ready:
            raise NotMeasured(status.detail)
        if not status.capabilities.images:
            raise NotMeasured(f"{status.model} takes no pictures.")
        preparer = PicturePreparer((), low_tokens=512)

        def picture_of(name: str) -> Picture:
            bgr = shown(name)
            image = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
            frame = Frame("f", image, image.width, image.height, 1.0, None, 1.0, 0)
            return preparer.make(frame, engine.status.capabilities, Detail.HIGH)

        return OwnEngine(engine, picture_of)

    async def __aenter__(self) -> Self:
        return self


async def measure(
    args: argparse.Namespace, questions: Sequence[Question] | None = None
) -> list[Graded]:
    """Ask these questions, or all. Raises NotMeasured and the errors of a camera's connection."""
    asked = questions or truth_grade.questions()
    found = []
    async with Opened() as opened:
        asker = await opened.asker(args)
        for number, question in enumerate(asked):
            if sys.stderr.isatty():
                print(f"\r{number}/{len(asked)} ", end="", file=sys.stderr, flush=True)
            answer = await asker.ask(number, question)
            found.append(Graded(question, answer, truth_grade.verdict(question, answer)))
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return found


def table(graded: Sequence[Graded]) -> str:
    """The score by group and by language; things that are there below it."""
    absent = [one for one in graded if not one.question.control]
    controls = [one for one in graded if one.question.control]
    counted = (Verdict.RIGHT, Verdict.HONEST, Verdict.INVENTED, Verdict.FAILED)
    rows = [_head("not there", counted)]
    rows += [_row(name, absent, counted, lambda q: q.group) for name in GROUPS]
    languages = list(dict.fromkeys(one.question.language for one in graded))
    rows += [_row(code, absent, counted, lambda q: q.language) for code in sorted(languages)]
    rows.append(_row("all", absent, counted))
    of_controls = (Verdict.RIGHT, Verdict.DENIED, Verdict.INVENTED, Verdict.FAILED)
    rows += [_head("there", of_controls), _row("all", controls, of_controls)]
    return "\n".join(rows)


def _head(title: str, counted: Sequence[Verdict]) -> str:
    return f"{title:12}" + "".join(f"{verdict:>11}" for verdict in counted) + f"{'asked':>11}"


def _row(
    name: str,
    graded: Sequence[Graded],
    counted: Sequence[Verdict],
    of: Callable[[Question], str] | None = None,
) -> str:
    kept = [one for one in graded if of is None or of(one.question) == name]
    counts = Counter(one.verdict for one in kept)
    return f"{name:12}" + "".join(f"{counts[v]:11}" for v in counted) + f"{len(kept):11}"


def report(graded: Sequence[Graded]) -> dict[str, Any]:
    """All answers with their verdicts, and the counts."""
    counts = Counter(
        ("there " if one.question.control else "not there ") + one.verdict for one in graded
    )
    answers = [
        {**asdict(one.question), "answer": one.answer, "verdict": one.verdict} for one in graded
    ]
    return {"counts": dict(counts), "answers": answers}


def told(graded: Sequence[Graded]) -> str:
    """A line for each answer that is not right."""
    return "\n".join(
        f"  {one.verdict}: {one.question.picture}: {one.question.text} -> {one.answer!r}"
        for one in graded
        if one.verdict is not Verdict.RIGHT
    )


def _engine_url(text: str) -> str:
    """An address with its path. Raises argparse.ArgumentTypeError."""
    address(text)
    return text.rstrip("/")


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line(__doc__, prog="benchmark.py --truth")
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--engine-url", type=_engine_url, help="an OpenAI-compatible model server")
    where.add_argument("--server-url", type=address, help="a running server of this program")
    add("--model", default="", help="the model server's model (its first; VLLM_API_KEY: its key)")
    add(
        "--access-code",
        default=os.environ.get("ACCESS_CODE") or None,
        help="of the running server (ACCESS_CODE of the environment)",
    )
    names = truth_grade.wordings()
    add(
        "--wording",
        nargs="+",
        choices=names,
        default=[],
        help="of --engine-url: these in place of the program's own",
    )
    add("--tell", action="store_true", help="print the answers that are not right")
    add("--json", type=Path, metavar="FILE", help="write all answers and verdicts")
    args = parser.parse_args(arguments)
    if args.wording and not args.engine_url:
        parser.error("--wording needs --engine-url: another engine gets no prompt from here")
    return args


def worded(system: str, name: str) -> str:
    """The system text with another wording of what is not there. For this process alone: people get what they got."""
    return " ".join(system.replace(prompts.GROUNDED, truth_grade.wordings()[name]).split())


def main(arguments: Sequence[str] | None = None) -> int:
    args = options(arguments)
    own, results = prompts.SYSTEM, {}
    for name in args.wording or [""]:
        if name:
            prompts.SYSTEM = worded(own, name)
            print(f"Wording {name}: {truth_grade.wordings()[name] or '(nothing)'}")
        try:
            graded = asyncio.run(measure(args))
        except (NotMeasured, HttpError, OSError) as error:
            # A TimeoutError has no text of its own.
            print(f"Nothing is measured: {error or 'no answer in time'}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("Interrupted: nothing is written.", file=sys.stderr)
            return 130
        results[name or "own"] = report(graded)
        lines = [*([told(graded)] if args.tell else []), table(graded)]
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


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

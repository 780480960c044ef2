"""Measure alerts from an event in a camera's picture to its client: delay, false alerts, and cost.

    python3 scripts/benchmark.py --watch --clips made                  clips made from the tests' photographs
    python3 scripts/benchmark.py --watch --clips FOLDER                your clips, with times.csv or times.json
    python3 scripts/benchmark.py --watch --clips VIDEOS --streamingbench QUESTIONS.csv
    ... --engine http://127.0.0.1:8001/v1     any OpenAI-compatible server; default: the built-in engine
    ... --engine stated --delay 0.3           a stand-in, which knows the truth and errs at stated rates

Each clip is played in real time as a camera over WebRTC to a server that is started here, with a watch for each of its
conditions. An alert whose frame shows the event is correct, an alert shortly before the event is premature, any other
is false. Results are written to benchmark_results/. See docs/benchmark.md for more.

Exit status: 0 measured, 1 not, 2 wrong options, 130 interrupted (what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

# go_on_inside and scripts/benchmark.py start this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
    restart_in_environment,
)
from server.core import core_dumps

try:
    from scripts.bench import program
    from scripts.bench.camera_peer import CameraPeer
    from scripts.bench.chat_client import TimedMessage
    from scripts.bench.http_json import request
    from scripts.bench.live_encoder import LiveEncoder, Scene
    from scripts.bench.processes import ServerProcess, Usage
    from scripts.bench.report import Report
    from scripts.bench.stand_in_model import StandInModel
    from server.shared.watch_answers import parse_conditions
    from tools.eyes_clips import (
        HEAD,
        ClientAlert,
        Clip,
        ClipError,
        PlayingClip,
        Score,
        make_clips,
        read_folder,
        read_streamingbench,
    )
except ModuleNotFoundError as missing:
    restart_in_environment(missing)

# Targets with the detector
P50, P95 = 0.6, 1.0
# Seconds until the watches of a clip know the state of the scene; and for pending alerts at a clip's end
SETTLES, ON_ITS_WAY = 10.0, 2.0


class Watcher(CameraPeer):
    """A camera with its session, and the alerts received, by id: watch, time of the frame, time of arrival."""

    def __init__(self, url: str, encoder: LiveEncoder) -> None:
        super().__init__(url, encoder, wake=True)
        # Seconds since the epoch
        self.alerts: dict[str, tuple[str, float, float]] = {}
        self.armed = False

    def take(self, arrived: TimedMessage) -> None:
        super().take(arrived)
        message = arrived.message
        if message["type"] == "alert":
            found = str(message["condition"]), message["at"] / 1000, arrived.at
            self.alerts.setdefault(message["id"], found)
        elif message["type"] == "watches":
            self.armed = bool(message["watches"]) and all(
                one["armed"] for one in message["watches"]
            )


@asynccontextmanager
async def watching(url: str, scene: Scene, conditions: Sequence[str]) -> AsyncIterator[Watcher]:
    """Yield a camera that shows a scene, with a watch for each condition, once the watches know the scene's state."""
    async with LiveEncoder(scene, rate=2.0) as encoder, Watcher(url, encoder) as one:
        for index, condition in enumerate(conditions):
            order = {"id": f"w{index}", "condition": condition, "repeat": True, "cooldown": 0}
            await one.send({"type": "watch", **order})
        settled = time.monotonic() + SETTLES
        while not one.armed and time.monotonic() < settled:
            await asyncio.sleep(0.1)
        yield one


class StatedModel(StandInModel):
    """A stand-in engine that answers about watches from the truth, with given error rates."""

    def __init__(self, *, delay: float, false_yes: float, false_no: float, seed: int) -> None:
        super().__init__(first_token=delay, between=0.0)
        self._false_yes, self._false_no = false_yes, false_no
        self._random = random.Random(seed)
        # Return True if a condition holds now
        self.truth: Callable[[str], bool] = lambda condition: False

    def get_answer_pieces(self, question: str, count: int) -> list[str]:
        entries = []
        for name, condition in parse_conditions(question).items():
            there = self.truth(condition)
            seen = there != (self._random.random() < (self._false_no if there else self._false_yes))
            why = "It is there." if seen else "Not there."
            entries.append({"id": name, "seen": seen, "sure": 0.9, "where": None, "why": why})
        return [json.dumps({"watches": entries})]


@dataclass(frozen=True)
class Counts:
    """The server's counters."""

    requests: float
    visual_tokens: float
    looks: float
    cpu: float

    @classmethod
    async def read_from(cls, server: ServerProcess) -> Counts:
        text = (await request("GET", f"{server.url}/metrics")).body.decode()

        def total(name: str) -> float:
            lines = re.findall(rf"^qwen_camera_{name}(?:[ {{].*)? (\S+)$", text, re.MULTILINE)
            return sum(map(float, lines))

        return cls(
            total(r'inferences_total\{kind="watch"[^}]*\}'),
            total("visual_tokens_total"),
            total(r'watch_detector_looks_total\{result="done"\}'),
            Usage.of(server.pid).cpu,
        )


@asynccontextmanager
async def served(args: argparse.Namespace, stated: StatedModel) -> AsyncIterator[ServerProcess]:
    """Yield a server with the measured engine."""
    settings = {"NAME_THINGS": "false"} if args.no_detector else {}
    if args.engine == "builtin":
        settings |= {"ENGINE": "builtin"}
    else:
        url = args.engine
        if url == "stated":
            await stated.start()
            url = stated.base_url
        settings |= {"ENGINE": "vllm", "VLLM_BASE_URL": url, "MODEL_NAME": args.model}
    try:
        async with ServerProcess(**settings) as server:
            await server.wait_for_engine(60)
            yield server
    finally:
        if args.engine == "stated":
            await stated.close()


async def play_clip(clip: Clip, server: ServerProcess, stated: StatedModel) -> Score:
    """Play one clip, with a watch for each of its conditions."""
    scene = PlayingClip(clip)
    stated.truth = lambda condition: clip.is_true(condition, time.time() - scene.begin)
    async with watching(server.url, scene, clip.conditions) as one:
        before = await Counts.read_from(server)
        scene.begin = begin = time.time()
        await asyncio.sleep(clip.seconds)
        after = await Counts.read_from(server)
        await asyncio.sleep(ON_ITS_WAY)
        alerts = [
            ClientAlert(condition, at - begin, came - begin)
            for condition, at, came in one.alerts.values()
            if at > begin
        ]
    score = Score(clip.kind)
    score.take(clip.events, alerts, clip.seconds, clip.early)
    for name in ("requests", "visual_tokens", "looks", "cpu"):
        setattr(score, name, getattr(after, name) - getattr(before, name))
    return score


def count(number: int, clips: Sequence[Clip], score: Score, scores: dict[str, Score]) -> None:
    """Print the score of a clip, and add the score to those of its class."""
    name, kind = clips[number - 1].name, clips[number - 1].kind
    scores.setdefault(kind, Score(kind)).merge(score)
    found = (
        f"{len(score.delays)} of {score.events}, {score.premature} premature, {score.false} false"
    )
    print(f"{number}/{len(clips)} {name}: {found}", file=sys.stderr, flush=True)


async def measure(
    args: argparse.Namespace, clips: Sequence[Clip], scores: dict[str, Score]
) -> None:
    stated = StatedModel(
        delay=args.delay, false_yes=args.false_yes, false_no=args.false_no, seed=args.seed
    )
    async with served(args, stated) as server:
        for index, clip in enumerate(clips, 1):
            count(index, clips, await play_clip(clip, server, stated), scores)


def measure_virtually(clips: Sequence[Clip], scores: dict[str, Score]) -> None:
    # It imports the server.
    from tools.eyes_virtual import VirtualWatches

    virtual = VirtualWatches()
    for index, clip in enumerate(clips, 1):
        count(index, clips, virtual.play(clip), scores)


def run(args: argparse.Namespace, clips: Sequence[Clip]) -> int:
    engine = (
        args.engine
        if args.engine != "stated"
        else (
            f"a stand-in that answers from the truth after {args.delay:g} s, "
            f"{args.false_yes:.0%} false yes, {args.false_no:.0%} false no"
        )
    )
    report = Report.of(
        f"Eyes to alert, {engine}{', without the detector' if args.no_detector else ''}"
        f"{', in virtual time' if args.virtual else ''}",
        args,
    )
    scores: dict[str, Score] = {}
    cut = False
    try:
        if args.virtual:
            measure_virtually(clips, scores)
        else:
            asyncio.run(measure(args, clips, scores))
    except KeyboardInterrupt:
        cut = True
    if not scores:
        raise KeyboardInterrupt
    detector = args.engine == "builtin" and not args.no_detector
    print(HEAD)
    for score in scores.values():
        print(score.to_row())
        report.rows += score.to_rows(*((P50, P95) if detector else (None, None)))
    return program.publish(report, "eyes", args) or (130 if cut else 0)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="python -m tools.eyes_to_alert")
    add, value = parser.add_argument, make_option_adder(parser)
    share = make_number_parser(0, 1)
    add("--clips", required=True, help="made, or a folder of clips")
    add("--streamingbench", type=Path, metavar="FILE", help="its questions about the clips")
    add(
        "--engine", default="builtin", help="builtin, stated, or the base URL of a server (builtin)"
    )
    add("--model", default="", help="the server's model, if it has several")
    add("--no-detector", action="store_true", help="only the model watches, without the detector")
    add(
        "--virtual",
        action="store_true",
        help="in virtual time, with only the built-in engine and no network",
    )
    add(
        "--only",
        nargs="+",
        default=[],
        help="only clips with one of these words in their names (all)",
    )
    value("--visits", make_integer_parser(0, 1000), 12, "of each thing, in made clips")
    value("--minutes", make_number_parser(0, 1e5), 1.0, "of each still class, in made clips")
    value("--delay", make_number_parser(0.001, 60), 0.3, "seconds of the stand-in")
    value("--false-yes", share, 0.02, "error rate of the stand-in")
    value("--false-no", share, 0.1, "error rate of the stand-in")
    value("--seed", int, 1, "of made clips and errors")
    program.add_output(parser)
    return parser.parse_args(arguments)


def choose_clips(args: argparse.Namespace) -> list[Clip]:
    """Return the clips that the options name. Raises NoClips."""
    if args.streamingbench is not None:
        clips = read_streamingbench(args.streamingbench, Path(args.clips))
    elif args.clips == "made":
        clips = make_clips(args.seed, args.visits, args.minutes)
    else:
        clips = read_folder(Path(args.clips))
    named = [clip for clip in clips if not args.only or any(one in clip.name for one in args.only)]
    if not named:
        raise ClipError("No clip is selected. Choose others with --only, --visits and --minutes.")
    return named


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_options(arguments)
    try:
        clips = choose_clips(args)
    except ClipError as error:
        print(error, file=sys.stderr)
        return 2
    return program.run(lambda: run(args, clips), args.output)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

"""Measure voice from end to end: a visitor with a microphone speaks, and hears the answer.

    python3 scripts/benchmark.py --voice                          a server started here; model, recogniser and voice are
                                                                  stand-ins that answer at once
    python3 scripts/benchmark.py --voice --configured-speech      the recogniser and the voice of the settings
    python3 scripts/benchmark.py --voice --server-url URL         a running server with all that it has
    python3 scripts/benchmark.py --voice --browser                latency and processor through the page in Chromium

espeak-ng speaks the sentences where it is installed; --wav gives a sentence of somebody; without either, made-up syllables
are spoken, which detectors take for speech and recognisers do not. --noise-minutes 10 gives the figure of false stops.
A local voice (SPEECH_LOCAL_MODEL) is measured alone, too, plain and optimised, with a profile of its decoder.

Results go to benchmark_results/ as JSON, CSV and, where matplotlib is installed, PNG.

Exit status: 0 measured, 1 not (or nothing was heard, or the results could not be written), 2 wrong options, 130 interrupted
(what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from config import ConfigError, load
from scripts.arguments import command_line, number, whole
from scripts.bench import plots, program
from scripts.bench.chat_client import ChatClient
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.load_run import Stop, check_health
from scripts.bench.processes import ROOT, MeasurementError, ServerProcess, StandInProcess
from scripts.bench.report import STAND_IN, Report
from scripts.bench.stand_in_speech import PROGRAM
from scripts.bench.voice_engine import LocalVoice
from scripts.bench.voice_figures import VoiceFigures
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import Speech, find_speech, hiss
from scripts.bench.voice_talk import Talk
from server.core import core_dumps

PARTS = ("turns", "pauses", "interruptions", "noise", "cpu", "engine")
# Pauses inside sentences, ms, and silences that end a turn
PAUSES = [150, 300, 450]
SILENCES = [200, 500]
ROOM_DB = -60.0
# A configured recogniser or voice may have to load its model.
_READY_SECONDS = 30.0
_LOAD_SECONDS = 600.0


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line(__doc__, prog="scripts/benchmark.py --voice", allow_abbrev=False)
    program.add_server(parser)
    add = parser.add_argument
    add("--server-pid", type=whole(1, 2**31), help="process behind --server-url, when it runs here")
    add(
        "--configured-speech",
        action="store_true",
        help="recogniser and voice of the settings in place of stand-ins",
    )
    add("--only", default="", help=f"parts to measure ({','.join(PARTS)})")
    add("--wav", type=Path, help="a recorded sentence to speak, any file of sound up to 25 s")
    add("--turns", type=whole(1, 10_000), default=20, help="spoken questions (20)")
    add(
        "--silence-ms",
        type=whole(200, 2000),
        default=200,
        help="silence that ends a turn (200, as the targets have it; the page's own is 500)",
    )
    add(
        "--pause-sentences",
        type=whole(1, 1000),
        default=5,
        help="sentences for each pause inside (5)",
    )
    add("--interruptions", type=whole(1, 1000), default=10, help="answers spoken over (10)")
    add("--noise-minutes", type=number(0.1, 600), default=0.5, help="of noise over answers (0.5)")
    add("--cpu-seconds", type=number(1, 3600), default=10, help="for each figure of the CPU (10)")
    add("--texts", type=whole(1, 1000), default=8, help="for a local voice alone (8)")
    add("--seed", type=int, default=1, help="of the camera's scene (1)")
    add("--output", type=Path, default=ROOT / "benchmark_results", help="folder for the results")
    add("--server-log", default="", help="log level of the started server (warning)")
    add("--no-plots", action="store_true", help="draw nothing")
    add("--browser", action="store_true", help="through the page (--voice --browser --help)")
    args = parser.parse_args(arguments)
    if unknown := set(filter(None, args.only.split(","))) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: {','.join(PARTS)}")
    if args.server_url and args.configured_speech:
        parser.error("--server-url has its own recogniser and voice: leave --configured-speech out")
    if args.server_pid and not args.server_url:
        parser.error("--server-pid goes with --server-url")
    return args


class VoiceRun:
    """One run; `figures` grows while it goes on."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.figures = VoiceFigures(args.silence_ms)
        self.report = Report.of(
            "qwen-camera, spoken questions and answers through a simulated visitor", args
        )
        # A stand-in took the model's place.
        self.stand_in = False
        self.cut_short = ""
        # Sentences about what was left out
        self.left_out: list[str] = []
        self._args = args

    def wanted(self, part: str) -> bool:
        return not self._args.only or part in self._args.only.split(",")

    async def measure(self) -> None:
        """Measure. Figures from before SIGINT or SIGTERM count, too.

        Raises MeasurementError, HttpError, OSError and asyncio.CancelledError.
        """
        speech = find_speech(self._args.wav)
        self.report.conditions["speech"] = speech.name
        _say(f"speaking with {speech.name}")
        async with contextlib.AsyncExitStack() as stack:
            stop = stack.enter_context(Stop())
            stop.task = asyncio.create_task(self._all(stack, speech), name="voice")
            try:
                await stop.task
            except (ConnectionClosed, InvalidHandshake) as error:
                raise MeasurementError(f"the server closed the socket ({error})") from None
            except asyncio.CancelledError:
                if not stop.asked:
                    raise
                self.cut_short = "interrupted"
            finally:
                stop.task = None

    async def _all(self, stack: contextlib.AsyncExitStack, speech: Speech) -> None:
        if any(self.wanted(part) for part in PARTS if part != "engine"):
            await self._with_server(stack, speech)
        if self.wanted("engine"):
            await self._engine()

    async def _with_server(self, stack: contextlib.AsyncExitStack, speech: Speech) -> None:
        args = self._args
        url, pid, stand_in = args.server_url, args.server_pid, None
        if url is None:
            _say("starting a server and stand-ins")
            stand_in = await stack.enter_async_context(StandInProcess(program=PROGRAM))
            self.stand_in = True
            server = await stack.enter_async_context(
                ServerProcess(**_environment(args, stand_in.base_url))
            )
            await server.wait_for_engine()
            url, pid = server.url, server.pid
        self.report.conditions["health"] = await check_health(url)
        await _speech_ready(url, args)
        for wake in (True, False):
            # A question wakes the camera, whose frames would count as the microphone's.
            parts = self._parts(args) if wake else self._cpu(args, pid)
            if not parts:
                continue
            encoder = LiveEncoder(Scene(seed=args.seed))
            try:
                peer = VoicePeer(url, encoder, wake=wake, access_code=args.access_code)
                async with peer:
                    await peer.wait_for(
                        lambda m: m["type"] == "status" and m.get("camera") == "live", since=0
                    )
                    peer.microphone.room = hiss(10, ROOM_DB)
                    talk = Talk(peer, speech, self.figures, stand_in=stand_in, pid=pid, say=_say)
                    self._note(peer.ready)
                    for part in parts:
                        await part(talk)
            finally:
                await encoder.close()

    def _parts(self, args: argparse.Namespace) -> list[Callable[[Talk], Any]]:
        parts: dict[str, Callable[[Talk], Any]] = {
            "turns": lambda talk: talk.turns(args.turns),
            "pauses": lambda talk: talk.pauses(args.pause_sentences, PAUSES, SILENCES),
            "interruptions": partial(self._with_voice, lambda talk: talk.interruptions(args.interruptions)),
            "noise": partial(self._with_voice, lambda talk: talk.noise(args.noise_minutes)),
        }  # fmt: skip
        return [part for name, part in parts.items() if self.wanted(name)]

    def _cpu(self, args: argparse.Namespace, pid: int | None) -> list[Callable[[Talk], Any]]:
        if not self.wanted("cpu"):
            return []
        if pid is None:
            self.left_out.append("The processor was not measured: --server-pid names its process.")
            return []
        return [lambda talk: talk.cores(args.cpu_seconds)]

    async def _with_voice(self, part: Callable[[Talk], Any], talk: Talk) -> None:
        if talk.speaks:
            await part(talk)

    def _note(self, ready: dict[str, Any]) -> None:
        speech = {**ready["features"].get("voice_in", {}), **ready["features"].get("voice_out", {})}
        about = ("engine", "model", "recogniser", "voice", "microphone")
        self.report.conditions["engine"] = {key: (ready | speech).get(key) for key in about}
        if not speech.get("voice"):
            text = "The server has no voice (SPEECH_BASE_URL): nothing was heard or spoken over."
            if text not in self.left_out:
                self.left_out.append(text)

    async def _engine(self) -> None:
        try:
            settings: Any = await asyncio.to_thread(load)
        except ConfigError as error:
            self.left_out.append(f"A local voice was not looked for: {error.message}")
            return
        if settings.speech_local_model is None:
            return
        _say("measuring the local voice, plain and optimised")
        voice = LocalVoice(
            settings.speech_local_model,
            str(settings.speech_python or settings.engine_python or sys.executable),
            settings.speech_local_options,
            settings.speech_voice,
        )
        self.figures.engine, found = await voice.measure(self._args.texts)
        self.report.more["local_voice"] = found


def _environment(args: argparse.Namespace, base_url: str) -> dict[str, str]:
    environment = {"ENGINE": "vllm", "VLLM_BASE_URL": base_url, "MICROPHONE": "true"}
    if not args.configured_speech:
        environment |= {
            "SPEECH_BASE_URL": base_url,
            "SPEECH_MODEL": "stand-in",
            "SPEECH_SOCKET": "false",
            "SPEECH_LOCAL_MODEL": "",
            "TRANSCRIPTION_BASE_URL": base_url,
            "TRANSCRIPTION_MODEL": "stand-in",
            "TRANSCRIPTION_REALTIME": "false",
            "TRANSCRIPTION_LOCAL_MODEL": "",
        }
    if args.server_log:
        environment["LOG_LEVEL"] = args.server_log
    return environment


async def _speech_ready(url: str, args: argparse.Namespace) -> None:
    """Wait until a server can be asked by voice, and has the voice that is configured for it.

    Raises MeasurementError when it cannot.
    """
    seconds, voice = 0.0, False
    if args.configured_speech:
        settings: Any = await asyncio.to_thread(load)
        seconds = _LOAD_SECONDS
        voice = bool(settings.speech_base_url or settings.speech_local_model)
    elif args.server_url is None:
        seconds, voice = _READY_SECONDS, True
    end = time.monotonic() + seconds
    while True:
        client = ChatClient(url, access_code=args.access_code)
        try:
            await client.open_socket()
            ready = client.ready
        finally:
            await client.close_socket()
        features = ready["features"]
        listens = features.get("voice_in", {})
        if not listens.get("microphone"):
            raise MeasurementError(
                "the server takes no microphone: it is switched off (MICROPHONE)"
            )
        hears = listens.get("recogniser") or ready["capabilities"].get("audio_in")
        if hears and (features.get("voice_out", {}).get("voice") or not voice):
            return
        if time.monotonic() >= end:
            if hears:
                raise MeasurementError(f"the voice was not ready within {seconds:.0f} s")
            raise MeasurementError(
                "nothing at the server makes words of speech, and its engine does not hear: "
                "set TRANSCRIPTION_BASE_URL or TRANSCRIPTION_LOCAL_MODEL, or leave --configured-speech out"
            )
        await asyncio.sleep(1)


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def measure(args: argparse.Namespace) -> int:
    run = VoiceRun(args)
    asyncio.run(run.measure())
    figures, report = run.figures, run.report
    if not figures.measured:
        print("Nothing was measured: nothing is written.", file=sys.stderr)
        return 130 if run.cut_short else 1
    report.rows += figures.rows()
    report.more |= {"interrupted": run.cut_short, **figures.as_json()}
    report.close()
    words = "\n".join([*run.left_out, *([STAND_IN] if run.stand_in else [])])
    status = program.publish(
        report,
        "voice",
        args,
        words,
        lambda stem: figures.write_turns(stem.with_name(f"{stem.name}-turns.csv")),
        lambda stem: [plots.draw_voice(figures, stem.with_name(f"{stem.name}-latency.png"))],
    )
    if run.cut_short:
        return status or 130
    return status if not figures.turns or figures.whole else 1


def main(arguments: Sequence[str]) -> int:
    args = options(arguments)
    try:
        return program.run(lambda: measure(args), args.output)
    except ConfigError as error:
        print(error.message, file=sys.stderr)
        return 2


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main(sys.argv[1:]))

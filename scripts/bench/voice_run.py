"""Measure voice from end to end: a visitor with a microphone speaks, and hears the answer.

    python3 scripts/benchmark.py --voice                          a server started here; model, recogniser and voice are
                                                                  stand-ins that answer at once
    python3 scripts/benchmark.py --voice --configured-speech      the recogniser and the voice of the settings
    python3 scripts/benchmark.py --voice --server-url URL         a running server with all that it has
    python3 scripts/benchmark.py --voice --browser                latency and processor through the page in Chromium

espeak-ng speaks the sentences if it is installed; --wav names a recorded sentence; without either, imitated syllables
are spoken, which detectors accept as speech, but recognisers do not. --noise-minutes 10 measures false stops.
A local voice (SPEECH_LOCAL_MODEL) is also measured alone, plain and optimised, with a profile of its decoder.
Results go to benchmark_results/ as JSON, CSV and, if matplotlib is installed, PNG.

Exit status: 0 measured, 1 not (or nothing was heard, or the results could not be written), 2 wrong options, 130 interrupted
(what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from config import ConfigError, load
from scripts.arguments import (
    ROOT,
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
)
from scripts.bench import program
from scripts.bench.chat_client import ChatClient
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.load_run import check_health
from scripts.bench.processes import MeasurementError, ServerProcess, StandInProcess
from scripts.bench.program import say
from scripts.bench.report import STAND_IN, Report, Row, Spread
from scripts.bench.voice_figures import VoiceFigures
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import Speech, find_speech, make_hiss
from scripts.bench.voice_talk import Talk

PARTS = ("turns", "pauses", "interruptions", "noise", "cpu", "engine")
# Pauses inside sentences, ms, and silences that end a turn
PAUSES = [150, 300, 450]
SILENCES = [200, 500]
ROOM_DB = -60.0
# A configured recogniser or voice may have to load its model.
_READY_SECONDS = 30.0
_LOAD_SECONDS = 600.0
# A local voice's loading and compiling take minutes.
_ENGINE_SECONDS = 1800.0
# Options of a local voice in place of the configured ones, by the name of the row
WAYS = {
    "plain": "use_compile=off use_cuda_graphs=off",
    "optimised": "use_compile=on use_cuda_graphs=on",
}


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="scripts/benchmark.py --voice", allow_abbrev=False)
    program.add_server(parser)
    add, value = parser.add_argument, make_option_adder(parser)
    add(
        "--server-pid",
        type=make_integer_parser(1, 2**31),
        help="process ID of the server at --server-url, if it runs on this machine",
    )
    add(
        "--configured-speech",
        action="store_true",
        help="use the recogniser and voice of the settings instead of stand-ins",
    )
    add("--only", default="", help=f"parts to measure ({','.join(PARTS)})")
    add("--wav", type=Path, help="a recorded sentence to speak, any file of sound up to 25 s")
    value("--turns", make_integer_parser(1, 10_000), 20, "spoken questions")
    add(
        "--silence-ms",
        type=make_integer_parser(200, 2000),
        default=200,
        help="silence that ends a turn (200, as in the targets; the page uses 500)",
    )
    value(
        "--pause-sentences",
        make_integer_parser(1, 1000),
        5,
        "number of sentences for each length of pause",
    )
    value("--interruptions", make_integer_parser(1, 1000), 10, "answers spoken over")
    value("--noise-minutes", make_number_parser(0.1, 600), 0.5, "of noise over answers")
    value("--cpu-seconds", make_number_parser(1, 3600), 10, "for each figure of the CPU")
    value("--texts", make_integer_parser(1, 1000), 8, "for a local voice alone")
    value("--seed", int, 1, "of the camera's scene")
    program.add_output(parser, plots=True)
    add("--server-log", default="", help="log level of the started server (warning)")
    add("--browser", action="store_true", help="through the page (--voice --browser --help)")
    args = parser.parse_args(arguments)
    program.choose_parts(parser, args, "--voice", PARTS)
    if args.server_url and args.configured_speech:
        parser.error("--server-url has its own recogniser and voice: remove --configured-speech")
    if args.server_pid and not args.server_url:
        parser.error("--server-pid requires --server-url")
    return args


Part = Callable[[Talk], Coroutine[Any, Any, None]]


class VoiceRun:
    """One run; `figures` grows during it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.figures = VoiceFigures(args.silence_ms)
        self.report = Report.of(
            "qwen-camera, spoken questions and answers through a simulated visitor", args
        )
        # A stand-in replaced the model.
        self.stand_in = False
        # Sentences about the parts that were not measured
        self.left_out: list[str] = []
        self._args = args

    async def measure(self) -> bool:
        """Measure. Return False if SIGINT or SIGTERM ended it early; the figures measured before are kept.

        Raises MeasurementError, HttpError, OSError and asyncio.CancelledError.
        """
        speech = find_speech(self._args.wav)
        self.report.conditions["speech"] = speech.name
        say(f"speaking with {speech.name}")
        try:
            return await program.run_until_signal(self._measure_all(speech))
        except (ConnectionClosed, InvalidHandshake) as error:
            raise MeasurementError(f"the server closed the socket ({error})") from None

    async def _measure_all(self, speech: Speech) -> None:
        if self._args.only != ["engine"]:
            async with contextlib.AsyncExitStack() as stack:
                await self._with_server(stack, speech)
        if "engine" in self._args.only:
            await self._measure_engine()

    async def _with_server(self, stack: contextlib.AsyncExitStack, speech: Speech) -> None:
        args = self._args
        url, pid, stand_in = args.server_url, args.server_pid, None
        if url is None:
            say("starting a server and stand-ins")
            stand_in = await stack.enter_async_context(StandInProcess())
            self.stand_in = True
            settings = _make_settings(args, stand_in.base_url)
            server = await stack.enter_async_context(
                ServerProcess.for_model(stand_in, level=args.server_log, **settings)
            )
            await server.wait_for_engine()
            url, pid = server.url, server.pid
        self.report.conditions["health"] = await check_health(url)
        await _wait_speech_ready(url, args)
        for wake in (True, False):
            # A question wakes the camera, whose frames would count as the microphone's.
            parts = self._list_parts() if wake else self._list_cpu_parts(pid)
            if not parts:
                continue
            async with (
                LiveEncoder(Scene(seed=args.seed)) as encoder,
                VoicePeer(url, encoder, wake=wake, access_code=args.access_code) as peer,
            ):
                await peer.wait_live()
                peer.microphone.room = make_hiss(10, ROOM_DB)
                talk = Talk(peer, speech, self.figures, stand_in=stand_in)
                self._note(peer.ready)
                for part in parts:
                    await part(talk)

    def _list_parts(self) -> list[Part]:
        args = self._args
        parts: dict[str, Part] = {
            "turns": lambda talk: talk.ask_turns(args.turns),
            "pauses": lambda talk: talk.say_pauses(args.pause_sentences, PAUSES, SILENCES),
            "interruptions": lambda talk: talk.interrupt_answers(args.interruptions),
            "noise": lambda talk: talk.play_noise(args.noise_minutes),
        }
        return [part for name, part in parts.items() if name in args.only]

    def _list_cpu_parts(self, pid: int | None) -> list[Part]:
        if "cpu" not in self._args.only:
            return []
        if pid is None:
            self.left_out.append(
                "The processor time was not measured: name the server's process with --server-pid."
            )
            return []
        return [lambda talk: talk.measure_cores(pid, self._args.cpu_seconds)]

    def _note(self, ready: dict[str, Any]) -> None:
        speech = {**ready["features"].get("voice_in", {}), **ready["features"].get("voice_out", {})}
        about = ("engine", "model", "recogniser", "voice", "microphone")
        self.report.conditions["engine"] = {key: (ready | speech).get(key) for key in about}
        text = "The server has no voice (SPEECH_BASE_URL), so speech and interruptions were not measured."
        if not speech.get("voice") and text not in self.left_out:
            self.left_out.append(text)

    async def _measure_engine(self) -> None:
        try:
            settings: Any = await asyncio.to_thread(load)
        except ConfigError as error:
            self.left_out.append(f"The local voice was not measured: {error.message}")
            return
        if settings.speech_local_model is None:
            return
        say("measuring the local voice, plain and optimised")
        found = self.report.more["local_voice"] = {}
        for way, options in WAYS.items():
            found[way] = one = await measure_local_voice(settings, options, self._args.texts)
            self.figures.engine += make_engine_rows(way, one)


async def measure_local_voice(settings: Any, options: str, texts: int) -> dict[str, Any]:
    """Let the configured local voice speak this number of texts, and return its measurements. Raises MeasurementError."""
    process = await asyncio.create_subprocess_exec(
        str(settings.speech_python or settings.engine_python or sys.executable),
        *("-m", "server.features.voice_out.worker"),
        *("--model", str(settings.speech_local_model), "--voice", settings.speech_voice),
        *("--options", f"{settings.speech_local_options} {options}", "--measure", str(texts)),
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _ENGINE_SECONDS)
    except TimeoutError:
        text = f"the local voice produced no result within {_ENGINE_SECONDS:.0f} s"
        raise MeasurementError(text) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        words = err.decode(errors="replace").strip().splitlines()[-1:]
        raise MeasurementError(f"the local voice failed: {' '.join(words)[:300]}")
    found: dict[str, Any] = json.loads(out)
    return found


def make_engine_rows(way: str, found: dict[str, Any]) -> list[Row]:
    """Return the rows of the worker's own measurements (voice_out/worker)."""
    texts, name = found["texts"], f"local voice, {way}"
    first = Spread.of(text["first"] * 1000 for text in texts)
    late = Spread.of(x * 1000 for text in texts for x in text["lateness"])
    seconds, sound = (sum(text[of] for text in texts) for of in ("seconds", "sound"))
    underruns = float(sum(text["underruns"] for text in texts))
    early = "negative: it arrived before it was needed"
    stages = sorted(found["stages"].items(), key=lambda pair: -pair[1])
    total = sum(found["stages"].values())
    return [
        Row(f"{name}: text → first chunk", "ms", first, note="; ".join(found["notes"])),
        Row(f"{name}: real-time factor", "", value=seconds / sound if sound else None),
        Row(f"{name}: chunk against the end of the sound before it", "ms", late, note=early),
        Row(f"{name}: underruns in {sound:.0f} s of sound", "", value=underruns),
        *(
            Row(f"{name}: {stage}", "% of its time", value=100 * value / total)
            for stage, value in stages
            if total
        ),
    ]


def _make_settings(args: argparse.Namespace, base_url: str) -> dict[str, str]:
    if args.configured_speech:
        return {"MICROPHONE": "true"}
    return {
        "MICROPHONE": "true",
        "SPEECH_BASE_URL": base_url,
        "SPEECH_MODEL": "stand-in",
        "SPEECH_SOCKET": "false",
        "SPEECH_LOCAL_MODEL": "",
        "TRANSCRIPTION_BASE_URL": base_url,
        "TRANSCRIPTION_MODEL": "stand-in",
        "TRANSCRIPTION_REALTIME": "false",
        "TRANSCRIPTION_LOCAL_MODEL": "",
    }


async def _wait_speech_ready(url: str, args: argparse.Namespace) -> None:
    """Wait until the server's recogniser and voice, as configured, are ready. Raises MeasurementError."""
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
            raise MeasurementError("the server does not accept microphones: MICROPHONE is off")
        hears = listens.get("recogniser") or ready["capabilities"].get("audio_in")
        if hears and (features.get("voice_out", {}).get("voice") or not voice):
            return
        if time.monotonic() >= end:
            if hears:
                raise MeasurementError(f"the voice was not ready within {seconds:.0f} s")
            raise MeasurementError(
                "the server has no speech recogniser, and its engine does not accept sound: set"
                " TRANSCRIPTION_BASE_URL or TRANSCRIPTION_LOCAL_MODEL, or remove --configured-speech"
            )
        await asyncio.sleep(1)


def measure(args: argparse.Namespace) -> int:
    run = VoiceRun(args)
    cut = not asyncio.run(run.measure())
    figures, report = run.figures, run.report
    if not figures.measured:
        print("Nothing was measured, so nothing was written.", file=sys.stderr)
        return 130 if cut else 1
    report.rows += figures.to_rows()
    report.more |= {"interrupted": "interrupted" if cut else "", **figures.to_json()}
    words = "\n".join([*run.left_out, *([STAND_IN] if run.stand_in else [])])
    status = program.publish(report, "voice", args, words, figures.get_panels())
    if cut:
        return status or 130
    return status if not figures.turns or figures.whole else 1


def main(arguments: Sequence[str]) -> int:
    args = parse_options(arguments)
    try:
        return program.run(lambda: measure(args), args.output)
    except ConfigError as error:
        print(error.message, file=sys.stderr)
        return 2

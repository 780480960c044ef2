"""Process of a local voice: load one model, then speak the texts from standard input until it ends.

Frames (see `server.shared.processes.wire`) are sent in both directions. In: `speak` (id, text, language) and `cancel`
(id). Out: `note` (text) for each option that cannot be applied, then `ready` (rate) or
`failed` (message); then for each text `chunk` (id; the payload is PCM, 16 bits, little-endian) and
`end` (id, frames) or `error` (id, message). Output of libraries goes to standard error.

With `--measure` it speaks built-in sentences instead, and writes their timings as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from server.core import core_dumps
from server.features.voice_out.worker.qwen3_tts import QwenVoice, SpeakError, load
from server.features.voice_out.worker.streaming import SynthesisOptions
from server.shared.processes.wire import Channel, WorkerJobs, claim_output, exit_process, get_origin


def run_jobs(speaker: QwenVoice, channel: Channel, jobs: WorkerJobs) -> NoReturn:
    while True:
        message, stop = jobs.next_job()
        id = message.header["id"]
        if stop.is_set():
            jobs.finish(id, "end", frames=0)
            continue
        try:
            frames = speaker.speak(
                message.header["text"],
                language=message.header["language"],
                stop=stop,
                emit=partial(channel.send, "chunk", id=id),
            )
        except SpeakError as error:
            jobs.finish(id, "error", message=str(error))
        except Exception as error:  # noqa: BLE001
            # Libraries may raise any exception: this text fails, and the next may succeed.
            print(f"speaking failed: {get_origin(error)}", file=sys.stderr)
            jobs.finish(id, "error", message=f"The model failed ({type(error).__name__}).")
        else:
            jobs.finish(id, "end", frames=frames)


def run(
    folder: Path, options: SynthesisOptions, voice: str, channel: Channel, jobs: WorkerJobs
) -> int:
    """Load the model and serve jobs. Return the exit status if loading fails."""
    if not (folder / "config.json").is_file():
        failed = f"No model found in {folder}: config.json is missing. Set SPEECH_LOCAL_MODEL to a model's folder."
    else:
        try:
            speaker = load(folder, options, voice, lambda text: channel.send("note", text=text))
            # Speak once, to detect failures before `ready` and to warm up for the first text.
            speaker.speak("Hi.", language=None, stop=_SetAfterChecks(2), emit=lambda _: None)
        except SpeakError as error:
            failed = str(error)
        except ImportError as error:
            failed = (
                f"{sys.executable} cannot load qwen-tts ({error}). Install it there (pip install qwen-tts), or set"
                " SPEECH_PYTHON to a Python that has it."
            )
        except Exception as error:  # noqa: BLE001
            # Broken files may raise any exception; no person's text can be in the error yet.
            words = " ".join(str(error).split())[:300]
            failed = f"The model could not be loaded ({type(error).__name__}: {words})."
        else:
            channel.send("ready", rate=speaker.rate)
            run_jobs(speaker, channel, jobs)
    channel.send("failed", message=failed)
    return 1


def run_measurement(
    folder: Path, options: SynthesisOptions, voice: str, texts: int, out: BinaryIO
) -> int:
    """Load the model and write a measurement to `out` as JSON. Return the exit status."""
    notes: list[str] = []
    try:
        speaker = load(folder, options, voice, notes.append)
        # Warm up with the first text.
        speaker.speak("Hi.", language=None, stop=threading.Event(), emit=lambda _: None)
        found = measure(speaker, texts, notes, inside=not options.quick_decoder)
    except (SpeakError, ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    out.write(json.dumps(found).encode())
    out.flush()
    return 0


class _SetAfterChecks(threading.Event):
    """Event that is set after `times` calls of `is_set`."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def is_set(self) -> bool:
        self._times -= 1
        return self._times < 0


# Sentences typical of answers
TEXTS = (
    "I see a red cup on a wooden table, next to a newspaper.",
    "The label says: best before the fourteenth of March.",
    "There are three people near the door, and one of them is waving.",
    "Yes, the light is green.",
)
_PREDICTOR = "talker: code predictor"


def measure(speaker: Any, texts: int, notes: list[str], *, inside: bool) -> dict[str, Any]:
    """Speak `texts` sentences and return the timings of each; then one more, for the seconds per stage.

    `inside`: also measure the decoder's stages, which a compiled one does not have.
    """
    spoken = [_measure_text(speaker, text) for text in islice(cycle(TEXTS), texts)]
    stages: dict[str, float] = {}
    with _time_stages(speaker, stages, inside):
        # Separate from the others, because waiting for each stage takes time itself.
        total = _measure_text(speaker, TEXTS[0])["seconds"]
    return {
        "rate": speaker.rate,
        "notes": notes,
        "texts": spoken,
        "stages": compute_exclusive_times(stages, total),
    }


def _measure_text(speaker: Any, text: str) -> dict[str, Any]:
    chunks: list[tuple[float, float]] = []
    begin = time.perf_counter()
    frames = speaker.speak(
        text,
        language="en",
        stop=threading.Event(),
        emit=lambda pcm: chunks.append((time.perf_counter() - begin, len(pcm) / 2 / speaker.rate)),
    )
    seconds = time.perf_counter() - begin
    lateness, underruns = measure_lateness(chunks)
    return {
        "frames": frames,
        "seconds": seconds,
        "sound": sum(length for _, length in chunks),
        "first": chunks[0][0] if chunks else seconds,
        "chunks": [at for at, _ in chunks],
        "lateness": lateness,
        "underruns": underruns,
    }


def measure_lateness(chunks: list[tuple[float, float]]) -> tuple[list[float], int]:
    """Return each chunk's lateness in seconds (negative: early) after the first, and the number of gaps.

    `chunks`: time of arrival and length of sound, seconds; playback starts with the first.
    """
    lateness: list[float] = []
    underruns, due = 0, 0.0
    for number, (at, length) in enumerate(chunks):
        if number:
            lateness.append(at - due)
            underruns += at > due
        due = max(due, at) + length
    return lateness, underruns


@contextmanager
def _time_stages(speaker: Any, stages: dict[str, float], inside: bool) -> Iterator[None]:
    """Sum the time of each part of the model in `stages`, seconds. Synchronises the GPU at each part."""

    def add(name: str, began: float) -> None:
        stages[name] = stages.get(name, 0.0) + _get_time() - began

    with ExitStack() as stack:

        def watch(name: str, part: Any) -> None:
            began: list[float] = []
            stack.callback(
                part.register_forward_pre_hook(lambda *_: began.append(_get_time())).remove
            )
            stack.callback(part.register_forward_hook(lambda *_: add(name, began.pop())).remove)

        def count(owner: Any, method: str, name: str) -> None:
            whole = getattr(owner, method)

            def counted(codes: Any) -> Any:
                began = _get_time()
                try:
                    return whole(codes)
                finally:
                    add(name, began)

            stack.callback(setattr, owner, method, whole)
            setattr(owner, method, counted)

        watch("talker", speaker.talker)
        watch(_PREDICTOR, speaker.talker.code_predictor)
        count(speaker, "decode", "decoder")
        if inside:
            decoder = speaker.decoder
            count(decoder.quantizer, "decode", "decoder: codes to vectors")
            watch("decoder: first convolution", decoder.pre_conv)
            watch("decoder: transformer", decoder.pre_transformer)
            for blocks in decoder.upsample:
                for block in blocks:
                    watch("decoder: upsampling", block)
            for number, block in enumerate(decoder.decoder):
                watch(f"decoder: block {number}", block)
        yield


def _get_time() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def compute_exclusive_times(stages: dict[str, float], total: float) -> dict[str, float]:
    """Return the seconds of each stage without its inner stages, and those of the rest."""
    inside = sum(value for name, value in stages.items() if name.startswith("decoder: "))
    decoder, talker = stages.get("decoder", 0.0), stages.get("talker", 0.0)
    predictor = stages.get(_PREDICTOR, 0.0)
    return {
        **{name: value for name, value in stages.items() if ": " in name},
        "decoder: the rest" if inside else "decoder": max(0.0, decoder - inside),
        "talker: the rest": max(0.0, talker - predictor),
        "all else": max(0.0, total - decoder - talker),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.features.voice_out.worker",
        description="Speaks on its standard streams with a Qwen3-TTS model.",
    )
    parser.add_argument("--model", required=True, type=Path, help="the model's folder")
    parser.add_argument(
        "--options", default="", help='for example "emit_every_frames=4 use_compile=on"'
    )
    parser.add_argument(
        "--voice", default="", help="name of a voice, a description of one, or a recording"
    )
    parser.add_argument(
        "--measure",
        type=int,
        metavar="N",
        help="speak N sentences and print their timings as JSON",
    )
    arguments = parser.parse_args()
    try:
        options = SynthesisOptions.read(arguments.options)
    except ValueError as error:
        parser.error(str(error))
    channel = claim_output()
    if arguments.measure:
        status = run_measurement(
            arguments.model, options, arguments.voice, arguments.measure, channel.stream
        )
    else:
        jobs = WorkerJobs(channel, "speak", busy={"message": "Too many texts are queued."})
        jobs.listen(sys.stdin.buffer)
        status = run(arguments.model, options, arguments.voice, channel, jobs)
    return exit_process(status)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

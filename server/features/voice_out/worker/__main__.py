"""The voice's process: loads one model, then speaks the texts from standard input until it ends.

Frames (see `server.shared.processes.wire`) go both ways. In: `speak` (id, text, language) and `cancel`
(id). Out: `note` (text) for each deviation from the options, then `ready` (rate, voices) or
`failed` (message), then `chunk` (id; the payload is PCM, 16 bits, little end first) and `end` (id,
frames) or `error` (id, message) of each text. Output of libraries goes to standard error.

With `--measure` it speaks sentences of its own instead, and writes what they took as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from server.core import core_dumps
from server.features.voice_out.worker.measure import measure
from server.features.voice_out.worker.qwen3_tts import Speaker, SpeakError, load
from server.features.voice_out.worker.streaming import StreamOptions
from server.shared.processes.worker_side import Channel, Jobs, claim_output, leave, origin


class Worker:
    """Reads in one thread, speaks in the main one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.jobs = Jobs(channel, "speak", busy={"message": "Too many texts wait."})

    def work(self, speaker: Speaker) -> None:
        """Speak for ever."""
        while True:
            message, stop = self.jobs.next()
            self._speak(speaker, message.header, stop)

    def _speak(self, speaker: Speaker, header: dict[str, Any], stop: threading.Event) -> None:
        id = header["id"]
        if stop.is_set():
            self.jobs.ended(id, "end", frames=0)
            return
        try:
            frames = speaker.speak(
                header["text"],
                language=header["language"],
                stop=stop,
                emit=lambda pcm: self._channel.send("chunk", pcm, id=id),
            )
        except SpeakError as error:
            self.jobs.ended(id, "error", message=str(error))
        except Exception as error:  # noqa: BLE001
            # Libraries raise anything: one answer is not spoken, and the next may be.
            sys.stderr.write(f"speaking failed: {origin(error)}\n")
            self.jobs.ended(id, "error", message=f"The model failed ({type(error).__name__}).")
        else:
            self.jobs.ended(id, "end", frames=frames)


def run(folder: Path, options: StreamOptions, voice: str, channel: Channel, worker: Worker) -> int:
    """Load and work; the exit status when it cannot."""
    if not (folder / "config.json").is_file():
        channel.send("failed", message=f"There is no model in {folder}: config.json is missing.")
        return 1
    try:
        speaker = load(folder, options, voice, lambda text: channel.send("note", text=text))
        # A model that cannot speak says so now; the first text is quick then.
        speaker.speak("Hi.", language=None, stop=_AfterAsking(2), emit=lambda _pcm: None)
    except SpeakError as error:
        channel.send("failed", message=str(error))
        return 1
    except ImportError as error:
        channel.send(
            "failed",
            message=f"{sys.executable} cannot load qwen-tts ({error}). Install it there (pip install qwen-tts), or set "
            "SPEECH_PYTHON to a Python that has it.",
        )
        return 1
    except Exception as error:  # noqa: BLE001
        # Broken files fail in any way; nobody has asked anything yet.
        words = " ".join(str(error).split())[:300]
        channel.send(
            "failed", message=f"The model could not be loaded ({type(error).__name__}: {words})."
        )
        return 1
    channel.send("ready", rate=speaker.rate, voices=speaker.voices)
    worker.work(speaker)
    return 0


def run_measurement(
    folder: Path, options: StreamOptions, voice: str, texts: int, out: BinaryIO
) -> int:
    """Load, and write a measurement to `out`; the exit status."""
    notes: list[str] = []
    try:
        speaker = load(folder, options, voice, notes.append)
        # The first text warms everything up.
        speaker.speak("Hi.", language=None, stop=threading.Event(), emit=lambda _pcm: None)
        found = measure(speaker, texts, notes, inside=not options.quick_decoder)
    except (SpeakError, ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    out.write(json.dumps(found).encode())
    out.flush()
    return 0


class _AfterAsking(threading.Event):
    """An event that is set after it was asked so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def is_set(self) -> bool:
        self._times -= 1
        return self._times < 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.features.voice_out.worker",
        description="Speaks on its standard streams with a Qwen3-TTS model.",
    )
    parser.add_argument("--model", required=True, type=Path, help="the model's folder")
    parser.add_argument(
        "--options", default="", help='such as "emit_every_frames=4 use_compile=on"'
    )
    parser.add_argument(
        "--voice", default="", help="the name of its voice, what it is like, or a recording of it"
    )
    parser.add_argument(
        "--measure",
        type=int,
        metavar="N",
        help="speak N sentences and print what they took as JSON",
    )
    arguments = parser.parse_args()
    try:
        options = StreamOptions.read(arguments.options)
    except ValueError as error:
        parser.error(str(error))
    channel = claim_output()
    if arguments.measure:
        status = run_measurement(
            arguments.model, options, arguments.voice, arguments.measure, channel.stream
        )
    else:
        worker = Worker(channel)
        worker.jobs.listen(sys.stdin.buffer)
        status = run(arguments.model, options, arguments.voice, channel, worker)
    return leave(status)


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

"""The voice's process: loads one model, then speaks what comes in on standard input, until that ends.

Frames (see `server.processes.wire`) go both ways. In: `speak` (id, text, language, whole) and `cancel`
(id). Out: `note` (text) for what is not as it was asked, then `ready` (rate, voices) or
`failed` (message), then `chunk` (id; the payload is PCM, 16 bits, little end first) and `end` (id,
frames) or `error` (id, message) of each text. What libraries print goes to standard error.

With `--measure` it speaks sentences of its own instead, and writes what they took as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from server.core import core_dumps
from server.engines.speech.voice_worker.measure import measure
from server.engines.speech.voice_worker.qwen3_tts import Speaker, SpeakError, load
from server.engines.speech.voice_worker.streaming import StreamOptions
from server.processes.wire import Message, WireError, encode, read

# Texts that may wait for the one in work. More are refused.
_WAITING = 8


class Channel:
    """Frames out, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, type: str, payload: bytes = b"", **fields: Any) -> None:
        frame = encode({"type": type, **fields}, payload)
        with self._lock:
            try:
                self._stream.write(frame)
                self._stream.flush()
            except (OSError, ValueError):
                # The reader is gone.
                os._exit(0)


class Worker:
    """Reads in one thread, speaks in the main one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._texts: queue.Queue[tuple[dict[str, Any], threading.Event]] = queue.Queue(_WAITING)
        # The texts that may still be cancelled, by id
        self._stops: dict[int, threading.Event] = {}

    def listen(self, stream: BinaryIO) -> None:
        """Read messages until the stream ends, and with it the process."""
        with contextlib.suppress(WireError, OSError):
            while (message := read(stream)) is not None:
                self._take(message)
        os._exit(0)

    def _take(self, message: Message) -> None:
        header = message.header
        if message.type == "speak":
            stop = self._stops[header["id"]] = threading.Event()
            try:
                self._texts.put_nowait((header, stop))
            except queue.Full:
                self._ended(header["id"], "error", message="Too many texts wait.")
        elif message.type == "cancel" and (found := self._stops.get(header["id"])) is not None:
            found.set()

    def work(self, speaker: Speaker) -> None:
        """Speak for ever."""
        while True:
            header, stop = self._texts.get()
            self._speak(speaker, header, stop)

    def _speak(self, speaker: Speaker, header: dict[str, Any], stop: threading.Event) -> None:
        id = header["id"]
        if stop.is_set():
            self._ended(id, "end", frames=0)
            return
        try:
            frames = speaker.speak(
                header["text"],
                language=header["language"],
                whole=header["whole"],
                stop=stop,
                emit=lambda pcm: self._channel.send("chunk", pcm, id=id),
            )
        except SpeakError as error:
            self._ended(id, "error", message=str(error))
        except Exception as error:  # noqa: BLE001
            # Not its words: they may hold the text.
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = type(error).__name__
            sys.stderr.write(
                f"speaking failed: {name} at {Path(where.filename).name}:{where.lineno}\n"
            )
            self._ended(id, "error", message=f"The model failed ({name}).")
        else:
            self._ended(id, "end", frames=frames)

    def _ended(self, id: int, type: str, **fields: Any) -> None:
        self._stops.pop(id, None)
        self._channel.send(type, id=id, **fields)


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
        found = measure(
            speaker, texts, notes, inside=not (options.use_compile or options.use_cuda_graphs)
        )
    except (SpeakError, ImportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    out.write(json.dumps(found).encode())
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
        prog="python -m server.engines.speech.voice_worker",
        description="Speaks on its standard streams with a Qwen3-TTS model.",
    )
    parser.add_argument("--model", required=True, type=Path, help="the model's folder")
    parser.add_argument(
        "--options", default="", help='such as "emit_every_frames=4 use_compile=on"'
    )
    parser.add_argument("--voice", default="", help="the name of its voice, or what it is like")
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
    # Output of libraries must not get between the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if arguments.measure:
        status = run_measurement(arguments.model, options, arguments.voice, arguments.measure, out)
    else:
        channel = Channel(out)
        worker = Worker(channel)
        threading.Thread(target=worker.listen, args=(sys.stdin.buffer,), daemon=True).start()
        status = run(arguments.model, options, arguments.voice, channel, worker)
    # Without waiting for threads of libraries.
    out.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

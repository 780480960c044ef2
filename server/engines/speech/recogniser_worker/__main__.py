"""The recogniser's process: loads one speech model, then makes words of what comes in on standard
input, until that ends.

Frames (see `wire`) go both ways. In: `recognise` (id, language; the payload is 16 bit, mono, at 16
kHz), `cancel` (id). Out: `ready` or `failed` (message); then `words` (id, text, times: lists of word,
begin, end) or `error` (id, code) of each. What libraries print goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from server.core import core_dumps
from server.processes.wire import Message, WireError, encode, read

RATE = 16_000
# Recognitions that may wait for the one in work. More are refused.
_WAITING = 8
_MOST_TIMES = 1000


class Stopped(Exception):
    """Nobody wants these words any more. Outside the tree of errors: it stays in this process."""


class Model:
    """One speech model."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self._stop = threading.Event()
        self._recognise = transformers.pipeline(
            "automatic-speech-recognition",
            model=str(folder),
            device=0 if torch.cuda.is_available() else -1,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        model = self._recognise.model
        # Whisper and its like write words; CTC models name a letter for each moment.
        self._writes = bool(model.can_generate())
        settings = getattr(model, "generation_config", None)
        # Languages that can be named
        self._languages = set(getattr(settings, "lang_to_id", None) or ())
        self._by_word = not self._writes or bool(getattr(settings, "alignment_heads", None))
        for part in model.modules():
            if isinstance(part, torch.nn.ModuleList):
                for layer in part:
                    layer.register_forward_pre_hook(self._halt)

    def words(
        self, pcm: bytes, language: str | None, stop: threading.Event
    ) -> tuple[str, list[list[Any]]]:
        """Return the text, and each word with its begin and end in seconds where the model tells.

        Raises Stopped.
        """
        import numpy as np

        self._stop = stop
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
        options: dict[str, Any] = {"return_timestamps": "word"} if self._by_word else {}
        if self._writes and len(samples) > 30 * RATE and not self._by_word:
            # Whisper takes 30 s at once, and more with times.
            options["return_timestamps"] = True
        mark = f"<|{(language or '').partition('-')[0].lower()}|>"
        if mark in self._languages:
            options["generate_kwargs"] = {"language": mark}
        found = self._recognise({"raw": samples, "sampling_rate": RATE}, **options)
        times: list[list[Any]] = []
        for chunk in (found.get("chunks") or [])[:_MOST_TIMES] if self._by_word else []:
            begin, end = chunk["timestamp"]
            if begin is None or end is None:
                times = []
                break
            times.append([str(chunk["text"]).strip()[:100], float(begin), float(end)])
        return str(found["text"]).strip(), times

    def _halt(self, *_: object) -> None:
        if self._stop.is_set():
            raise Stopped


class Worker:
    """Reads in one thread, works in the main one."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._jobs: queue.Queue[tuple[Message, threading.Event]] = queue.Queue(_WAITING)
        self._stops: dict[int, threading.Event] = {}

    def send(self, type: str, **fields: Any) -> None:
        with self._lock:
            try:
                self._out.write(encode({"type": type, **fields}))
                self._out.flush()
            except (OSError, ValueError):
                # The reader is gone.
                os._exit(0)

    def listen(self, stream: BinaryIO) -> None:
        """Read messages until the stream ends, and with it the process."""
        with contextlib.suppress(WireError, OSError):
            while (message := read(stream)) is not None:
                id = message.header["id"]
                if message.type == "cancel":
                    if (stop := self._stops.get(id)) is not None:
                        stop.set()
                    continue
                stop = self._stops[id] = threading.Event()
                try:
                    self._jobs.put_nowait((message, stop))
                except queue.Full:
                    self._ended(id, "error", code="busy")
        os._exit(0)

    def work(self, model: Model) -> None:
        """Recognise for ever."""
        while True:
            message, stop = self._jobs.get()
            header = message.header
            try:
                if stop.is_set():
                    raise Stopped
                text, times = model.words(message.payload, header["language"], stop)
            except Stopped:
                self._ended(header["id"], "error", code="stopped")
            except Exception as error:  # noqa: BLE001
                # Not its words: they may hold what was said.
                print(f"recognising failed: {type(error).__name__}", file=sys.stderr)
                self._ended(header["id"], "error", code="failed")
            else:
                self._ended(header["id"], "words", text=text, times=times)

    def _ended(self, id: int, type: str, **fields: Any) -> None:
        self._stops.pop(id, None)
        self.send(type, id=id, **fields)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.engines.speech.recogniser_worker",
        description="Makes words of sound on its standard streams.",
    )
    parser.add_argument("--model", required=True, help="the model's folder")
    folder = Path(parser.parse_args().model)
    # Output of libraries must not get between the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker(out)
    threading.Thread(target=worker.listen, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        model = Model(folder)
        # It has to work before it is ready.
        model.words(bytes(RATE), None, threading.Event())
    except Exception as error:  # noqa: BLE001
        # Libraries raise anything; nobody has said anything yet.
        words = " ".join(str(error).split())[:300]
        worker.send("failed", message=f"{type(error).__name__}: {words}")
        out.flush()
        os._exit(1)
    worker.send("ready")
    worker.work(model)
    return 0


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())

"""Process of a local recogniser, in the models' environment: load one speech model, then transcribe the sounds
from standard input until it ends. Imports only server modules that need no third-party library.

Frames (see `wire`) are sent in both directions. In: `recognise` (id, language; the payload is 16 bit, mono, at 16
kHz), `cancel` (id). Out: `ready` or `failed` (message); then for each sound `end` (id, text, times: lists of
word, begin, end) or `error` (id, code). Output of libraries goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

from server.core import core_dumps
from server.shared.processes.wire import Channel, WorkerJobs, claim_output, exit_process, get_origin

RATE = 16_000
_MOST_TIMES = 1000


class RecognitionStopped(Exception):
    """Raised to cancel a recognition. Not a QwenCameraError: it never leaves this process."""


class RecognitionModel:
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
        # Whisper and similar models generate text; CTC models give a letter for each moment.
        self._writes = bool(model.can_generate())
        settings = getattr(model, "generation_config", None)
        # Languages that the model accepts as an option
        self._languages = set(getattr(settings, "lang_to_id", None) or ())
        self._by_word = not self._writes or bool(getattr(settings, "alignment_heads", None))
        for part in model.modules():
            if isinstance(part, torch.nn.ModuleList):
                for layer in part:
                    layer.register_forward_pre_hook(self._raise_if_stopped)

    def recognise(
        self, pcm: bytes, language: str | None, stop: threading.Event
    ) -> tuple[str, list[list[Any]]]:
        """Return the text, and each word with its begin and end in seconds if the model provides them.

        `pcm`: 16 bit, mono, 16 kHz. Raises RecognitionStopped.
        """
        import numpy as np

        self._stop = stop
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
        options: dict[str, Any] = {"return_timestamps": "word"} if self._by_word else {}
        if self._writes and len(samples) > 30 * RATE and not self._by_word:
            # Whisper takes at most 30 s without timestamps.
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

    def _raise_if_stopped(self, *_: object) -> None:
        if self._stop.is_set():
            raise RecognitionStopped


def run_jobs(model: RecognitionModel, jobs: WorkerJobs) -> None:
    """Recognise sounds in an endless loop."""
    while True:
        message, stop = jobs.next_job()
        id = message.header["id"]
        try:
            if stop.is_set():
                raise RecognitionStopped
            text, times = model.recognise(message.payload, message.header["language"], stop)
        except RecognitionStopped:
            jobs.finish(id, "error", code="stopped")
        except Exception as error:  # noqa: BLE001
            # Libraries may raise any exception: this sound fails, and the next may succeed.
            print(f"recognising failed: {get_origin(error)}", file=sys.stderr)
            jobs.finish(id, "error", code="failed")
        else:
            jobs.finish(id, "end", text=text, times=times)


def run(folder: Path, channel: Channel, jobs: WorkerJobs) -> int:
    """Load the model and serve jobs. Return the exit status if loading fails."""
    try:
        model = RecognitionModel(folder)
        # Run once before reporting `ready`.
        model.recognise(bytes(RATE), None, threading.Event())
    except Exception as error:  # noqa: BLE001
        # Libraries may raise any exception; no spoken words can be in the text yet.
        words = " ".join(str(error).split())[:300]
        channel.send("failed", message=f"{type(error).__name__}: {words}")
        return 1
    channel.send("ready")
    run_jobs(model, jobs)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.features.voice_in.worker",
        description="Transcribes speech on its standard streams.",
    )
    parser.add_argument("--model", required=True, help="the model's folder")
    folder = Path(parser.parse_args().model)
    channel = claim_output()
    jobs = WorkerJobs(channel, "recognise", busy={"code": "busy"})
    jobs.listen(sys.stdin.buffer)
    return exit_process(run(folder, channel, jobs))


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

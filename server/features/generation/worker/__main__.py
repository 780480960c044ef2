"""Worker process: load one model, and make videos or sound for requests on standard input.

    python -m server.features.generation.worker --model FOLDER --flow-shift 5.0

Messages of `server.shared.processes.wire`. In: `generate` (`id`, the fields of a `GenerationTask` and others; the payload
is the first frame as RGB, of the video's size), `cancel` (`id`), `took` (`id`: acknowledges a frame).
Out: `loading` (`phase`), then `ready` (`backend`, `rules`, `seconds`), or `failed` (`code`, `message`) and the end. For each
`generate`: `step` (`step`, `steps`), `frame` (`index`, `width`, `height`, payload RGB; at most `WINDOW` of them
unacknowledged) or `sound` (`rate`, `channels`, payload PCM), and finally `end` (`step`: steps done) or `error` (`code`,
`message`); all with its `id`. It ends when its input ends.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from server.core import core_dumps
from server.features.generation.rules import find_own_code, is_pipeline
from server.features.generation.worker import pipelines, speech
from server.features.generation.worker.backend import (
    Backend,
    BackendError,
    GenerationTask,
    LoadOptions,
    Sound,
    StopFlag,
    Stopped,
)
from server.models.files import ModelFolderError
from server.shared.processes import wire
from server.shared.processes.wire import (
    Channel,
    WorkerJobs,
    claim_input,
    claim_output,
    get_origin,
)

# Maximum number of frames that are sent and not acknowledged
WINDOW = 4
# Seconds between two checks for a cancellation while the window is full
_CHECK_SECONDS = 0.1
# Bytes of a piece of sound
_CHUNK_BYTES = 1024 * 1024
_NO_MEMORY = (
    "There was not enough memory{where}. Ask for something smaller or shorter, or load the model in a 16-bit data type, "
    "or, for videos, with VAE tiling or CPU offload."
)


class GenerationWorker:
    """Runs one model. Jobs run on the thread that calls `run`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        busy = {"code": "busy", "message": "The model is busy. Wait for the current job."}
        self.jobs = WorkerJobs(channel, "generate", busy=busy, other=self._take)
        self._stop = StopFlag()
        # The current job, its steps done, and the number of frames that may be sent
        self._current: int | None = None
        self._step = 0
        self._window = threading.Semaphore(WINDOW)

    def _take(self, message: wire.WorkerMessage) -> None:
        if message.type == "took" and message.header.get("id") == self._current:
            self._window.release()

    def run(self, folder: Path, how: LoadOptions) -> int:
        """Load the model, then run jobs until the input ends. Return the exit status if loading fails."""
        began = time.monotonic()
        self._channel.send("loading", phase="starting")
        try:
            backend = self._load(folder, how)
        except Exception as error:  # noqa: BLE001 - libraries raise anything
            code, message = explain(error, " to load the model")
            self._channel.send("failed", code=code, message=message)
            return 1
        self._channel.send(
            "ready",
            backend=backend.name,
            rules=asdict(backend.rules),
            seconds=round(time.monotonic() - began, 3),
        )
        while True:
            self._generate(backend, *self.jobs.next_job())

    def _load(self, folder: Path, how: LoadOptions) -> Backend:
        if not folder.is_dir():
            raise BackendError(
                "The model's folder does not exist, or cannot be read. Name the folder of a model.",
                "missing",
            )
        self._channel.send("loading", phase="weights")
        if not is_pipeline(folder):
            return speech.load(folder, how, self._stop)
        if file := find_own_code(folder):
            raise BackendError(
                f"This model contains Python code ({file}), which generation does not run. Choose a model without code."
            )
        return pipelines.load(folder, how, self._stop)

    def _generate(
        self, backend: Backend, message: wire.WorkerMessage, stop: threading.Event
    ) -> None:
        id, send = message.header["id"], self._channel.send
        self._current, self._step, self._window = id, 0, threading.Semaphore(WINDOW)
        self._stop.set_event(stop)

        def on_step(step: int, steps: int) -> None:
            self._step = step
            send("step", id=id, step=step, steps=steps)

        try:
            task = _parse_task(message)
            self._stop.check()
            made = backend.make(task, on_step)
            if isinstance(made, Sound):
                for at in range(0, len(made.pcm), _CHUNK_BYTES):
                    piece = made.pcm[at : at + _CHUNK_BYTES]
                    send("sound", piece, id=id, rate=made.rate, channels=made.channels)
            else:
                for index, frame in enumerate(made):
                    while not self._window.acquire(timeout=_CHECK_SECONDS):
                        self._stop.check()
                    self._stop.check()
                    size = {"width": frame.shape[1], "height": frame.shape[0]}
                    send("frame", frame.tobytes(), id=id, index=index, **size)
            self.jobs.finish(id, "end", step=self._step)
        except Stopped:
            self.jobs.finish(id, "end", step=self._step)
        except Exception as error:  # noqa: BLE001 - libraries raise anything
            code, text = explain(error, " for this")
            self.jobs.finish(id, "error", code=code, message=text)
        finally:
            _release_memory()


def _parse_task(message: wire.WorkerMessage) -> GenerationTask:
    header = message.header
    given = {f.name: header[f.name] for f in fields(GenerationTask) if f.name in header}
    if message.payload:
        shape = (int(header["height"]), int(header["width"]), 3)
        given["picture"] = np.frombuffer(message.payload, np.uint8).reshape(shape)
    return GenerationTask(**given)


def explain(error: BaseException, where: str) -> tuple[str, str]:
    """Return a code and a sentence for an error, without the error's text, which may repeat the prompt."""
    if isinstance(error, BackendError):
        return error.code, error.message
    if isinstance(error, ModelFolderError):
        return "broken", error.message
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "alloc" in str(error)[:400]:
        return "no_memory", _NO_MEMORY.format(where=where)
    if isinstance(error, ImportError) and error.name:
        return (
            "missing",
            f"The models' environment lacks the package {error.name}. Install it there: "
            "pip install -r requirements-models.txt",
        )
    if kind in ("SafetensorError", "OSError", "JSONDecodeError"):
        return (
            "broken",
            f"The model's files are missing or damaged ({get_origin(error)}). Fetch the model again.",
        )
    if isinstance(error, OSError):
        return (
            "broken",
            f"A file is missing or unusable ({get_origin(error)}). If it belongs to the model, fetch the model again.",
        )
    return "failed", f"The model failed ({get_origin(error)}). Try other values, or another model."


def _release_memory() -> None:
    """Free the memory of the last job."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m server.features.generation.worker", allow_abbrev=False
    )
    parser.add_argument("--model", type=Path, required=True, help="its folder")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    parser.add_argument(
        "--flow-shift", type=float, help="of the schedule; the model's own when left out"
    )
    parser.add_argument("--vae-tiling", action="store_true")
    parser.add_argument("--cpu-offload", action="store_true")
    parser.add_argument(
        "--compile", action="store_true", help="the transformer, before the first step"
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    given = vars(_parse_arguments(argv))
    folder, how = given.pop("model"), LoadOptions(**given)
    channel = claim_output()
    worker = GenerationWorker(channel)
    worker.jobs.listen(claim_input())
    return worker.run(folder, how)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main(sys.argv[1:]))

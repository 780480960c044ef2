"""Worker process: load one model, then answer requests from standard input until it ends.

Messages of `wire`. In: `answer` (id, messages, max_tokens, thoughts, think, pictures: bytes of each, sound: bytes or 0;
the payload is the pictures in the order of the messages, then the sound), `cancel` (id), `state`.
Out: `progress` (phase, percent, done, total), then `ready` or `failed` (code, message); for each answer `delta` (id, text)
and `end` (id, reason, counts) or `error` (id, code); `state` (steps). Output of libraries goes to standard error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from server.core import core_dumps
from server.features.local_models.worker import weights
from server.models.files import ModelFolderError
from server.models.thinking import OPEN
from server.shared.processes.wire import (
    Channel,
    WorkerJobs,
    WorkerMessage,
    claim_output,
    exit_process,
    get_origin,
)

if TYPE_CHECKING:
    from server.features.local_models.worker.generating import AnswerGenerator

# Exit status after a GPU fault, from which only a new process can recover
_GPU_FAULT = 3
# Errors of the trial question, by the code of `generating.AnswerError`
_TRIAL_ERRORS = {
    "memory": "The model was loaded, but there is not enough memory to answer. End other programs, or choose a smaller model.",
    "numbers": "The model was loaded, but its numbers overflow in {}. Choose bfloat16 or float32 (MODEL_DTYPE, or the number"
    " format in the engine panel).",
    "template": "The model's chat template does not support questions about pictures. Choose a model that answers about"
    " pictures.",
    "context": "A question about one picture does not fit into the context. Choose a larger one, or another model.",
    "picture": "The model was loaded, but cannot read pictures. Choose another one.",
}


class AnswerWorker:
    """Reads requests in one thread, and answers in the main thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.jobs = WorkerJobs(channel, "answer", busy={"code": "busy"}, other=self._take)
        self._generator: AnswerGenerator | None = None

    def _take(self, message: WorkerMessage) -> None:
        if message.type == "state":
            # 0 while the model loads
            steps = self._generator.steps if self._generator is not None else 0
            self._channel.send("state", steps=steps)

    def work(self, generator: AnswerGenerator) -> None:
        """Answer questions until the process ends."""
        self._generator = generator
        while True:
            message, stop = self.jobs.next_job()
            self._answer(generator, message, stop)

    def _answer(
        self, generator: AnswerGenerator, message: WorkerMessage, stop: threading.Event
    ) -> None:
        from server.features.local_models.worker.generating import (
            AnswerError,
            Prompt,
            decode,
            decode_sound,
        )

        header = message.header
        id = header["id"]
        if stop.is_set():
            self.jobs.finish(id, "end", reason="cancelled", prompt_tokens=0, completion_tokens=0)
            return
        payload, sound = io.BytesIO(message.payload), header["sound"]
        try:
            outcome = generator.answer(
                Prompt(
                    header["messages"],
                    [decode(payload.read(count)) for count in header["pictures"]],
                    [decode_sound(payload.read(sound))] if sound else [],
                    header["think"],
                ),
                header["max_tokens"],
                stop,
                lambda text: self._channel.send("delta", id=id, text=text),
                thoughts=header["thoughts"],
            )
        except AnswerError as error:
            self.jobs.finish(id, "error", code=error.code)
        except Exception as error:  # noqa: BLE001
            # Libraries and a model's code may raise anything; only this answer fails.
            sys.stderr.write(f"answer failed: {get_origin(error)}\n")
            self.jobs.finish(id, "error", code="failed")
            # Older versions of torch have no exception class for GPU faults.
            fault = str(error).startswith(("CUDA error", "HIP error"))
            if fault or type(error).__name__ == "AcceleratorError":
                os._exit(_GPU_FAULT)
        else:
            self.jobs.finish(
                id,
                "end",
                reason=outcome.reason,
                prompt_tokens=outcome.prompt_tokens,
                completion_tokens=outcome.completion_tokens,
            )


def run(arguments: argparse.Namespace, channel: Channel, worker: AnswerWorker) -> int:
    """Load the model and answer. Return the exit status if loading fails."""

    def report(
        phase: str, percent: float | None = None, done: int | None = None, total: int | None = None
    ) -> None:
        channel.send("progress", phase=phase, percent=percent, done=done, total=total)

    def report_failure(code: str, message: str) -> int:
        channel.send("failed", code=code, message=message)
        return 1

    report("checking")
    try:
        if arguments.dtype not in weights.DTYPES:
            raise ModelFolderError(
                f"The number format is {arguments.dtype[:20]}; {', '.join(weights.DTYPES)} are allowed."
            )
        found = weights.read(arguments.folder)
    except ModelFolderError as error:
        return report_failure("model", error.message)
    report("importing")
    try:
        # The imports take seconds, and fail in a broken environment.
        from server.features.local_models.worker import generating, loading
    except Exception as error:  # noqa: BLE001
        # A broken installation fails in many ways. The error text may be shown: it contains no question yet.
        words = " ".join(str(error).split())[:300]
        return report_failure(
            "python",
            f"{sys.executable} cannot load torch and transformers ({type(error).__name__}: {words})."
            " Install them there, or set ENGINE_PYTHON to a Python that has them.",
        )
    options = loading.Options(**vars(arguments))
    try:
        loaded = loading.load(options, found, report)
        generator = generating.AnswerGenerator(loaded)
        report("warming")
        # A question about a picture, so that an unsuitable template already fails here
        asked = [{"type": "image"}, {"type": "text", "text": "Hello"}]
        say: generating.Messages = [
            {"role": "system", "content": "Answer."},
            {"role": "user", "content": asked},
        ]
        trial: list[str] = []
        prompt = generating.Prompt(say, [loading.make_grey_image()])
        generator.answer(prompt, 2, threading.Event(), trial.append)
    except loading.LoadError as error:
        return report_failure(error.code, error.message)
    except generating.AnswerError as error:
        return report_failure(error.code, _TRIAL_ERRORS[error.code].format(loaded.dtype))
    except Exception as error:  # noqa: BLE001
        # The error text of the trial may be shown, because it does not contain a question.
        why = f"The model was loaded, but does not answer ({type(error).__name__}): {loading.shorten(str(error))}"
        if "chat template" in str(error):
            why = "The model has no chat template, so it does not answer questions."
        return report_failure("model", f"{why} Choose another one, or another number format.")
    channel.send(
        "ready",
        model_type=loaded.weights.model_type,
        context=loaded.context,
        device=loaded.device,
        dtype=loaded.dtype,
        video=generator.can_take_video(loading.make_grey_image()),
        hears=generator.can_take_sound(loading.make_grey_image()),
        thinking_switch=generator.switch,
        # True if the prompt opens thoughts even with thinking switched off
        thinking_opened=trial[:1] != [] and trial[0] in OPEN,
    )
    worker.work(generator)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m server.features.local_models.worker",
        description="Loads a model, and answers requests on standard input.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, dest="folder", help="the model's folder"
    )
    parser.add_argument("--dtype", default="auto", help="auto, float16, bfloat16 or float32")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--context", type=int, default=8192, help="tokens of prompt and answer")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model's own code")
    arguments = parser.parse_args()
    channel = claim_output()
    worker = AnswerWorker(channel)
    worker.jobs.listen(sys.stdin.buffer)
    return exit_process(run(arguments, channel, worker))


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())

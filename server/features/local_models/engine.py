"""Engine of a model that transformers runs in a worker process (see `worker`)."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet
from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from server.core.sound import SoundUse
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime, StartFailed
from server.models import families, prompts
from server.models.answer_parser import AnswerParser, Piece
from server.models.base import (
    Capabilities,
    Chunk,
    Engine,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    Usage,
)
from server.models.prompts import without_sound, without_unusable_sound
from server.models.thinking import Mode, ThinkingLimits, ThinkingPolicy
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import ModelWorker, NotLoaded, WorkerEnded, WorkerJob

log = logging.getLogger(__name__)
# Seconds that a cancelled answer may take to end before the next one is sent, and before its worker is killed: one layer
# of a large model may take tens of seconds for a long prompt on a CPU.
_STOP_SECONDS = 2.0
_STUCK_SECONDS = 60.0
_RETRY_SECONDS = 5.0


class _SoundRefused(Exception):
    """The model could not use the sound, so the question is repeated as text. Not a QwenCameraError."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits in seconds. Without a GPU, the first token of a large model takes tens of seconds."""

    load: float = 1800.0
    first_token: float = 120.0
    between_tokens: float = 30.0
    total: float = 300.0
    # Maximum time without a reply to a probe
    silent: float = 60.0


class LocalEngine:
    """Runtime and engine of one model in one worker; one answer at a time. To load the model again, create another.

    `argv`, `env`, `on_line`: see `ModelWorker`. `own_code`: provide a temporary folder for the model's Python code.
    `on_progress` is called with the progress of loading, on the event loop.

    Bounds of a local model's worker, its log: one answer at a time; a message of 8 + 256 MiB; the
    same bounds for its log as for an engine's log.
    """

    name = "local"

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        own_code: bool,
        on_progress: OnProgress,
        on_line: OnLine,
        thinking: ThinkingLimits,
    ) -> None:
        self.folder = folder
        self._on_progress = on_progress
        self._limits = TimeLimits()
        # Temporary folder to which transformers copies the model's Python code before running it
        self._code_folder: tempfile.TemporaryDirectory[str] | None = None
        extra = dict(env)
        if own_code:
            self._code_folder = tempfile.TemporaryDirectory(prefix="qwen-camera-")
            extra["HF_MODULES_CACHE"] = self._code_folder.name
        self.status = EngineStatus(
            EngineState.UNREACHABLE, "The local model was not started yet.", folder.name
        )
        self._worker = ModelWorker(
            argv, extra, on_message=self._receive, on_line=on_line, on_exit=self._on_exit
        )
        # Set when the worker has ended, by itself or because it was stopped
        self.ended = self._worker.ended
        self._tasks = TaskSet("answers")
        self._turn = asyncio.Lock()
        self._thinking = ThinkingPolicy(thinking)
        # Loop time of the last probe that was sent; None before the first
        self._probe_sent_at: float | None = None
        self._closed = False
        self.engine: Engine = self

    def explain_end(self) -> str:
        return f"ended ({describe_exit(self._worker.status)})."

    async def start(self) -> None:
        """Load the model; see `Runtime.start`. Call it once."""
        self._set_status(
            EngineState.LOADING, f"The model {self.folder.name} is being loaded: starting."
        )
        try:
            self._on_ready(await self._worker.load(self._limits.load))
            return
        except ProcessFailed as error:
            state = EngineState.MISCONFIGURED
            why = (
                f"{error.message} Set ENGINE_PYTHON to a Python with torch and"
                " transformers, or run bash scripts/models.sh."
            )
        except NotLoaded as error:
            state, why = EngineState.MISCONFIGURED, error.message
        except TimeoutError:
            state = EngineState.UNREACHABLE
            why = f"The model did not load within {self._limits.load:g} s. Choose a smaller one."
        except WorkerEnded:
            if self._closed:
                raise StartFailed(self.status.detail) from None
            state, why = EngineState.UNREACHABLE, self._describe_unexpected_end(" while it loaded")
        await self._worker.stop()
        self._set_status(state, why)
        raise StartFailed(why)

    async def probe(self) -> EngineStatus:
        """Send a probe without waiting for the reply; kill a worker that has not replied to the last probe in time."""
        if self.status.ready:
            now = asyncio.get_running_loop().time()
            if self._probe_sent_at is None or self._worker.heard_at >= self._probe_sent_at:
                self._probe_sent_at = now
                self._worker.send({"type": "state"})
            elif now - self._probe_sent_at > self._limits.silent:
                log.error("local model process killed", extra={"reason": "no response"})
                self._worker.kill()
        return self.status

    async def close(self) -> None:
        """Stop the worker; running answers fail. Safe to call twice."""
        self._closed = True
        await self._worker.stop()
        await self._tasks.close()
        if self._code_folder is not None:
            self._code_folder.cleanup()
            self._code_folder = None
        self._set_status(EngineState.UNREACHABLE, "The local model was stopped.")

    stop = close

    # Answering

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of an answer; see `Engine.answer`. Ask again without the sound if the model cannot use it."""
        async with self._turn:
            deadline = asyncio.get_running_loop().time() + self._limits.total
            sound = request.sound
            request = without_unusable_sound(request, self.status.capabilities.audio_in)
            while True:
                refused = request.sound is not sound
                asking = self._attempt(request, deadline, refused)
                try:
                    async with aclosing(asking) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                except _SoundRefused:
                    request = without_sound(request, SoundUse.REFUSED)

    async def _attempt(
        self, request: EngineRequest, deadline: float, sound_refused: bool
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once. Raises _SoundRefused before the first chunk."""
        sound = request.sound.samples.tobytes() if request.sound is not None else b""
        pictures = [one.picture.jpeg for one in request.pictures]
        jpegs = [jpeg for jpeg in pictures if jpeg is not None]
        if len(jpegs) < len(pictures):
            raise EngineFailed("The frame was not encoded for this engine. Ask again.")
        self._check_ready()
        now = asyncio.get_running_loop().time
        context = self.status.capabilities.context_length
        parser = AnswerParser(self._thinking, request.max_tokens)
        began = False
        due = min(deadline, now() + self._limits.first_token)
        header = {
            "type": "answer",
            # The pictures are the payload, so the messages contain no URLs.
            "messages": prompts.make_chat_messages(
                request, [""] * len(pictures), {"type": "input_audio"}
            ),
            "max_tokens": request.max_tokens,
            "pictures": [len(jpeg) for jpeg in jpegs],
            "sound": len(sound),
            # Tokens for thinking, in addition to `max_tokens`
            "thoughts": self._thinking.budget(context),
            # False switches thinking off, if the template supports it
            "think": self._thinking.mode is not Mode.OFF,
        }
        answer = self._worker.begin(header, b"".join((*jpegs, sound)))
        try:
            while not parser.enough:
                message = await answer.next(due)
                if message is None:
                    raise self._make_end_error(began)
                if message.type == "error":
                    if sound and message.header["code"] == "sound":
                        raise _SoundRefused
                    raise make_error(str(message.header["code"]), context)
                if message.type == "end":
                    ended = message.header
                    parser.finish = "length" if ended["reason"] == "length" else "stop"
                    parser.usage = Usage(ended["prompt_tokens"], ended["completion_tokens"])
                    break
                began = True
                due = min(deadline, now() + self._limits.between_tokens)
                for chunk in parser.take(Piece(str(message.header["text"]), began=True)):
                    yield chunk
        except TimeoutError:
            raise make_timeout_error(self._limits, began, now() >= deadline) from None
        finally:
            await self._stop_answer(answer)
        for chunk in parser.end(whole=True):
            if isinstance(chunk, Finished):
                chunk = dataclasses.replace(chunk, sound_refused=sound_refused)
            yield chunk

    async def _stop_answer(self, answer: WorkerJob) -> None:
        """Cancel an answer that has not ended, and wait _STOP_SECONDS for its end; kill the worker after _STUCK_SECONDS."""
        answer.cancel()
        if answer.ended.is_set():
            return
        # A separate task continues if the caller is cancelled or stops waiting. RuntimeError: the engine is closing.
        with suppress(RuntimeError):
            self._tasks.spawn(self._end_stuck(answer), name="stop")
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await answer.ended.wait()

    async def _end_stuck(self, answer: WorkerJob) -> None:
        try:
            async with asyncio.timeout(_STUCK_SECONDS):
                await answer.ended.wait()
        except TimeoutError:
            log.error("local model process killed", extra={"reason": "answer not stopped"})
            self._worker.kill()

    def _check_ready(self) -> None:
        if self.status.state is EngineState.LOADING:
            raise EngineLoading(self.status.detail, retry_after=_RETRY_SECONDS)
        if not self.status.ready:
            raise EngineUnavailable(self.status.detail)

    def _make_end_error(self, began: bool) -> EngineError:
        if self._closed:
            return EngineUnavailable("The local model was stopped.")
        when = "in mid-answer" if began else "before it answered"
        return EngineFailed(
            f"The local model's process ended {when}, perhaps for lack of memory. It is being restarted. Ask again in a"
            " moment."
        )

    # Messages from the worker

    def _receive(self, message: WorkerMessage) -> None:
        # Any other message is `state`, the reply to a probe.
        if message.type != "progress":
            return
        header = message.header
        shown = _PHASES.get(header["phase"], header["phase"])
        percent = header["percent"]
        progress = LoadProgress(shown, percent, header["done"], header["total"])
        if percent is not None:
            shown += f", {percent:.0f} %"
        self._set_status(
            EngineState.LOADING, f"The model {self.folder.name} is being loaded: {shown}."
        )
        self._on_progress(progress)

    def _on_ready(self, header: dict[str, Any]) -> None:
        switch = header["thinking_switch"]
        family = families.find_family(header["model_type"], self.folder.name)
        # A switch in the model's own template is more reliable than its family.
        self._thinking.use_family(None if switch else family, thinks=switch)
        if header["thinking_opened"]:
            self._thinking.mode = Mode.BUDGET
        # The worker sends the opening mark that the prompt ends with.
        self._thinking.opened = False
        self.status = EngineStatus(
            EngineState.READY, "", self.folder.name, make_capabilities(header, self.folder)
        )
        log.info("local model loaded", extra={"engine": self.name})

    def _on_exit(self) -> None:
        if self.status.ready and not self._closed:
            self._set_status(EngineState.UNREACHABLE, self._describe_unexpected_end())

    def _describe_unexpected_end(self, during: str = "") -> str:
        status = self._worker.status
        log.error("local model process ended", extra={"status": status})
        return f"The local model's process ended{during} ({describe_exit(status)}). Load it again, or choose a smaller model."

    def _set_status(self, state: EngineState, detail: str) -> None:
        # Visitors see only the progress of loading.
        public = detail if state is EngineState.LOADING else ""
        self.status = dataclasses.replace(
            self.status, state=state, detail=detail, for_visitors=public
        )


# Messages of a worker about its model: progress, and capabilities

# Names of the worker's phases for people
_PHASES = {
    "checking": "checking the files",
    "importing": "starting torch and transformers",
    "processor": "loading the processor",
    "weights": "loading weights",
    "warming": "trying it",
}


def make_capabilities(header: Mapping[str, Any], folder: Path) -> Capabilities:
    """Return the capabilities of the model in `folder` according to the message `ready`."""
    # The worker splits a picture into only as many tiles as it fills.
    found = families.read_folder_geometry(folder, filled=True)
    found = found or families.get_family(header["model_type"]).geometry
    family = families.find_family(header["model_type"])
    boxes = family.boxes if family is not None else None
    return Capabilities(
        audio_in=header["hears"],
        video=header["video"] and family is not None and family.paired_frames,
        grounding=boxes is not None,
        boxes=boxes,
        geometry=found or families.DEFAULT_GEOMETRY,
        context_length=header["context"],
        max_concurrency=1,
    )


def make_runtime(
    thinking: ThinkingLimits, plan: Plan, key: str, on_line: OnLine, on_progress: OnProgress
) -> Runtime:
    """Return the runtime of an in-process model; `key` is unused."""
    model = plan.model
    assert model is not None
    assert model.folder is not None
    return LocalEngine(
        model.folder,
        plan.launch.argv,
        env=plan.launch.env,
        own_code=model.remote_code,
        on_line=on_line,
        on_progress=on_progress,
        thinking=thinking,
    )


# Errors


def make_error(code: str, context_length: int | None) -> EngineError:
    """Return the error for a code of `worker.generating.AnswerError`."""
    match code:
        case "context":
            length = f" of {context_length:,} tokens" if context_length else ""
            return EngineRefused(
                f"The question and the conversation so far do not fit into the model's context{length}. "
                "Ask in fewer words or begin a new chat.",
                public=True,
            )
        case "picture":
            return EngineFailed(
                "The local model could not read the picture. Ask again.", public=True
            )
        case "memory":
            return EngineFailed(
                "The local model ran out of memory for this question. Ask with less detail, or load a smaller model."
            )
        case "template":
            return EngineRefused(
                "The model's chat template does not support questions about pictures. Load another model."
            )
        case "numbers":
            return EngineFailed(
                "The local model's numbers overflow in its number format. Load it in bfloat16 or float32"
                " (MODEL_DTYPE, or the number format in the engine panel)."
            )
        case "busy":
            return EngineUnavailable(
                "The local model is busy. Ask again in a moment.", retry_after=1.0, public=True
            )
    return EngineFailed("The local model failed to answer this question. Ask again.", public=True)


def make_timeout_error(limits: TimeLimits, began: bool, total: bool) -> EngineTimeout:
    """Return the error for a time limit. `began`: the answer had begun. `total`: the limit of the whole answer."""
    if total:
        return EngineTimeout(
            f"The answer was not complete after {limits.total:g} s. Ask for something shorter.",
            public=True,
        )
    if began:
        return EngineTimeout(
            f"The local model sent nothing for {limits.between_tokens:g} s in mid-answer. Ask again.",
            public=True,
        )
    return EngineTimeout(
        f"The local model did not begin to answer within {limits.first_token:g} s. Load a smaller one, or use a GPU."
    )


def describe_exit(status: int | None) -> str:
    """Describe the end of a process. `status`: its exit status, or its signal's number negated."""
    if status is None or status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"{name}, perhaps for lack of memory" if -status == signal.SIGKILL else name

"""A model in a process of this program: transformers in an environment that has torch (see `worker`)."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from server import prompts
from server.aio import TaskSet
from server.catalogue import geometry
from server.engines import local_errors
from server.engines.base import (
    Capabilities,
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    Usage,
)
from server.engines.loading import Progress
from server.engines.local_errors import TimeLimits
from server.engines.process_memory import tree_bytes
from server.engines.wire import Message
from server.engines.worker_process import WorkerProcess, environment
from server.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineUnavailable,
)

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
MODELS_PYTHON = ROOT / ".venv-models" / "bin" / "python"
# After a crash it is started again at once, then after pauses that double. What can not be loaded is tried rarely.
_CRASH_SECONDS = (0.0, 1.0, 60.0)
_FAILED_SECONDS = (15.0, 30.0, 300.0)
# How long a stopped answer may take to end before its slot is given back, and before the worker is given up.
_STOP_SECONDS = 2.0
_STUCK_SECONDS = 30.0
_RETRY_SECONDS = 5.0
_QUIET_SECONDS = 1.0
# What the worker's phases are called before people.
_PHASES = {
    "checking": "checking the files",
    "importing": "starting torch and transformers",
    "processor": "loading the processor",
    "weights": "loading weights",
    "warming": "trying it",
}

OnProgress = Callable[[Progress], None]
OnLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the worker says of itself."""

    # How often the model itself has run, over all answers.
    steps: int
    gpu_bytes: int


def engine_python(configured: str = "") -> str | None:
    """The Python that the setting names, else that of .venv-models, else this one if it has torch; None when there is none."""
    if configured:
        return configured
    if MODELS_PYTHON.exists():
        return str(MODELS_PYTHON)
    return sys.executable if find_spec("torch") and find_spec("transformers") else None


class LocalEngine:
    """One model in one worker, one answer at a time.

    `start` loads it, and so does `probe` where nobody has, or where the worker has died, with growing pauses, unless
    `restarts` is false. `context` is in tokens; the model's own smaller limit holds. `argv`, where given, is run as it
    is in place of what `python`, `dtype`, `context`, `device` and `trust_remote_code` make; `env` is set for the worker. `on_progress` hears how
    far the loading is, `on_line` each line of the worker's log, without secrets; lines that come while a question is
    in work might quote it, so nobody hears those. Both are called on the event loop.
    """

    name = "local"

    def __init__(
        self,
        folder: Path,
        *,
        python: str | None,
        dtype: str = "auto",
        context: int = 8192,
        trust_remote_code: bool = False,
        device: str = "auto",
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        restarts: bool = True,
        on_progress: OnProgress | None = None,
        on_line: OnLine | None = None,
        limits: TimeLimits | None = None,
    ) -> None:
        self.folder = folder
        self._python = python
        self._trusts = trust_remote_code
        words = ["--model", str(folder), "--dtype", dtype, "--device", device]
        words += ["--context", str(context)]
        words += ["--trust-remote-code"] if trust_remote_code else []
        # What is run, word for word, in the folder of this program.
        self.argv = tuple(argv) or (python or "python", "-m", "server.engines.worker", *words)
        self._env = dict(env or {})
        self._restarts = restarts
        # Set when a worker has ended, by itself or stopped; clear while there is one.
        self.ended = asyncio.Event()
        # How the last one ended, in a few words.
        self.cause = ""
        self._on_progress = on_progress or (lambda *_: None)
        self._on_line = on_line or (lambda _: None)
        self._limits = limits or TimeLimits()
        self._status = EngineStatus(
            EngineState.UNREACHABLE, "The local model was not started yet.", folder.name
        )
        self._worker: WorkerProcess | None = None
        # Set once the worker in `_worker` has said `ready`, or that it can not, or has ended.
        self._loaded = asyncio.Event()
        self._refused = ""
        self._special_tokens: tuple[str, ...] = ()
        self._state = WorkerState(0, 0)
        self._state_told = asyncio.Event()
        self._ids = 0
        # What the worker says about each answer that has not ended, by id. Bounded by max_tokens, one message a token.
        self._answers: dict[int, asyncio.Queue[Message | None]] = {}
        # Until then, by the event loop's clock, nobody hears the worker's log.
        self._quiet_until = 0.0
        self._turn = asyncio.Lock()
        self._tasks = TaskSet("local")
        self._closed = False
        # In a row; a whole answer ends the row.
        self._failures = 0
        self._retry_at = 0.0
        # Where code of the model's own is copied to before it runs.
        self._modules: tempfile.TemporaryDirectory[str] | None = None

    @property
    def status(self) -> EngineStatus:
        return self._status

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return self._worker.pid if self._worker is not None else None

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of the worker's log, as `on_line` heard them."""
        return tuple(self._worker.lines) if self._worker is not None else ()

    def memory_bytes(self) -> int:
        """Main memory and GPU memory of the worker, see `tree_bytes`; 0 when there is none. Blocking."""
        pid = self.pid
        return (tree_bytes(pid) or 0) + self._state.gpu_bytes if pid is not None else 0

    async def start(self) -> None:
        """Load the model; returns when it answers. Raises EngineUnavailable with the reason and what to do."""
        if self._worker is None:
            self._begin()
        try:
            async with asyncio.timeout(self._limits.load):
                await self._loaded.wait()
        except TimeoutError:
            await self._end_worker()
            self._fail(
                EngineState.UNREACHABLE,
                f"The model was not loaded within {self._limits.load:g} s. Choose a smaller one.",
                _FAILED_SECONDS,
            )
        if not self._status.ready:
            raise EngineUnavailable(self._status.detail)

    async def probe(self) -> EngineStatus:
        """Never waits: what it begins is seen by later ones."""
        due = self._restarts and not self._closed and self._now() >= self._retry_at
        if self._worker is None and due:
            self._begin()
        return self._status

    async def measure(self) -> WorkerState:
        """What the worker says of itself now; of the last time when it does not answer within a second."""
        if self._worker is not None:
            self._state_told.clear()
            self._worker.send({"type": "state"})
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._state_told.wait()
        return self._state

    def forget(self, session_id: str) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """End the worker, and with it all memory that it had; answers that still run fail. Safe to call twice."""
        self._closed = True
        await self._end_worker()
        await self._tasks.close()
        if self._modules is not None:
            self._modules.cleanup()
            self._modules = None
        self._say(EngineState.UNREACHABLE, "The local model was stopped.")

    # Answering

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`."""
        if request.picture.jpeg is None:
            raise EngineFailed("The frame was not encoded for this engine. Ask again.")
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first_token)
        began = False
        async with self._turn:
            worker = self._ready()
            self._ids += 1
            id = self._ids
            told = self._answers[id] = asyncio.Queue()
            # The picture is the payload, so the messages need no address.
            chat = prompts.messages(request, "", extra_tokens=self._special_tokens)
            header = {"type": "answer", "id": id, "messages": chat}
            worker.send({**header, "max_tokens": request.max_tokens}, request.picture.jpeg)
            try:
                while True:
                    async with asyncio.timeout_at(due):
                        message = await told.get()
                    if message is None:
                        raise self._died(began)
                    if message.type == "end":
                        self._failures = 0
                        break
                    if message.type == "error":
                        raise local_errors.refusal(
                            str(message.header["code"]), self._status.capabilities.context_length
                        )
                    began = True
                    due = min(deadline, now() + self._limits.between_tokens)
                    yield Delta(str(message.header["text"]))
            except TimeoutError:
                raise local_errors.too_slow(self._limits, began, now() >= deadline) from None
            finally:
                if id in self._answers:
                    worker.send({"type": "cancel", "id": id})
                    await self._see_stopped(id, worker)
        ended = message.header
        yield Finished(
            "length" if ended["reason"] == "length" else "stop",
            Usage(ended["prompt_tokens"], ended["completion_tokens"]),
        )

    def _ready(self) -> WorkerProcess:
        if self._status.ready and self._worker is not None:
            return self._worker
        if self._status.state is EngineState.LOADING:
            raise EngineLoading(self._status.detail, retry_after=_RETRY_SECONDS)
        raise EngineUnavailable(self._status.detail)

    async def _see_stopped(self, id: int, worker: WorkerProcess) -> None:
        """Wait a little until the worker has let go; beyond that it has to within reason, or is killed."""
        ended = asyncio.Event()
        queue = self._answers[id]

        async def wait() -> None:
            try:
                async with asyncio.timeout(_STUCK_SECONDS):
                    while (message := await queue.get()) is not None and message.type == "delta":
                        pass
            except TimeoutError:
                log.error("the local model does not stop; its worker is ended")
                worker.kill()
            finally:
                ended.set()

        with suppress(RuntimeError):
            self._tasks.spawn(wait(), name="stop")
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await ended.wait()

    # The worker

    def _begin(self) -> None:
        self._loaded.clear()
        self.ended.clear()
        self._refused = ""
        if self._python is None:
            self._fail(EngineState.MISCONFIGURED, local_errors.NO_PYTHON, _FAILED_SECONDS)
            return
        self._say(EngineState.LOADING, f"The model {self.folder.name} is being loaded: starting.")
        worker = WorkerProcess(
            on_message=self._heard,
            on_line=self._on_line,
            on_exit=lambda status: self._exited(worker, status),
            quiet=self._quiet,
        )
        self._worker = worker
        self._tasks.spawn(self._launch(worker), name="launch")

    async def _launch(self, worker: WorkerProcess) -> None:
        extra = dict(self._env)
        if self._trusts:
            self._modules = self._modules or tempfile.TemporaryDirectory(prefix="qwen-camera-")
            extra["HF_MODULES_CACHE"] = self._modules.name
        try:
            await worker.start(self.argv, environment(extra), ROOT)
        except OSError as error:
            self._worker = None
            self._fail(
                EngineState.MISCONFIGURED,
                f"{self._python} can not be started ({error.strerror}). Set ENGINE_PYTHON to a Python with torch and"
                " transformers, or run bash scripts/models.sh.",
                _FAILED_SECONDS,
            )

    def _quiet(self) -> bool:
        """While a question is in work, and until its last lines have come, which take another pipe than its end."""
        return bool(self._answers) or self._now() < self._quiet_until

    def _heard(self, message: Message) -> None:
        header = message.header
        match message.type:
            case "delta" | "end" | "error":
                if (queue := self._answers.get(header["id"])) is not None:
                    queue.put_nowait(message)
                    if message.type != "delta":
                        del self._answers[header["id"]]
                        self._quiet_until = self._now() + _QUIET_SECONDS
            case "progress":
                self._progress(header)
            case "ready":
                self._became_ready(header)
            case "failed":
                self._refused = str(header["message"])
            case "state":
                self._state = WorkerState(header["steps"], header["gpu_bytes"])
                self._state_told.set()

    def _progress(self, header: dict[str, Any]) -> None:
        phase = _PHASES.get(str(header["phase"]), str(header["phase"]))
        percent = header["percent"]
        shown = f"{phase}, {percent:.0f} %" if percent is not None else phase
        self._say(EngineState.LOADING, f"The model {self.folder.name} is being loaded: {shown}.")
        self._on_progress(Progress(phase, percent, header["done"], header["total"]))

    def _became_ready(self, header: dict[str, Any]) -> None:
        self._special_tokens = tuple(header["special_tokens"])
        self._state = WorkerState(0, header["gpu_bytes"])
        found = geometry.from_folder(self.folder) or geometry.from_model_type(header["model_type"])
        capabilities = Capabilities(
            geometry=found or geometry.DEFAULT,
            context_length=header["context"],
            max_concurrency=1,
        )
        self._status = EngineStatus(EngineState.READY, "", self.folder.name, capabilities)
        log.info("the local model is loaded", extra={"engine": self.name})
        self._loaded.set()

    def _exited(self, worker: WorkerProcess, status: int) -> None:
        if worker is not self._worker:
            return
        self._worker = None
        self.cause = local_errors.cause(status)
        was_ready = self._status.ready
        if self._refused:
            self._fail(EngineState.MISCONFIGURED, self._refused, _FAILED_SECONDS)
        elif not self._closed:
            log.error("the local model's process ended", extra={"status": status})
            again = " It is started again." if self._restarts else ""
            during = "" if was_ready else " while it loaded"
            self._fail(
                EngineState.UNREACHABLE,
                f"The local model's process ended{during} ({self.cause}).{again}",
                _CRASH_SECONDS,
            )
        answers, self._answers = self._answers, {}
        for queue in answers.values():
            queue.put_nowait(None)
        self.ended.set()

    async def _end_worker(self) -> None:
        worker = self._worker
        if worker is not None:
            await worker.stop()
            self._worker = None

    def _fail(self, state: EngineState, detail: str, pauses: tuple[float, float, float]) -> None:
        first, then, most = pauses
        pause = first if self._failures == 0 else min(most, then * 2 ** (self._failures - 1))
        self._failures = min(self._failures + 1, 20)
        self._retry_at = self._now() + pause
        self._say(state, detail)
        self._loaded.set()

    def _say(self, state: EngineState, detail: str) -> None:
        self._status = dataclasses.replace(self._status, state=state, detail=detail)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # What went wrong, in sentences

    def _died(self, began: bool) -> EngineError:
        if self._closed:
            return EngineUnavailable("The local model was stopped.")
        when = "in mid-answer" if began else "before it answered"
        return EngineFailed(
            f"The local model's process ended {when}; it may have run out of memory. It is started again: ask again in a"
            " moment."
        )

"""The answers under way in a worker: hand its messages to each, and stop one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from server.core.aio import TaskSet
from server.processes.wire import Message
from server.processes.worker_process import WorkerProcess

log = logging.getLogger(__name__)

# Seconds for a stopped answer to end before the next may begin, and before its worker is given up:
# a layer of a large model takes tens of seconds over a long prompt on a CPU.
_STOP_SECONDS = 2.0
_STUCK_SECONDS = 60.0
# The last lines of its log take another pipe than an answer's end, and come after it.
_QUIET_SECONDS = 1.0


class Answer:
    """The worker's messages on one question. Bounded by its tokens: one message a token."""

    def __init__(self, id: int) -> None:
        self.id = id
        # None is the end of the worker.
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()

    async def next(self, due: float) -> Message | None:
        """None when the worker has ended.

        Raises TimeoutError at `due`, by the event loop's clock.
        """
        async with asyncio.timeout_at(due):
            return await self.messages.get()


class Answers:
    """All that have not ended, by number. The owner of the worker calls `receive` and `gone`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._ids = 0
        self._under_way: dict[int, Answer] = {}
        self._tasks = TaskSet("answers")
        # The loop time until which the worker's log is not passed on
        self._quiet_until = 0.0

    def __len__(self) -> int:
        return len(self._under_way)

    def quiet(self) -> bool:
        """Find whether a question is in work, or log lines that might quote it may still arrive."""
        return bool(self._under_way) or asyncio.get_running_loop().time() < self._quiet_until

    def begin(
        self,
        chat: Sequence[Mapping[str, Any]],
        max_tokens: int,
        jpegs: Sequence[bytes],
        sound: bytes = b"",
        *,
        thoughts: int,
        think: bool,
    ) -> Answer:
        """Ask the worker.

        `jpegs` are the pictures in the order of the chat, `sound` is 16 bit at 16 kHz; `thoughts` are tokens above `max_tokens`;
        `think` False switches thinking off where that can be.
        """
        self._ids += 1
        answer = self._under_way[self._ids] = Answer(self._ids)
        header = {"type": "answer", "id": answer.id, "messages": chat, "max_tokens": max_tokens}
        header |= {"pictures": [len(jpeg) for jpeg in jpegs], "sound": len(sound)}
        payload = b"".join((*jpegs, sound))
        self._worker.send({**header, "thoughts": thoughts, "think": think}, payload)
        return answer

    def receive(self, message: Message) -> None:
        """A `delta`, an `end` or an `error`. Of an answer that has ended nobody wants more."""
        answer = self._under_way.get(message.header["id"])
        if answer is None:
            return
        answer.messages.put_nowait(message)
        if message.type != "delta":
            del self._under_way[answer.id]
            self._quiet_until = asyncio.get_running_loop().time() + _QUIET_SECONDS

    def gone(self) -> None:
        """The worker has ended, and with it all of them."""
        answers, self._under_way = self._under_way, {}
        for answer in answers.values():
            answer.messages.put_nowait(None)

    async def stop(self, answer: Answer) -> None:
        """Stop an answer that has not ended, and wait a little for the worker.

        A worker that does not stop is killed.
        """
        if answer.id not in self._under_way:
            return
        self._worker.send({"type": "cancel", "id": answer.id})
        ended = asyncio.Event()

        async def wait() -> None:
            try:
                async with asyncio.timeout(_STUCK_SECONDS):
                    while (message := await answer.messages.get()) and message.type == "delta":
                        pass
            except TimeoutError:
                log.error("the local model does not stop; its worker is ended")
                self._worker.kill()
            finally:
                ended.set()

        # It goes on when the caller is cancelled, or does not wait any longer; not once all is
        # being closed.
        with suppress(RuntimeError):
            self._tasks.spawn(wait(), name="stop")
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await ended.wait()

    async def close(self) -> None:
        await self._tasks.close()

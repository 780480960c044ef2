"""Questions in progress: their text as it arrives, or the whole answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing
from typing import Any

from qwen_camera.answers import Answer, Json, moment, objects, text
from qwen_camera.errors import BadInput, ServerGone


class Asking:
    """Question to ask. `await` returns the whole answer, `async for` yields its text; either one asks the question.

    Leaving the loop stops the model. Use it only once.
    """

    def __init__(self, ask: Callable[[], AsyncGenerator[Json, None]]) -> None:
        self._ask: Callable[[], AsyncGenerator[Json, None]] | None = ask
        # The whole answer; None until its end
        self.answer: Answer | None = None

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._whole().__await__()

    async def _whole(self) -> Answer:
        async for _ in self:
            pass
        assert self.answer is not None
        return self.answer

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._ask is None:
            raise BadInput("This question has been asked. Ask another one.")
        ask, self._ask = self._ask, None
        words: list[str] = []
        model, reason, frames = "", "", []
        # Close the stream together with this generator, so that the model stops at once.
        async with aclosing(ask()) as events:
            async for event in events:
                model = text(event.get("model")) or model
                camera = event.get("camera")
                if isinstance(camera, dict):
                    frames = objects(camera.get("frames"))
                for choice in objects(event.get("choices"))[:1]:
                    reason = text(choice.get("finish_reason")) or reason
                    delta = choice.get("delta")
                    if isinstance(delta, dict) and (piece := text(delta.get("content"))):
                        words.append(piece)
                        yield piece
        if not reason:
            raise ServerGone("The answer broke off before its end. Ask again.")
        taken = moment(frames[-1].get("captured_at")) if frames else None
        self.answer = Answer("".join(words), reason == "stop", taken, model)

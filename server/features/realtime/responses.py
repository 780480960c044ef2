"""The responses of one connection, one at a time: each asks about a new frame, and sends events by the table of states."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from server.core.aio import cancel_and_wait, log_failure
from server.core.errors import Internal, QwenCameraError
from server.features.grants.guard import ProgramAccess
from server.features.openai_api.errors import FieldRefused, make_error_body
from server.features.openai_api.program_chat import ChatEnd, ProgramChats
from server.features.openai_api.request import BoundedPool, read
from server.features.realtime.config import Config
from server.features.realtime.conversation import Conversation, KeptItem, new_id
from server.features.realtime.events import SendEvent
from server.features.realtime.speech import Speech
from server.features.realtime.states import SPOKEN, STATES, ResponseStep, State
from server.models.base import ToolCall
from server.shared.services import Voices

# Share of a model's context for the words of a conversation
WORDS_SHARE = 0.5
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(slots=True, eq=False)
class Running:
    """A response that has begun."""

    config: Config
    # The input of the model
    items: Sequence[KeptItem]
    metadata: dict[str, str]
    # False for a response outside the conversation
    kept: bool
    id: str = field(default_factory=lambda: new_id("resp"))
    output: list[KeptItem] = field(default_factory=list)
    # The id of the item before the newest output item
    before: str | None = None
    text: str = ""
    # Text for the voice, then None; None for a response that is not spoken
    waiting: asyncio.Queue[str | None] | None = None
    speaking: asyncio.Task[None] | None = None
    status: str = "in_progress"
    details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.config.modality == "audio":
            self.waiting = asyncio.Queue()

    async def texts(self) -> AsyncIterator[str]:
        """Yield the text as it is written, until its end."""
        assert self.waiting is not None
        while (text := await self.waiting.get()) is not None:
            yield text

    def part(self) -> dict[str, Any]:
        """Return the content of the message that is being written."""
        if self.waiting is not None:
            return {"type": "output_audio", "transcript": self.text}
        return {"type": "output_text", "text": self.text}

    def shown(self, conversation: str) -> dict[str, Any]:
        """Return it for an event. `conversation`: the id of the conversation."""
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": self.details,
            "output": [item.shown() for item in self.output],
            "conversation_id": conversation if self.kept else None,
            "output_modalities": [self.config.modality],
            "max_output_tokens": self.config.max_tokens or "inf",
            "metadata": self.metadata or None,
            "usage": self.usage,
        }


class Responder:
    """Begins, cancels and ends responses. All methods run on the event loop.

    Bounds of responses of a connection: one; another one is refused until it ends.
    """

    def __init__(
        self,
        access: ProgramAccess,
        conversation: Conversation,
        pool: BoundedPool,
        send: SendEvent,
        voices: Voices | None,
        speech: Speech,
    ) -> None:
        self._voices, self._speech = voices, speech
        self._access = access
        self._conversation = conversation
        self._pool = pool
        self._send = send
        self._chats: ProgramChats = access.session.part("openai_api")
        self._state = State.IDLE
        # Set while there is no response
        self.idle = asyncio.Event()
        self.idle.set()
        self._now: Running | None = None
        # Also of cancelled responses whose look still ends
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """True while there is a response."""
        return self._state is not State.IDLE

    def create(self, run: Running, text: str | None = None) -> None:
        """Begin a response. `text`: the whole answer, without a model. Raise FieldRefused if there is one."""
        if self.busy:
            raise FieldRefused(
                "A response is in progress. Wait for response.done, or send response.cancel first.",
                known_as="conversation_already_has_active_response",
            )
        self._now = run
        self._step(ResponseStep.CREATE)
        self.idle.clear()
        self._task = asyncio.create_task(self._work(run, text), name="realtime/response")
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def cancel(self, id: str | None = None, reason: str = "client_cancelled") -> None:
        """End the response at once. Raise FieldRefused if there is none, or if it has another id."""
        run = self._now
        if run is None or id not in (None, run.id):
            why = "There is no such response in progress. It may have ended."
            raise FieldRefused(why, known_as="response_cancel_not_active")
        assert self._task is not None
        self._task.cancel()
        self._end(run, "cancelled", {"type": "cancelled", "reason": reason})
        self._speech.stop()

    async def close(self) -> None:
        """Cancel everything, without an event, and wait for its end."""
        self._now, self._state = None, State.IDLE
        self._speech.stop()
        await cancel_and_wait(list(self._tasks))

    async def _work(self, run: Running, text: str | None) -> None:
        """Answer with a text, or by the model if it is None; then end the response."""
        try:
            end = await self._ask(run) if text is None else None
            await self._finish_text(run, end.response.text if end is not None else text or "")
            if run is self._now:
                await self._finish(run, end)
        except Exception as error:  # noqa: BLE001 - log a bug without its text, and end the response
            if not isinstance(error, QwenCameraError):
                log_failure("realtime", error, "response failed")
                error = Internal("Something went wrong in the server. Try again.")
            if run is self._now:
                said = make_error_body(error)["error"]
                about = {name: said[name] for name in ("type", "code", "message")}
                self._end(run, "failed", {"type": "failed", "error": about})
        finally:
            if run.speaking is not None:
                await cancel_and_wait((run.speaking,))

    async def _ask(self, run: Running) -> ChatEnd:
        session, access = self._access.session, self._access
        able = session.services.current_engine().status.capabilities
        words = int(session.requests.context(able) * WORDS_SHARE)
        body = run.config.chat_body(run.items, words)
        request = await self._pool.run(read, body, self._chats.takes_tools)

        def write(text: str) -> None:
            if run is self._now and text:
                self._write(run, text)

        return await self._chats.chat(access.programs, access.grant, request, write)

    def _write(self, run: Running, text: str) -> None:
        if self._state is State.WAITING:
            run.text = ""
            body = {"type": "message", "role": "assistant", "content": [run.part()]}
            self._add(run, KeptItem(body, status="in_progress"))
        run.text += text
        self._step(ResponseStep.TEXT, delta=text)
        if run.waiting is not None:
            run.waiting.put_nowait(text)
            if run.speaking is None:
                run.speaking = asyncio.create_task(self._speak(run), name="realtime/speak")

    async def _finish_text(self, run: Running, whole: str) -> None:
        """Write the rest of an answer, and wait until all of it is spoken."""
        if run is not self._now:
            return
        if whole.startswith(run.text) and (rest := whole.removeprefix(run.text)):
            self._write(run, rest)
        if run.speaking is not None and run.waiting is not None:
            run.waiting.put_nowait(None)
            await run.speaking

    async def _speak(self, run: Running) -> None:
        assert self._voices is not None
        transcription = run.config.transcription
        language = transcription.language if transcription is not None else None
        try:
            async with aclosing(self._voices.read_aloud(run.texts(), language=language)) as chunks:
                await self._speech.play(run.id, run.output[-1], chunks)
        except QwenCameraError as error:
            # The client still gets the words.
            self._send("error", error=make_error_body(error)["error"] | {"event_id": None})

    def write_sound(self, item: KeptItem, audio: str) -> None:
        """Send a piece of sound, unless its response has ended."""
        if self._now is not None and item in self._now.output:
            self._step(ResponseStep.SOUND, delta=audio)

    def _add(self, run: Running, item: KeptItem) -> None:
        run.output.append(item)
        if run.kept:
            run.before, dropped = self._conversation.add(item)
            for one in dropped:
                self._send("conversation.item.deleted", item_id=one.id)

    def _close_message(self, run: Running, status: str) -> None:
        if self._state is State.WRITING:
            item = run.output[-1]
            item.status = status
            item.body["content"] = [run.part()]
            self._step(ResponseStep.CLOSE)

    async def _finish(self, run: Running, end: ChatEnd | None) -> None:
        """End a response whose text is complete. `end`: None if no model was asked."""
        reason = _REASONS.get(end.response.finish_reason) if end is not None else None
        self._close_message(run, "completed" if reason is None else "incomplete")
        calls = end.calls if end is not None else ()
        if end is not None:
            run.usage = usage_of(end)
        if end is not None and (frame := end.response.frame) is not None:
            run.metadata |= {
                "picture_id": frame.id,
                "frame_age_ms": f"{frame.age_ms:.1f}",
                "captured_at": f"{frame.captured_at:.0f}",
            }
        names = {one["name"] for one in run.config.own_tools}
        own = [await self._call(run, call, own=call.name in names) for call in calls]
        if run is not self._now:
            return
        details = {"type": "incomplete", "reason": reason} if reason is not None else None
        self._end(run, "completed" if details is None else "incomplete", details)
        if run.kept and own and all(own):
            # The model answers with the results; without the server's tools, so that this ends.
            config = replace(run.config, own_tools=(), tool_choice="auto")
            self.create(Running(config, self._conversation.all(), {}, kept=True))

    async def _call(self, run: Running, call: ToolCall, *, own: bool) -> bool:
        """Announce a call, after running it if the tool is the server's own. Return `own`."""
        body: dict[str, Any] = {"name": call.name, "arguments": call.arguments}
        if own:
            output = await run_server_tool(self._access, call)
            body |= {"type": "mcp_call", "server_label": "camera", "output": output}
        else:
            body |= {"type": "function_call", "call_id": call.id}
        if run is self._now:
            self._add(run, KeptItem(body))
            self._step(ResponseStep.TOOL if own else ResponseStep.CALL, delta=call.arguments)
        return own

    def _end(self, run: Running, status: str, details: dict[str, Any] | None) -> None:
        self._close_message(run, "incomplete")
        run.status, run.details = status, details
        self._step(ResponseStep.END)
        self._now = self._task = None
        self.idle.set()

    # Events

    def _step(self, step: ResponseStep, delta: str = "") -> None:
        """Change the state, and send the events of this change."""
        self._state, names = STATES[self._state, step]
        run = self._now
        assert run is not None
        if run.waiting is not None:
            names = tuple(one for name in names for one in SPOKEN.get(name, (name,)))
        for name in names:
            if run.kept or not name.startswith("conversation."):
                self._send(name, **self._fields(name, run, delta))

    def _rate_limit(self) -> dict[str, Any]:
        grants, grant = self._access.programs.grants, self._access.grant
        most, left, wait = grants.count_looks_left(grant, time.monotonic())
        return {"name": "requests", "limit": most, "remaining": left, "reset_seconds": wait}

    def _fields(self, name: str, run: Running, delta: str) -> Mapping[str, Any]:
        if name in ("response.created", "response.done"):
            return {"response": run.shown(self._conversation.id)}
        if name == "rate_limits.updated":
            return {"rate_limits": [self._rate_limit()]}
        item = run.output[-1]
        if name.startswith("conversation."):
            return {"previous_item_id": run.before, "item": item.shown()}
        fields: dict[str, Any] = {"response_id": run.id, "output_index": len(run.output) - 1}
        if name.startswith("response.output_item."):
            return fields | {"item": item.shown()}
        fields["item_id"] = item.id
        if name.startswith("response.mcp_call."):
            return {"output_index": fields["output_index"], "item_id": item.id}
        if "_call_arguments." in name:
            if "call_id" in item.body:
                fields |= {"call_id": item.body["call_id"], "name": item.body["name"]}
            return fields | {"delta" if name.endswith(".delta") else "arguments": delta}
        fields["content_index"] = 0
        if name.startswith("response.content_part."):
            part = item.body["content"][0]
            return fields | {"part": part | {"type": part["type"].removeprefix("output_")}}
        if name.endswith(".delta"):
            return fields | {"delta": delta}
        if name == "response.output_audio.done":
            return fields
        return fields | {"text" if run.waiting is None else "transcript": run.text}


def usage_of(end: ChatEnd) -> dict[str, Any] | None:
    """Return the numbers of tokens; None if the engine does not report them."""
    usage, frame = end.response.usage, end.response.frame
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    seen = min(frame.visual_tokens, usage.prompt_tokens) if frame is not None else 0
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_token_details": {
            "text_tokens": usage.prompt_tokens - seen,
            "image_tokens": seen,
            "audio_tokens": 0,
            "cached_tokens": usage.cached_tokens or 0,
        },
        "output_token_details": {"text_tokens": usage.completion_tokens, "audio_tokens": 0},
    }


async def run_server_tool(access: ProgramAccess, call: ToolCall) -> str:
    """Run one of the server's own tools. Return its result, or its error message, for the model."""
    from mcp.types import TextContent

    from server.features.grants import tools

    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    given = arguments if isinstance(arguments, dict) else {}
    result = await tools.call(access, call.name, given)
    return "\n".join(one.text for one in result.content if isinstance(one, TextContent))

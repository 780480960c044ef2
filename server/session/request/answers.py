"""Convert a job's progress to messages for its client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.core import messages as wire
from server.core.errors import BadRequest, QwenCameraError
from server.core.frames import LEAST_PART, JobKind, Part, Picture, QuestionMode
from server.core.sound import SoundUse
from server.media.picture.encode import to_data_url
from server.media.picture.grounding import Box
from server.models import prompts
from server.models.answer_parser import MOST_ARGUMENT_CHARS
from server.models.base import Engine, EngineRequest, ShownPicture, ToolCall
from server.models.prompts import find_cited_numbers
from server.models.scheduler.job import Result
from server.session.request.parts import View
from server.session.request.question import Question


class MessageSink(Protocol):
    """Receiver of messages about an answer: the outbox of a client or of a program."""

    def put(self, message: wire.ServerMessage) -> None: ...


class AnswerListener:
    """Listener of an answer's events; its methods do nothing."""

    def on_sent(self, request: EngineRequest) -> None:
        """Handle a request when it is sent to an engine."""

    def on_started(self) -> None:
        """Handle the start of the answer, after `started` was sent to the client."""

    def on_text(self, text: str) -> None:
        """Handle a piece of the answer's text."""

    def on_called(self, result: Result) -> bool:
        """Handle the end of a request with tools. Return True to ask again, which postpones `on_end`."""
        return False

    def on_counted(self, result: Result) -> None:
        """Handle the end of a request that was not stopped."""

    def on_end(self, text: str, whole: bool) -> None:
        """Handle the end of the answer. `whole`: the text is complete."""

    def on_error(self, error: QwenCameraError) -> None:
        """Handle a failure, before `on_end`."""

    def keep(self, id: str, picture: Picture) -> str | None:
        """Store a picture of the answer. Return its id, or None if it was not stored."""
        return None


_NOBODY = AnswerListener()


class AnswerPublisher:
    """Publishes one answer: converts its job's progress to messages, and notifies its listener."""

    def __init__(
        self,
        id: str,
        kind: JobKind,
        outbox: MessageSink,
        listener: AnswerListener = _NOBODY,
        *,
        at: float,
        question: Question | None = None,
        views: Sequence[View] = (),
    ) -> None:
        """`at`: monotonic time of the question, or of the description's frame. `views`: for several cameras; the last
        view is the main picture of the request.
        """
        self.id = id
        # Seconds of waiting for the frame
        self.waited = 0.0
        self._kind = kind
        self._outbox = outbox
        self._at = at
        self._question = question
        self._listener = listener
        self._asked: EngineRequest | None = None
        # The frame that was sent to an engine; None before
        self.frame: wire.FrameInfo | None = None
        # The sent pictures of the past, with thumbnails
        self._frames: list[wire.EarlierFrame] = []
        # True if they form a video
        self._video = False
        self._views = {view.frame.id: view for view in views if view.camera}
        # The sent pictures of other cameras
        self._others: list[wire.FrameInfo] = []
        # The enlarged part of the picture, sent with it or in a second look; None if there is none
        self._closer: wire.FrameInfo | None = None
        self._prepare_seconds = 0.0
        # Tool calls of the model
        self.calls: Sequence[wire.CalledTool] = ()
        # Result of the first request until the second request begins; otherwise None
        self._first: Result | None = None
        self._text: list[str] = []
        # The response without pictures; None before the end
        self.response: wire.Response | None = None

    @property
    def between(self) -> bool:
        """True between the first and the second request."""
        return self._first is not None

    @property
    def _part(self) -> Part | None:
        return self._question.part if self._question is not None else None

    def ask_again(self, question: Question) -> None:
        """Prepare for a second request, which restarts the answer."""
        self._question = question

    def again(self) -> None:
        """Resend the previous messages, which may have been lost."""
        if self.frame is None:
            return
        self.put_started(self.frame)
        if self._text:
            self._outbox.put(wire.DeltaMessage(id=self.id, text="".join(self._text)))

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        picture = request.picture
        self._asked, self._first = request, None
        self._listener.on_sent(request)
        # For a question about a part: the whole frame and the part, or only the part
        part = self._part
        whole = [one.picture for one in request.earlier[-1:]] if part is not None else []
        self.frame, *closer = (self._describe(one) for one in (*whole, picture))
        self._closer = closer[0] if closer else None
        if part is not None:
            shares = tuple(round(edge, 4) for edge in part)
            self.frame = self.frame.model_copy(update={"part": shares})
        spoken = self._question.spoken if self._question is not None else None
        if (word := spoken.word if spoken is not None else None) is not None:
            self.frame = self.frame.model_copy(update={"word": word})
        earlier = request.earlier if part is None else ()
        beside = [one for one in earlier if one.picture.frame_id in self._views]
        past = [one for one in earlier if one.picture.frame_id not in self._views]
        self._others = [self._describe(one.picture) for one in beside]
        self._frames = make_earlier_frames(past, time.monotonic(), time.time())
        self._video = request.video
        self._prepare_seconds = picture.prepare_seconds
        self._text.clear()
        self.put_started(self.frame)
        self._listener.on_started()

    def note_other_picture(self, request: EngineRequest) -> None:
        """Use another picture for the rest of the answer."""
        self.frame = self._describe(request.picture)

    def note_closer_look(self, picture: Picture | None) -> None:
        """Store the part that was sent for a second look; None if the second look failed."""
        self._closer = self._describe(picture) if picture is not None else None

    def _describe(self, picture: Picture) -> wire.FrameInfo:
        """Return the description of a sent picture, and store it for display."""
        frame = make_frame_info(picture, time.monotonic(), time.time())
        kept: dict[str, str | None] = {"picture": self._listener.keep(self.id, picture)}
        if view := self._views.get(picture.frame_id):
            kept |= {"camera": view.camera, "camera_name": view.name}
        return frame.model_copy(update=kept)

    def put_started(self, frame: wire.FrameInfo) -> None:
        """Send `started` with the frame to the client."""
        # The response has the thumbnail.
        self._outbox.put(
            wire.Started(
                id=self.id,
                kind=self._kind,
                frame=without_thumbnail(frame),
                route=self._looked,
                frames=remove_pictures(self._frames),
                others=[without_thumbnail(one) for one in self._others] or None,
            )
        )

    def on_delta(self, text: str) -> None:
        if self._kind is JobKind.CHAT:
            self._text.append(text)
        self._outbox.put(wire.DeltaMessage(id=self.id, text=text))
        self._listener.on_text(text)

    def on_thought(self, text: str) -> None:
        if self._kind is JobKind.CHAT:
            self._outbox.put(wire.Thinking(id=self.id, text=text))

    def on_result(self, result: Result) -> None:
        whole = result.cancel_reason is None
        offered = self._asked is not None and bool(self._asked.tools)
        if self._asked is not None and whole:
            self._listener.on_counted(result)
        if offered and whole and self._listener.on_called(result):
            self._first = result
            return
        if self._first is not None:
            # Stopped before the second request, so keep the text of the first request.
            finish, reason = result.finish_reason, result.cancel_reason
            result = replace(self._first, finish_reason=finish, cancel_reason=reason)
            self._first = None
        if offered and result.finish_reason == "tool_calls":
            result = replace(result, finish_reason="stop")
        # Do not report a description that was replaced or stopped before it began.
        if self.frame is not None or self._kind is JobKind.CHAT:
            response = self._make_response(result)
            self._outbox.put(response)
            frame, closer = response.frame, response.closer
            self.response = response.model_copy(
                update={
                    "frame": frame and without_thumbnail(frame),
                    "closer": closer and without_thumbnail(closer),
                    "frames": remove_pictures(response.frames),
                    "others": [without_thumbnail(one) for one in response.others or ()] or None,
                }
            )
        self._end(result.text, result.finish_reason in ("stop", "length"))

    def stop(self, reason: str) -> None:
        """Stop the answer between two requests."""
        assert self._first is not None
        finish = "replaced" if reason == "replaced" else "cancelled"
        self.on_result(replace(self._first, finish_reason=finish, cancel_reason=reason))

    def on_failure(self, error: QwenCameraError) -> None:
        self._first = None
        try:
            self._listener.on_error(error)
        finally:
            self._end("", False)

    def _end(self, text: str, whole: bool) -> None:
        """Notify the listener of the end, and drop pictures and listener.

        Reference cycles with the question would keep a frame of a megabyte or more until the garbage collector runs.
        """
        listener, self._listener = self._listener, _NOBODY
        self._asked, self._question, self._views = None, None, {}
        listener.on_end(text, whole)

    @property
    def _looked(self) -> QuestionMode | None:
        """Return the route that was actually used: PAST only if there were earlier pictures."""
        route = self._question.route if self._question is not None else None
        return QuestionMode.NOW if route is QuestionMode.PAST and not self._frames else route

    def _make_frames_sent(self, result: Result) -> wire.FramesSent | None:
        if not self._frames:
            return None
        if self._video:
            return wire.FramesSent.REFUSED if result.video_refused else wire.FramesSent.VIDEO
        return wire.FramesSent.PICTURES

    def _get_sound_use(self, result: Result) -> SoundUse | None:
        if self._asked is None:
            return None
        return SoundUse.REFUSED if result.sound_refused else self._asked.extra(SoundUse)

    @staticmethod
    def _make_answer_speech(result: Result) -> wire.AnswerSpeech | None:
        if result.spoken:
            return wire.AnswerSpeech.MODEL
        return wire.AnswerSpeech.REFUSED if result.speech_refused else None

    def _make_response(self, result: Result) -> wire.Response:
        # Remove pictures that the engine did not get.
        self._frames = self._frames[result.pictures_left_out :]
        if result.pictures_left_out and self.frame and self.frame.part and self._closer:
            part = {"part": self.frame.part, "word": self.frame.word}
            self.frame, self._closer = self._closer.model_copy(update=part), None
        first = result.first_token_seconds
        return wire.Response(
            text=result.text,
            thinking=result.thoughts or None if self._kind is JobKind.CHAT else None,
            inference_time=round(result.inference_seconds, 4),
            id=self.id,
            kind=self._kind,
            engine=result.engine,
            model=result.model,
            frame=self.frame,
            route=self._looked,
            frames=mark_cited(self._frames, result.text),
            frames_sent=self._make_frames_sent(result),
            others=self._others[result.pictures_left_out :] or None,
            closer=self._closer,
            sound=self._get_sound_use(result),
            speech=self._make_answer_speech(result),
            timings=wire.Timings(
                wait_frame_ms=to_milliseconds(self.waited),
                prepare_ms=to_milliseconds(self._prepare_seconds),
                queue_ms=to_milliseconds(result.queue_seconds),
                first_token_ms=to_milliseconds(first) if first is not None else None,
                # Not the sum of the other times, because it includes the time of a failed engine
                total_ms=to_milliseconds(time.monotonic() - self._at),
            ),
            usage=wire.UsageInfo(**asdict(result.usage)),
            finish_reason=result.finish_reason,
            boxes=[make_found_box(box) for box in result.boxes]
            if result.boxes is not None
            else None,
            boxes_by=result.boxes_by,
            codes=list(result.codes) or None,
            fact=result.fact,
            calls=list(self.calls) or None,
            second_look=result.second_look,
            needs_model=result.needs_model or None,
        )


# Pictures, boxes and times in messages. Pure.


def make_cancelled_response(question: Question, engine: Engine, reason: str) -> wire.Response:
    """Return the response to a question that was stopped before its frame."""
    waited = (time.monotonic() - question.asked.at) * 1000
    return wire.Response(
        text="",
        inference_time=0.0,
        id=question.id,
        kind=JobKind.CHAT,
        engine=engine.name,
        model=engine.status.model_name,
        timings=wire.Timings(
            wait_frame_ms=round(waited, 1), prepare_ms=0, queue_ms=0, total_ms=round(waited, 1)
        ),
        usage=wire.UsageInfo(),
        finish_reason="replaced" if reason == "replaced" else "cancelled",
    )


def make_found_box(box: Box) -> wire.FoundBox:
    x1, y1, x2, y2 = (round(edge, 1) for edge in (box.x1, box.y1, box.x2, box.y2))
    point = (x1, y1) == (x2, y2)
    return wire.FoundBox(
        label=box.label,
        box=None if point else (x1, y1, x2, y2),
        point=(x1, y1) if point else None,
        confidence=round(box.confidence, 2) if box.confidence is not None else None,
    )


def without_thumbnail(frame: wire.FrameInfo) -> wire.FrameInfo:
    return frame.model_copy(update={"thumbnail": None})


def to_milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def make_frame_info(picture: Picture, now: float, wall: float) -> wire.FrameInfo:
    """Return the description of a picture. `now` (monotonic), `wall` (seconds since the epoch): time of the request."""
    age, captured = max(0.0, now - picture.captured), _get_capture_time(picture, now, wall)
    scene, region = picture.scene, picture.region
    return wire.FrameInfo(
        id=picture.frame_id,
        captured_at=round(captured * 1000, 1),
        age_ms=to_milliseconds(age),
        source_width=picture.source_width,
        source_height=picture.source_height,
        width=picture.width,
        height=picture.height,
        visual_tokens=picture.visual_tokens,
        held=picture.held,
        unchanged_since=(
            round((captured - (picture.captured - picture.unchanged_since)) * 1000, 1)
            if picture.unchanged_since is not None and not picture.held
            else None
        ),
        dark=scene.dark if scene is not None else None,
        blurred=scene.blurred if scene is not None else None,
        thumbnail=to_data_url(picture.thumbnail) if picture.thumbnail is not None else None,
        crop=(region.left, region.top, region.right, region.bottom) if region is not None else None,
    )


def make_earlier_frames(
    pictures: Sequence[ShownPicture], now: float, wall: float
) -> list[wire.EarlierFrame]:
    """Return the descriptions of pictures of the past. `now`, `wall`: as in `make_frame_info`."""
    return [
        wire.EarlierFrame(
            number=shown.number,
            id=(picture := shown.picture).frame_id,
            captured_at=to_milliseconds(_get_capture_time(picture, now, wall)),
            picture=to_data_url(picture.thumbnail) if picture.thumbnail is not None else None,
        )
        for shown in pictures
    ]


def _get_capture_time(picture: Picture, now: float, wall: float) -> float:
    """Return a picture's capture time in seconds since the epoch, according to its sender's clock if known."""
    if picture.captured_sender is not None:
        return picture.captured_sender
    return wall - max(0.0, now - picture.captured)


def remove_pictures(frames: Sequence[wire.EarlierFrame] | None) -> list[wire.EarlierFrame] | None:
    return [one.model_copy(update={"picture": None}) for one in frames] if frames else None


def mark_cited(frames: Sequence[wire.EarlierFrame], answer: str) -> list[wire.EarlierFrame] | None:
    """Mark the frames that an answer cites; if it cites any, remove the pictures of the others. None: no frames."""
    if not frames:
        return None
    numbers = find_cited_numbers(answer, frames[-1].number)
    return [
        one.model_copy(
            update={
                "cited": one.number in numbers,
                "picture": None if numbers and one.number not in numbers else one.picture,
            }
        )
        for one in frames
    ]


# Tools


class Arguments(BaseModel):
    """Base class of tool arguments; without fields."""

    model_config = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call for a person's question, with consent.

    The client executes the call and can undo it. With `again`, the question is instead asked again about the same
    frame.
    """

    name: str
    # One sentence for the model
    description: str
    arguments: type[Arguments] = Arguments
    # Returns a description of the call for the person; raises QwenCameraError for an impossible call
    about: Callable[[Any], str] = lambda _: ""
    # Returns the question to ask instead of the given question; raises QwenCameraError
    again: Callable[[Question, Any], Question] | None = None

    @property
    def form(self) -> Mapping[str, Any]:
        """The tool in the format of OpenAI's chat interface."""
        function = {"name": self.name, "description": self.description}
        return {
            "type": "function",
            "function": function | {"parameters": _make_schema(self.arguments)},
        }


@cache
def _make_schema(arguments: type[Arguments]) -> Mapping[str, Any]:
    """Return the JSON schema of arguments, without pydantic's titles."""
    schema = arguments.model_json_schema()
    fields = schema.get("properties", {})
    for field in fields.values():
        field.pop("title", None)
    return {"type": "object", "properties": fields, "required": schema.get("required", [])}


@dataclass(frozen=True, slots=True)
class Call:
    """A valid call of one of the session's tools."""

    tool: Tool
    shown: wire.CalledTool
    # The question to ask again; None if there is none
    again: Question | None = None

    @property
    def note(self) -> str:
        """The note for the history; "" for a call that the client does not execute."""
        if self.tool.again is not None or self.shown.refused:
            return ""
        return prompts.call_note(self.tool.name, self.shown.about or "")


class Toolbox:
    """The tools of one session. `count(outcome)` is called for each call: done, refused, malformed or unknown."""

    def __init__(self, tools: Callable[[], Sequence[Tool]], count: Callable[[str], None]) -> None:
        """`tools()` returns the tools of the session's parts."""
        self._tools = tools
        self._count = count

    def forms(self) -> tuple[Mapping[str, Any], ...]:
        """Return the tools in the format of a request."""
        return tuple(tool.form for tool in (*_CORE, *self._tools()))

    def read(self, question: Question, calls: Sequence[ToolCall]) -> list[Call]:
        """Return the valid calls, at most one of which asks again. Count the outcome of each call."""
        tools = {tool.name: tool for tool in (*_CORE, *self._tools())}
        found: list[Call] = []
        for call in calls:
            tool = tools.get(call.name)
            read = _parse_call(tool, call.arguments, question) if tool is not None else None
            if read is None:
                self._count("malformed" if tool is not None else "unknown")
                continue
            self._count("refused" if read.shown.refused else "done")
            if read.again is None or not any(one.again for one in found):
                found.append(read)
        return found


def _parse_call(tool: Tool, given: str, question: Question) -> Call | None:
    """Validate a tool's JSON arguments. Return the call, or None if they are invalid."""
    try:
        if len(given) > MOST_ARGUMENT_CHARS:
            return None
        arguments = tool.arguments.model_validate(json.loads(given))
    except (ValidationError, ValueError, RecursionError):
        return None
    try:
        about = tool.about(arguments)
        again = tool.again(question, arguments) if tool.again is not None else None
    except QwenCameraError:
        return Call(tool, wire.CalledTool(name=tool.name, refused=True))
    return Call(tool, wire.CalledTool(name=tool.name, about=about or None), again)


# Tools of the core


class _Part(Arguments):
    left: float = Field(description="0 to 1000, from the left")
    top: float = Field(description="0 to 1000, from the top")
    right: float = Field(description="0 to 1000, from the left")
    bottom: float = Field(description="0 to 1000, from the top")


def _make_closer_question(question: Question, part: _Part) -> Question:
    edges = (part.left, part.top, part.right, part.bottom)
    # Some models give fractions.
    most = 1.0 if max(edges) <= 1.0 else 1000.0
    x1, y1, x2, y2 = (min(1.0, max(0.0, edge / most)) for edge in edges)
    if question.part is not None or not min(x2 - x1, y2 - y1) >= LEAST_PART:
        raise BadRequest(
            "This part of the picture is too small or already enlarged. Choose a larger part."
        )
    return replace(question, part=(x1, y1, x2, y2), closer=True, route=QuestionMode.DETAIL)


_CORE = (
    Tool("hold", "Keep the present picture for the person's next questions."),
    Tool(
        "look_closer",
        "See a part of this picture enlarged, before you answer, when what is asked is too small to tell.",
        _Part,
        again=_make_closer_question,
    ),
)
